//! One request as the server understood it, whichever protocol it came in, and what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::tokens_of;

/// Which protocol a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `/api/…`.
    Ollama,
    /// `/v1/…` and what stands beside it.
    OpenAi,
    /// Anthropic's, on a server of its own.
    Anthropic,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is still being answered, or waits.
    Running,
    /// Answered to the end, refusals included.
    Whole,
    /// The server broke it off, as the script said.
    Broken,
    /// The client went away before the end.
    Left,
}

/// One message of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// `system`, `user`, `assistant` or `tool`.
    pub(crate) role: String,
    /// Its text.
    pub(crate) text: String,
    /// Its reasoning.
    pub(crate) thinking: String,
    /// Its calls: name and arguments as an object.
    pub(crate) calls: Vec<(String, Value)>,
    /// For a result on Ollama's protocol: name of the tool.
    pub(crate) tool_name: Option<String>,
    /// For a result: id of the call.
    pub(crate) call_id: Option<String>,
}

impl Said {
    /// Tokens, as this server counts.
    pub(crate) fn tokens(&self) -> u64 {
        let calls = self.calls.iter().map(|(name, arguments)| tokens_of(name) + tokens_of(&arguments.to_string()));
        tokens_of(&self.text) + tokens_of(&self.thinking) + calls.sum::<u64>()
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its place among all requests, from 0.
    pub(crate) number: usize,
    /// Its place among the chat requests for its model, from 0.
    pub(crate) nth: usize,
    /// When it had arrived, from the start of the server.
    pub(crate) at: Duration,
    /// Its protocol.
    pub(crate) protocol: Protocol,
    /// `GET`, `POST` …
    pub(crate) method: String,
    /// The path, without a query.
    pub(crate) path: String,
    /// Headers, names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body; null where it was empty or no JSON.
    pub(crate) body: Value,
    /// Whether a model is to answer: a chat or a generation that was understood and has something to answer.
    pub(crate) is_chat: bool,
    /// The model, as the request names it.
    pub(crate) model: String,
    /// The conversation.
    pub(crate) messages: Vec<Said>,
    /// What the model gets to see of it: less, where the window is too small and the server cuts.
    pub(crate) kept: Vec<Said>,
    /// Tools, as they came.
    pub(crate) tools: Vec<Value>,
    /// The schema that binds the answer.
    pub(crate) schema: Option<Value>,
    /// Ollama's `options`; on OpenAI's protocol the fields of the same kind (`temperature`, `max_tokens` …).
    pub(crate) options: Map<String, Value>,
    /// Ollama's `think`.
    pub(crate) think: Option<Value>,
    /// Whether the answer is streamed.
    pub(crate) is_streamed: bool,
    /// Tokens of what the model gets to see.
    pub(crate) prompt_tokens: u64,
    /// The window that the model has for this request.
    pub(crate) context_tokens: u32,
    /// The status that was sent; `None` before, and where none ever was.
    pub(crate) status: Option<u16>,
    /// What became of it.
    pub(crate) end: End,
}

impl Asked {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let protocol = if path.starts_with("/v1/") { Protocol::OpenAi } else { Protocol::Ollama };
        Self {
            number: 0,
            nth: 0,
            at: Duration::ZERO,
            protocol,
            method: method.into(),
            path: path.into(),
            headers: BTreeMap::new(),
            body: Value::Null,
            is_chat: false,
            model: String::new(),
            messages: Vec::new(),
            kept: Vec::new(),
            tools: Vec::new(),
            schema: None,
            options: Map::new(),
            think: None,
            is_streamed: false,
            prompt_tokens: 0,
            context_tokens: 0,
            status: None,
            end: End::Running,
        }
    }

    /// Text of the last message.
    pub(crate) fn last(&self) -> &str {
        self.messages.last().map_or("", |message| &message.text)
    }

    /// Role of the last message.
    pub(crate) fn last_role(&self) -> &str {
        self.messages.last().map_or("", |message| &message.role)
    }

    /// Texts of all messages that the model gets to see, one per line: for `contains`.
    pub(crate) fn seen(&self) -> String {
        self.kept.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Names of the tools offered.
    pub(crate) fn tool_names(&self) -> Vec<&str> {
        self.tools.iter().filter_map(|tool| tool["function"]["name"].as_str().or(tool["name"].as_str())).collect()
    }

    /// Whether the server cut the conversation.
    pub(crate) fn is_cut(&self) -> bool {
        self.kept != self.messages
    }

    /// The longest answer that the request allows, in tokens.
    pub(crate) fn reply_tokens_max(&self) -> Option<u64> {
        ["num_predict", "max_tokens", "max_completion_tokens"]
            .iter()
            .find_map(|key| self.options.get(*key))
            .and_then(Value::as_f64)
            .filter(|limit| *limit >= 0.0)
            .map(|limit| limit as u64)
    }

    /// Tokens of the tools, as this server counts.
    pub(crate) fn tool_tokens(&self) -> u64 {
        self.tools.iter().map(|tool| tokens_of(&tool.to_string())).sum()
    }
}

/// One load of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    /// The model, with its tag.
    pub(crate) model: String,
    /// The window it was loaded with.
    pub(crate) context_tokens: u32,
    /// When the load began, from the start of the server.
    pub(crate) at: Duration,
    /// What had to leave the memory for it; its own name where only its options changed.
    pub(crate) evicted: Vec<String>,
}
