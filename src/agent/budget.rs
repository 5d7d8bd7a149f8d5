//! How many tokens a request takes, which window to ask for, and what of a conversation to shorten so that it fits.
//!
//! Servers cut the oldest messages in silence when a window is full, and then the task is gone. So every request is
//! counted here before it is sent, and what does not fit is refused. The count is a guess from above, made from the
//! kinds of characters; [`Scale`] mends it by what a server really counted. Pure.

use crate::model::{Message, Offer, Speaker};

/// The smallest window that is asked for; others are this times a power of two, so that few sizes make few loads.
pub const CONTEXT_TOKENS_MIN: u32 = 2_048;

/// Tokens that a chat template adds to a message or a tool.
const TOKENS_PER_MESSAGE: u64 = 8;
/// Tokens of a whole conversation's frame.
const TOKENS_PER_REQUEST: u64 = 16;
/// What a template writes about tools, once.
const TOKENS_PER_TOOLS: u64 = 160;

/// Characters that a shortened result keeps at first, and at the least.
pub const RESULT_HEAD_CHARS: usize = 1_000;
/// See [`RESULT_HEAD_CHARS`].
pub const RESULT_HEAD_CHARS_MIN: usize = 160;

/// Tokens of a text, guessed from above: letters 3.5 bytes a token; digits one each, as Qwen and Llama read them;
/// signs and capitals dearer than letters; other scripts 2 bytes.
#[must_use]
pub fn text_tokens(text: &str) -> u64 {
    // In fourteenths of a token.
    let sum: u64 = text
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b' ' => 4,
            b'0'..=b'9' => 14,
            b'A'..=b'Z' => 6,
            0x80.. => 7,
            _ => 9,
        })
        .sum();
    sum.div_ceil(14)
}

/// Tokens of one message, its calls included.
#[must_use]
pub fn message_tokens(message: &Message) -> u64 {
    let calls: u64 = message
        .calls
        .iter()
        .map(|call| TOKENS_PER_MESSAGE + text_tokens(&call.name) + text_tokens(&call.arguments.to_string()))
        .sum();
    let result = message.result_of.as_ref().map_or(0, |result| text_tokens(&result.name));
    let said = text_tokens(&message.text) + calls + result;
    // What goes back in the server's own form goes in place of text and calls, and holds both.
    let echo: u64 = message.echo.iter().map(|block| text_tokens(&block.to_string())).sum();
    TOKENS_PER_MESSAGE + said.max(echo)
}

/// Tokens of the tools as a template writes them.
#[must_use]
pub fn tools_tokens(tools: &[Offer]) -> u64 {
    if tools.is_empty() {
        return 0;
    }
    let each = |tool: &Offer| {
        TOKENS_PER_MESSAGE
            + text_tokens(&tool.name)
            + text_tokens(&tool.description)
            + text_tokens(&tool.parameters.to_string())
    };
    TOKENS_PER_TOOLS + tools.iter().map(each).sum::<u64>()
}

/// Tokens of a whole prompt.
#[must_use]
pub fn prompt_tokens(messages: &[Message], tools: &[Offer]) -> u64 {
    TOKENS_PER_REQUEST + tools_tokens(tools) + messages.iter().map(message_tokens).sum::<u64>()
}

/// How far the guesses for one model were from what its server counted, in thousandths; begins at one to one and only
/// grows within an attempt, so that a budget that held goes on holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale(u64);

/// Largest scale.
const SCALE_MAX: u64 = 3_000;

impl Default for Scale {
    fn default() -> Self {
        Self(1_000)
    }
}

impl Scale {
    /// Learns from one answered request. A count of 0 is a server that does not count; one that is far off is one that
    /// counts something else (what it had not in its cache, or a picture), so that the step is bounded.
    #[must_use]
    pub fn learned(self, guessed_tokens: u64, counted_tokens: u64) -> Self {
        if guessed_tokens == 0 {
            return self;
        }
        Self((counted_tokens * 1_000).div_ceil(guessed_tokens).clamp(self.0, SCALE_MAX))
    }

    /// A quarter more.
    const fn raised(self) -> Self {
        let more = self.0 + self.0.div_ceil(4);
        Self(if more > SCALE_MAX { SCALE_MAX } else { more })
    }

