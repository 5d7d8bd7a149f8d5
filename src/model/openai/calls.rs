//! Calls out of their pieces: a stream sends the name once and the arguments as text, cut anywhere.

use serde_json::Value;

use super::wire::CallPiece;
use crate::model::{NativeCall, reading};

/// The calls of one answer as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    /// As the server counts; not every server counts.
    index: Option<u64>,
    id: String,
    name: String,
    text: String,
    /// Arguments that came as an object at once.
    object: Option<Value>,
}

impl Assembly {
    /// Takes one piece and says how many bytes it added.
    pub(super) fn add(&mut self, piece: &CallPiece) -> usize {
        let id = piece.id.as_deref().unwrap_or_default();
        let function = piece.function.as_ref();
        let name = function.and_then(|function| function.name.as_deref()).unwrap_or_default();
        let at = self.place_of(piece.index, id, name);
        let call = &mut self.open[at];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        // Some servers repeat the whole name with every piece; none cuts it into equal halves.
        if call.name != name {
            call.name.push_str(name);
        }
        let arguments = match function.map(|function| &function.arguments) {
            Some(Value::String(text)) => {
                call.text.push_str(text);
                text.len()
            }
            Some(Value::Null) | None => 0,
            Some(whole) => {
                let bytes = whole.to_string().len();
                call.object = Some(whole.clone());
                bytes
            }
        };
        // An empty piece costs something too, or a stream of them would have no bound.
        16 + id.len() + name.len() + arguments
    }

    /// All calls, in the order in which they began.
    pub(super) fn whole(self) -> Vec<NativeCall> {
        let native = |call: Open| NativeCall {
            id: Some(call.id).filter(|id| !id.is_empty()),
            name: call.name,
            arguments: reading::arguments(call.object.unwrap_or(Value::String(call.text))),
        };
        self.open.into_iter().map(native).collect()
    }

    /// Which call a piece belongs to; a new one where it begins one.
    fn place_of(&mut self, index: Option<u64>, id: &str, name: &str) -> usize {
        let is_other_id = |call: &Open| !id.is_empty() && !call.id.is_empty() && call.id != id;
        let found = match index {
            // Servers that count every call as the first tell them apart by their ids.
            Some(_) => {
                self.open.iter().rposition(|call| call.index == index).filter(|at| !is_other_id(&self.open[*at]))
            }
            None if !id.is_empty() => self.open.iter().rposition(|call| call.id == id),
            None if !name.is_empty() => None,
            None => self.open.len().checked_sub(1),
        };
        found.unwrap_or_else(|| {
            self.open.push(Open { index, id: String::new(), name: String::new(), text: String::new(), object: None });
            self.open.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(pieces: Value, expect: &[(Option<&str>, &str, Value)]) {
        let mut assembly = Assembly::default();
        for piece in pieces.as_array().unwrap() {
            assembly.add(&serde_json::from_value(piece.clone()).unwrap());
        }
        let found: Vec<_> = assembly.whole().into_iter().map(|call| (call.id, call.name, call.arguments)).collect();
        let expect: Vec<_> =
            expect.iter().map(|(id, name, value)| (id.map(str::to_owned), (*name).to_owned(), value.clone())).collect();
        assert_eq!(found, expect, "{pieces}");
    }

    #[test]
    fn pieces_of_several_calls_are_told_apart_by_their_index() {
        check(
            json!([
                { "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "" } },
                { "index": 1, "id": "b", "function": { "name": "g", "arguments": "{\"x\"" } },
                { "index": 0, "function": { "arguments": "{\"y\":" } },
                { "index": 1, "function": { "arguments": ":1}" } },
                { "index": 0, "function": { "arguments": "2}" } },
            ]),
            &[(Some("a"), "f", json!({ "y": 2 })), (Some("b"), "g", json!({ "x": 1 }))],
        );
    }

    #[test]
    fn servers_that_do_not_count_are_understood() {
        check(
            json!([
                { "id": "a", "function": { "name": "f", "arguments": "{}" } },
                { "id": "b", "function": { "name": "f", "arguments": { "x": 1 } } },
            ]),
            &[(Some("a"), "f", json!({})), (Some("b"), "f", json!({ "x": 1 }))],
        );
        check(
            json!([
                { "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } },
                { "index": 0, "id": "b", "function": { "name": "f", "arguments": "{\"x\":" } },
                { "index": 0, "function": { "arguments": "1}" } },
            ]),
            &[(Some("a"), "f", json!({})), (Some("b"), "f", json!({ "x": 1 }))],
        );
        check(
            json!([
                { "function": { "name": "f", "arguments": "{\"x\":" } },
                { "function": { "arguments": "1}" } },
                { "function": { "name": "g", "arguments": null } },
            ]),
            &[(None, "f", json!({ "x": 1 })), (None, "g", json!({}))],
        );
    }

    #[test]
    fn a_name_in_pieces_is_joined_and_a_repeated_one_is_not() {
        check(
            json!([
                { "index": 0, "id": "a", "function": { "name": "get_", "arguments": "{" } },
                { "index": 0, "id": "a", "function": { "name": "weather", "arguments": "}" } },
            ]),
            &[(Some("a"), "get_weather", json!({}))],
        );
        check(
            json!([
                { "index": 0, "id": "a", "function": { "name": "f", "arguments": "{" } },
                { "index": 0, "id": "a", "function": { "name": "f", "arguments": "}" } },
            ]),
            &[(Some("a"), "f", json!({}))],
        );
    }

    #[test]
    fn arguments_that_do_not_parse_stay_text() {
        check(
            json!([{ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{\"city\":\"Os" } }]),
            &[(Some("a"), "f", json!("{\"city\":\"Os"))],
        );
    }
}
