//! The outside of a probe's attempts: models through the broker, as in every run; tools that answer by the book.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::case::Cases;
use super::judge::Made;
use crate::agent::turns::{Asked, Called, Tool, World};
use crate::engine::Models;
use crate::engine::broker::Door;
use crate::model::Request;

/// What the broker calls who asks.
const ASKER: &str = "probe";

/// The outside of one attempt.
#[derive(Debug)]
pub(super) struct ProbeWorld<'a> {
    door: &'a Door,
    rung: &'a str,
    cases: &'a Cases,
    /// One window for all cases: another one would load the model again.
    context_tokens: u32,
    seen: Mutex<Seen>,
}

/// What happened in an attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) made: Vec<Made>,
    pub(super) replies: u32,
    pub(super) reply_tokens: u64,
    pub(super) writing_ms: u64,
}

impl<'a> ProbeWorld<'a> {
    pub(super) fn new(door: &'a Door, rung: &'a str, cases: &'a Cases, context_tokens: u32) -> Self {
        Self { door, rung, cases, context_tokens, seen: Mutex::default() }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl World for ProbeWorld<'_> {
    fn ask(&self, mut request: Request) -> BoxFuture<'_, Asked> {
        async move {
            request.context_tokens = request.context_tokens.max(self.context_tokens);
            match self.door.ask_for(ASKER, self.rung, request).await {
                Ok(reply) => {
                    self.note(|seen| {
                        seen.replies += 1;
                        seen.reply_tokens += reply.tokens.reply;
                        seen.writing_ms += reply.timing.writing_ms;
                    });
                    Asked::Reply(Box::new(reply))
                }
                Err(error) => Asked::Failed(error),
            }
        }
        .boxed()
    }

    fn call<'a>(&'a self, tool: &'a Tool, arguments: &'a Map<String, Value>, _nth: u32) -> BoxFuture<'a, Called> {
        self.note(|seen| seen.made.push((tool.tool.clone(), arguments.clone())));
        let called = match self.cases.answer(&tool.tool, arguments) {
            Ok(value) => Called::Value(value),
            Err(failure) => Called::Error(failure),
        };
        std::future::ready(called).boxed()
    }
}
