//! Who answers: the port [`ModelServer`] and its adapters. One value is one server, however many models it has.
//!
//! An adapter sends one request and tells what came back. It retries nothing, counts nothing and chooses no model: slots,
//! breakers and the order of calls are the model broker's, what a reply means is the agent room's.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::bill::Billed;
use crate::domain::sampling::Sampling;

pub mod address;
pub mod bill;
pub mod claude;
mod fault;
mod frames;
mod http;
pub mod key;
pub mod ollama;
pub mod openai;
mod reading;
mod schema;
pub mod scripted;
pub mod stand_in;
mod stream;
mod watch;

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The rules; never cut.
    System,
    /// The task, and what the engine says about the model's replies.
    User,
    /// The model.
    Assistant,
    /// The result of a call.
    Tool,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub speaker: Speaker,
    /// What is said; may be empty beside calls.
    pub text: String,
    /// Calls that the model asked for natively.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<NativeCall>,
    /// For a result: the tool's name as offered, and the id of the call where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_of: Option<ResultOf>,
    /// A reply's [`Reply::echo`], given back as it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub echo: Vec<Value>,
}

/// Which call a result belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultOf {
    /// Name of the tool as offered.
    pub name: String,
    /// Id that the server gave to the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Message {
    /// A message without calls.
    #[must_use]
    pub fn new(speaker: Speaker, text: impl Into<String>) -> Self {
        Self { speaker, text: text.into(), calls: Vec::new(), result_of: None, echo: Vec::new() }
    }
}

/// A call in the server's own form (not read from text).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NativeCall {
    /// Id that the server gave; some give none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name as the model wrote it: not checked.
    pub name: String,
    /// Arguments as they came: an object, or a string where the server sends JSON text that does not parse.
    pub arguments: Value,
}

/// A tool as it is offered to a model. Names hold letters, digits, `_` and `-` only: see `agent` for how they are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Name for the model.
    pub name: String,
    /// What it does, bounded.
    pub description: String,
    /// JSON Schema of its arguments: an object with `properties`.
    pub parameters: Value,
}

/// Whether a model reasons before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Think {
    /// Nothing is sent: the model has no such switch.
    #[default]
    Unset,
    /// Answer at once.
    Off,
    /// Reason first.
    On,
}

/// Three limits of one request, each with its own meaning when it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeLimits {
    /// From sending to the first byte of an answer; covers queue, load and reading of the prompt.
    pub first_token_ms: u64,
    /// Between two parts of the answer.
    pub idle_ms: u64,
    /// The whole reply, from the first byte on.
    pub whole_ms: u64,
}

/// One request. What is `None` is not sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Model as the server calls it.
    pub model: String,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// Tools offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Offer>,
    /// JSON Schema that binds the answer (`format` of Ollama, `response_format` of OpenAI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Reasoning.
    #[serde(default)]
    pub think: Think,
    /// Sampling temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// What a person has set for all local models. Claude is not sent it.
    #[serde(default, skip_serializing_if = "Sampling::is_empty")]
    pub sampling: Sampling,
    /// Seed of the sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Longest answer in tokens.
    pub reply_tokens_max: u32,
    /// The window to ask for in tokens (`num_ctx` of Ollama; other servers have a fixed one).
    pub context_tokens: u32,
    /// Time limits.
    pub limits: TimeLimits,
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It was ready.
    #[default]
    End,
    /// The limit of tokens, or the window was full: what is there is cut off.
    Length,
    /// The window was full, where the server tells that apart from the limit.
    Window,
    /// It was stopped between two of the server's own tools: not the end of a turn.
    Paused,
    /// It declined to answer; [`Reply::note`] says why, where the server does. Nothing of the text counts.
    Declined,
}

impl Stop {
    /// Whether the answer is not whole: nothing of it counts.
    #[must_use]
    pub const fn is_cut(self) -> bool {
        matches!(self, Self::Length | Self::Window | Self::Paused)
    }
}

