//! What a cell looks like, by its text alone: a number, a year, words. No value is changed here.

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Empty,
    /// A number, an amount, a percentage, or a mark that stands for one.
    Value,
    /// A year, a range of years, or a date: a value in a body, often a name in a header.
    Period,
    Words,
}

/// Looks at one cell.
pub(super) fn look(text: &str) -> Look {
    let text = text.trim();
    if text.is_empty() {
        return Look::Empty;
    }
    if is_period(text) {
        return Look::Period;
    }
    if matches!(text, "-" | "–" | "—" | "n/a" | "N/A" | "n.a." | "(X)" | "(NA)" | "..." | "…") {
        return Look::Value;
    }
    let (mut digits, mut letters, mut others) = (0_usize, 0_usize, 0_usize);
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits += 1;
        } else if letter.is_alphabetic() {
            letters += 1;
        } else if !letter.is_whitespace() {
            others += 1;
        }
    }
    // One short unit (`EUR`, `kg`, `%`) may stand beside the digits; a code like `A-0042` is words.
    let begins_as_value = text.starts_with(|letter: char| {
        letter.is_ascii_digit()
            || matches!(letter, '-' | '–' | '+' | '(' | '$' | '€' | '£' | '¥' | '.' | ',' | '<' | '>')
    });
    let is_bare = letters == 0 && others <= digits + 3;
    let has_unit = begins_as_value && letters <= 3 && digits >= letters;
    if digits > 0 && (is_bare || has_unit) { Look::Value } else { Look::Words }
}

/// `2010`, `2009-10`, `2009–2010`, `12/31/2009`, `2024-03-01`, `01.02.2024`.
fn is_period(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['-', '–', '/', '.']).collect();
    if parts.len() > 3 || !parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())) {
        return false;
    }
    let is_year = |part: &str| part.len() == 4 && (part.starts_with("19") || part.starts_with("20"));
    let is_short = |part: &str| part.len() <= 2;
    match parts[..] {
        [year] => is_year(year),
        [first, last] => is_year(first) && (is_year(last) || last.len() == 2) && !text.contains('.'),
        [a, b, c] => {
            (is_year(a) && is_short(b) && is_short(c)) || (is_short(a) && is_short(b) && (is_year(c) || is_short(c)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_told_apart_by_their_text() {
        for text in ["12", "1,234.50", "1.234,50", "(35,8)", "-7", "45 %", "$ 12.00", "12 kg", "–"] {
            assert_eq!(look(text), Look::Value, "{text}");
        }
        for text in ["2010", "1999", "2009–10", "2009-2010", "12/31/2009", "2024-03-01", "01.02.2024"] {
            assert_eq!(look(text), Look::Period, "{text}");
        }
        for text in ["Amount", "A-0042", "Qty", "INV-000123", "Table 4", "2010 estimate"] {
            assert_eq!(look(text), Look::Words, "{text}");
        }
        assert_eq!(look(" "), Look::Empty);
    }
}
