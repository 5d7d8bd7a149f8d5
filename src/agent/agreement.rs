//! Whether two models gave the same answer: values compared by what they mean, not by how they are written. Pure.
//!
//! Numbers count by value (`5`, `5.0`, `"5.00"` where the schema says number), strings folded (case, blanks, quotes and a
//! final stop left aside), `null` is the same as left out. A field's schema may say otherwise with `x-agree`: `exact`,
//! `folded`, `ignore` (free text that two models never write alike), or, for a list, `set` (the order does not matter).

use serde_json::Value;

/// Differences that are named.
const DIFFERENCES_MAX: usize = 20;
/// Longest value that is quoted.
const QUOTED_CHARS_MAX: usize = 120;

/// One place where two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, as `lines[2].amount`; empty for the whole.
    pub at: String,
    /// What the first model says there, bounded.
    pub first: String,
    /// What the second says.
    pub second: String,
}

/// Compares two answers; equal ones give no difference.
#[must_use]
pub fn differences(schema: Option<&Value>, first: &Value, second: &Value) -> Vec<Difference> {
    let root = schema.unwrap_or(&Value::Null);
    let mut found = Vec::new();
    Comparison { root, found: &mut found }.values(root, "", first, second);
    found
}

/// The differences in one sentence: which fields, and with `values` what each said.
#[must_use]
pub fn complaint(differences: &[Difference], values: bool) -> String {
    let each: Vec<String> = differences
        .iter()
        .map(|difference| {
            let at = if difference.at.is_empty() { "the answer" } else { &difference.at };
            if values { format!("{at}: {} or {}", difference.first, difference.second) } else { at.to_owned() }
        })
        .collect();
    format!("a second model gave another answer for {}", each.join("; "))
}

struct Comparison<'a> {
    root: &'a Value,
    found: &'a mut Vec<Difference>,
}

impl Comparison<'_> {
    fn differ(&mut self, at: &str, first: &Value, second: &Value) {
        if self.found.len() < DIFFERENCES_MAX {
            let quoted = |value: &Value| quoted(value);
            self.found.push(Difference { at: at.to_owned(), first: quoted(first), second: quoted(second) });
        }
    }

    fn values(&mut self, schema: &Value, at: &str, first: &Value, second: &Value) {
        let schema = self.resolved(schema);
        let mark = schema.get("x-agree").and_then(Value::as_str);
        if mark == Some("ignore") {
            return;
        }
        match (first, second) {
            (Value::Object(left), Value::Object(right)) => {
                let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
                names.sort();
                names.dedup();
                for name in names {
                    let below = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    let of = schema.get("properties").and_then(|all| all.get(name)).cloned().unwrap_or(Value::Null);
                    let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                    self.values(&of, &below, &value(left), &value(right));
                }
            }
            (Value::Array(left), Value::Array(right)) => self.lists(&schema, mark, at, left, right),
            _ if same_scalar(&schema, mark, first, second) => {}
            _ => self.differ(at, first, second),
        }
    }

    fn lists(&mut self, schema: &Value, mark: Option<&str>, at: &str, left: &[Value], right: &[Value]) {
        let of = schema.get("items").cloned().unwrap_or(Value::Null);
        if left.len() != right.len() {
            let count = |list: &[Value]| Value::String(format!("{} entries", list.len()));
            self.differ(at, &count(left), &count(right));
            return;
        }
        if mark == Some("set") {
            let mut rest: Vec<&Value> = right.iter().collect();
            for value in left {
                let mut found = Vec::new();
                let equal = rest.iter().position(|other| {
                    found.clear();
                    Comparison { root: self.root, found: &mut found }.values(&of, "", value, other);
                    found.is_empty()
                });
                match equal {
                    Some(place) => drop(rest.remove(place)),
                    None => return self.differ(at, value, rest.first().copied().unwrap_or(&Value::Null)),
                }
            }
            return;
        }
        for (index, (first, second)) in left.iter().zip(right).enumerate() {
            self.values(&of, &format!("{at}[{index}]"), first, second);
        }
    }

    /// A schema without its outermost `$ref`s.
    fn resolved(&self, schema: &Value) -> Value {
        const DEPTH_MAX: usize = 8;
        let mut now = schema.clone();
        for _ in 0..DEPTH_MAX {
            let Some(pointer) = now.get("$ref").and_then(Value::as_str).and_then(|link| link.strip_prefix('#')) else {
                break;
            };
            match self.root.pointer(pointer) {
                Some(found) => now = found.clone(),
                None => break,
            }
        }
        now
    }
}

