//! One cell: how its text is read, what stands in the database, and how the text is got back.
//!
//! A column holds the widest class of its values: integer, real, text. A value keeps its own words: text that a
//! number does not give back (`12.50`, a JSON `true`) is noted beside the row, so that the column can widen later
//! and show exactly what was written, whatever came first.
//!
//! | written | class | why |
//! | --- | --- | --- |
//! | `12`, `-3`, `0` | integer | up to 2^53 |
//! | `12.5`, `1234.50`, `0.123` | real | at most 15 digits |
//! | `00123`, `+5`, `-0`, `1e5`, `NaN`, `１２`, `1,234`, `03/04/25`, ` 7` | text | not a plain number |
//! | `1.234`, `12.500`, `999.999` | text | thousands or decimals: nobody can tell |
//! | `9007199254740993` and beyond | text | more digits than every reader keeps |
//! | empty, blanks, JSON `null` | none | NULL |

use serde_json::Value;

/// What a column must be declared as to hold a value. In widening order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Only NULL so far: no declared type.
    #[default]
    Empty,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Real,
    /// Anything, exactly as it was written.
    Text,
}

impl Class {
    /// The declared type in our own tables.
    #[must_use]
    pub const fn declared(self) -> &'static str {
        match self {
            Self::Empty => "",
            Self::Integer => "INTEGER",
            Self::Real => "REAL",
            Self::Text => "TEXT",
        }
    }

    /// What a declared type of our own tables means. A type that a person chose counts as its affinity.
    #[must_use]
    pub fn of_declared(declared: &str) -> Self {
        let upper = declared.to_ascii_uppercase();
        // The order of SQLite's own rule (datatype3.html §3.1).
        if upper.contains("INT") {
            Self::Integer
        } else if upper.contains("CHAR") || upper.contains("CLOB") || upper.contains("TEXT") {
            Self::Text
        } else if upper.is_empty() || upper.contains("BLOB") {
            Self::Empty
        } else {
            Self::Real
        }
    }
}

/// A value as SQLite stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB; never written by us.
    Blob(Vec<u8>),
}

impl Stored {
    /// The value as people read it, for messages: at most 80 characters.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Null => "NULL".into(),
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Text(text) => {
                let cut: String = text.chars().take(80).collect();
                let dots = if cut.len() < text.len() { "…" } else { "" };
                format!("`{}{dots}`", cut.escape_debug())
            }
            Self::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
        }
    }

    /// The value as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::from(*number),
            Self::Real(number) => {
                serde_json::Number::from_f64(*number).map_or_else(|| Value::from(number.to_string()), Value::Number)
            }
            Self::Text(text) => Value::from(text.clone()),
            Self::Blob(bytes) => Value::from(hex(bytes)),
        }
    }
}

/// `x'…'`, at most the first KiB.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("x'");
    for byte in bytes.iter().take(1024) {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    if bytes.len() > 1024 {
        let _ = write!(text, " and {} bytes more", bytes.len() - 1024);
    }
    text
}

/// A cell, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// A whole number and its words.
    Integer(i64, Option<Words>),
    /// A number and its words.
    Real(f64, Option<Words>),
    /// Text.
    Text(String),
}

/// What was written where the number alone does not give it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// The JSON value as it came, for reading it again.
    pub raw: Value,
    /// Its text, for a text column.
    pub text: String,
}

