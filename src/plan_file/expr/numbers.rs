//! Numbers as documents write them: every number of a text, in every way in which it may be read.
//!
//! `1,275.00`, `1.275,00`, `1 275,00` and `1'275.00` are all 1275; `1.275` may be 1275 or 1.275, so it is both, and `20 220` may
//! also be two numbers. A value that is none of them was not read from the text.

/// Most numbers that are given; a text with more is refused.
pub(super) const NUMBERS_MAX: usize = 100_000;

/// Longest number, in characters.
const NUMBER_CHARS_MAX: usize = 40;

/// Every number of a text, in its order and once; `None` when there are more than [`NUMBERS_MAX`].
pub(super) fn numbers_of(text: &str) -> Option<Vec<f64>> {
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut at = 0;
    while at < letters.len() {
        if !letters[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = end_of(&letters, at);
        let is_negative = is_negative(&letters, at, end);
        let mut all = readings(&letters[at..end]);
        if letters[at..end].iter().copied().any(is_blank) {
            // Or they only stand beside each other.
            all.extend(letters[at..end].split(|letter| is_blank(*letter)).flat_map(readings));
        }
        for number in all {
            let number = if is_negative { -number } else { number };
            if seen.insert(number.to_bits()) {
                found.push(number);
            }
        }
        if found.len() > NUMBERS_MAX {
            return None;
        }
        at = end;
    }
    Some(found)
}

const fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}')
}

const fn is_mark(letter: char) -> bool {
    matches!(letter, '.' | ',' | '\'' | '\u{2019}') || is_blank(letter)
}

/// The end of the digits that begin here, with the marks between them. A blank belongs to a number only before a group
/// of exactly three digits and behind at most three.
fn end_of(letters: &[char], start: usize) -> usize {
    let digits_from = |from: usize| letters[from..].iter().take_while(|letter| letter.is_ascii_digit()).count();
    let mut end = start + digits_from(start);
    let mut group = end - start;
    while end + 1 < letters.len() && is_mark(letters[end]) && letters[end + 1].is_ascii_digit() {
        let next = digits_from(end + 1);
        if is_blank(letters[end]) && (next != 3 || group > 3) {
            break;
        }
        group = next;
        end += 1 + next;
    }
    end
}

/// A minus before it, or behind it, or brackets around it, as accounts write what is taken off.
fn is_negative(letters: &[char], start: usize, end: usize) -> bool {
    let is_minus = |letter: Option<&char>| matches!(letter, Some('-' | '\u{2212}'));
    let before = |back: usize| start.checked_sub(back).and_then(|at| letters.get(at));
    let is_free =
        |letter: Option<&char>| letter.is_none_or(|letter| !letter.is_alphanumeric() && !is_minus(Some(letter)));
    let leads = is_minus(before(1)) && is_free(before(2));
    let trails = is_minus(letters.get(end)) && is_free(letters.get(end + 1)) && is_free(before(1));
    leads || trails || (before(1) == Some(&'(') && letters.get(end) == Some(&')'))
}

/// What digits with marks may mean.
fn readings(letters: &[char]) -> Vec<f64> {
    if letters.len() > NUMBER_CHARS_MAX {
        return Vec::new();
    }
    let marks: Vec<(usize, char)> =
        letters.iter().copied().enumerate().filter(|(_, letter)| !letter.is_ascii_digit()).collect();
    let plain = |point: Option<usize>| -> Option<f64> {
        let text: String = letters
            .iter()
            .enumerate()
            .filter_map(
                |(at, letter)| if Some(at) == point { Some('.') } else { Some(*letter).filter(char::is_ascii_digit) },
            )
            .collect();
        text.parse().ok()
    };
    let Some(&(last_at, last)) = marks.last() else { return plain(None).into_iter().collect() };
    let behind = letters.len() - last_at - 1;
    let groups_hold = |until: usize| {
        let ends = marks.iter().map(|mark| mark.0).filter(|at| *at < until).collect::<Vec<_>>();
        ends.iter().enumerate().all(|(nth, at)| ends.get(nth + 1).copied().unwrap_or(until) - at - 1 == 3)
            && ends.first().is_none_or(|first| (1..=3).contains(first))
    };
    let one_kind = |until: usize| {
        let mut kinds =
            marks.iter().filter(|mark| mark.0 < until).map(|mark| if is_blank(mark.1) { ' ' } else { mark.1 });
        let first = kinds.next();
        kinds.all(|kind| Some(kind) == first)
    };
    let mut all = Vec::new();
    // The last mark is the point, all before it part thousands.
    let is_point = matches!(last, '.' | ',') && marks.iter().filter(|mark| mark.1 == last).count() == 1;
    if is_point && groups_hold(last_at) && one_kind(last_at) {
        all.extend(plain(Some(last_at)));
    }
    // All marks part thousands.
    if behind == 3 && groups_hold(letters.len()) && one_kind(letters.len()) {
        all.extend(plain(None));
    }
    if all.is_empty() {
        // `31.12.2024`, `10,20,30`: several numbers.
        let parts = letters.split(|letter| !letter.is_ascii_digit());
        all.extend(parts.filter_map(|part| part.iter().collect::<String>().parse::<f64>().ok()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::numbers_of;

    #[test]
    fn numbers_are_read_as_documents_write_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("Total EUR 1,020.00", &[1020.0]),
            ("Total 1.020,00 EUR", &[1020.0]),
            ("1 020,50", &[1020.5, 1.0, 20.5]),
            ("1\u{a0}234\u{202f}567,8", &[1_234_567.8, 1.0, 234.0, 567.8]),
            ("CHF 1'275.05", &[1275.05]),
            ("1.234", &[1.234, 1234.0]),
            ("1,234,567", &[1_234_567.0]),
            ("95,00 within 14 days.", &[95.0, 14.0]),
            ("-26.70", &[-26.7]),
            ("\u{2212}26.70", &[-26.7]),
            ("26.70-", &[-26.7]),
            ("(26.70)", &[-26.7]),
            ("2024-01-15", &[2024.0, 1.0, 15.0]),
            ("31.12.2024", &[31.0, 12.0, 2024.0]),
            ("HS/4410", &[4410.0]),
            ("RB-118", &[118.0]),
            ("92 m3 at 1.80", &[92.0, 3.0, 1.8]),
            ("20 220.00 and 11 220", &[20220.0, 20.0, 220.0, 11220.0, 11.0]),
            ("2024 310.25", &[2024.0, 310.25]),
            ("7 7 7", &[7.0]),
            ("0.10 0.1", &[0.1]),
            ("12,34.56", &[12.0, 34.0, 56.0]),
            ("5.", &[5.0]),
            (".5", &[5.0]),
        ] {
            assert_eq!(numbers_of(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_text_of_many_numbers_is_refused_and_a_number_without_end_is_none() {
        use std::fmt::Write as _;
        let mut many = String::new();
        (0..=super::NUMBERS_MAX).for_each(|number| write!(many, "{number};").unwrap());
        assert_eq!(numbers_of(&many), None);
        assert!(numbers_of(&"9".repeat(1_000)).unwrap().is_empty());
    }
}
