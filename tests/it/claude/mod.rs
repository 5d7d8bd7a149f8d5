//! The adapter of Claude against the scripted Anthropic: answers, requests, faults, and what each costs.

mod answers;
mod faults;
mod requests;

use std::sync::Arc;

use ollmcp::model::address::Address;
use ollmcp::model::bill::Billed;
use ollmcp::model::claude::Claude;
use ollmcp::model::claude::catalogue::Catalogue;
use ollmcp::model::key::Key;
use ollmcp::model::{
    Message, ModelError, ModelServer as Port, NoNotices, Offer, Reply, Request, Speaker, Think, TimeLimits,
};
use serde_json::json;

use crate::anthropic_server::AnthropicServer;

/// The model that most tests ask.
const MODEL: &str = "claude-sonnet-5-5";
/// The key that most tests send.
const KEY: &str = "sk-ant-test-0123456789";

fn catalogue() -> Catalogue {
    Catalogue::on("2026-11-25".parse().unwrap())
}

fn client(url: &str) -> Claude {
    Claude::new(Address::url(url).unwrap(), Key::api(KEY), Arc::new(catalogue())).unwrap()
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
        reply_tokens_max: 20_000,
        context_tokens: 200_000,
        limits: TimeLimits { first_token_ms: 20_000, idle_ms: 20_000, whole_ms: 60_000 },
    }
}

fn limited(first_token_ms: u64, idle_ms: u64, whole_ms: u64) -> Request {
    Request { limits: TimeLimits { first_token_ms, idle_ms, whole_ms }, ..request() }
}

fn offer(name: &str) -> Offer {
    Offer {
        name: name.to_owned(),
        description: "Tells the weather".to_owned(),
        parameters: json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] }),
    }
}

async fn ask(server: &AnthropicServer, request: &Request) -> Result<Reply, ModelError> {
    client(&server.url()).chat(request, &NoNotices).await
}

async fn buy(server: &AnthropicServer, request: &Request) -> Billed {
    client(&server.url()).chat_billed(request, &NoNotices).await
}