impl Cell {
    /// Reads a JSON value as a cell.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        match value {
            Value::Null => Self::Empty,
            Value::Bool(flag) => {
                Self::Integer(i64::from(*flag), Some(Words { raw: value.clone(), text: flag.to_string() }))
            }
            Value::Number(number) => read_number(number),
            Value::String(text) if text.trim().is_empty() => Self::Empty,
            Value::String(text) => read_text(text),
            // Nested values have no columns of their own: their JSON is the text.
            Value::Array(_) | Value::Object(_) => Self::Text(value.to_string()),
        }
    }

    /// Reads a cell back from where it stands, with its note if it has one.
    #[must_use]
    pub fn recover(stored: &Stored, note: Option<&Value>) -> Self {
        if let Some(raw) = note {
            return Self::read(raw);
        }
        match stored {
            Stored::Null => Self::Empty,
            Stored::Integer(number) => read_text(&number.to_string()),
            Stored::Real(number) => {
                let text = plain(*number);
                match read_text(&text) {
                    // A number that a person put there: it stays a number.
                    Self::Text(text) => Self::Real(*number, Some(Words { raw: Value::from(text.clone()), text })),
                    cell => cell,
                }
            }
            Stored::Text(text) => Self::read(&Value::from(text.clone())),
            Stored::Blob(bytes) => Self::Text(hex(bytes)),
        }
    }

    /// The narrowest class that holds it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Empty => Class::Empty,
            Self::Integer(..) => Class::Integer,
            Self::Real(..) => Class::Real,
            Self::Text(_) => Class::Text,
        }
    }

    /// What stands in a column of `class`, which is at least the cell's own.
    #[must_use]
    pub fn stored(&self, class: Class) -> Stored {
        match (self, class) {
            (Self::Empty, _) => Stored::Null,
            (Self::Text(text), _) => Stored::Text(text.clone()),
            (Self::Integer(number, words), Class::Text) => {
                Stored::Text(words.as_ref().map_or_else(|| number.to_string(), |words| words.text.clone()))
            }
            (Self::Real(number, words), Class::Text) => {
                Stored::Text(words.as_ref().map_or_else(|| plain(*number), |words| words.text.clone()))
            }
            #[expect(clippy::cast_precision_loss, reason = "integers are at most 2^53 by `read`")]
            (Self::Integer(number, _), Class::Real) => Stored::Real(*number as f64),
            (Self::Integer(number, _), _) => Stored::Integer(*number),
            (Self::Real(number, _), _) => Stored::Real(*number),
        }
    }

    /// The note that stands beside the row.
    #[must_use]
    pub const fn note(&self) -> Option<&Value> {
        match self {
            Self::Integer(_, Some(words)) | Self::Real(_, Some(words)) => Some(&words.raw),
            Self::Empty | Self::Integer(_, None) | Self::Real(_, None) | Self::Text(_) => None,
        }
    }

    /// The cell as one JSON value, for hashes: equal for equal words, whatever the column is.
    #[must_use]
    pub fn canonical(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) => Value::from(text.as_str()),
            Self::Integer(_, Some(words)) | Self::Real(_, Some(words)) => words.raw.clone(),
            Self::Integer(number, None) => Value::from(number.to_string()),
            Self::Real(number, None) => Value::from(plain(*number)),
        }
    }
}

/// Largest whole number that every reader of numbers keeps: 2^53.
const INTEGER_MAX: u64 = 1 << 53;

/// Digits that a 64-bit float keeps for certain.
const REAL_DIGITS_MAX: usize = 15;

fn read_text(text: &str) -> Cell {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let negative = digits.len() < text.len();
    let (whole, fraction) = match digits.split_once('.') {
        None => (digits, None),
        Some((whole, fraction)) => (whole, Some(fraction)),
    };
    let plain_digits = |part: &str| !part.is_empty() && part.len() <= 16 && part.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if !plain_digits(whole) || leading_zero {
        return Cell::Text(text.to_owned());
    }
    let Some(fraction) = fraction else {
        return match text.parse::<i64>() {
            Ok(number) if number.unsigned_abs() <= INTEGER_MAX && !(negative && number == 0) => {
                Cell::Integer(number, None)
            }
            _ => Cell::Text(text.to_owned()),
        };
    };
    // `1.234` may be one thousand two hundred and thirty-four; `0.234` and `1234.567` may not.
    let ambiguous = fraction.len() == 3 && whole.len() <= 3 && whole != "0";
    if !plain_digits(fraction) || ambiguous || whole.len() + fraction.len() > REAL_DIGITS_MAX {
        return Cell::Text(text.to_owned());
    }
    match text.parse::<f64>() {
        Ok(number) if !(negative && number == 0.0) => {
            let words = (plain(number) != text).then(|| Words { raw: Value::from(text), text: text.to_owned() });
            Cell::Real(number, words)
        }
        _ => Cell::Text(text.to_owned()),
    }
}