    /// A guess as it is believed.
    #[must_use]
    pub fn of(self, tokens: u64) -> u64 {
        (tokens * self.0).div_ceil(1_000)
    }
}

/// The window to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its size.
    pub context_tokens: u32,
    /// What is left of it for results of calls and further turns.
    pub room_tokens: u64,
}

/// What does not fit, and into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request needs about {needed_tokens} tokens, and {tokens_max} fit")]
pub struct DoesNotFit {
    /// What it needs at least, its answer included.
    pub needed_tokens: u64,
    /// What there is.
    pub tokens_max: u64,
}

impl DoesNotFit {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "take a model with a larger window, hand over less text, or let the step work on smaller parts"
    }
}

/// The smallest window of the steps 2048·2ⁿ that holds the prompt, the answer and `results_tokens` for results that are
/// to come, at most the model's own. Where the model's own is too small for the results, they get what is left.
///
/// # Errors
/// [`DoesNotFit`] where prompt and answer alone are larger than the model's window.
pub fn window(
    prompt_tokens: u64,
    reply_tokens_max: u32,
    results_tokens: u64,
    context_tokens_max: u32,
) -> Result<Window, DoesNotFit> {
    let needed = prompt_tokens.saturating_add(u64::from(reply_tokens_max));
    let most = u64::from(context_tokens_max);
    if needed > most {
        return Err(DoesNotFit { needed_tokens: needed, tokens_max: most });
    }
    let wanted = needed.saturating_add(results_tokens).min(most);
    let mut size = u64::from(CONTEXT_TOKENS_MIN);
    while size < wanted {
        size *= 2;
    }
    let size = size.min(most);
    Ok(Window {
        context_tokens: u32::try_from(size).expect("it is at most `context_tokens_max`"),
        room_tokens: size - needed,
    })
}

/// What one attempt may send to its model. It learns from every answer, and the window that it asks for never shrinks
/// within the attempt: another size would load the model again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    context_tokens_max: u32,
    reply_tokens_max: u32,
    results_tokens: u64,
    scale: Scale,
    /// Guess for the request before, as it was made.
    guessed_tokens: u64,
    /// Window of the request before; 0: none yet.
    context_tokens: u32,
    /// Longest guess that is sent, where a longer one did not fit the largest window.
    guess_tokens_max: Option<u64>,
    /// The largest window is asked for from the first request on.
    is_whole: bool,
}

impl Budget {
    /// For a model with this window, and answers of this length.
    #[must_use]
    pub fn new(context_tokens_max: u32, reply_tokens_max: u32) -> Self {
        Self {
            context_tokens_max,
            reply_tokens_max,
            results_tokens: 0,
            scale: Scale::default(),
            guessed_tokens: 0,
            context_tokens: 0,
            guess_tokens_max: None,
            is_whole: false,
        }
    }

    /// The same with the whole window in every request: a person has chosen its size.
    #[must_use]
    pub const fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    /// The same with room for so many tokens of results in the first window, so that the second request needs no other.
    #[must_use]
    pub const fn expecting(mut self, results_tokens: u64) -> Self {
        self.results_tokens = results_tokens;
        self
    }

    /// The server counted the prompt of the request before; 0: it did not.
    pub fn saw(&mut self, counted_tokens: u64) {
        self.scale = self.scale.learned(self.guessed_tokens, counted_tokens);
    }

    /// The request before was too long, into `window` where the server says it. The next one is believed to be longer,
    /// by a quarter at least, so that asking again never sends the same: it gets a larger window, or where there is none,
    /// it is shorter by a quarter.
    pub fn did_not_fit(&mut self, window: Option<u32>) {
        if let Some(window) = window.filter(|window| *window > 0) {
            self.context_tokens_max = self.context_tokens_max.min(window);
        }
        if self.context_tokens >= self.context_tokens_max {
            self.guess_tokens_max = Some(self.guessed_tokens / 4 * 3);
        }
        let seen = u64::from(self.context_tokens.min(self.context_tokens_max));
        self.scale = self.scale.learned(self.guessed_tokens, seen).raised();
        self.context_tokens = self.context_tokens.min(self.context_tokens_max);
    }

