//! The adapters of the model port against a scripted server: one suite that both protocols pass, then what each has alone.

mod answers;
mod faults;
mod lists;
mod raw;
mod requests;

use std::sync::Mutex;

use ollmcp::model::address::Address;
use ollmcp::model::key::Key;
use ollmcp::model::ollama::Ollama;
use ollmcp::model::openai::OpenAi;
use ollmcp::model::{
    Message, ModelError, ModelServer as Port, NoNotices, Notices, Offer, Reply, Request, Speaker, Think, TimeLimits,
};
use serde_json::json;

use crate::model_server::{Model, ModelServer};

/// The model that most tests ask.
const MODEL: &str = "qwen3:8b";

/// Whom a test asks, and with which adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ollama's own protocol.
    Ollama,
    /// OpenAI's protocol, as Ollama speaks it.
    OllamaV1,
    /// OpenAI's protocol, as llama.cpp speaks it.
    LlamaCpp,
}

const KINDS: [Kind; 3] = [Kind::Ollama, Kind::OllamaV1, Kind::LlamaCpp];

impl Kind {
    fn start(self) -> ModelServer {
        self.start_with([Model::new(MODEL).thinks()])
    }

    fn start_with(self, models: impl IntoIterator<Item = Model>) -> ModelServer {
        let setup = ModelServer::setup(models);
        if self == Self::LlamaCpp { setup.llama_cpp().start() } else { setup.start() }
    }

    fn client(self, url: &str) -> Box<dyn Port> {
        self.client_with(url, None)
    }

    fn client_with(self, url: &str, key: Option<Key>) -> Box<dyn Port> {
        let address = Address::url(url).unwrap();
        match self {
            Self::Ollama => Box::new(Ollama::new(address, key).unwrap()),
            Self::OllamaV1 | Self::LlamaCpp => Box::new(OpenAi::new(address, key).unwrap()),
        }
    }

    fn is_ollama(self) -> bool {
        self == Self::Ollama
    }

    async fn ask(self, server: &ModelServer) -> Result<Reply, ModelError> {
        self.client(&server.url()).chat(&request(), &NoNotices).await
    }
}

/// A request with limits that only a broken test passes.
fn request() -> Request {
    Request {
        model: MODEL.to_owned(),
        messages: vec![Message::new(Speaker::System, "Be brief."), Message::new(Speaker::User, "Say hello.")],
        tools: Vec::new(),
        schema: None,
        think: Think::Unset,
        temperature: None,
        sampling: ollmcp::domain::sampling::Sampling::default(),
        seed: None,
        reply_tokens_max: 20_000_000,
        context_tokens: 40_000_000,
        limits: TimeLimits { first_token_ms: 20_000, idle_ms: 20_000, whole_ms: 60_000 },
    }
}

fn limited(first_token_ms: u64, idle_ms: u64, whole_ms: u64) -> Request {
    Request { limits: TimeLimits { first_token_ms, idle_ms, whole_ms }, ..request() }
}

fn offer() -> Offer {
    Offer {
        name: "get_weather".to_owned(),
        description: "Tells the weather".to_owned(),
        parameters: json!({
            "$defs": { "City": { "type": "string", "minLength": 1 } },
            "type": "object",
            "properties": { "city": { "$ref": "#/$defs/City" }, "days": { "oneOf": [{ "type": "integer" }, { "type": "null" }] } },
            "required": ["city"],
        }),
    }
}

/// Keeps what a screen would have been told.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Notices for Heard {
    fn part(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Heard {
    fn parts(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
