//! Results as a model sees them: bounded, with a handle to read on. The whole result stays here.

use serde_json::{Map, Value, json};

use crate::model::Offer;

/// Name of the tool that reads on in a result that was cut.
pub const READ_RESULT: &str = "read_result";

/// Results of one attempt.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// Whole texts of results that were cut, by handle number from 1.
    texts: Vec<String>,
    /// Longest view in characters.
    view_chars_max: usize,
}

impl Views {
    /// Views of at most so many characters.
    #[must_use]
    pub const fn new(view_chars_max: usize) -> Self {
        Self { texts: Vec::new(), view_chars_max }
    }

    /// Whether something was cut, so that [`READ_RESULT`] is of use.
    #[must_use]
    pub const fn has_cut(&self) -> bool {
        !self.texts.is_empty()
    }

    /// A result as the model sees it.
    pub fn of(&mut self, value: &Value) -> String {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let chars = text.chars().count();
        if chars <= self.view_chars_max {
            return text;
        }
        let head: String = text.chars().take(self.view_chars_max).collect();
        self.texts.push(text);
        let handle = format!("r{}", self.texts.len());
        let holds = counts(value);
        // In this form: a budget that shortens it once more keeps the handle.
        format!(
            "{head}\n[cut: {} of {chars} characters{holds}; ask {READ_RESULT} with handle {handle}, offset {}]",
            chars - self.view_chars_max,
            self.view_chars_max
        )
    }

    /// The tool that reads on.
    #[must_use]
    pub fn offer() -> Offer {
        Offer {
            name: READ_RESULT.to_owned(),
            description: "Reads on in a result that was cut.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "handle": { "type": "string", "description": "as the cut result names it" },
                    "offset": { "type": "integer", "description": "first character, from 0" }
                },
                "required": ["handle", "offset"]
            }),
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// Why there is nothing to read, for the model.
    pub fn read(&self, arguments: &Map<String, Value>) -> Result<String, String> {
        let handle = arguments.get("handle").and_then(Value::as_str).unwrap_or_default();
        let number = handle.strip_prefix('r').and_then(|digits| digits.parse::<usize>().ok());
        let Some(text) = number.and_then(|number| self.texts.get(number.checked_sub(1)?)) else {
            let known: Vec<String> = (1..=self.texts.len()).map(|number| format!("r{number}")).collect();
            return Err(format!("no result has the handle `{handle}`; there are: {}", known.join(", ")));
        };
        let offset = arguments.get("offset").and_then(Value::as_u64).unwrap_or(0);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let chars = text.chars().count();
        if offset >= chars {
            return Err(format!("`{handle}` has {chars} characters, so nothing stands at {offset}"));
        }
        let part: String = text.chars().skip(offset).take(self.view_chars_max).collect();
        let end = offset + part.chars().count();
        Ok(if end < chars {
            format!("{part}\n[characters {offset} to {end} of {chars}; read on at offset {end}]")
        } else {
            format!("{part}\n[end of `{handle}`]")
        })
    }
}

/// What a long list holds, so that a model need not count.
fn counts(value: &Value) -> String {
    match value {
        Value::Array(list) => format!(", {} entries in all", list.len()),
        Value::Object(map) => {
            let lists: Vec<String> = map
                .iter()
                .filter_map(|(name, value)| Some(format!("`{name}` has {} entries", value.as_array()?.len())))
                .take(4)
                .collect();
            if lists.is_empty() { String::new() } else { format!(", {}", lists.join(", ")) }
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_a_cut_result_can_be_read_once() {
        let whole: String = ('a'..='z').cycle().take(1_005).collect();
        let mut views = Views::new(100);
        let first = views.of(&Value::String(whole.clone()));
        let mut seen = first.split("\n[cut").next().expect("there is a head").to_owned();
        while seen.len() < whole.len() {
            let arguments = json!({ "handle": "r1", "offset": seen.len() });
            let part = views.read(arguments.as_object().expect("an object")).expect("there is more");
            seen.push_str(part.rsplit_once("\n[").expect("it says where it ends").0);
        }
        assert_eq!(seen, whole);
        let arguments = json!({ "handle": "r2", "offset": 0 });
        assert!(views.read(arguments.as_object().expect("an object")).expect_err("no such").contains("there are: r1"));
    }

    #[test]
    fn a_cut_list_says_how_many_it_has() {
        let mut views = Views::new(50);
        let list: Vec<String> = (0..67).map(|number| format!("file{number}.pdf")).collect();
        assert!(views.of(&json!({ "files": list })).contains("`files` has 67 entries"));
    }
}
