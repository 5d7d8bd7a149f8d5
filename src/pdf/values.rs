//! What a cell looks like, by its text alone: a number, a year, words. No value is changed here.

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Empty,
    /// A number, an amount, a percentage, a date, or a mark that stands for one.
    Value,
    /// Four digits that can be a year; a value in a body, often a name in a header.
    Year,
    Words,
}

/// Looks at one cell.
pub(super) fn look(text: &str) -> Look {
    let text = text.trim();
    if text.is_empty() {
        return Look::Empty;
    }
    if text.len() == 4 && (text.starts_with("19") || text.starts_with("20")) && text.bytes().all(|b| b.is_ascii_digit())
    {
        return Look::Year;
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
    if digits > 0 && letters == 0 && others <= digits + 3 {
        Look::Value
    } else if digits > 0 && begins_as_value && letters <= 3 && digits >= letters {
        Look::Value
    } else {
        Look::Words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_told_apart_by_their_text() {
        for text in
            ["12", "1,234.50", "1.234,50", "(35,8)", "-7", "45 %", "$ 12.00", "2024-03-01", "01.02.2024", "12 kg", "–"]
        {
            assert_eq!(look(text), Look::Value, "{text}");
        }
        for text in ["2010", "1999"] {
            assert_eq!(look(text), Look::Year, "{text}");
        }
        for text in ["Amount", "A-0042", "Qty", "INV-000123", "Table 4", "2010 estimate"] {
            assert_eq!(look(text), Look::Words, "{text}");
        }
        assert_eq!(look(" "), Look::Empty);
    }
}