fn same_scalar(schema: &Value, mark: Option<&str>, first: &Value, second: &Value) -> bool {
    if first == second {
        return true;
    }
    let is_number = |name: &str| {
        let declared = schema.get("type");
        declared.and_then(Value::as_str) == Some(name)
            || declared
                .and_then(Value::as_array)
                .is_some_and(|types| types.iter().any(|one| one.as_str() == Some(name)))
    };
    let is_numeric = is_number("number") || is_number("integer");
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if is_numeric => text.trim().parse().ok(),
        _ => None,
    };
    if let (Some(left), Some(right)) = (number(first), number(second)) {
        return left == right;
    }
    match (first, second) {
        (Value::String(left), Value::String(right)) if mark != Some("exact") && schema.get("enum").is_none() => {
            folded(left) == folded(right)
        }
        _ => false,
    }
}

/// A name as people mean it.
fn folded(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|letter| match letter {
            '\u{2018}' | '\u{2019}' | '`' => '\'',
            '\u{201c}' | '\u{201d}' => '"',
            '\u{2010}'..='\u{2015}' => '-',
            other => other,
        })
        .flat_map(char::to_lowercase)
        .collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ").trim_matches(|letter| matches!(letter, '"' | '\'' | '.' | ',' | ';' | ':' | ' ')).to_owned()
}

fn quoted(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return text;
    }
    text.chars().take(QUOTED_CHARS_MAX).chain(" …".chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_that_mean_the_same_are_equal() {
        let schema = json!({ "type": "object", "properties": {
            "total": { "type": "number" }, "note": { "type": "string", "x-agree": "ignore" },
            "tags": { "type": "array", "items": { "type": "string" }, "x-agree": "set" },
            "lines": { "type": "array", "items": { "$ref": "#/$defs/line" } } },
            "$defs": { "line": { "type": "object", "properties": { "amount": { "type": ["number", "null"] } } } } });
        let first = json!({ "total": 5, "vendor": "Nordlys  Electric.", "note": "a", "tags": ["a", "b"],
            "lines": [{ "amount": 1.5 }], "extra": null });
        let second = json!({ "total": "5.00", "vendor": "nordlys electric", "note": "quite another", "tags": ["b", "A"],
            "lines": [{ "amount": "1.50" }] });
        assert_eq!(differences(Some(&schema), &first, &second), Vec::new());
    }

    #[test]
    fn a_difference_names_its_field() {
        let schema = json!({ "properties": { "code": { "x-agree": "exact" }, "kind": { "enum": ["a", "A"] } } });
        let first = json!({ "total": 5, "lines": [{ "amount": 1 }, { "amount": 2 }], "code": "x", "kind": "a" });
        let second = json!({ "total": 6, "lines": [{ "amount": 1 }, { "amount": 3 }], "code": "X", "kind": "A" });
        let found = differences(Some(&schema), &first, &second);
        let places: Vec<&str> = found.iter().map(|difference| difference.at.as_str()).collect();
        assert_eq!(places, ["code", "kind", "lines[1].amount", "total"]);
        assert!(complaint(&found, true).contains("total: 5 or 6"));
        assert!(!complaint(&found, false).contains('5'));
    }

    #[test]
    fn numbers_in_plain_strings_are_text() {
        assert_eq!(differences(None, &json!({ "number": "007" }), &json!({ "number": "7" })).len(), 1);
        assert_eq!(differences(None, &json!([1, 2]), &json!([1, 2, 3])).len(), 1);
    }
}