/// Tokens as the server counted them; 0 where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Read, those of a cache included.
    pub prompt: u64,
    /// Written, reasoning included.
    pub reply: u64,
    /// Of those read, the ones that were kept for five minutes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_5m: u64,
    /// Of those read, the ones that were kept for an hour.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Of those read, the ones that had been kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tokens {
    /// Read and written, without a cache.
    #[must_use]
    pub const fn new(prompt: u64, reply: u64) -> Self {
        Self { prompt, reply, cache_write_5m: 0, cache_write_1h: 0, cache_read: 0 }
    }

    /// Of those read, the ones that no cache had to do with.
    #[must_use]
    pub const fn uncached(&self) -> u64 {
        let cached = self.cache_write_5m.saturating_add(self.cache_write_1h).saturating_add(self.cache_read);
        self.prompt.saturating_sub(cached)
    }
}

/// How long one answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// From sending to the first part of the answer.
    pub first_token_ms: u64,
    /// From sending to the end.
    pub whole_ms: u64,
    /// Until the model was ready, as the server says; 0 where it does not.
    pub load_ms: u64,
    /// Writing alone, as the server says or as it was seen here.
    pub writing_ms: u64,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The text, as it came.
    pub text: String,
    /// Reasoning that the server sent apart from the text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub thinking: String,
    /// Calls in the server's own form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<NativeCall>,
    /// Why it ended.
    pub stop: Stop,
    /// The server's words for that, where it has any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The turn in the server's own form, where the next request must repeat it as it was (signed reasoning).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub echo: Vec<Value>,
    /// Tokens.
    pub tokens: Tokens,
    /// Time.
    pub timing: Timing,
}

/// Why there is no answer. The class of each is in [`crate::domain::failure`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Refused, reset, no such host, or a proxy that says so (502, 504).
    #[error("cannot reach `{server}`: {message}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// The cause.
        message: String,
    },
    /// 429 or 503: it says that it has too much to do.
    #[error("`{server}` is busy: {message}")]
    Busy {
        /// The server's address.
        server: String,
        /// Its words.
        message: String,
        /// Wait that it asked for.
        retry_after_ms: Option<u64>,
    },
    /// A paid server counts its customer's requests or tokens, and the count is full.
    #[error("`{server}` limits the rate of requests: {message}")]
    RateLimited {
        /// The server's address.
        server: String,
        /// Its words, and which of its limits it was.
        message: String,
        /// Wait that it asked for.
        retry_after_ms: Option<u64>,
    },
    /// A paid server has too much to do for all its customers.
    #[error("`{server}` is overloaded: {message}")]
    Overloaded {
        /// The server's address.
        server: String,
        /// Its words.
        message: String,
        /// Wait that it asked for.
        retry_after_ms: Option<u64>,
    },
    /// The account's own limit of spending is reached: waiting minutes changes nothing.
    #[error("the account has reached its spend limit at `{server}`: {message}")]
    SpendLimit {
        /// The server's address.
        server: String,
        /// Its words.
        message: String,
    },
    /// The account has no credit, or its bill is not paid.
    #[error("`{server}` wants to be paid first: {message}")]
    Unpaid {
        /// The server's address.
        server: String,
        /// Its words.
        message: String,
    },
    /// A paid server does not know the key.
    #[error("`{server}` does not take the key: {message}")]
    BadKey {
        /// The server's address.
        server: String,
        /// Its words.
        message: String,
    },
    /// The key is good and may not do this.
    #[error("`{server}` does not allow this to the key: {message}")]
    Forbidden {
        /// The server's address.
        server: String,
        /// Its words.
        message: String,
    },
    /// The server understood the request and found a fault in it.
    #[error("`{model}` was asked in a way that its server refuses: {message}")]
    BadRequest {
        /// The model.
        model: String,
        /// The server's words.
        message: String,
    },
    /// The model does not fit into memory, or its runner died.
    #[error("`{model}` ran out of memory or died: {message}")]
    OutOfMemory {
        /// The model.
        model: String,
        /// The server's words.
        message: String,
    },
    /// Nothing came within [`TimeLimits::first_token_ms`].
    #[error("no answer from `{model}` within {} s", .limit_ms / 1000)]
    NoFirstToken {
        /// The model.
        model: String,
        /// The limit.
        limit_ms: u64,
    },
    /// The answer stopped coming for [`TimeLimits::idle_ms`].
    #[error("`{model}` fell silent for {} s in the middle of its answer", .limit_ms / 1000)]
    Silent {
        /// The model.
        model: String,
        /// The limit.
        limit_ms: u64,
    },
    /// The answer was still coming after [`TimeLimits::whole_ms`].
    #[error("`{model}` was still writing after {} s", .limit_ms / 1000)]
    TooSlow {
        /// The model.
        model: String,
        /// The limit.
        limit_ms: u64,
    },
    /// The stream ended without its last part, or with an error in it. What came is thrown away.
    #[error("the answer of `{model}` broke off: {message}")]
    BrokenStream {
        /// The model.
        model: String,
        /// What came instead.
        message: String,
    },
    /// The model wrote a call that its server could not read.
    #[error("the server could not read a call of `{model}`: {message}")]
    UnreadableCall {
        /// The model.
        model: String,
        /// The server's words.
        message: String,
    },
    /// The prompt is longer than the window.
    #[error("the prompt is longer than the window of `{model}`: {message}")]
    PromptTooLong {
        /// The model.
        model: String,
        /// The server's words.
        message: String,
        /// The window, where the server says it.
        context_tokens: Option<u32>,
    },
    /// The server has no such model.
    #[error("`{server}` has no model `{model}`")]
    NoSuchModel {
        /// The server's address.
        server: String,
        /// The model.
        model: String,
    },
    /// The model cannot do what was asked: `tools`, `thinking`, chat at all.
    #[error("`{model}` cannot do what was asked: {message}")]
    Unsupported {
        /// The model.
        model: String,
        /// What: `tools`, `thinking` or `chat`.
        what: &'static str,
        /// The server's words.
        message: String,
    },
    /// 401 or 403.
    #[error("`{server}` refused the credentials: {message}")]
    Denied {
        /// The server's address.
        server: String,
        /// Its words.
        message: String,
    },
    /// 500 without a known meaning.
    #[error("`{server}` failed: {message}")]
    ServerError {
        /// The server's address.
        server: String,
        /// Its words, bounded.
        message: String,
    },
    /// Something that is not its protocol, or any other 4xx.
    #[error("`{server}` does not understand the request, or is no model server: {message}")]
    Protocol {
        /// The server's address.
        server: String,
        /// What came, bounded.
        message: String,
    },
}

