//! Numbers and escapes as models write them, to values.

use serde_json::Number;

/// The number as written in JSON or Python; none where it could be something else (`007`, `1.2.3`).
pub(super) fn number_of(written: &str) -> Option<Number> {
    let unsigned = written.strip_prefix(['+', '-']).unwrap_or(written);
    let (whole, is_integer) = match unsigned.find(['.', 'e', 'E']) {
        Some(end) => (&unsigned[..end], false),
        None => (unsigned, true),
    };
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || unsigned == "." {
        return None;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    if written.contains('_') {
        let is_grouped = is_integer && whole.split('_').all(|part| !part.is_empty());
        if !is_grouped {
            return None;
        }
    }
    let plain = written.replace('_', "");
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    if is_integer {
        if let Ok(number) = plain.parse::<i64>() {
            return Some(number.into());
        }
        return plain.parse::<u64>().ok().map(Into::into);
    }
    plain.parse::<f64>().ok().filter(|number| number.is_finite()).and_then(Number::from_f64)
}

/// Escapes resolved, and whether all of them are known; none where one is broken.
pub(super) fn unescape(written: &str) -> Option<(String, bool)> {
    let mut out = String::with_capacity(written.len());
    let mut is_known = true;
    let mut rest = written;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut chars = rest[at + 1..].chars();
        let c = chars.next()?;
        rest = chars.as_str();
        match c {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            '/' | '\\' | '"' | '\'' => out.push(c),
            '\n' => {}
            'u' => match code_point(rest) {
                Some((c, length)) => {
                    out.push(c);
                    rest = &rest[length..];
                }
                None => {
                    is_known = false;
                    out.push_str("\\u");
                }
            },
            other => {
                is_known = false;
                out.push('\\');
                out.push(other);
            }
        }
    }
    out.push_str(rest);
    Some((out, is_known))
}

/// The character of `XXXX` or of a pair `XXXX\uXXXX`.
fn code_point(rest: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 4)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let high = unit(0)?;
    if (0xd800..0xdc00).contains(&high) {
        if rest.get(4..6)? != "\\u" {
            return None;
        }
        let low = unit(6).filter(|low| (0xdc00..0xe000).contains(low))?;
        return Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, 10));
    }
    Some((char::from_u32(high)?, 4))
}
