//! What a server is made of, and how a request finds its answer: routes, models, scripts.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::go::{self, Refusal};
use super::model::{MODIFIED_AT, Model, with_tag};
use super::ollama;
use super::openai::{self, Flavour};
use super::runners::{LoadOptions, Runners};
use crate::scripted::answer::{Answer, Head};
use crate::scripted::asked::{Asked, Protocol};
use crate::scripted::connection::{self, Turn};
use crate::scripted::plain::plain;
use crate::scripted::record::{Record, Ticket};
use crate::scripted::script::Scripts;
use crate::scripted::steps::{self, JSON, Reply, Step, TEXT};

/// All of a server but its socket.
pub(super) struct House {
    pub(super) flavour: Flavour,
    pub(super) version: String,
    pub(super) key: Option<String>,
    pub(super) pull_ms: u64,
    pub(super) models: Mutex<Vec<Model>>,
    pub(super) scripts: Scripts,
    pub(super) record: Arc<Record>,
    pub(super) runners: Arc<Runners>,
}

const ROUTES: &[(&str, &str)] = &[
    ("/", "GET"),
    ("/api/version", "GET"),
    ("/api/tags", "GET"),
    ("/api/ps", "GET"),
    ("/api/show", "POST"),
    ("/api/pull", "POST"),
    ("/api/chat", "POST"),
    ("/api/generate", "POST"),
    ("/health", "GET"),
    ("/v1/models", "GET"),
    ("/v1/chat/completions", "POST"),
];

impl connection::House for House {
    fn record(&self) -> &Arc<Record> {
        &self.record
    }

    fn killed(&self) {
        self.runners.forget();
    }

    async fn answer(self: Arc<Self>, asked: Asked, body: Bytes) -> (Turn, Ticket) {
        self.turn(asked, &body).await
    }
}

impl House {
    async fn turn(self: &Arc<Self>, mut asked: Asked, body: &[u8]) -> (Turn, Ticket) {
        asked.body = serde_json::from_slice(body).unwrap_or_default();
        asked.model = asked.body["model"].as_str().unwrap_or_default().to_owned();
        let routed = match self.routed(&asked) {
            Ok(()) if matches!(asked.path.as_str(), "/api/chat" | "/api/generate" | "/v1/chat/completions") => {
                return self.chat(asked, body).await;
            }
            Ok(()) => self.other(&asked, body),
            Err(reply) => Ok(reply),
        };
        let protocol = asked.protocol;
        let (_, ticket) = self.record.arrive(asked);
        (routed.unwrap_or_else(|refusal| self.refused(protocol, &refusal)).into(), ticket)
    }

    fn refused(&self, protocol: Protocol, refusal: &Refusal) -> Reply {
        let value = match protocol {
            Protocol::Ollama => ollama::error(&refusal.message),
            Protocol::OpenAi | Protocol::Anthropic => openai::error(self.flavour, refusal),
        };
        Reply::json(refusal.status, &value)
    }

    /// Whether there is such a path and method, and the key is right.
    fn routed(&self, asked: &Asked) -> Result<(), Reply> {
        let path = asked.path.as_str();
        let is_hidden = self.flavour == Flavour::LlamaCpp && path.starts_with("/api/");
        let llama_refusal = |status: u16, message: &str| self.refused(Protocol::OpenAi, &Refusal::new(status, message));
        let Some((_, method)) = ROUTES.iter().find(|(known, _)| *known == path && !is_hidden) else {
            return Err(match self.flavour {
                Flavour::LlamaCpp => llama_refusal(404, "File Not Found"),
                Flavour::Ollama => Reply::bytes(404, TEXT, "404 page not found"),
            });
        };
        if *method != asked.method.replace("HEAD", "GET") {
            return Err(match self.flavour {
                Flavour::LlamaCpp => llama_refusal(404, "File Not Found"),
                Flavour::Ollama => Reply::bytes(405, TEXT, "405 method not allowed"),
            });
        }
        let is_open = matches!(path, "/" | "/health");
        let given = asked.headers.get("authorization").map(String::as_str);
        match &self.key {
            Some(key) if !is_open && given != Some(format!("Bearer {key}").as_str()) => {
                let message = if asked.protocol == Protocol::OpenAi { "Invalid API Key" } else { "unauthorized" };
                Err(self.refused(asked.protocol, &Refusal::new(401, message)))
            }
            _ => Ok(()),
        }
    }

    /// An installed model by the name of a request.
    fn model(&self, name: &str) -> Result<Model, Refusal> {
        let models = self.models.lock().unwrap();
        let is_any = self.flavour == Flavour::LlamaCpp;
        let wanted = with_tag(name);
        models
            .iter()
            .find(|model| model.is_installed && (is_any || model.name == wanted))
            .cloned()
            .ok_or_else(|| Refusal::new(404, format!("model '{name}' not found")))
    }

    fn installed(&self) -> Vec<Model> {
        self.models.lock().unwrap().iter().filter(|model| model.is_installed).cloned().collect()
    }

