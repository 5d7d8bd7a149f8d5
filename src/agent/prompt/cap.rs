//! Cutting text so that the reader sees that it was cut, and dividing a space among several texts.

/// The sign of a cut: how many characters of how many were left out.
#[must_use]
pub fn marker(left_out_chars: usize, chars: usize) -> String {
    format!("[cut: {left_out_chars} of {chars} characters]")
}

/// At most `chars_max` characters, the [`marker`] included, and whether something was left out. Room that is too small
/// even for the marker gives an empty text.
#[must_use]
pub fn cut(text: &str, chars_max: usize) -> (String, bool) {
    let chars = text.chars().count();
    if chars <= chars_max {
        return (text.to_owned(), false);
    }
    // The longest that the marker can be.
    let room = chars_max.saturating_sub(marker(chars, chars).len() + 1);
    if room == 0 {
        return (String::new(), true);
    }
    let kept = head(text, room);
    let left_out = chars - kept.chars().count();
    (format!("{kept}\n{}", marker(left_out, chars)), true)
}

/// The first `chars_max` characters, or a little less where a line or a word ends shortly before.
pub(in crate::agent) fn head(text: &str, chars_max: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(chars_max) else { return text };
    let whole = &text[..end];
    let nearly = chars_max - chars_max / 5;
    let from = text.char_indices().nth(nearly).map_or(0, |(at, _)| at);
    let tail = &whole[from..];
    let at = tail.rfind('\n').or_else(|| tail.rfind(' ')).map_or(end, |at| from + at);
    whole[..at].trim_end()
}

/// The text with every run of white space as one space, control characters left out.
pub(super) fn one_line(text: &str) -> String {
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Divides `room` among those who want some: small wishes are met whole, the rest is divided evenly among the others.
pub(super) fn shares(wants: &[usize], room: usize) -> Vec<usize> {
    let mut shares = vec![0; wants.len()];
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_by_key(|&index| wants[index]);
    let mut left = room;
    for (done, &index) in order.iter().enumerate() {
        let even = left / (wants.len() - done);
        shares[index] = wants[index].min(even);
        left -= shares[index];
    }
    shares
}
