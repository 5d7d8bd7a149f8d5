//! The final text of a model as the output of its attempt: the value that it holds, not the words around it. Pure.

use serde_json::Value;

/// Whether a value fits a schema; why not, for the model.
pub type Fits<'a> = dyn Fn(&Value) -> Result<(), String> + 'a;

/// The output that a final text is. With a schema: the value in it that fits. Without: the value when the text is one
/// and nothing else, else the text itself.
///
/// # Errors
/// What is wrong with the text, for the model.
pub fn output(text: &str, fits: Option<&Fits<'_>>) -> Result<Value, String> {
    let text = text.trim();
    let Some(fits) = fits else {
        return Ok(whole(text).unwrap_or_else(|| Value::String(text.to_owned())));
    };
    if let Some(value) = whole(text) {
        return fits(&value).map(|()| value);
    }
    let found = values(text);
    let mut fitting = found.iter().filter(|value| fits(value).is_ok());
    match (fitting.next_back(), found.last()) {
        // Drafts stand before the answer.
        (Some(value), _) => Ok(value.clone()),
        (None, Some(value)) => Err(fits(value).expect_err("none of them fits")),
        (None, None) => {
            // A schema for plain text is met by plain text.
            let plain = Value::String(text.to_owned());
            fits(&plain).map(|()| plain).map_err(|_| "the answer is no JSON".to_owned())
        }
    }
}

/// The value of a text that is one and nothing else, a fence around it left aside.
fn whole(text: &str) -> Option<Value> {
    let inner = unfenced(text).unwrap_or(text).trim();
    let is_structure = inner.starts_with(['{', '[']);
    is_structure.then(|| serde_json::from_str(inner).ok())?
}

/// What stands in a fence, when the text is one fence.
fn unfenced(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("```")?;
    let (_, body) = rest.split_once('\n')?;
    let body = body.trim_end().strip_suffix("```")?;
    (!body.contains("```")).then_some(body)
}

/// Every outermost JSON object or list in a text, in order.
fn values(text: &str) -> Vec<Value> {
    const FOUND_MAX: usize = 64;
    let mut found = Vec::new();
    let mut at = 0;
    // Where a parse fails, the next bracket is tried; failed tries are bounded, so that brackets alone cost little.
    let mut tries = 0;
    while let Some(next) = text[at..].find(['{', '[']) {
        let start = at + next;
        let mut stream = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => {
                at = start + stream.byte_offset().max(1);
                found.push(value);
            }
            _ => {
                at = start + 1;
                tries += 1;
            }
        }
        if found.len() == FOUND_MAX || tries > 1_000 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn has_total(value: &Value) -> Result<(), String> {
        if value.get("total").is_some_and(Value::is_number) { Ok(()) } else { Err("`total` is missing".to_owned()) }
    }

    #[test]
    fn the_value_that_fits_is_taken_from_among_the_words() {
        for text in [
            "{\"total\": 5}",
            "```json\n{\"total\": 5}\n```",
            "Here it is:\n```json\n{\"total\": 5}\n```\nDone.",
            "I thought of {\"sum\": 4} first. Answer: {\"total\": 5}",
            "{\"total\": 4} or rather {\"total\": 5}",
            "{broken {\"total\": 5}",
        ] {
            assert_eq!(output(text, Some(&has_total)), Ok(json!({ "total": 5 })), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_says_why() {
        assert_eq!(output("{\"sum\": 4}", Some(&has_total)), Err("`total` is missing".to_owned()));
        assert_eq!(output("The total is 5.", Some(&has_total)), Err("the answer is no JSON".to_owned()));
        assert_eq!(output("{\"total\": 5", Some(&has_total)), Err("the answer is no JSON".to_owned()));
    }

    #[test]
    fn without_a_schema_text_stays_text() {
        assert_eq!(output("✅ Done.", None), Ok(json!("✅ Done.")));
        assert_eq!(output("```json\n[1, 2]\n```", None), Ok(json!([1, 2])));
        assert_eq!(output("See [1] and {x}.", None), Ok(json!("See [1] and {x}.")));
    }
}