impl ModelError {
    /// The wait that the server asked for.
    #[must_use]
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Busy { retry_after_ms, .. }
            | Self::RateLimited { retry_after_ms, .. }
            | Self::Overloaded { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }

    /// What to try, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::NoSuchModel { model, .. } if claude::is_claude(model) => {
                "take another id: the console of the account lists those that it may use"
            }
            Self::NoSuchModel { model, .. } => {
                return Some(format!(
                    "fetch it (with Ollama: `ollmcp models pull {model}`), or take another model into the ladder"
                ));
            }
            Self::BadKey { .. } => {
                "check the key: `claude_integration.api_key` in the configuration, or `ANTHROPIC_API_KEY`"
            }
            Self::Denied { .. } => "check the server's key: `model_servers` in the configuration",
            Self::RateLimited { .. } => "lower `max_calls_per_hour`, or let fewer attempts run at once",
            Self::Overloaded { .. } => "wait, or take a second paid model into the ladder",
            Self::SpendLimit { .. } => "raise the spend limit in the provider's console, or wait for the next month",
            Self::Unpaid { .. } => "add credit in the provider's console",
            Self::Forbidden { .. } => "take a key of a workspace that may use this model",
            Self::BadRequest { .. } => "look at the step's schema and tools: the server names what it does not take",
            Self::PromptTooLong { .. } => "shorten the step's prompt and inputs, or take a model with a larger window",
            _ => return None,
        };
        Some(words.to_owned())
    }
}