    /// Everything that asks no model.
    fn other(&self, asked: &Asked, body: &[u8]) -> Result<Reply, Refusal> {
        let ok = |value: &Value| Ok(Reply::json(200, value));
        match asked.path.as_str() {
            "/" => Ok(Reply::bytes(200, TEXT, "Ollama is running")),
            "/health" => ok(&json!({ "status": "ok" })),
            "/api/version" => ok(&json!({ "version": self.version })),
            "/api/tags" => {
                let entry = |model: &Model| {
                    let mut entry = model.entry();
                    entry["modified_at"] = json!(MODIFIED_AT);
                    entry["capabilities"] = json!(model.capabilities);
                    entry
                };
                ok(&json!({ "models": self.installed().iter().map(entry).collect::<Vec<_>>() }))
            }
            "/api/ps" => ok(&self.loaded()),
            "/api/show" => {
                let body = go::object(body)?;
                let name = go::string(&body, "model", "ShowRequest")?.or(go::string(&body, "name", "ShowRequest")?);
                ok(&self.model(name.filter(|name| !name.is_empty()).ok_or_else(no_model)?)?.show())
            }
            "/api/pull" => self.pull(body),
            "/v1/models" => {
                let card = |model: &Model| {
                    let mut card =
                        json!({ "id": model.name, "object": "model", "created": 1_770_454_800, "owned_by": "library" });
                    if self.flavour == Flavour::LlamaCpp {
                        card["owned_by"] = json!("llamacpp");
                        card["meta"] = json!({
                            "n_ctx_train": model.context_tokens_max, "n_ctx": model.window_for(None), "size": model.bytes,
                            "n_params": 8_190_735_360_u64,
                        });
                    }
                    card
                };
                ok(&json!({ "object": "list", "data": self.installed().iter().map(card).collect::<Vec<_>>() }))
            }
            other => panic!("the table of routes has `{other}`, which nobody answers"),
        }
    }

    fn loaded(&self) -> Value {
        let entry = |(model, window, left): (Model, u32, Option<Duration>)| {
            let mut entry = model.entry();
            // For ever is some hundred years here as there.
            let left = left.unwrap_or(Duration::from_secs(100 * 365 * 86_400));
            let end = jiff::Timestamp::now().as_second().saturating_add_unsigned(left.as_secs());
            let end = jiff::Timestamp::from_second(end).unwrap_or(jiff::Timestamp::MAX);
            entry["expires_at"] = json!(end.to_string());
            entry["size_vram"] = json!(model.vram_bytes);
            entry["context_length"] = json!(window);
            entry
        };
        json!({ "models": self.runners.loaded().into_iter().map(entry).collect::<Vec<_>>() })
    }

    fn pull(&self, body: &[u8]) -> Result<Reply, Refusal> {
        let body = go::object(body)?;
        let name = go::string(&body, "model", "PullRequest")?.or(go::string(&body, "name", "PullRequest")?);
        let name = with_tag(name.filter(|name| !name.is_empty()).ok_or_else(no_model)?);
        let is_streamed = go::boolean(&body, "stream", "PullRequest")?.unwrap_or(true);
        let mut models = self.models.lock().unwrap();
        let mut is_cut = false;
        let lines = match models.iter_mut().find(|model| model.name == name) {
            Some(model) if model.pull_cuts > 0 => {
                is_cut = true;
                model.pull_cuts -= 1;
                let lines = ollama::pull(model);
                // Half of what was left is there now.
                model.pulled += (model.bytes - model.pulled) / 2;
                lines.into_iter().take(3).collect()
            }
            Some(model) => {
                model.is_installed |= model.pull_error.is_none();
                ollama::pull(model)
            }
            None => {
                vec![json!({ "status": "pulling manifest" }), ollama::error("pull model manifest: file does not exist")]
            }
        };
        if !is_streamed {
            let last = lines.last().expect("a pull has lines");
            return Ok(Reply::json(if last.get("error").is_some() { 500 } else { 200 }, last));
        }
        let mut steps = Vec::new();
        for line in lines {
            steps.extend([Step::Bytes(format!("{line}\n").into()), Step::Wait(self.pull_ms)]);
        }
        if is_cut {
            steps.push(Step::Cut);
        }
        Ok(Reply::stream("application/x-ndjson", steps))
    }

    /// A request that a model is to answer.
    async fn chat(self: &Arc<Self>, mut asked: Asked, body: &[u8]) -> (Turn, Ticket) {
        let protocol = asked.protocol;
        let read = match protocol {
            Protocol::Ollama => self.read_ollama(&mut asked, body),
            Protocol::OpenAi | Protocol::Anthropic => self.read_openai(&mut asked, body),
        };
        let chat = match read {
            Ok(chat) => chat,
            Err(refusal) => {
                let (_, ticket) = self.record.arrive(asked);
                return (self.refused(protocol, &refusal).into(), ticket);
            }
        };
        let is_load_only = chat.wishes.as_ref().is_some_and(|wishes| wishes.is_load_only);
        asked.is_chat = !is_load_only;
        let (asked, ticket) = self.record.arrive(asked);
        if is_load_only {
            return (self.load_only(&asked, &chat).await, ticket);
        }
        let answer = self.scripted(&asked);
        (self.play(&asked, &chat, answer).await, ticket)
    }

