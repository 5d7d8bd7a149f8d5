//! `claude_usage.json`: an array of records with exactly seven keys, as the prior program reads and writes it.
//!
//! Text to records and back; when it is read and written is the mirror's business.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// Longest text of one field.
const TEXT_BYTES_MAX: usize = 4096;

/// One record, keys in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Local time without a zone.
    pub timestamp: String,
    /// The role that asked.
    pub task_type: String,
    /// Why.
    pub reason: String,
    /// Tokens in, of every cache class.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Dollars.
    pub cost_estimate: f64,
    /// Whether an answer came.
    pub success: bool,
}

impl Record {
    /// The same text for the same record, and another for every other.
    #[must_use]
    pub fn key(&self) -> String {
        serde_json::to_string(self).expect("a record is plain data")
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Records that can be read.
    pub records: Vec<Record>,
    /// Why the file as a whole is not what it should be.
    pub fault: Option<String>,
}

/// Reads a file's text. Of a broken one every record is taken that stands in it whole.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    if text.trim().is_empty() {
        return Parsed::default();
    }
    let (values, mut fault) = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(values)) => (values, None),
        Ok(_) => (Vec::new(), Some("it is no list of records".to_owned())),
        Err(error) => (salvaged(text), Some(format!("it is no JSON: {error}"))),
    };
    let mut records = Vec::with_capacity(values.len());
    for (at, value) in values.into_iter().enumerate() {
        match read(value) {
            Ok(record) => records.push(record),
            Err(why) => _ = fault.get_or_insert_with(|| format!("record {} is odd: {why}", at + 1)),
        }
    }
    Parsed { records, fault }
}

fn read(value: Value) -> Result<Record, String> {
    let record: Record = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if record.timestamp.parse::<jiff::civil::DateTime>().is_err() {
        return Err(format!("`{}` is no time", record.timestamp.chars().take(40).collect::<String>()));
    }
    if !(0.0..=1e6).contains(&record.cost_estimate) {
        return Err(format!("{} is no cost", record.cost_estimate));
    }
    if record.task_type.len() > TEXT_BYTES_MAX || record.reason.len() > TEXT_BYTES_MAX {
        return Err(format!("a text is longer than {TEXT_BYTES_MAX} bytes"));
    }
    if i64::try_from(record.input_tokens.max(record.output_tokens)).is_err() {
        return Err("a number of tokens is too large".to_owned());
    }
    Ok(record)
}

/// Every object that stands whole in a broken text.
fn salvaged(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('{') {
        at += start;
        let mut stream = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => {
                at += stream.byte_offset();
                found.push(value);
            }
            _ => at += 1,
        }
    }
    found
}

/// The file's text, as the prior program would have written it.
#[must_use]
pub fn print(records: &[Record]) -> String {
    serde_json::to_string_pretty(records).expect("records are plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = r#"[
  {
    "timestamp": "2026-01-27T04:30:15.123456",
    "task_type": "SHELL_EXECUTOR",
    "reason": "fallback",
    "input_tokens": 2154,
    "output_tokens": 892,
    "cost_estimate": 0.0199,
    "success": true
  }
]"#;

    #[test]
    fn the_documented_record_is_read_and_written_to_the_letter() {
        let parsed = parse(DOCUMENTED);
        assert_eq!(parsed.fault, None);
        assert_eq!(print(&parsed.records), DOCUMENTED);
        assert_eq!(parse(""), Parsed::default());
        assert_eq!(parse("[]"), Parsed::default());
        assert_eq!(print(&[]), "[]");
    }

    #[test]
    fn of_a_broken_file_every_whole_record_is_taken() {
        let one = DOCUMENTED.trim_start_matches('[').trim_end_matches(']').trim();
        for (text, records) in [
            (format!("[{one},{one}"), 2),
            (format!("[{one},{}", &one[..60]), 1),
            (format!("{}, {one}]", &one[40..]), 1),
            (format!("[{one},\n{}]", one.replace("\"success\": true", "\"success\": true, \"run\": 1")), 1),
            (format!("[{one},{}]", one.replace("2154", "-1")), 1),
            (format!("[{one},{}]", one.replace("04:30", "99:99")), 1),
            (format!("[{one},{}]", one.replace("0.0199", "1e300")), 1),
            ("{\"records\": []}".to_owned(), 0),
            ("nonsense {{{{".to_owned(), 0),
        ] {
            let parsed = parse(&text);
            assert!(parsed.fault.is_some(), "{text}");
            assert_eq!(parsed.records.len(), records, "{text}");
        }
    }
}