/// What a model can do, as its server says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name as the server lists it.
    pub name: String,
    /// Family, for telling two models apart; empty where the server does not say.
    pub family: String,
    /// Size class as written (`8.2B`); empty where the server does not say.
    pub parameter_size: String,
    /// How its weights are stored, as written (`Q4_K_M`); empty where the server does not say.
    #[serde(default)]
    pub quantisation: String,
    /// Bytes on disk; 0 where the server does not say.
    pub bytes: u64,
    /// Digest of the weights; empty where the server does not say.
    pub digest: String,
    /// Longest window it was trained for.
    pub context_tokens_max: Option<u32>,
    /// It reads tools and writes calls natively; `None`: the server does not say.
    pub tools: Option<bool>,
    /// It can reason before it answers; `None`: the server does not say.
    pub thinking: Option<bool>,
    /// It answers chats at all (an embedding model does not).
    pub chat: bool,
    /// It would run on somebody else's machines, for money.
    pub is_remote: bool,
}

/// A model that is in memory now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// The window it was loaded with.
    pub context_tokens: Option<u32>,
    /// Bytes in all.
    pub bytes: u64,
    /// Of them on a graphics card.
    pub vram_bytes: u64,
    /// When it leaves memory if nobody asks it, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub until_ms: Option<u64>,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its program, as far as that can be told; empty where it cannot.
    pub program: String,
    /// Its version.
    pub version: Option<String>,
    /// Requests that it takes at once, where it says so.
    pub slots: Option<u32>,
}

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// The server's words.
    pub status: String,
    /// Bytes so far.
    pub completed: u64,
    /// Bytes in all; 0 while unknown.
    pub total: u64,
}

/// Told of each part of an answer as it comes: for screens only, never for decisions.
pub trait Notices: Send + Sync + Debug {
    /// A part of the text or of the reasoning.
    fn part(&self, text: &str);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNotices;

impl Notices for NoNotices {
    fn part(&self, _text: &str) {}
}

/// One model server. Every future may be dropped at any time: the connection is closed then, and the server stops.
pub trait ModelServer: Send + Sync + Debug + 'static {
    /// Its address, for people; without user or password.
    fn address(&self) -> &str;

    /// How many requests it is sent at once: as it was declared, 1 where nothing was.
    fn slots(&self) -> usize {
        1
    }

    /// Sends one request and waits for the whole answer. Never returns a part of one.
    ///
    /// # Errors
    /// Every variant of [`ModelError`].
    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>>;

    /// The same with what it cost, also where there is no answer. A future that is dropped leaves that unknown.
    fn chat_billed<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Billed> {
        Box::pin(async move { Billed::of_free(request, self.chat(request, notices).await) })
    }

    /// All models that it has.
    ///
    /// # Errors
    /// [`ModelError::Unreachable`], [`ModelError::Denied`], [`ModelError::Protocol`].
    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>>;

    /// One model with all that its server knows of it.
    ///
    /// # Errors
    /// Those of [`ModelServer::models`] and [`ModelError::NoSuchModel`].
    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>>;

    /// What is in memory; `None`: this kind of server does not tell.
    ///
    /// # Errors
    /// Those of [`ModelServer::models`].
    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>>;

    /// What the server says of itself.
    ///
    /// # Errors
    /// Those of [`ModelServer::models`].
    fn about(&self) -> BoxFuture<'_, Result<About, ModelError>> {
        Box::pin(async { Ok(About::default()) })
    }

    /// Fetches a model.
    ///
    /// # Errors
    /// Those of [`ModelServer::models`]; [`ModelError::Unsupported`] where this kind of server cannot.
    fn pull<'a>(
        &'a self,
        name: &'a str,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>>;
}

/// All model servers by name, as rungs name them.
#[derive(Clone, Debug, Default)]
pub struct ModelServers(pub std::collections::BTreeMap<String, Arc<dyn ModelServer>>);

/// `SERVER:MODEL` in its parts. Model names may hold colons, server names may not.
#[must_use]
pub fn split_rung(rung: &str) -> Option<(&str, &str)> {
    rung.split_once(':').filter(|(server, model)| !server.is_empty() && !model.is_empty())
}

/// Arguments of a call as an object, where they are one or are JSON text of one.
#[must_use]
pub fn arguments_object(arguments: &Value) -> Option<Map<String, Value>> {
    match arguments {
        Value::Object(map) => Some(map.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}
