//! Filters and tests of our own, for checks on what was read from documents: sums, dates, patterns, names written alike.
//! Pure, each with a limit; the rest is minijinja's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value as Engine, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use regex::{Regex, RegexBuilder};
use unicode_normalization::UnicodeNormalization as _;

use super::numbers::{NUMBERS_MAX, numbers_of};

/// Longest pattern.
pub const PATTERN_BYTES_MAX: usize = 1_000;

/// Largest compiled pattern. Matching takes time in proportion to it and to the text, whatever stands in either.
const PATTERN_PROGRAM_BYTES_MAX: usize = 256 << 10;

/// Longest text that a filter of ours looks at.
pub const TEXT_BYTES_MAX: usize = 4 << 20;

/// Most digits on one side of the point for which sums are exact.
const EXACT_DIGITS_MAX: usize = 18;

/// One in units of the exact sum.
const EXACT_ONE: i128 = 1_000_000_000_000_000_000;

/// Names of filters that are ours.
pub(super) const OWN_FILTERS: &[&str] = &["is_date", "matches", "numbers", "squeeze", "sum"];

/// Puts our filters and tests into an engine.
pub(super) fn add_to(engine: &mut Environment<'static>) {
    engine.add_filter("is_date", |value: &Engine| defined(value).map(is_date));
    engine.add_filter("matches", matches);
    engine.add_filter("numbers", numbers);
    engine.add_filter("squeeze", squeeze);
    engine.add_filter("sum", sum);
    engine.add_test("date", is_date);
    engine.add_test("matching", matching);
}

/// Compiled patterns of one evaluation.
#[derive(Debug, Default)]
struct Patterns(BTreeMap<String, Regex>);

/// A missing value is told by the caller, with its name.
fn defined(value: &Engine) -> Result<&Engine, Error> {
    if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { Ok(value) }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn bounded<'t>(text: &'t str, filter: &str) -> Result<&'t str, Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(refused(format!("`{filter}` takes at most {} MiB of text", TEXT_BYTES_MAX >> 20)));
    }
    Ok(text)
}

/// Whether a value is the text of a day of the calendar, as `2024-02-29`.
fn is_date(value: &Engine) -> bool {
    value.as_str().is_some_and(is_date_text)
}

fn is_date_text(text: &str) -> bool {
    let is_shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, b)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() });
    is_shaped && text.parse::<jiff::civil::Date>().is_ok()
}

/// Whether a pattern is found in a text, or in a whole number as it is written; what is neither matches nothing.
fn matches(state: &mut State<'_, '_>, value: &Engine, pattern: &str) -> Result<bool, Error> {
    matching(state, defined(value)?, pattern)
}

/// The same for what may be missing: that matches nothing.
fn matching(state: &mut State<'_, '_>, value: &Engine, pattern: &str) -> Result<bool, Error> {
    let patterns = state.get_or_insert_extension_with(Patterns::default);
    if !patterns.0.contains_key(pattern) {
        let compiled = compiled(pattern).map_err(refused)?;
        patterns.0.insert(pattern.to_owned(), compiled);
    }
    let number;
    let text = match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default(),
        ValueKind::Number if value.is_integer() => {
            number = value.to_string();
            &number
        }
        _ => return Ok(false),
    };
    let text = bounded(text, "matches")?;
    Ok(patterns.0.get(pattern).is_some_and(|compiled| compiled.is_match(text)))
}

/// A pattern, or why it is none.
pub(super) fn compiled(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"));
    }
    if pattern.contains('\u{8}') {
        return Err("`\\b` in quotes is a backspace: write `\\\\b` for the edge of a word".to_owned());
    }
    let limit = PATTERN_PROGRAM_BYTES_MAX;
    RegexBuilder::new(pattern).size_limit(limit).dfa_size_limit(4 * limit).nest_limit(50).build().map_err(|error| {
        let why = match error {
            regex::Error::CompiledTooBig(_) => "it repeats too much".to_owned(),
            // The library draws the place over several lines; the reason stands in the last.
            error => {
                let told = error.to_string();
                let last = told.lines().last().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
        };
        format!("the pattern `{pattern}` cannot be read: {why}")
    })
}

