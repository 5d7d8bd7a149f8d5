//! Answers that give the form's own words back in place of values: what small models do who have not understood. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

/// Shortest description that an answer must not repeat; a shorter one may be the right word.
const DESCRIPTION_CHARS_MIN: usize = 12;
/// Deepest part of a schema or value that is looked at.
const DEPTH_MAX: usize = 32;

/// Where an answer repeats the form instead of giving a value, for the model; `None`: nowhere.
///
/// A repeated description counts anywhere. The name of a field as its own text counts where all texts of the answer do
/// nothing else: one alone may be the truth.
#[must_use]
pub fn echo(schema: &Value, value: &Value) -> Option<String> {
    let mut descriptions = BTreeSet::new();
    described(schema, &mut descriptions, 0);
    let mut seen = Seen { descriptions: &descriptions, echo: None, texts: 0, names: 0 };
    seen.look("", "", value, 0);
    if let Some(at) = seen.echo {
        return Some(format!("{at} repeats the words of the form; give the value"));
    }
    (seen.texts > 0 && seen.texts == seen.names)
        .then(|| "the answer gives the names of its fields back; give their values".to_owned())
}

fn folded(text: &str) -> String {
    text.trim().trim_end_matches('.').to_lowercase()
}

fn described(schema: &Value, found: &mut BTreeSet<String>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match schema {
        Value::Object(map) => {
            if let Some(text) = map.get("description").and_then(Value::as_str)
                && text.chars().count() >= DESCRIPTION_CHARS_MIN
            {
                found.insert(folded(text));
            }
            map.values().for_each(|inner| described(inner, found, depth + 1));
        }
        Value::Array(list) => list.iter().for_each(|inner| described(inner, found, depth + 1)),
        _ => {}
    }
}

struct Seen<'a> {
    descriptions: &'a BTreeSet<String>,
    echo: Option<String>,
    texts: usize,
    /// Texts that are the name of their own field.
    names: usize,
}

impl Seen<'_> {
    fn look(&mut self, at: &str, name: &str, value: &Value, depth: usize) {
        if depth > DEPTH_MAX || self.echo.is_some() {
            return;
        }
        match value {
            Value::String(text) => {
                let text = folded(text);
                if self.descriptions.contains(&text) {
                    self.echo = Some(if at.is_empty() { "the answer".to_owned() } else { format!("`{at}`") });
                }
                self.texts += 1;
                self.names += usize::from(!name.is_empty() && text == name.to_lowercase());
            }
            Value::Object(map) => {
                for (name, inner) in map {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    self.look(&at, name, inner, depth + 1);
                }
            }
            Value::Array(list) => {
                list.iter()
                    .enumerate()
                    .for_each(|(nth, inner)| self.look(&format!("{at}[{nth}]"), name, inner, depth + 1));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form() -> Value {
        json!({ "type": "object", "properties": {
            "answer": { "type": "string" },
            "sources": { "type": "array", "description": "Path of each file that the answer comes from.",
                         "items": { "type": "string", "description": "a path" } },
        } })
    }

    #[test]
    fn words_of_the_form_are_no_values() {
        let of = |value: Value| echo(&form(), &value);
        assert_eq!(of(json!({ "answer": "Ines", "sources": ["log.txt"] })), None);
        assert_eq!(of(json!({ "answer": "Ines", "sources": ["a path"] })), None, "short words may be right");
        assert_eq!(
            of(json!({ "answer": "Ines", "sources": ["path of each file that the answer comes from"] })).unwrap(),
            "`sources[0]` repeats the words of the form; give the value"
        );
        assert_eq!(
            of(json!("Path of each file that the answer comes from")).unwrap(),
            "the answer repeats the words of the form; give the value"
        );
        let names = "the answer gives the names of its fields back; give their values";
        assert_eq!(of(json!({ "answer": "answer", "sources": [] })).unwrap(), names);
        assert_eq!(of(json!({ "answer": "Answer", "sources": ["sources"] })).unwrap(), names);
        assert_eq!(of(json!({ "answer": "answer", "sources": ["faq.md"] })), None, "one alone may be the truth");
        assert_eq!(of(json!({ "n": 5 })), None);
        assert_eq!(of(json!("answer")), None);
    }
}
