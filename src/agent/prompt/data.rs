//! Data from strangers as a model gets it: in a frame that it cannot close, and without the signs by which chat
//! templates part speakers.

use std::borrow::Cow;

use super::cap;

/// Longest sign of a chat template that is looked for.
const SIGN_CHARS_MAX: usize = 48;

/// Signs of chat templates without bars.
const PLAIN_SIGNS: [&str; 4] = ["<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"];

/// The text with the control signs of chat templates broken (`<|name|>` becomes `< |name|>`): servers read them as
/// the end of a message wherever they stand, so a file that holds them could speak as the system.
#[must_use]
pub fn tame(text: &str) -> Cow<'_, str> {
    if !text.contains("<|") && !text.contains("<｜") && !PLAIN_SIGNS.iter().any(|sign| text.contains(sign)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = rest.find(['<', '[']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        out.push_str(&from[..1]);
        if is_sign(from) {
            out.push(' ');
        }
        rest = &from[1..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Whether a text begins with a sign of a chat template.
fn is_sign(text: &str) -> bool {
    if PLAIN_SIGNS.iter().any(|sign| text.starts_with(sign)) {
        return true;
    }
    let Some((bar, inside)) =
        [('|', "<|"), ('｜', "<｜")].iter().find_map(|(bar, open)| text.strip_prefix(open).map(|rest| (*bar, rest)))
    else {
        return false;
    };
    let name: String = inside.chars().take(SIGN_CHARS_MAX).take_while(|c| *c != bar && *c != '>').collect();
    !name.is_empty()
        && !name.contains(char::is_whitespace)
        && inside[name.len()..].strip_prefix(bar).is_some_and(|rest| rest.starts_with('>'))
}

/// One text in its frame, `<data name="…">`. The frame's word gets a number when the text holds the word's end.
#[must_use]
pub fn quoted(name: &str, text: &str) -> String {
    let text = tame(text);
    let name: String = cap::one_line(name).chars().map(|c| if "<>\"".contains(c) { '_' } else { c }).collect();
    let folded = text.to_lowercase();
    let word = std::iter::once("data".to_owned())
        .chain((2..).map(|number: usize| format!("data-{number}")))
        .find(|word| !folded.contains(&format!("</{word}")))
        .expect("one of endless words is not in a text");
    format!("<{word} name=\"{name}\">\n{}\n</{word}>", text.trim_end_matches(['\n', '\r']))
}

/// Characters that a frame needs at most beside the text.
pub(super) fn around(name: &str) -> usize {
    name.chars().count() + 48
}

/// Several texts in their frames under one heading, in at most `room` characters without the heading; the long ones
/// give way to the short ones. Also whether something was left out.
pub(super) fn block(heading: &str, data: &[(String, String)], room: usize) -> (String, bool) {
    let frames: usize = data.iter().map(|(name, _)| around(name)).sum();
    let wants: Vec<usize> = data.iter().map(|(_, text)| tame(text).chars().count()).collect();
    let shares = cap::shares(&wants, room.saturating_sub(frames));
    let mut out = heading.to_owned();
    let mut was_cut = false;
    let mut used = 0;
    for (index, ((name, text), share)) in data.iter().zip(shares).enumerate() {
        let (text, shortened) = cap::cut(&tame(text), share);
        let frame = quoted(name, &text);
        let left_out = data.len() - index;
        if used + frame.chars().count() > room {
            // Not even the frames fit: what is missing is said, in the heading's room.
            out.push_str(&format!("\n[cut: {left_out} more]"));
            return (out, true);
        }
        used += frame.chars().count() + 1;
        was_cut |= shortened;
        out.push('\n');
        out.push_str(&frame);
    }
    (out, was_cut)
}