    /// Tokens that a prompt may have.
    #[must_use]
    pub fn room_tokens(&self) -> u64 {
        let room = u64::from(self.context_tokens_max.saturating_sub(self.reply_tokens_max));
        self.guess_tokens_max.map_or(room, |most| room.min(self.scale.of(most)))
    }

    /// How a request's tokens are believed.
    #[must_use]
    pub const fn scale(&self) -> Scale {
        self.scale
    }
}

/// Makes the conversation fit and gives the window to ask for. Results are shortened only when the model's whole window
/// is too small for them.
///
/// # Errors
/// [`DoesNotFit`]; the conversation is as it was.
pub fn fit(messages: &mut Vec<Message>, tools: &[Offer], budget: &mut Budget) -> Result<u32, DoesNotFit> {
    let reply = u64::from(budget.reply_tokens_max);
    let most = u64::from(budget.context_tokens_max);
    let shortened = compact(messages, tools, budget.scale, budget.room_tokens())
        .map_err(|short| DoesNotFit { needed_tokens: short.needed_tokens.saturating_add(reply), tokens_max: most })?;
    let guessed = prompt_tokens(&shortened, tools);
    let window =
        window(budget.scale.of(guessed), budget.reply_tokens_max, budget.results_tokens, budget.context_tokens_max)?;
    *messages = shortened;
    budget.guessed_tokens = guessed;
    let wanted = if budget.is_whole { budget.context_tokens_max } else { window.context_tokens };
    budget.context_tokens = budget.context_tokens.max(wanted);
    Ok(budget.context_tokens)
}

/// The conversation shortened until its prompt has at most `tokens_max` tokens. Only results of calls are shortened
/// (messages of a tool, and those that say which call they are the result of), the oldest first and the newest last,
/// each to its head and a remark that says how much is missing. The system message, the task, and everything that the
/// model said stay as they are. A handle that a result's own remark names stays named.
///
/// # Errors
/// [`DoesNotFit`] where it is too long with all results shortened.
pub fn compact(
    messages: &[Message],
    tools: &[Offer],
    scale: Scale,
    tokens_max: u64,
) -> Result<Vec<Message>, DoesNotFit> {
    let mut shortened = messages.to_vec();
    let tokens = |messages: &[Message]| scale.of(prompt_tokens(messages, tools));
    let first_user = messages.iter().position(|message| message.speaker == Speaker::User);
    let results: Vec<usize> = (0..messages.len())
        .filter(|index| messages[*index].speaker != Speaker::System && Some(*index) != first_user)
        .filter(|index| messages[*index].speaker == Speaker::Tool || messages[*index].result_of.is_some())
        .collect();
    let (newest, older) = match results.split_last() {
        Some((newest, older)) => (Some(*newest), older),
        None => (None, &[][..]),
    };
    for chars in [RESULT_HEAD_CHARS, RESULT_HEAD_CHARS_MIN] {
        for &index in older {
            if tokens(&shortened) <= tokens_max {
                return Ok(shortened);
            }
            shortened[index].text = result_head(&messages[index].text, chars);
        }
    }
    if tokens(&shortened) <= tokens_max {
        return Ok(shortened);
    }
    if let Some(newest) = newest {
        // As much of the newest as fits: the model has not seen it yet.
        let mut with = |chars: usize| {
            shortened[newest].text = result_head(&messages[newest].text, chars);
            tokens(&shortened)
        };
        let (mut fits, mut too_long) = (RESULT_HEAD_CHARS_MIN, messages[newest].text.chars().count());
        if with(fits) <= tokens_max {
            while too_long.saturating_sub(fits) > fits / 16 + 1 {
                let middle = fits + (too_long - fits) / 2;
                if with(middle) <= tokens_max { fits = middle } else { too_long = middle }
            }
            with(fits);
            return Ok(shortened);
        }
    }
    Err(DoesNotFit { needed_tokens: tokens(&shortened), tokens_max })
}

