//! A configuration file as JSON: bounded, with its order kept and keys that stand twice named.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{ConfigError, KeyPath};
use crate::os::files;

/// Largest configuration file.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Where it was read from.
    pub file: PathBuf,
    /// Its keys, in order; of a key that stands twice the last value.
    pub keys: Map<String, Value>,
    /// Keys that stand twice.
    pub doubles: Vec<KeyPath>,
}

/// Reads a file; `None` when it is not there.
///
/// # Errors
/// [`ConfigError::Read`] and [`ConfigError::Syntax`].
pub fn read(file: &Path) -> Result<Option<Document>, ConfigError> {
    let text = files::read_text(file, CONFIG_BYTES_MAX)
        .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    text.map(|text| parse(&text, file)).transpose()
}

/// Reads the text of a file. An empty file counts as an empty object, a byte order mark is passed over.
///
/// # Errors
/// [`ConfigError::Syntax`], also when it is no object.
pub fn parse(text: &str, file: &Path) -> Result<Document, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut document = Document { file: file.to_owned(), ..Document::default() };
    if text.trim().is_empty() {
        return Ok(document);
    }
    let mut read = value(text, &mut document.doubles);
    if read.as_ref().is_err_and(|error| error.to_string().starts_with("number out of range")) {
        document.doubles.clear();
        read = value(&within_range(text), &mut document.doubles);
    }
    match read {
        Ok(Value::Object(keys)) => {
            document.keys = keys;
            Ok(document)
        }
        Ok(_) => Err(ConfigError::Syntax {
            file: file.to_owned(),
            line: 1,
            column: 1,
            message: "the file must hold one object, `{ … }`".into(),
        }),
        Err(error) => {
            let whole = error.to_string();
            let message = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
            Err(ConfigError::Syntax { file: file.to_owned(), line: error.line(), column: error.column(), message })
        }
    }
}

fn value(text: &str, doubles: &mut Vec<KeyPath>) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Reader { path: KeyPath::default(), doubles }.deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// The text with numbers that no float holds, as `1e400`, as the largest that one does. They are good JSON, and a key
/// of somebody else may hold one; nothing of ours takes it. Places of later faults in the same line move by a little.
fn within_range(text: &str) -> String {
    const LARGEST: &str = "1.7976931348623157e308";
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut in_string) = (text, false);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\\' if in_string => rest.chars().take(2).map(char::len_utf8).sum(),
            '"' => {
                in_string = !in_string;
                1
            }
            '-' | '0'..='9' if !in_string => {
                let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                if rest[..length].parse::<f64>().is_ok_and(f64::is_infinite) {
                    out.push_str(if first == '-' { "-" } else { "" });
                    out.push_str(LARGEST);
                    rest = &rest[length..];
                    continue;
                }
                length
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// Builds a value as `serde_json` would, and notes keys that stand twice, which it would pass over in silence.
struct Reader<'a> {
    path: KeyPath,
    doubles: &'a mut Vec<KeyPath>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let path = self.path.child(&values.len().to_string());
            match list.next_element_seed(Reader { path, doubles: &mut *self.doubles })? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut keys = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path = self.path.child(&name);
            let value = entries.next_value_seed(Reader { path: path.clone(), doubles: &mut *self.doubles })?;
            if keys.insert(name, value).is_some() {
                self.doubles.push(path);
            }
        }
        Ok(Value::Object(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_stand_twice_are_named_and_the_last_one_counts() {
        let read = parse(r#"{"a": {"b": 1, "b": 2}, "l": [{"x": 1, "x": 1}], "a2": 0}"#, Path::new("c")).unwrap();
        assert_eq!(read.doubles.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.b", "l.0.x"]);
        assert_eq!(Value::Object(read.keys), serde_json::json!({"a": {"b": 2}, "l": [{"x": 1}], "a2": 0}));
    }

    #[test]
    fn a_syntax_fault_has_its_place() {
        for (text, line, column) in [("{\n  \"a\": 1,\n}", 3, 1), ("[1]", 1, 1), ("{\"a\": 1} x", 1, 10)] {
            match parse(text, Path::new("c")) {
                Err(ConfigError::Syntax { line: l, column: c, .. }) => assert_eq!((l, c), (line, column), "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(parse(&deep, Path::new("c")), Err(ConfigError::Syntax { .. })));
        assert!(parse("\u{feff}{}", Path::new("c")).is_ok());
        let odd =
            parse(r#"{"a": 1e400, "b": [-1E+999, "1e400 \\\"1e400"], "c": 1.0, "c": 2}"#, Path::new("c")).unwrap();
        assert_eq!((&odd.keys["a"], &odd.keys["b"][0]), (&f64::MAX.into(), &f64::MIN.into()));
        assert_eq!((&odd.keys["b"][1], odd.doubles.len()), (&"1e400 \\\"1e400".into(), 1));
        assert!(parse(" \n", Path::new("c")).unwrap().keys.is_empty());
    }
}
