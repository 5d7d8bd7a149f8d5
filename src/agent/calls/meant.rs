//! Whether a call that stands among prose is made or only shown: as an example, as a quotation, or in a refusal.

/// Words right before a call that say that it is shown and not made.
const SHOWN: &[&str] = &[
    "example",
    "e.g.",
    "for instance",
    "such as:",
    "you can use",
    "you can call",
    "you can run",
    "you could",
    "you would",
    "you might",
    "you may use",
    "you may call",
    "you should use",
    "you should call",
    "you should run",
    "one could",
    "would look like",
    "might look like",
    "could look like",
    "hypothetical",
    "dangerous",
    "harmful",
    "malicious",
    "i cannot do",
    "i can't do",
    "i can’t do",
    "i cannot run",
    "i can't run",
    "i will not",
    "i won't",
    "i won’t",
    "i would not",
    "i wouldn't",
    "i refuse",
    "i must not",
    "not allowed to run",
    "not allowed to call",
    "not allowed to use",
    "do not run",
    "don't run",
    "do not call",
    "don't call",
    "do not execute",
    "don't execute",
    "never run",
    "never call",
    "should not run",
    "should not call",
    "should not be",
    "must not be",
    "says:",
    "says this:",
    "said:",
    "says \"",
    "says `",
    "contains:",
    "contains this",
    "contains the text",
    "contains the line",
    "contains the following",
    "containing:",
    "reads:",
    "the text is:",
    "quoted",
    "quote:",
    "log shows",
    "log entry",
    "from the log",
    "instructed me",
    "tells me to",
    "told me to",
    "injection",
    "previously called",
    "was called",
    "were called",
    "have called",
    "has called",
    "had called",
    "already called",
    "i called",
    "used earlier",
];

/// Words right behind a call that say the same.
const SHOWN_BEHIND: &[&str] = &[
    "i will not run",
    "i won't run",
    "i will not execute",
    "i won't execute",
    "i did not run",
    "i have not run",
    "do not run",
    "don't run",
    "is only an example",
    "is just an example",
    "as an example",
    "replace ",
    "placeholder",
];

/// Bytes of prose before a call that count.
const LEAD_BYTES_MAX: usize = 240;

/// Whether the call between `lead` and `behind` is made.
pub(super) fn is_meant(lead: &str, behind: &str) -> bool {
    let lead = last_paragraph(tail(lead, LEAD_BYTES_MAX)).to_lowercase();
    let behind = head(behind.trim_start_matches(['`', '\n', ' ', '~']), LEAD_BYTES_MAX).to_lowercase();
    let behind = behind.split("\n\n").next().unwrap_or_default().to_owned();
    !SHOWN.iter().any(|word| has_word(&lead, word)) && !SHOWN_BEHIND.iter().any(|word| behind.contains(word))
}

/// Whether the words stand there as words.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let is_open = !text[..at].ends_with(char::is_alphanumeric);
        let behind = &text[at + word.len()..];
        let is_closed = !word.ends_with(char::is_alphanumeric)
            || !behind.starts_with(char::is_alphanumeric)
            || behind.starts_with("s ")
            || behind.starts_with("s:");
        is_open && is_closed
    })
}

/// The last paragraph with words in it.
fn last_paragraph(text: &str) -> &str {
    let text = text.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '`' | '~'));
    text.rsplit("\n\n").next().unwrap_or_default()
}

fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn head(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether the reply ends by asking: nothing that it shows is wanted yet.
pub(super) fn asks_back(behind: &str) -> bool {
    let end = behind.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '`' | '*' | '"' | '>'));
    end.ends_with(['?', '？'])
}

/// Inside of a Markdown quotation: the line starts with `>`.
pub(super) fn is_in_quote(text: &str, at: usize) -> bool {
    let near = tail(&text[..at], 2_000);
    let line = near.rsplit('\n').next().unwrap_or_default();
    line.trim_start().starts_with("> ")
}

/// Where the lines start that only an engine or a user may write.
pub(super) fn forged_lines(text: &str) -> Vec<usize> {
    const FORGED: &[&str] = &[
        "observation:",
        "tool result:",
        "tool response:",
        "tool output:",
        "function result:",
        "function response:",
        "user:",
        "human:",
        "output:",
        "result:",
        "results:",
        "response:",
    ];
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start_matches([' ', '\t', '*', '#']);
        let is_forged =
            FORGED.iter().any(|word| bare.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)));
        if is_forged {
            found.push(at);
        }
        at += line.len();
    }
    found
}

/// Whether one of `places` lies between.
pub(super) fn has_between(places: &[usize], from: usize, to: usize) -> bool {
    let next = places.partition_point(|place| *place < from);
    places.get(next).is_some_and(|place| *place < to)
}
