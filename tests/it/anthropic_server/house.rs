//! Routes, keys and versions, and how a request finds its answer.

use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use serde_json::json;

use super::cache::{Cache, Classes};
use super::model::Model;
use super::rules::{self, Refusal};
use super::wire::{self, Wire};
use crate::scripted::answer::Answer;
use crate::scripted::asked::{Asked, Protocol};
use crate::scripted::connection::{self, Turn};
use crate::scripted::plain::plain;
use crate::scripted::record::{Record, Ticket};
use crate::scripted::script::Scripts;
use crate::scripted::steps::{self, Reply};

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Versions of the interface that are taken.
const VERSIONS: &[&str] = &["2023-06-01", "2026-10-21"];

/// All of a server but its socket.
pub(super) struct House {
    pub(super) key: Option<String>,
    pub(super) models: Mutex<Vec<Model>>,
    pub(super) scripts: Scripts,
    pub(super) record: Arc<Record>,
    pub(super) cache: Cache,
    /// What is said in place of every list of models.
    pub(super) listing: Mutex<Option<Answer>>,
}

impl connection::House for House {
    fn record(&self) -> &Arc<Record> {
        &self.record
    }

    async fn answer(self: Arc<Self>, mut asked: Asked, body: Bytes) -> (Turn, Ticket) {
        asked.protocol = Protocol::Anthropic;
        asked.body = serde_json::from_slice(&body).unwrap_or_default();
        asked.model = asked.body["model"].as_str().unwrap_or_default().to_owned();
        let request_id = format!("req_{:04}", self.record.all().len());
        let is_messages = asked.method == "POST" && asked.path == "/v1/messages";
        let read = self.entered(&asked, body.len()).and_then(|()| self.read(&mut asked));
        let turn = match read {
            Err(refusal) => {
                let (_, ticket) = self.record.arrive(asked);
                return (refused(refusal.status, &refusal.message, &Answer::default(), &request_id).into(), ticket);
            }
            Ok(Read::Listing(value)) => {
                let instead = self.listing.lock().unwrap().clone();
                if let Some(answer) = instead {
                    let (_, ticket) = self.record.arrive(asked);
                    let refuse = |status: u16, message: &str| refused(status, message, &answer, &request_id);
                    let turn = steps::begin(&answer, refuse).await;
                    return (turn.unwrap_or_else(|| with_id(Reply::json(200, &value), &request_id).into()), ticket);
                }
                Reply::json(200, &value)
            }
            Ok(Read::Chat(classes)) => {
                asked.is_chat = is_messages;
                let (asked, ticket) = self.record.arrive(asked);
                return (self.chat(&asked, classes, &request_id).await, ticket);
            }
        };
        let (_, ticket) = self.record.arrive(asked);
        (with_id(turn, &request_id).into(), ticket)
    }
}

/// A request that is in order.
enum Read {
    Listing(serde_json::Value),
    Chat(Classes),
}

impl House {
    /// Key, version, size.
    fn entered(&self, asked: &Asked, bytes: usize) -> Result<(), Refusal> {
        let refuse = |status: u16, message: &str| Err(Refusal { status, message: message.into() });
        let header = |name: &str| asked.headers.get(name).map(String::as_str);
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let Some(key) = header("x-api-key").or(bearer).filter(|key| !key.is_empty()) else {
            return refuse(401, "x-api-key header is required");
        };
        if self.key.as_ref().is_some_and(|wanted| wanted != key) {
            return refuse(401, "invalid x-api-key");
        }
        match header("anthropic-version") {
            None => return refuse(400, "anthropic-version: header is required"),
            Some(version) if !VERSIONS.contains(&version) => {
                return refuse(400, &format!("anthropic-version: \"{version}\" is not a valid version"));
            }
            Some(_) => {}
        }
        if bytes > BODY_BYTES_MAX {
            return refuse(413, "Request exceeds the maximum size");
        }
        Ok(())
    }

    fn read(&self, asked: &mut Asked) -> Result<Read, Refusal> {
        let models = self.models.lock().unwrap().clone();
        let absent = |what: &str| Err(Refusal { status: 404, message: format!("{what}: not found") });
        match (asked.method.as_str(), asked.path.clone().as_str()) {
            ("POST", "/v1/messages") => {
                let model = rules::read(asked, &models, false)?;
                // What is refused is not kept, so the length is asked first.
                let length = Cache::new(0).take(&asked.model, &asked.body).total();
                if length > model.context_tokens {
                    let message = format!("prompt is too long: {length} tokens > {} maximum", model.context_tokens);
                    return Err(Refusal { status: 400, message });
                }
                let classes = self.cache.take(&asked.model, &asked.body);
                asked.prompt_tokens = classes.total();
                asked.context_tokens = u32::try_from(model.context_tokens).unwrap_or(u32::MAX);
                asked.kept = asked.messages.clone();
                Ok(Read::Chat(classes))
            }
            ("POST", "/v1/messages/count_tokens") => {
                rules::read(asked, &models, true)?;
                let length = Cache::new(0).take(&asked.model, &asked.body).total();
                Ok(Read::Listing(json!({ "input_tokens": length })))
            }
            ("GET", "/v1/models") => {
                let cards: Vec<_> = models.iter().map(Model::card).collect();
                let (first, last) = (models.first().map(|model| &model.id), models.last().map(|model| &model.id));
                Ok(Read::Listing(json!({ "data": cards, "has_more": false, "first_id": first, "last_id": last })))
            }
            ("GET", path) => {
                let id = path.strip_prefix("/v1/models/").unwrap_or_default().to_owned();
                match models.iter().find(|model| model.id == id) {
                    Some(model) => Ok(Read::Listing(model.card())),
                    None => absent(&format!("model: {id}")),
                }
            }
            (_, path) => absent(path),
        }
    }

    /// A request that a model is to answer.
    async fn chat(&self, asked: &Asked, classes: Classes, request_id: &str) -> Turn {
        let answer = self.scripts.next(Some(asked.model.clone()), asked, &self.record);
        let answer = answer.unwrap_or_else(|| plain(asked)).within(asked.reply_tokens_max());
        let refuse = |status: u16, message: &str| refused(status, message, &answer, request_id);
        if let Some(turn) = steps::begin(&answer, refuse).await {
            return turn;
        }
        let wire = Wire::new(asked, classes, request_id.to_owned());
        with_id(steps::render(asked, &wire, &answer), request_id).into()
    }
}

fn refused(status: u16, message: &str, answer: &Answer, request_id: &str) -> Reply {
    let (kind, code) = (answer.error_kind.as_deref(), answer.error_code.as_deref());
    with_id(Reply::json(status, &wire::error(status, message, kind, code, request_id)), request_id)
}

fn with_id(mut reply: Reply, request_id: &str) -> Reply {
    reply.headers.push(("request-id".into(), request_id.into()));
    reply.headers.push(("anthropic-organization-id".into(), "org_test".into()));
    reply
}
