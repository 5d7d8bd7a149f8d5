//! What a model thought aloud, told from what it said. A call inside of it is no call.

use super::marks::next_mark;
use super::reader::{Words, literal};
use super::seen::Seen;

/// A text without its reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// What is left, without spaces around it.
    pub text: String,
    /// Whether there was any reasoning.
    pub had_reasoning: bool,
}

/// Takes reasoning out of a text in every form: `<think>`, `<thinking>`, `<reasoning>`, `[THINK]`, the channels of harmony
/// and Gemma, unclosed (then all that follows is reasoning), and with the closing tag only (then all before it is).
///
/// A tag inside a literal or between the tags of an argument belongs to that argument and is left alone.
#[must_use]
pub fn without_reasoning(text: &str) -> Stripped {
    let text = text.trim_start_matches('\u{feff}');
    let channels = super::harmony::messages(text);
    if let Some(messages) = channels {
        let said: Vec<&str> = messages.iter().filter(|one| one.is_said()).map(|one| one.body.trim()).collect();
        return Stripped {
            text: said.join("\n").trim().to_owned(),
            had_reasoning: messages.iter().any(|one| one.is_reasoning()),
        };
    }
    let gemma = without_channels(text);
    let text = gemma.as_deref().unwrap_or(text);
    let marks = marks_of(text);
    let had_reasoning = gemma.is_some() || !marks.is_empty();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut depth = 0_usize;
    let mut ends_left = marks.iter().filter(|mark| mark.ends).count();
    for mark in &marks {
        if mark.ends {
            ends_left -= 1;
            if depth == 0 {
                // Closing tag only: all that was said so far was thought.
                out.clear();
            }
            depth = depth.saturating_sub(1);
        } else {
            if depth == 0 {
                out.push_str(&text[at..mark.start]);
            }
            // `<think> … <think>` with one closing tag is one thought.
            if depth == 0 || ends_left > depth {
                depth += 1;
            }
        }
        at = mark.end;
    }
    if depth == 0 {
        out.push_str(&text[at..]);
    }
    Stripped { text: out.trim().to_owned(), had_reasoning }
}

/// A tag of reasoning.
struct Tag {
    start: usize,
    end: usize,
    ends: bool,
}

/// All tags of reasoning that stand outside of arguments and inline code.
fn marks_of(text: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut opaque = Opaque::default();
    let mut from = 0;
    while let Some((start, mark)) = next_mark(text, from) {
        from = mark.end;
        if opaque.covers(text, start, &mut from) || !mark.is_reasoning() || is_quoted(text, start, mark.end) {
            continue;
        }
        found.push(Tag { start, end: mark.end, ends: mark.ends_reasoning() });
    }
    found
}

/// `<|channel>thought … <channel|>` of Gemma.
fn without_channels(text: &str) -> Option<String> {
    const OPEN: &str = "<|channel>";
    const CLOSE: &str = "<channel|>";
    if !text.contains(OPEN) && !text.trim_start().contains(CLOSE) {
        return None;
    }
    let mut out = String::new();
    let mut rest = text;
    if let Some(close) = rest.find(CLOSE)
        && rest.find(OPEN).is_none_or(|open| close < open)
    {
        rest = &rest[close + CLOSE.len()..];
    }
    while let Some(open) = rest.find(OPEN) {
        out.push_str(&rest[..open]);
        let inner = &rest[open + OPEN.len()..];
        rest = inner.find(CLOSE).map_or("", |close| &inner[close + CLOSE.len()..]);
    }
    out.push_str(rest);
    Some(out)
}

/// Where the name in front of a round bracket starts; the bracket itself where there is none.
fn name_before(text: &str, at: usize) -> usize {
    const NAME_BYTES_MAX: usize = 256;
    if !text[at..].starts_with('(') {
        return at;
    }
    let mut start = at;
    for (found, c) in text[..at].char_indices().rev() {
        if !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-')) || at - found > NAME_BYTES_MAX {
            break;
        }
        start = found;
    }
    start
}

/// In inline code: a tag that is talked about.
pub(super) fn is_quoted(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    matches!((before, after), (Some('`'), Some('`')) | (Some('"'), Some('"')) | (Some('\''), Some('\'')))
}

/// Stretches of a text that belong to arguments: literals, and what stands between `<parameter=x>` and its end.
#[derive(Debug, Default)]
pub(super) struct Opaque {
    /// Up to here the stretches are known.
    seen: usize,
    /// The last stretch.
    last: (usize, usize),
    /// Bytes looked at; a text that is all brackets must not cost its square.
    cost: usize,
    closers: Seen,
}