/// Text without blanks, case and ligatures, to compare what two people wrote; nothing for `null`.
fn squeeze(value: &Engine) -> Result<String, Error> {
    match defined(value)?.kind() {
        ValueKind::None => Ok(String::new()),
        ValueKind::String | ValueKind::Number => {
            let text = value.to_string();
            let is_kept =
                |c: &char| !c.is_whitespace() && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{feff}');
            Ok(bounded(&text, "squeeze")?.nfkc().filter(is_kept).flat_map(char::to_lowercase).collect())
        }
        other => Err(refused(format!("`squeeze` is for text, not for a {other}"))),
    }
}

/// All numbers of a text, in every way in which each may be read; none for `null`.
fn numbers(value: &Engine) -> Result<Vec<f64>, Error> {
    match defined(value)?.kind() {
        ValueKind::None => Ok(Vec::new()),
        ValueKind::String => numbers_of(bounded(value.as_str().unwrap_or_default(), "numbers")?)
            .ok_or_else(|| refused(format!("`numbers` takes a text of at most {NUMBERS_MAX} numbers"))),
        other => Err(refused(format!("`numbers` is for text, not for a {other}"))),
    }
}

/// The sum of a list's numbers, or of one field of its entries. Decimals are added as they are written, so that `0.1`
/// and `0.2` are `0.3`. Unlike minijinja's, it skips no entry: one without the field would make the sum wrong.
fn sum(
    state: &State<'_, '_>,
    values: Engine,
    attribute: Option<&str>,
    start: Option<Engine>,
    kwargs: Kwargs,
) -> Result<Engine, Error> {
    let attribute = match attribute {
        Some(attribute) => Some(attribute.to_owned()),
        None => kwargs.get::<Option<String>>("attribute")?,
    };
    let attribute = attribute.as_deref();
    let start = match start {
        Some(start) => Some(start),
        None => kwargs.get::<Option<Engine>>("start")?,
    };
    kwargs.assert_all_used()?;
    if let Some(start) = start.as_ref().filter(|start| !start.is_number()) {
        // Joins lists and texts.
        return minijinja::filters::sum(state, values, attribute, Some(start.clone()), kwargs);
    }
    if !matches!(defined(&values)?.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(refused(format!("`sum` is for lists, not for a {}", values.kind())));
    }
    let mut total = Total::default();
    if let Some(start) = &start {
        total.add(start)?;
    }
    for (at, entry) in values.try_iter()?.checked().enumerate() {
        let entry = entry?;
        let number = match attribute {
            None => entry,
            Some(path) => {
                let found = path.split('.').try_fold(entry, |value, part| match part.parse::<usize>() {
                    Ok(index) => value.get_item_by_index(index),
                    Err(_) => value.get_attr(part),
                });
                found
                    .ok()
                    .filter(|found| !found.is_undefined())
                    .ok_or_else(|| refused(format!("entry {} of the list has no `{path}` to sum up", at + 1)))?
            }
        };
        if !number.is_number() {
            let what = if number.is_none() { "null".to_owned() } else { format!("a {}", number.kind()) };
            let field = attribute.map_or(String::new(), |path| format!(" (`{path}`)"));
            return Err(refused(format!("`sum` is for numbers, entry {}{field} is {what}", at + 1)));
        }
        total.add(&number)?;
    }
    Ok(total.value())
}

/// A sum of whole numbers and decimals.
#[derive(Debug, Default)]
struct Total {
    whole: i128,
    has_decimals: bool,
    /// The decimals in units of 10⁻¹⁸; `None` when one did not fit.
    exact: Option<i128>,
    rough: f64,
}