fn read_number(number: &serde_json::Number) -> Cell {
    let text = number.to_string();
    if let Some(whole) = number.as_i64() {
        return if whole.unsigned_abs() <= INTEGER_MAX { Cell::Integer(whole, None) } else { Cell::Text(text) };
    }
    match number.as_f64() {
        Some(real) if number.is_f64() && real.is_finite() => {
            let real = real + 0.0;
            // The words are kept unless reading the plain text gives this very number.
            let same = plain(real) == text && matches!(read_text(&text), Cell::Real(_, None));
            Cell::Real(real, (!same).then(|| Words { raw: Value::Number(number.clone()), text }))
        }
        _ => Cell::Text(text),
    }
}

/// The shortest digits that read as the same number, without an exponent; a whole number has no point.
fn plain(number: f64) -> String {
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn class(value: Value, class: Class) {
        assert_eq!(Cell::read(&value).class(), class, "{value}");
    }

    #[test]
    fn only_plain_numbers_are_numbers() {
        for text in ["0", "7", "-12", "2024", "9007199254740992"] {
            class(json!(text), Class::Integer);
        }
        for text in ["12.5", "1234.50", "-0.5", "0.123", "1234.567", "12.3456", "3.0"] {
            class(json!(text), Class::Real);
        }
        for text in [
            "00123",
            "03/04/25",
            "1.234",
            "12.500",
            "-1.234",
            "1,234",
            "1e5",
            "+5",
            "１２",
            "NaN",
            "inf",
            "-",
            "-0",
            "-0.0",
            "9007199254740993",
            "99999999999999999999",
            "1.",
            ".5",
            " 7",
            "7 ",
            "0x10",
            "1_000",
            "12.50 €",
            "5%",
            "--1",
            "0.1234567890123456",
            "1.2.3",
            "true",
        ] {
            class(json!(text), Class::Text);
        }
        for empty in [json!(null), json!(""), json!("  "), json!("\u{a0}")] {
            class(empty, Class::Empty);
        }
        class(json!(5), Class::Integer);
        class(json!(true), Class::Integer);
        class(json!(1.234), Class::Real);
        class(json!(1e300), Class::Real);
        class(json!(9_007_199_254_740_993_i64), Class::Text);
        class(json!(i64::MIN + 1), Class::Text);
        class(json!(u64::MAX), Class::Text);
        class(json!({"a": [1]}), Class::Text);
    }

    #[test]
    fn smallest_and_largest_numbers_do_not_overflow() {
        class(json!(i64::MIN), Class::Text);
        class(json!("-9223372036854775808"), Class::Text);
    }

    proptest::proptest! {
        #[test]
        fn a_cell_comes_back_from_any_column_that_holds_it(value in values()) {
            let cell = Cell::read(&value);
            for column in [Class::Empty, Class::Integer, Class::Real, Class::Text] {
                if column >= cell.class() {
                    let back = Cell::recover(&cell.stored(column), cell.note());
                    proptest::prop_assert_eq!(&back, &cell, "{:?}", column);
                }
            }
        }

        #[test]
        fn text_columns_show_what_was_written(text in "[0-9.,-]{1,8}|[ -~]{1,6}") {
            let cell = Cell::read(&json!(text));
            let stored = cell.stored(Class::Text);
            if text.trim().is_empty() {
                proptest::prop_assert_eq!(stored, Stored::Null);
            } else {
                proptest::prop_assert_eq!(stored, Stored::Text(text));
            }
        }
    }

    fn values() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|n| json!(n)),
            (-1000i64..1000).prop_map(|n| json!(n as f64 / 8.0)),
            "-?[0-9]{1,5}(\\.[0-9]{1,4})?".prop_map(Value::from),
            "[ -~]{0,6}".prop_map(Value::from),
        ]
    }
}
