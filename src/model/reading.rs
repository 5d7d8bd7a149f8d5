//! What all servers write a little differently: figures, windows, arguments of calls. Pure.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{Request, arguments_object};

/// A figure of any kind of number; what is missing, negative or no number is zero, for no answer is worth less for it.
pub(super) fn figure<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    Ok(value.as_ref().map_or(0, number))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floats saturate, and nothing is below zero"
)]
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|float| float.max(0.0) as u64)).unwrap_or(0)
}

/// A window in tokens; zero means that it was not said.
pub(super) fn window(tokens: u64) -> Option<u32> {
    (tokens > 0).then(|| u32::try_from(tokens).unwrap_or(u32::MAX))
}

/// Servers hold seeds in 32 bits and take the largest for "random": the upper half of what may come is folded away.
pub(super) fn seed(seed: u64) -> u64 {
    seed % (1 << 31)
}

/// The seed that is sent: a person's own moved on by what the request says, else the request's.
pub(super) fn seed_of(request: &Request) -> Option<Value> {
    let own = request.sampling.seed_of(request.seed.unwrap_or(0));
    match own {
        Some(chance) if chance < 0 => Some(json!(chance)),
        Some(own) => Some(json!(seed(own.unsigned_abs()))),
        None => request.seed.map(|number| json!(seed(number))),
    }
}

/// Arguments of a call as they came: JSON text of an object becomes the object, any other text stays text.
pub(super) fn arguments(raw: Value) -> Value {
    match raw {
        Value::Null => Value::Object(Map::new()),
        // A call without arguments is often written as nothing at all.
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::String(_) => arguments_object(&raw).map_or(raw, Value::Object),
        other => other,
    }
}

/// Arguments for the history, where only an object is allowed. What could not be read stands in it as it was written.
pub(super) fn history_arguments(arguments: &Value) -> Value {
    if let Some(object) = arguments_object(arguments) {
        return Value::Object(object);
    }
    match arguments {
        Value::Null => Value::Object(Map::new()),
        other => Value::Object(Map::from_iter([("unreadable".to_owned(), other.clone())])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_read_whatever_they_are() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default, deserialize_with = "figure")]
            figure: u64,
        }
        for (text, expect) in
            [("{}", 0), ("7", 7), ("7.9", 7), ("-1", 0), ("null", 0), ("\"7\"", 0), ("1e30", u64::MAX)]
        {
            let text = if text == "{}" { text.to_owned() } else { format!("{{\"figure\":{text}}}") };
            assert_eq!(serde_json::from_str::<Holder>(&text).unwrap().figure, expect, "{text}");
        }
    }

    #[test]
    fn arguments_become_an_object_where_they_are_one() {
        assert_eq!(arguments(json!(null)), json!({}));
        assert_eq!(arguments(json!(" ")), json!({}));
        assert_eq!(arguments(json!("{\"a\":1}")), json!({ "a": 1 }));
        assert_eq!(arguments(json!("{\"a\":")), json!("{\"a\":"));
        assert_eq!(arguments(json!("[1]")), json!("[1]"));
        assert_eq!(arguments(json!({ "a": 1 })), json!({ "a": 1 }));
    }

    #[test]
    fn the_history_holds_objects_only() {
        assert_eq!(history_arguments(&json!({ "a": 1 })), json!({ "a": 1 }));
        assert_eq!(history_arguments(&json!("{\"a\":1}")), json!({ "a": 1 }));
        assert_eq!(history_arguments(&json!("{\"a\":")), json!({ "unreadable": "{\"a\":" }));
        assert_eq!(history_arguments(&json!(null)), json!({}));
    }

    #[test]
    fn seeds_fit_into_what_servers_hold() {
        assert_eq!((seed(7), seed(u64::MAX)), (7, (1 << 31) - 1));
    }
}
