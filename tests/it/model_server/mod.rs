//! A scripted model server on a real socket: Ollama's protocol and OpenAI's on one port, with every fault a test can want.
//!
//! ```text
//! let server = ModelServer::start(["qwen3:8b"]);
//! server.script("qwen3:8b", [Answer::tool("fs_read", json!({"path": "a.txt"})), Answer::text("done")]);
//! … point the program at server.url() …
//! assert_eq!(server.count("qwen3:8b"), 2);
//! assert!(server.chats()[1].last().contains("content of a.txt"));
//! ```
//!
//! It runs in a thread of its own, so a test may block, use another runtime or drive a child process. Dropped, it stops
//! and cuts its connections. Its tokens are bytes / 4. It is judged by `conformance` and by its own tests in `faults`.

#![allow(dead_code, unused_imports, reason = "tests of other rooms use one part each")]

mod conformance;
mod faults;
mod go;
mod house;
mod loading;
mod model;
mod ollama;
mod openai;
mod runners;
mod wire;

use std::sync::{Arc, Mutex};

pub(crate) use self::model::Model;
pub(crate) use self::openai::Flavour;
pub(crate) use crate::scripted::answer::{Answer, Call, Gate, tokens_of};
pub(crate) use crate::scripted::asked::{Asked, End, Load, Protocol, Said};

use self::house::House;
use self::runners::Runners;
use crate::scripted::listener::Listener;
use crate::scripted::record::Record;
use crate::scripted::script::{Script, Scripts};

/// A server that is not started yet.
pub(crate) struct Setup {
    models: Vec<Model>,
    flavour: Flavour,
    version: String,
    key: Option<String>,
    pull_ms: u64,
    parallel: usize,
    fit_max: usize,
    queue_max: usize,
}

impl Setup {
    /// Speaks as llama.cpp's server: nothing under `/api`, its first model answers to every name.
    pub(crate) fn llama_cpp(self) -> Self {
        Self { flavour: Flavour::LlamaCpp, ..self }
    }

    /// Sets the version that it tells.
    pub(crate) fn version(self, version: &str) -> Self {
        Self { version: version.into(), ..self }
    }

    /// Wants this key as a bearer token; 401 without it.
    pub(crate) fn key(self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Waits between the lines of a pull.
    pub(crate) fn pull_ms(self, pull_ms: u64) -> Self {
        Self { pull_ms, ..self }
    }

    /// Requests that a loaded model answers at once; more of them wait without a word. 1 without it, as with Ollama.
    pub(crate) fn parallel(self, parallel: usize) -> Self {
        Self { parallel, ..self }
    }

    /// Models that fit into memory at once; 1 without it.
    pub(crate) fn fits(self, fit_max: usize) -> Self {
        Self { fit_max, ..self }
    }

    /// Requests that may wait for a load; more of them get a 503.
    pub(crate) fn queue(self, queue_max: usize) -> Self {
        Self { queue_max, ..self }
    }

    /// Starts it on a free port.
    pub(crate) fn start(self) -> ModelServer {
        let record = Arc::new(Record::new());
        let mut runners = Runners::new(record.clone());
        runners.parallel = self.parallel;
        runners.fit_max = self.fit_max;
        runners.queue_max = self.queue_max;
        let house = Arc::new(House {
            flavour: self.flavour,
            version: self.version,
            key: self.key,
            pull_ms: self.pull_ms,
            models: Mutex::new(self.models),
            scripts: Scripts::default(),
            record,
            runners: Arc::new(runners),
        });
        let listener = Listener::start(house.clone());
        ModelServer { house, listener }
    }
}

/// A running server.
pub(crate) struct ModelServer {
    house: Arc<House>,
    listener: Listener,
}

impl ModelServer {
    /// Starts a server with these models. Without a script they answer with some text, or with a value of the schema.
    pub(crate) fn start<M: Into<Model>>(models: impl IntoIterator<Item = M>) -> Self {
        Self::setup(models).start()
    }

    /// A server to set up first.
    pub(crate) fn setup<M: Into<Model>>(models: impl IntoIterator<Item = M>) -> Setup {
        Setup {
            models: models.into_iter().map(Into::into).collect(),
            flavour: Flavour::Ollama,
            version: "0.33.0".into(),
            key: None,
            pull_ms: 0,
            parallel: 1,
            fit_max: 1,
            queue_max: 512,
        }
    }