/// Head of a result with its remark. A text that would not get shorter by it stays.
fn result_head(text: &str, chars: usize) -> String {
    let (body, remark) = remark_of(text);
    let body_chars = body.chars().count();
    if body_chars <= chars {
        return text.to_owned();
    }
    let head = super::prompt::head(body, chars);
    let all = remark.chars.unwrap_or(body_chars).max(body_chars);
    let left_out = all - head.chars().count();
    let ask = match remark.handle {
        Some(handle) => format!("ask read_result with handle {handle}"),
        None => "call again for a smaller part if it is needed".to_owned(),
    };
    let short = format!("{head}\n[cut: {left_out} of {all} characters; {ask}]");
    // The remark costs tokens too.
    if text_tokens(&short) < text_tokens(text) { short } else { text.to_owned() }
}

/// What a result's last line says of a cut that was made before.
#[derive(Debug, Default, PartialEq, Eq)]
struct Remark<'a> {
    handle: Option<&'a str>,
    chars: Option<usize>,
}

/// A result without its remark, and the remark: `[cut: … N characters … handle H …]`.
fn remark_of(text: &str) -> (&str, Remark<'_>) {
    let none = || (text, Remark::default());
    let Some((body, line)) = text.rsplit_once('\n') else { return none() };
    let Some(inside) = line.strip_prefix("[cut: ").and_then(|rest| rest.strip_suffix(']')) else { return none() };
    let chars = inside.split_once(" characters").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    let handle = inside.split_once("handle ").map(|(_, after)| {
        let after = after.trim_start_matches('"');
        let end = after.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').unwrap_or(after.len());
        &after[..end]
    });
    (body, Remark { handle: handle.filter(|handle| !handle.is_empty()), chars })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::{NativeCall, ResultOf};

    fn result(text: &str) -> Message {
        let mut message = Message::new(Speaker::Tool, text);
        message.result_of = Some(ResultOf { name: "fs_read".into(), id: None });
        message
    }

    fn conversation(results: &[String]) -> Vec<Message> {
        let mut messages =
            vec![Message::new(Speaker::System, "rules of all"), Message::new(Speaker::User, "the task itself")];
        for (index, text) in results.iter().enumerate() {
            let mut asked = Message::new(Speaker::Assistant, "");
            asked.calls = vec![NativeCall {
                id: None,
                name: "fs_read".into(),
                arguments: json!({ "path": format!("{index}.txt") }),
            }];
            messages.push(asked);
            messages.push(result(text));
        }
        messages
    }

    #[test]
    fn digits_cost_a_token_each_and_prose_does_not() {
        assert_eq!(text_tokens(""), 0);
        assert!(text_tokens("1234567890") >= 10, "qwen reads each digit for itself");
        let prose = "the quick brown fox jumps over the lazy dog ".repeat(100);
        assert_eq!(text_tokens(&prose), (prose.len() as u64 * 2).div_ceil(7), "3.5 bytes a token");
        assert!(text_tokens("发票号码") >= 4, "other scripts take about a token a sign");
    }

    #[test]
    fn windows_come_in_few_sizes() {
        for (prompt, reply, results, max, size) in [
            (100, 500, 0, 40_960, 2_048),
            (1_600, 448, 0, 40_960, 2_048),
            (1_600, 449, 0, 40_960, 4_096),
            (1_000, 1_000, 3_000, 40_960, 8_192),
            (30_000, 4_000, 0, 40_960, 40_960),
            (1_000, 500, 1_000_000, 40_960, 40_960),
            (900, 100, 0, 1_024, 1_024),
        ] {
            let window = window(prompt, reply, results, max).unwrap();
            assert_eq!(window.context_tokens, size, "{prompt} {reply} {results} {max}");
            assert_eq!(window.room_tokens, u64::from(size) - prompt - u64::from(reply));
        }
        let refused = window(40_000, 1_000, 0, 40_960).unwrap_err();
        assert_eq!(refused, DoesNotFit { needed_tokens: 41_000, tokens_max: 40_960 });
    }

    #[test]
    fn a_scale_only_grows_and_is_bounded() {
        let scale = Scale::default();
        assert_eq!(scale.of(100), 100);
        assert_eq!(scale.learned(100, 80), scale);
        let more = scale.learned(100, 130);
        assert_eq!(more.of(100), 130);
        assert_eq!(more.learned(100, 0), more, "a server that does not count teaches nothing");
        assert_eq!(more.learned(0, 9), more);
        assert_eq!(more.learned(1, 1_000_000).of(100), 300);
    }

    #[test]
    fn three_megabytes_of_results_fit_and_say_what_is_missing() {
        let messages = conversation(&[
            format!(
                "{}[cut: the first 12000 of 3000000 characters, 9 entries in all. Read on with read_result, handle \"r1\", offset 12000]",
                "a line of text\n".repeat(800)
            ),
            "b".repeat(1_500_000),
            "short".into(),
            "c d ".repeat(50_000),
        ]);
        let short = compact(&messages, &[], Scale::default(), 3_000).unwrap();
        assert!(prompt_tokens(&short, &[]) <= 3_000);
        assert!(short[3].text.starts_with("a line of text\na line"));
        assert!(short[3].text.ends_with("of 3000000 characters; ask read_result with handle r1]"), "{}", short[3].text);
        assert_eq!(short[7].text, "short", "nothing is gained there");
        assert!(short[9].text.len() > 2_000, "the newest keeps what fits: {}", short[9].text.len());
        assert!(short[9].text.contains("[cut: "));
    }

    #[test]
    fn the_oldest_results_go_first() {
        let messages = conversation(&["old ".repeat(1_000), "middle ".repeat(1_000), "new ".repeat(1_000)]);
        let all = prompt_tokens(&messages, &[]);
        assert_eq!(compact(&messages, &[], Scale::default(), all).unwrap(), messages);
        let short = compact(&messages, &[], Scale::default(), all - 1).unwrap();
        assert!(short[3].text.contains("[cut: "));
        assert_eq!(short[4..], messages[4..]);
    }

    #[test]
    fn results_told_by_the_user_are_results_and_the_task_never_is() {
        let mut messages = conversation(&[]);
        messages[1].text = "the task ".repeat(500);
        messages.push(Message::new(Speaker::Assistant, "{\"tool\": \"fs_read\"}"));
        messages.push(Message { speaker: Speaker::User, ..result(&"long ".repeat(2_000)) });
        messages.push(Message::new(Speaker::User, "what the engine says ".repeat(20)));
        let short = compact(&messages, &[], Scale::default(), 2_000).unwrap();
        assert_eq!(short[..3], messages[..3]);
        assert!(short[3].text.contains("[cut: "));
        assert_eq!(short[4], messages[4]);
        let refused = compact(&messages, &[], Scale::default(), 500).unwrap_err();
        assert!(refused.needed_tokens > 500);
    }

    #[test]
    fn a_remark_is_read_and_written_again() {
        let long = |remark: &str| format!("{}\n{remark}", "word ".repeat(100));
        for (remark, ask) in [
            (
                "[cut: the first 500 of 9000 characters. Read on with read_result, handle \"r12\", offset 500]",
                "9000 characters; ask read_result with handle r12]",
            ),
            (
                "[cut: 8500 of 9000 characters; ask read_result with handle r12]",
                "9000 characters; ask read_result with handle r12]",
            ),
            (
                "[cut: 8500 of 9000 characters; call again for a smaller part if it is needed]",
                "9000 characters; call again",
            ),
            ("[1, 2]", "507 characters; call again"),
        ] {
            let short = result_head(&long(remark), 200);
            assert!(short.contains(ask), "{remark} gives {short}");
            assert_eq!(short.matches("[cut: ").count(), 1);
            assert_eq!(result_head(&short, 200), short);
        }
    }

    #[test]
    fn a_budget_grows_learns_and_never_asks_for_less() {
        let mut messages = conversation(&["x".repeat(2_000)]);
        let mut budget = Budget::new(16_384, 512).expecting(2_000);
        assert_eq!(fit(&mut messages, &[], &mut budget).unwrap(), 4_096);
        let before = messages.clone();
        // The server counted three times as much.
        let guessed = prompt_tokens(&messages, &[]);
        budget.saw(guessed * 3);
        assert_eq!(budget.scale().of(guessed), guessed * 3);
        let mut short = conversation(&[]);
        assert_eq!(fit(&mut short, &[], &mut budget).unwrap(), 4_096, "another size would load the model again");
        messages.extend(conversation(&["y ".repeat(4_000)]).split_off(2));
        assert_eq!(fit(&mut messages, &[], &mut budget).unwrap(), 16_384);
        assert_eq!(messages[..before.len()], before, "while the window can grow, nothing is shortened");
        messages.extend(conversation(&["z ".repeat(9_000)]).split_off(2));
        assert_eq!(fit(&mut messages, &[], &mut budget).unwrap(), 16_384);
        assert!(budget.scale().of(prompt_tokens(&messages, &[])) <= 16_384 - 512);
        let kept = messages.clone();
        let mut small = Budget::new(300, 290);
        assert!(fit(&mut messages, &[], &mut small).unwrap_err().needed_tokens > 300);
        assert_eq!(messages, kept);
    }

    #[test]
    fn a_request_that_did_not_fit_is_never_sent_again_as_it_was() {
        let mut messages = conversation(&["a b ".repeat(5_000)]);
        let mut budget = Budget::new(8_192, 512);
        assert_eq!(fit(&mut messages, &[], &mut budget).unwrap(), 8_192);
        budget.did_not_fit(Some(4_096));
        let whole = messages.clone();
        assert_eq!(fit(&mut messages, &[], &mut budget).unwrap(), 4_096);
        assert_ne!(messages, whole);
        let shorter = messages.clone();
        budget.did_not_fit(None);
        assert!(fit(&mut messages, &[], &mut budget).is_err() || messages != shorter);
    }

    proptest! {
        #[test]
        fn what_is_compacted_fits_and_keeps_the_task(
            texts in prop::collection::vec("[a-z0-9 \n{}\"é票]{0,60}", 0..6),
            times in 1_usize..200,
            tokens_max in 20_u64..6_000,
            counted in 0_u64..5_000,
        ) {
            let results: Vec<String> = texts.iter().map(|text| text.repeat(times)).collect();
            let messages = conversation(&results);
            let scale = Scale::default().learned(1_000, counted);
            match compact(&messages, &[], scale, tokens_max) {
                Ok(short) => {
                    prop_assert!(scale.of(prompt_tokens(&short, &[])) <= tokens_max);
                    prop_assert_eq!(short.len(), messages.len());
                    for (short, whole) in short.iter().zip(&messages) {
                        if whole.speaker == Speaker::Tool {
                            prop_assert!(text_tokens(&short.text) <= text_tokens(&whole.text));
                            prop_assert_eq!(&short.result_of, &whole.result_of);
                        } else {
                            prop_assert_eq!(short, whole);
                        }
                    }
                    // More room never shows less, and never refuses.
                    let wider = compact(&messages, &[], scale, tokens_max + 500).unwrap();
                    let length = |messages: &[Message]| messages.iter().map(|m| m.text.len()).sum::<usize>();
                    prop_assert!(length(&wider) + 700 >= length(&short));
                }
                Err(refused) => {
                    prop_assert!(refused.needed_tokens > tokens_max);
                    prop_assert!(compact(&messages, &[], scale, tokens_max.saturating_sub(10)).is_err());
                }
            }
        }

        #[test]
        fn more_text_is_never_fewer_tokens(text in ".{0,200}", more in ".{0,50}") {
            let longer = format!("{text}{more}");
            prop_assert!(text_tokens(&longer) >= text_tokens(&text));
            prop_assert!(text_tokens(&longer) <= text_tokens(&text) + text_tokens(&more));
        }

        #[test]
        fn a_window_holds_prompt_and_reply(prompt in 0_u64..100_000, reply in 0_u32..10_000, results in 0_u64..50_000, max in 512_u32..140_000) {
            match window(prompt, reply, results, max) {
                Ok(window) => {
                    prop_assert!(window.context_tokens <= max);
                    prop_assert!(u64::from(window.context_tokens) >= prompt + u64::from(reply));
                    let steps = window.context_tokens == max
                        || (window.context_tokens % CONTEXT_TOKENS_MIN == 0
                            && (window.context_tokens / CONTEXT_TOKENS_MIN).is_power_of_two());
                    prop_assert!(steps);
                }
                Err(_) => prop_assert!(prompt + u64::from(reply) > u64::from(max)),
            }
        }
    }
}
