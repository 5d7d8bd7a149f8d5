//! A scripted Anthropic on a real socket: the Messages API with its rules, its errors and its cache, and every fault.
//!
//! ```text
//! let claude = AnthropicServer::start();
//! claude.script([Answer::tool("fs_read", json!({"path": "a.txt"})), Answer::text("done"), Answer::spend_cap()]);
//! … point the program at claude.url() with any key …
//! assert_eq!(claude.chats().len(), 3);
//! assert!(claude.chats()[1].last().contains("content of a.txt"));
//! ```
//!
//! It refuses what the real one refuses (`rules`), counts tokens as bytes / 4, and keeps what is marked to be kept
//! (`cache`). It is judged by `conformance` with the official client, and by its own tests.

#![allow(dead_code, unused_imports, reason = "tests of other rooms use one part each")]

mod cache;
mod conformance;
mod house;
mod model;
mod own;
mod rules;
mod wire;

use std::sync::{Arc, Mutex};

pub(crate) use self::model::Model;
pub(crate) use crate::scripted::answer::{Answer, Gate, tokens_of};
pub(crate) use crate::scripted::asked::{Asked, End};

use self::cache::Cache;
use self::house::House;
use crate::scripted::listener::Listener;
use crate::scripted::record::Record;
use crate::scripted::script::{Script, Scripts};

/// A server that is not started yet.
pub(crate) struct Setup {
    key: Option<String>,
    models: Vec<Model>,
    cache_tokens_min: u64,
}

impl Setup {
    /// Takes this key only; any other is a 401.
    pub(crate) fn key(self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Has these models in place of today's.
    pub(crate) fn models(self, models: impl IntoIterator<Item = Model>) -> Self {
        Self { models: models.into_iter().collect(), ..self }
    }

    /// Keeps nothing that is shorter.
    pub(crate) fn cache_tokens_min(self, tokens: u64) -> Self {
        Self { cache_tokens_min: tokens, ..self }
    }

    /// Starts it on a free port.
    pub(crate) fn start(self) -> AnthropicServer {
        let house = Arc::new(House {
            key: self.key,
            models: Mutex::new(self.models),
            scripts: Scripts::default(),
            record: Arc::new(Record::new()),
            cache: Cache::new(self.cache_tokens_min),
            listing: Mutex::default(),
        });
        AnthropicServer { listener: Listener::start(house.clone()), house }
    }
}

/// A running server.
pub(crate) struct AnthropicServer {
    house: Arc<House>,
    listener: Listener,
}

impl AnthropicServer {
    /// Starts a server with today's models. Without a script it answers with some text, or with a value of the schema.
    pub(crate) fn start() -> Self {
        Self::setup().start()
    }

    /// A server to set up first.
    pub(crate) fn setup() -> Setup {
        Setup { key: None, models: Model::of_today(), cache_tokens_min: 0 }
    }

    /// Its address, without a path: for `ANTHROPIC_BASE_URL`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listener.port())
    }

    /// Answers, in order. When there are none left, requests get a 500 that says so, and are counted.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.house.scripts.set(None, Script::List(answers.into_iter().collect()));
    }

    /// Answers to one model, in order.
    pub(crate) fn script_for(&self, model: &str, answers: impl IntoIterator<Item = Answer>) {
        self.house.scripts.set(Some(model.into()), Script::List(answers.into_iter().collect()));
    }

    /// Always the same answer.
    pub(crate) fn always(&self, answer: Answer) {
        self.respond(move |_| answer.clone());
    }

    /// Answers requests. A panic inside fails the test when the server is dropped.
    pub(crate) fn respond(&self, script: impl FnMut(&Asked) -> Answer + Send + 'static) {
        self.house.scripts.set(None, Script::Closure(Box::new(script)));
    }

    /// Says this to everybody who asks for the list of models, or for one.
    pub(crate) fn list_with(&self, answer: Answer) {
        *self.house.listing.lock().unwrap() = Some(answer);
    }

    /// As if the network were gone: connections are cut, new ones refused.
    pub(crate) fn refuse(&self) {
        self.listener.refuse();
    }

    /// Listens again, on the same port.
    pub(crate) fn back(&self) {
        self.listener.back();
    }

    /// Retires a model; requests for it get a 404 from now on.
    pub(crate) fn lose_model(&self, id: &str) {
        self.house.models.lock().unwrap().retain(|model| model.id != id);
    }

    /// Every request, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.house.record.all()
    }

    /// Every request that a model was to answer, scripted refusals included: what may have cost money.
    pub(crate) fn chats(&self) -> Vec<Asked> {
        self.requests().into_iter().filter(|asked| asked.is_chat).collect()
    }

    /// Such requests for one model, as requests name it.
    pub(crate) fn count(&self, model: &str) -> usize {
        self.chats().iter().filter(|asked| asked.model == model).count()
    }

    /// Requests to one path.
    pub(crate) fn count_path(&self, path: &str) -> usize {
        self.requests().iter().filter(|asked| asked.path == path).count()
    }

    /// Most requests to models that were open at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.house.record.most_at_once()
    }

    /// Requests to models that are open now.
    pub(crate) fn open(&self) -> usize {
        self.chats().iter().filter(|asked| asked.end == End::Running).count()
    }

    /// Requests for which a script had no answer left.
    pub(crate) fn unscripted(&self) -> usize {
        self.house.record.unscripted_count()
    }

    /// Waits until something holds of the record; fails the test where it never does.
    pub(crate) async fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        self.house.record.wait_until(what, || holds(self)).await;
    }

    /// [`AnthropicServer::wait_until`] for tests without a runtime.
    pub(crate) fn block_until(&self, what: &str, holds: impl FnMut(&Self) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.wait_until(what, holds));
    }
}