impl Opaque {
    /// Whether `start` lies inside of one; `from` is then moved behind it.
    pub(super) fn covers(&mut self, text: &str, start: usize, from: &mut usize) -> bool {
        const COST_MAX: usize = 8 * 1024 * 1024;
        while self.seen <= start && self.cost < COST_MAX {
            let Some(found) = text[self.seen..].find(['{', '[', '(', '<']) else {
                self.seen = text.len();
                break;
            };
            let at = self.seen + found;
            if at > start {
                break;
            }
            self.seen = at + 1;
            let end = if text[at..].starts_with('<') {
                self.field_end(text, at)
            } else {
                match literal(text, name_before(text, at), Words::Refused) {
                    // `1e9(`: what stands before the bracket is a literal by itself and leads nowhere.
                    Ok(read) => (read.end > at).then_some(read.end),
                    Err((_, looked)) => {
                        self.cost += looked.saturating_sub(at);
                        None
                    }
                }
            };
            if let Some(end) = end {
                self.cost += end - at;
                self.last = (at, end);
                self.seen = end;
            }
        }
        let is_inside = self.last.0 < start && start < self.last.1;
        if is_inside {
            *from = self.last.1;
        }
        is_inside
    }

    /// The end of `<parameter=x>…</parameter>` or `<arg_value>…</arg_value>` that starts here.
    fn field_end(&self, text: &str, at: usize) -> Option<usize> {
        for (open, close) in [("<parameter", "</parameter>"), ("<arg_value>", "</arg_value>")] {
            if text[at..].starts_with(open) {
                let end = self.closers.find(text, close, at)?;
                // Another start in between: this one is only talked about.
                let is_field = self.closers.find(text, open, at + 1).is_none_or(|next| next > end);
                return is_field.then_some(end);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_before_a_bracket_leads_on() {
        assert_eq!(without_reasoning("1e9(<think>x</think>done").text, "1e9(done");
    }

    #[track_caller]
    fn check(text: &str, left: &str, had_reasoning: bool) {
        assert_eq!(without_reasoning(text), Stripped { text: left.to_owned(), had_reasoning }, "{text}");
    }

    #[test]
    fn every_form_of_reasoning_is_taken_out() {
        for (text, left) in [
            ("<think>a</think>b", "b"),
            ("<think>\na\n</think>\n\nb", "b"),
            ("<THINK>a</THINK>b", "b"),
            ("<thinking>a</thinking>b", "b"),
            ("<thought>a</thought>b", "b"),
            ("<reasoning>a</reasoning>b", "b"),
            ("<seed:think>a</seed:think>b", "b"),
            ("[THINK]a[/THINK]b", "b"),
            ("◁think▷a◁/think▷b", "b"),
            ("<|begin_of_thought|>a<|end_of_thought|>b", "b"),
            ("<|START_THINKING|>a<|END_THINKING|>b", "b"),
            ("<|thinking|>a<|/thinking|>b", "b"),
            ("<think>a</think>b<think>c</think>d", "bd"),
            ("<think>a<think>b</think>c</think>d", "d"),
            ("<think>a <think> b</think>c", "c"),
            ("a</think>b", "b"),
            ("a</think>b</think>c", "c"),
            ("<think>a", ""),
            ("<think>", ""),
            ("x <think>a", "x"),
            ("<|channel>thought\na<channel|>b", "b"),
            ("<|channel>a", ""),
            ("a<channel|>b", "b"),
            ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b"),
            ("<|channel|>analysis<|message|>a", ""),
            ("analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b"),
            ("<think>{\"name\": \"f\", \"arguments\": {}}</think>b", "b"),
            ("<think>{\"name\": \"f\"", ""),
        ] {
            check(text, left, true);
        }
    }

    #[test]
    fn what_only_looks_like_reasoning_stays() {
        for text in [
            "a",
            "",
            "a < b and c > d",
            "write `<think>` first",
            "{\"name\": \"write\", \"arguments\": {\"content\": \"<think>x</think>\"}}",
            "<tool_call>{\"name\": \"write\", \"arguments\": {\"content\": \"a</think>b\"}}</tool_call>",
            "<function=write>\n<parameter=content>\n<think>x</think>\n</parameter>\n</function>",
            "I think so",
            "[1, 2]",
        ] {
            check(text, text, false);
        }
    }
}
