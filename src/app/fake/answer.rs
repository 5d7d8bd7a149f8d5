//! What the scripted Claude answers to one request, as the interface would send it. Pure.

use serde_json::{Value, json};

use super::forms::Forms;
use super::instance::instance;

/// Bytes of a text that count as one token.
const TOKEN_BYTES: usize = 4;
/// Bytes of one piece of a stream, at most.
const PIECE_BYTES: usize = 256;
/// What is answered where no form is asked for.
const WORDS: &str = "This answer is made up by the fake Claude inside ollmcp: nothing was sent.";

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    id: String,
    model: String,
    text: String,
    is_cut: bool,
    input_tokens: usize,
    output_tokens: usize,
}

/// All text of a request that its model reads, in order.
fn prompt_of(body: &Value) -> String {
    fn add(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(list) => list.iter().for_each(|one| add(one, out)),
            Value::Object(map) => {
                ["text", "content"].iter().filter_map(|key| map.get(*key)).for_each(|one| add(one, out))
            }
            _ => {}
        }
    }
    let mut out = String::new();
    for part in ["system", "messages"] {
        add(&body[part], &mut out);
    }
    out
}

/// Tokens of what a request says, by its size.
pub(super) fn input_tokens(body: &Value) -> usize {
    let bytes: usize = ["system", "messages", "tools"]
        .iter()
        .filter_map(|part| body.get(*part))
        .map(|part| part.to_string().len())
        .sum();
    (bytes / TOKEN_BYTES).max(1)
}

impl Answer {
    /// The answer to a request.
    pub(super) fn to(body: &Value, forms: &Forms, id: String) -> Self {
        let prompt = prompt_of(body);
        let form = forms.asked_in(&prompt).or_else(|| body.pointer("/output_config/format/schema"));
        let mut text = form.map_or_else(|| WORDS.to_owned(), |form| instance(form).to_string());
        let most = body["max_tokens"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let bytes_max = most.saturating_mul(TOKEN_BYTES);
        let is_cut = text.len() > bytes_max;
        text.truncate(text.floor_char_boundary(bytes_max));
        let output_tokens = text.len().div_ceil(TOKEN_BYTES).max(1);
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        Self { id, model, text, is_cut, input_tokens: input_tokens(body), output_tokens }
    }

    fn usage(&self, output_tokens: usize) -> Value {
        json!({
            "input_tokens": self.input_tokens, "output_tokens": output_tokens,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        })
    }

    const fn stop(&self) -> &'static str {
        if self.is_cut { "max_tokens" } else { "end_turn" }
    }

    fn message(&self, content: Value, stop: Value, output_tokens: usize) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop, "stop_sequence": null, "usage": self.usage(output_tokens),
        })
    }

    /// In one piece.
    pub(super) fn whole(&self) -> Value {
        self.message(json!([{ "type": "text", "text": self.text }]), json!(self.stop()), self.output_tokens)
    }

    /// As events.
    pub(super) fn events(&self) -> Vec<String> {
        let mut out = vec![
            event(&json!({ "type": "message_start", "message": self.message(json!([]), Value::Null, 1) })),
            event(
                &json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            ),
            event(&json!({ "type": "ping" })),
        ];
        let mut rest = self.text.as_str();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES.min(rest.len())));
            let delta = json!({ "type": "text_delta", "text": piece });
            out.push(event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta })));
            rest = behind;
        }
        let delta = json!({ "stop_reason": self.stop(), "stop_sequence": null });
        let usage = json!({ "output_tokens": self.output_tokens });
        out.extend([
            event(&json!({ "type": "content_block_stop", "index": 0 })),
            event(&json!({ "type": "message_delta", "delta": delta, "usage": usage })),
            event(&json!({ "type": "message_stop" })),
        ]);
        out
    }
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

/// An error in the interface's shape.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::claude::read_stream;

    fn body(more: Value) -> Value {
        let mut body = json!({ "model": "claude-sonnet-5-5", "max_tokens": 100, "stream": true,
            "system": [{ "type": "text", "text": "Rules." }], "messages": [{ "role": "user", "content": "Go. ä" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    #[test]
    fn a_form_is_filled_in_and_the_stream_is_one_that_the_adapter_reads() {
        let schema =
            json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string", "enum": ["ä"] } } });
        let asked = body(json!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } }));
        let answer = Answer::to(&asked, &Forms::default(), "msg_1".into());
        let events = answer.events();
        let reply = read_stream(events.iter().map(String::as_bytes)).unwrap();
        assert_eq!(reply.text, r#"{"a":"ä"}"#);
        assert_eq!(answer.whole()["content"][0]["text"], json!(reply.text));
        assert_eq!(reply.tokens.prompt, input_tokens(&asked) as u64);
        assert_eq!(reply.tokens.reply, 3);
    }

    #[test]
    fn a_form_of_the_plan_counts_with_the_bounds_that_the_wire_does_not_carry() {
        let full =
            json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer", "minimum": 41 } } });
        let mut forms = Forms::default();
        forms.add(json!({ "type": "object" }));
        forms.add(full.clone());
        let (words, _) = crate::agent::prompt::schema_in_words(&full, 1_000);
        let asked = body(json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": words }] }] }));
        assert_eq!(Answer::to(&asked, &forms, String::new()).text, r#"{"n":41}"#);
        let free = Answer::to(&body(json!({})), &forms, String::new());
        assert_eq!(free.text, WORDS);
    }

    #[test]
    fn an_answer_is_cut_where_the_request_ends_it() {
        let answer = Answer::to(&body(json!({ "max_tokens": 2 })), &Forms::default(), String::new());
        assert_eq!((answer.text.as_str(), answer.output_tokens, answer.stop()), ("This ans", 2, "max_tokens"));
        let reply = read_stream(answer.events().iter().map(String::as_bytes)).unwrap();
        assert!(reply.stop.is_cut());
    }
}