    /// Its address, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.listener.port()
    }

    fn set(&self, model: Option<&str>, script: Script) {
        self.house.scripts.set(model.map(model::with_tag), script);
    }

    /// Answers to one model, in order. When there are none left, requests get a 500 that says so, and are counted.
    pub(crate) fn script(&self, model: &str, answers: impl IntoIterator<Item = Answer>) {
        self.set(Some(model), Script::List(answers.into_iter().collect()));
    }

    /// Answers to all models that have no script of their own, in order.
    pub(crate) fn script_all(&self, answers: impl IntoIterator<Item = Answer>) {
        self.set(None, Script::List(answers.into_iter().collect()));
    }

    /// Always the same answer to one model.
    pub(crate) fn always(&self, model: &str, answer: Answer) {
        self.respond(model, move |_| answer.clone());
    }

    /// Always the same answer to all models that have no script of their own.
    pub(crate) fn always_all(&self, answer: Answer) {
        self.respond_all(move |_| answer.clone());
    }

    /// Answers one model's requests. A panic inside fails the test when the server is dropped.
    pub(crate) fn respond(&self, model: &str, script: impl FnMut(&Asked) -> Answer + Send + 'static) {
        self.set(Some(model), Script::Closure(Box::new(script)));
    }

    /// Answers requests to all models that have no script of their own.
    pub(crate) fn respond_all(&self, script: impl FnMut(&Asked) -> Answer + Send + 'static) {
        self.set(None, Script::Closure(Box::new(script)));
    }

    /// As if its process were killed: connections are cut, new ones refused, nothing is loaded.
    pub(crate) fn refuse(&self) {
        self.listener.refuse();
    }

    /// Listens again, on the same port.
    pub(crate) fn back(&self) {
        self.listener.back();
    }

    /// Deletes a model; requests for it get a 404 from now on.
    pub(crate) fn lose_model(&self, name: &str) {
        let name = model::with_tag(name);
        self.house.models.lock().unwrap().retain(|model| model.name != name);
        self.house.runners.unload(&name);
    }

    /// Adds a model, or replaces the one of this name.
    pub(crate) fn add_model(&self, model: impl Into<Model>) {
        let model = model.into();
        self.lose_model(&model.name);
        self.house.models.lock().unwrap().push(model);
    }

    /// Every request, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.house.record.all()
    }

    /// Every request that a model was to answer, in order of arrival: no refused ones, no loads.
    pub(crate) fn chats(&self) -> Vec<Asked> {
        self.requests().into_iter().filter(|asked| asked.is_chat).collect()
    }

    /// Chat requests for one model, as requests name it.
    pub(crate) fn count(&self, model: &str) -> usize {
        self.chats().iter().filter(|asked| asked.model == model).count()
    }

    /// Requests to one path.
    pub(crate) fn count_path(&self, path: &str) -> usize {
        self.requests().iter().filter(|asked| asked.path == path).count()
    }

    /// Every load, in order.
    pub(crate) fn loads(&self) -> Vec<Load> {
        self.house.record.loads()
    }

    /// Loads that threw something out of memory: another model, or the same one with other options.
    pub(crate) fn swaps(&self) -> usize {
        self.loads().iter().filter(|load| !load.evicted.is_empty()).count()
    }

    /// Models in memory now.
    pub(crate) fn loaded(&self) -> Vec<String> {
        self.house.runners.loaded().into_iter().map(|(model, ..)| model.name).collect()
    }

    /// Most chat requests that were open at once, waiting ones included.
    pub(crate) fn most_at_once(&self) -> usize {
        self.house.record.most_at_once()
    }

    /// The same for one model, as requests name it.
    pub(crate) fn most_at_once_of(&self, model: &str) -> usize {
        self.house.record.most_at_once_of(model)
    }

    /// Chat requests whose client went away before the end.
    pub(crate) fn left(&self) -> usize {
        self.chats().iter().filter(|asked| asked.end == End::Left).count()
    }

    /// Chat requests that are open now.
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

    /// [`ModelServer::wait_until`] for tests without a runtime.
    pub(crate) fn block_until(&self, what: &str, holds: impl FnMut(&Self) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.wait_until(what, holds));
    }
}
