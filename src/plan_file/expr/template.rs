//! `${{ … }}` in text.

use std::ops::Range;

use super::error::ExprError;

/// A stretch of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that stands as it is.
    Text(&'a str),
    /// What stands between `${{` and `}}`, with its bytes in the template.
    Expression(&'a str, Range<usize>),
}

/// Whether `text` holds an expression, closed or not.
#[must_use]
pub fn has_expression(text: &str) -> bool {
    text.contains("${{")
}

/// Cuts a template into text and expressions. Quotes and braces inside an expression are respected.
///
/// # Errors
/// [`ExprError::Syntax`] for an expression that is not closed.
pub fn split(text: &str) -> Result<Vec<Piece<'_>>, ExprError> {
    let mut pieces = Vec::new();
    let mut rest = 0;
    while let Some(found) = text[rest..].find("${{") {
        let open = rest + found;
        let Some(close) = find_close(text, open + 3) else {
            return Err(ExprError::syntax_hint(
                "`${{` without its `}}`",
                open..text.len(),
                "close it, or write `${{ '${{' }}` for the characters themselves",
            ));
        };
        if open > rest {
            pieces.push(Piece::Text(&text[rest..open]));
        }
        pieces.push(Piece::Expression(&text[open + 3..close], open + 3..close));
        rest = close + 2;
    }
    if rest < text.len() {
        pieces.push(Piece::Text(&text[rest..]));
    }
    Ok(pieces)
}

/// The `}}` that closes an expression whose text starts at `from`.
fn find_close(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The expression that is the whole template; line ends around it (as block scalars have) do not count as text.
#[must_use]
pub fn sole_expression(text: &str) -> Option<&str> {
    let trimmed = text.trim_matches(['\n', '\r']);
    if !trimmed.starts_with("${{") {
        return None;
    }
    match split(trimmed).ok()?.as_slice() {
        [Piece::Expression(inner, _)] => Some(inner),
        _ => None,
    }
}

/// An expression that may stand bare or wrapped, without its wrapper.
#[must_use]
pub fn bare(text: &str) -> &str {
    sole_expression(text.trim()).unwrap_or(text).trim()
}
