//! A stand-in for local models, inside the program: it never gives an answer that counts. For trying what follows the
//! failures of local models, on a machine that has none.
//!
//! Both ways of failing are certain, whatever a step asks: what a model declines never counts, and a guess is looked at
//! here first; one that would fit its schema is declined.

use std::time::Instant;

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::{Loaded, ModelError, ModelInfo, ModelServer, Notices, PullProgress, Reply, Request, Stop, Timing, Tokens};

/// Its address, for people.
pub const ADDRESS: &str = "inside this program";
/// Declines every task.
pub const DECLINES: &str = "declines";
/// Gives the form that is asked for with nothing in it, where that does not fit.
pub const GUESSES: &str = "guesses";

/// How deep a form is filled in.
const DEPTH_MAX: usize = 16;
/// Bytes that count as one token.
const TOKEN_BYTES: usize = 4;
const CONTEXT_TOKENS: u32 = 32_768;

/// The stand-in.
#[derive(Clone, Copy, Debug)]
pub struct StandIn;

impl StandIn {
    fn answer(request: &Request) -> Result<Reply, ModelError> {
        let guess = match request.model.as_str() {
            DECLINES => None,
            GUESSES => request.schema.as_ref().and_then(wrong_guess),
            _ => {
                let (server, model) = (ADDRESS.to_owned(), request.model.clone());
                return Err(ModelError::NoSuchModel { server, model });
            }
        };
        let read: usize = request.messages.iter().map(|message| message.text.len()).sum();
        let text = guess.map(|value| value.to_string()).unwrap_or_default();
        let tokens = Tokens::new((read / TOKEN_BYTES) as u64, (text.len() / TOKEN_BYTES) as u64);
        Ok(match text.is_empty() {
            true => Reply {
                stop: Stop::Declined,
                note: "it only stands in for a local model".to_owned(),
                tokens,
                ..Reply::default()
            },
            false => Reply { text, tokens, ..Reply::default() },
        })
    }
}

/// The form with nothing in it; `None` where that fits, or nobody can tell.
fn wrong_guess(schema: &Value) -> Option<Value> {
    let guess = blank(schema, 0);
    let validator = jsonschema::options().should_validate_formats(true).offline().build(schema).ok()?;
    (!validator.is_valid(&guess)).then_some(guess)
}

fn blank(schema: &Value, depth: usize) -> Value {
    let word = match schema.get("type") {
        Some(Value::String(word)) => word.as_str(),
        Some(Value::Array(words)) => words.first().and_then(Value::as_str).unwrap_or("object"),
        _ => "object",
    };
    match word {
        "string" => json!(""),
        "integer" | "number" => json!(0),
        "boolean" => json!(false),
        "array" => json!([]),
        "null" => Value::Null,
        _ if depth >= DEPTH_MAX => json!({}),
        _ => {
            let named = schema.get("properties").and_then(Value::as_object);
            let filled = named.into_iter().flatten().map(|(name, schema)| (name.clone(), blank(schema, depth + 1)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
    }
}

fn info(name: &str) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        family: format!("stand-in that {name}"),
        context_tokens_max: Some(CONTEXT_TOKENS),
        tools: Some(false),
        thinking: Some(false),
        chat: true,
        ..ModelInfo::default()
    }
}

impl ModelServer for StandIn {
    fn address(&self) -> &str {
        ADDRESS
    }

    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        let begun = Instant::now();
        let reply = Self::answer(request).map(|mut reply| {
            notices.part(&reply.text);
            let whole_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            reply.timing = Timing { whole_ms, ..Timing::default() };
            reply
        });
        Box::pin(async { reply })
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        Box::pin(async { Ok([DECLINES, GUESSES].map(info).to_vec()) })
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        let found = match name {
            DECLINES | GUESSES => Ok(info(name)),
            other => Err(ModelError::NoSuchModel { server: ADDRESS.to_owned(), model: other.to_owned() }),
        };
        Box::pin(async { found })
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        Box::pin(async { Ok(None) })
    }

    fn pull<'a>(
        &'a self,
        name: &'a str,
        _progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        let message = "a stand-in has nothing to fetch".to_owned();
        Box::pin(async move { Err(ModelError::Unsupported { model: name.to_owned(), what: "pull", message }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, NoNotices, Speaker, Think, TimeLimits};

    async fn asked(model: &str, schema: Option<Value>) -> Result<Reply, ModelError> {
        let request = Request {
            model: model.to_owned(),
            messages: vec![Message::new(Speaker::User, "Go.")],
            tools: Vec::new(),
            schema,
            think: Think::Unset,
            temperature: None,
            sampling: crate::domain::sampling::Sampling::default(),
            seed: None,
            reply_tokens_max: 100,
            context_tokens: 1_000,
            limits: TimeLimits { first_token_ms: 1, idle_ms: 1, whole_ms: 1 },
        };
        StandIn.chat(&request, &NoNotices).await
    }

    #[tokio::test]
    async fn no_answer_of_it_ever_counts() {
        let property = |schema: Value| json!({ "type": "object", "properties": { "a": schema }, "required": ["a"] });
        for schema in [
            property(json!({ "const": "x", "type": "string" })),
            property(json!({ "type": "string", "minLength": 1 })),
            property(json!({ "type": "string" })),
            json!({ "type": "string" }),
            json!({ "type": ["array", "null"] }),
            json!({}),
            json!(true),
            json!({ "type": "no such type" }),
            json!({ "type": "object", "minProperties": 1 }),
        ] {
            for model in [DECLINES, GUESSES] {
                let reply = asked(model, Some(schema.clone())).await.unwrap();
                let fits = || {
                    let value: Value = serde_json::from_str(&reply.text).unwrap();
                    jsonschema::validator_for(&schema).unwrap().is_valid(&value)
                };
                assert!(reply.stop == Stop::Declined || !fits(), "{model} on {schema}: {reply:?}");
            }
        }
        for model in [DECLINES, GUESSES] {
            assert_eq!(asked(model, None).await.unwrap().stop, Stop::Declined);
        }
        let guess = asked(GUESSES, Some(property(json!({ "const": "x", "type": "string" })))).await.unwrap();
        assert_eq!(guess.text, r#"{"a":""}"#);
        assert!(matches!(asked("other", None).await, Err(ModelError::NoSuchModel { .. })));
    }
}