    fn read_ollama(&self, asked: &mut Asked, body: &[u8]) -> Result<Chat, Refusal> {
        let mut wishes = ollama::read(asked, body)?;
        if asked.model.is_empty() {
            return Err(if asked.path == "/api/generate" {
                Refusal::new(404, "model '' not found")
            } else {
                no_model()
            });
        }
        if !asked.model.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/@".contains(c)) {
            return Err(Refusal::new(400, "invalid model name"));
        }
        let model = self.model(&asked.model)?;
        ollama::check(asked, &wishes, &model)?;
        let window = go::integer(&asked.options, "num_ctx").and_then(|tokens| u32::try_from(tokens).ok());
        asked.context_tokens = model.window_for(window.filter(|tokens| *tokens > 0));
        wishes.load.context_tokens = asked.context_tokens;
        ollama::fit(asked, &wishes)?;
        Ok(Chat { model, load: wishes.load.clone(), keep: wishes.keep, wishes: Some(wishes) })
    }

    fn read_openai(&self, asked: &mut Asked, body: &[u8]) -> Result<Chat, Refusal> {
        openai::read(asked, body)?;
        let is_strict = self.flavour == Flavour::Ollama;
        if is_strict && asked.model.is_empty() {
            return Err(no_model());
        }
        if is_strict && asked.messages.is_empty() {
            return Err(Refusal::new(400, "[] is too short - 'messages'"));
        }
        let model = self.model(&asked.model)?;
        if !asked.tools.is_empty() && !model.has("tools") {
            if is_strict {
                let full = format!("registry.ollama.ai/library/{} does not support tools", model.name);
                return Err(Refusal::new(400, full));
            }
            // A template that does not know tools drops them without a word.
            asked.tools.clear();
        }
        asked.context_tokens = model.window_for(None);
        openai::fit(asked)?;
        let load = LoadOptions { context_tokens: asked.context_tokens, shift: true, other: Vec::new() };
        let keep = is_strict.then_some(Duration::from_secs(300));
        Ok(Chat { model, load, keep, wishes: None })
    }

    async fn load_only(self: &Arc<Self>, asked: &Asked, chat: &Chat) -> Turn {
        let wire = ollama::Wire { asked, load: Duration::ZERO, remote_host: None };
        if chat.keep == Some(Duration::ZERO) {
            self.runners.unload(&chat.model.name);
            return Reply::json(200, &wire.loaded(true)).into();
        }
        match self.runners.acquire(&chat.model, &chat.load, chat.keep).await {
            Ok(hold) => Turn::Reply(Reply::json(200, &wire.loaded(false)), Some(Box::new(hold))),
            Err(_) => self.queue_full(asked.protocol).into(),
        }
    }

    fn queue_full(&self, protocol: Protocol) -> Reply {
        let message = "server busy, please try again.  maximum pending requests exceeded";
        self.refused(protocol, &Refusal::new(503, message))
    }

    /// What the script says to a request.
    fn scripted(&self, asked: &Asked) -> Answer {
        self.scripts.next(Some(with_tag(&asked.model)), asked, &self.record).unwrap_or_else(|| plain(asked))
    }

    /// Plays an answer up to its first byte.
    async fn play(self: &Arc<Self>, asked: &Asked, chat: &Chat, answer: Answer) -> Turn {
        let arrived = Instant::now();
        // What is refused at once does not wait for a slot.
        let is_refusal = matches!(answer.head, Head::Refused { .. } | Head::Raw { .. });
        let hold = if is_refusal {
            None
        } else {
            match self.runners.acquire(&chat.model, &chat.load, chat.keep).await {
                Ok(hold) => Some(hold),
                Err(_) => return self.queue_full(asked.protocol).into(),
            }
        };
        let load = arrived.elapsed();
        let refused = |status: u16, message: &str| self.refused(asked.protocol, &Refusal::new(status, message));
        if let Some(turn) = steps::begin(&answer, refused).await {
            return turn;
        }
        let reply = match &chat.wishes {
            Some(wishes) => {
                let wire = ollama::Wire { asked, load, remote_host: chat.model.remote_host.clone() };
                steps::render(asked, &wire, &ollama::bounded(asked, wishes, answer))
            }
            None => {
                let model = if self.flavour == Flavour::LlamaCpp { &chat.model.name } else { &asked.model };
                let wire = openai::Wire { asked, flavour: self.flavour, model: model.clone() };
                steps::render(asked, &wire, &openai::bounded(asked, answer))
            }
        };
        Turn::Reply(reply, hold.map(|hold| Box::new(hold) as connection::Hold))
    }
}

/// What a chat request needs beside its conversation.
struct Chat {
    model: Model,
    load: LoadOptions,
    keep: Option<Duration>,
    /// On Ollama's own protocol.
    wishes: Option<ollama::Wishes>,
}

fn no_model() -> Refusal {
    Refusal::new(400, "model is required")
}