impl Total {
    fn add(&mut self, number: &Engine) -> Result<(), Error> {
        if number.is_integer() {
            let whole = i128::try_from(number.clone())?;
            self.whole = self.whole.checked_add(whole).ok_or_else(|| refused("the sum is too large"))?;
            return Ok(());
        }
        let decimal = f64::try_from(number.clone())?;
        let before = if self.has_decimals { self.exact } else { Some(0) };
        self.has_decimals = true;
        self.rough += decimal;
        self.exact = before.and_then(|sum| sum.checked_add(exact(decimal)?));
        Ok(())
    }

    fn value(&self) -> Engine {
        if !self.has_decimals {
            return Engine::from(self.whole);
        }
        let all = self.whole.checked_mul(EXACT_ONE).zip(self.exact).and_then(|(whole, part)| whole.checked_add(part));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sum beyond what decimals hold exactly is rounded, as floats are"
        )]
        let rough = self.whole as f64 + self.rough;
        Engine::from(all.map_or(rough, |all| decimal_text(all).parse().unwrap_or(rough)))
    }
}

/// A decimal as it is written, in units of 10⁻¹⁸; `None` when it has more digits.
fn exact(decimal: f64) -> Option<i128> {
    let text = decimal.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() > EXACT_DIGITS_MAX || part.len() > EXACT_DIGITS_MAX {
        return None;
    }
    let part = format!("{part:0<EXACT_DIGITS_MAX$}");
    Some(sign * (whole.parse::<i128>().ok()? * EXACT_ONE + part.parse::<i128>().ok()?))
}

fn decimal_text(units: i128) -> String {
    let mut text = String::new();
    let (whole, part) =
        (units.unsigned_abs() / EXACT_ONE.unsigned_abs(), units.unsigned_abs() % EXACT_ONE.unsigned_abs());
    _ = write!(text, "{}{whole}.{part:018}", if units < 0 { "-" } else { "" });
    text
}

#[cfg(test)]
mod tests {
    use super::{compiled, decimal_text, exact, is_date_text};

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        for text in ["2024-02-29", "2023-12-31", "0001-01-01", "9999-12-31", "2000-02-29"] {
            assert!(is_date_text(text), "{text}");
        }
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "2024-04-31",
            "24-01-01",
            "2024-1-1",
            "20240101",
            "2024-01-01T00:00",
            "2024-01-01 ",
            " 2024-01-1",
            "-024-01-01",
            "2024/01/01",
            "01.02.2024",
            "",
            "２024-01-01",
            "+024-01-01",
        ] {
            assert!(!is_date_text(text), "{text}");
        }
    }

    #[test]
    fn decimals_are_taken_as_they_are_written() {
        for (number, units) in [
            (0.1, Some(100_000_000_000_000_000)),
            (-12.5, Some(-12_500_000_000_000_000_000)),
            (0.0, Some(0)),
            (1e-18, Some(1)),
            (1e-19, None),
            (1e18, None),
            (f64::MAX, None),
        ] {
            assert_eq!(exact(number), units, "{number}");
        }
        assert_eq!(decimal_text(-12_500_000_000_000_000_000), "-12.500000000000000000");
        assert_eq!(decimal_text(1), "0.000000000000000001");
    }

    #[test]
    fn patterns_are_bounded() {
        assert!(compiled("^[0-9]{4}-[A-Z]+$").is_ok());
        assert_eq!(compiled(&"a".repeat(1_001)).unwrap_err(), "a pattern has at most 1000 bytes");
        assert_eq!(compiled("(").unwrap_err(), "the pattern `(` cannot be read: unclosed group");
        assert_eq!(
            compiled("((a{100}){100}){100}").unwrap_err(),
            "the pattern `((a{100}){100}){100}` cannot be read: it repeats too much"
        );
        assert!(compiled("\u{8}a").unwrap_err().contains("backspace"));
        assert!(compiled(&("(".repeat(60) + &")".repeat(60))).is_err());
    }
}
