//! Words and status codes of a server's refusal into a [`ModelError`]. Pure: one place knows what servers say.
//!
//! Nothing of it is read out of a model's answer, only out of what a server puts where its errors stand.

use serde_json::Value;

use super::ModelError;
use super::key::Key;

/// Longest message that is passed on, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Who was asked for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) server: &'a str,
    /// Empty where no model was named.
    pub(super) model: &'a str,
    pub(super) key: Option<&'a Key>,
}

/// What a server said instead of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Its words on one line.
    text: String,
    /// Words and codes in lower case, for finding out what is meant.
    search: String,
    /// The status that stands in the body.
    code: Option<u16>,
    context_tokens: Option<u32>,
}

impl Told {
    /// Reads the body of a refusal, whatever it is.
    pub(super) fn of_body(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value @ Value::Object(_)) => {
                // `{"error":…}`, or the fault itself as some servers send it; `detail` and `message` are those of web frameworks.
                let inner = ["error", "detail"].iter().find_map(|key| value.get(key).filter(|found| !found.is_null()));
                Self::of_value(inner.unwrap_or(&value))
            }
            Ok(Value::String(text)) => Self::of_text(&text),
            _ => Self::of_text(&readable(&String::from_utf8_lossy(body))),
        }
    }

    /// Reads what stands in the `error` of an object.
    pub(super) fn of_value(error: &Value) -> Self {
        let words = |value: &Value| value.as_str().map(str::to_owned);
        let text = words(error)
            .or_else(|| ["message", "error", "detail"].iter().find_map(|key| error.get(key).and_then(words)))
            .unwrap_or_else(|| error.to_string());
        let mut told = Self::of_text(&text);
        for key in ["type", "code", "param"] {
            if let Some(word) = error.get(key).and_then(Value::as_str) {
                told.search.push(' ');
                told.search.push_str(&word.to_lowercase());
            }
        }
        told.code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let window = error.get("n_ctx").and_then(Value::as_u64).and_then(|tokens| u32::try_from(tokens).ok());
        told.context_tokens = window.or(told.context_tokens);
        told
    }

    fn of_text(text: &str) -> Self {
        let search = text.to_lowercase();
        Self { context_tokens: window_in(&search), text: text.to_owned(), search, code: None }
    }

    /// Whether any of these words (lower case) stands in what it says.
    pub(super) fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.search.contains(word))
    }

    /// The words on one line, bounded, without credentials.
    fn message(&self, key: Option<&Key>, otherwise: &str) -> String {
        let text = if self.text.trim().is_empty() { otherwise } else { &self.text };
        one_line(text, key)
    }
}

/// What words mean, wherever they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    UnreadableCall,
    PromptTooLong,
    OutOfMemory,
    Unsupported(&'static str),
    NoSuchModel,
}

/// The server could not read what the model wrote. Looked for first: such texts repeat the model's own words.
const UNREADABLE_CALL: &[&str] = &[
    "error parsing tool call",
    "failed to parse tool call",
    "failed to parse json",
    "invalid tool call arguments",
    "tool call arguments as json",
    "failed to parse input at pos",
    "produced output that does not match",
];

const PROMPT_TOO_LONG: &[&str] = &[
    "longer than the context",
    "input length exceeds",
    "exceeds the context length",
    "exceeds the available context",
    "exceed_context_size",
    "context_length_exceeded",
    "context size has been exceeded",
    "maximum context length",
    "exceeds maximum context",
    "prompt is too long",
    // What is left when truncation took every message of a user away.
    "no user query found in messages",
];

const OUT_OF_MEMORY: &[&str] = &[
    "out of memory",
    "outofmemory",
    "outofdevicememory",
    "more system memory",
    "insufficient memory",
    "not enough memory",
    "cannot allocate memory",
    "failed to allocate",
    "unable to allocate",
    "cudamalloc failed",
    "bad_alloc",
    "process has terminated",
    "process no longer running",
    "runner has unexpectedly stopped",
    "runner terminated",
    "resource limitations",
    "signal: killed",
];

const NO_TOOLS: &[&str] =
    &["does not support tools", "does not support tool", "tools param requires", "tool choice requires --"];
const NO_THINKING: &[&str] = &["does not support thinking", "does not support think"];
const NO_CHAT: &[&str] = &[
    "does not support chat",
    "does not support generate",
    "does not support completion",
    "does not support the chat completions",
];

fn meaning(told: &Told) -> Option<Meaning> {
    let table = [
        (UNREADABLE_CALL, Meaning::UnreadableCall),
        (NO_TOOLS, Meaning::Unsupported("tools")),
        (NO_THINKING, Meaning::Unsupported("thinking")),
        (NO_CHAT, Meaning::Unsupported("chat")),
        (PROMPT_TOO_LONG, Meaning::PromptTooLong),
        (OUT_OF_MEMORY, Meaning::OutOfMemory),
    ];
    table.into_iter().find(|(words, _)| told.has(words)).map(|(_, meaning)| meaning).or_else(|| {
        let is_absent = told.has(&["not found", "does not exist", "no such", "could not find", "not installed"]);
        let is_model = told.has(&["model_not_found"]) || (told.has(&["model"]) && is_absent);
        is_model.then_some(Meaning::NoSuchModel)
    })
}

impl Asked<'_> {
    /// What a status other than 2xx means.
    pub(super) fn refusal(&self, status: u16, told: &Told, retry_after_ms: Option<u64>) -> ModelError {
        let server = self.server.to_owned();
        let message = told.message(self.key, &status_words(status));
        let found = meaning(told);
        match status {
            401 | 403 => ModelError::Denied { server, message },
            429 | 503 | 529 => ModelError::Busy { server, message, retry_after_ms },
            // Proxies say so when what stands behind them does not answer.
            408 | 502 | 504 | 520..=527 | 530 => ModelError::Unreachable { server, message },
            501 => found.map_or_else(|| self.protocol(told, status), |meaning| self.meant(meaning, told, message)),
            500.. => match found {
                Some(meaning) if meaning != Meaning::NoSuchModel => self.meant(meaning, told, message),
                _ => ModelError::ServerError { server, message },
            },
            400..=499 => match found {
                // What a client did wrong is no fault of the model, whatever words are used for it.
                Some(Meaning::UnreadableCall | Meaning::OutOfMemory) | None => self.protocol(told, status),
                Some(Meaning::NoSuchModel) if self.model.is_empty() => self.protocol(told, status),
                Some(meaning) => self.meant(meaning, told, message),
            },
            _ => self.protocol(told, status),
        }
    }

    /// What an error in the middle of a good stream means.
    pub(super) fn in_stream(&self, told: &Told) -> ModelError {
        let message = told.message(self.key, "the server reports an error without words");
        match (meaning(told), told.code) {
            (Some(meaning), _) => self.meant(meaning, told, message),
            (None, Some(code @ (401 | 403 | 429 | 503 | 529))) => self.refusal(code, told, None),
            (None, _) => ModelError::BrokenStream { model: self.model.to_owned(), message },
        }
    }

    /// The answer broke off.
    pub(super) fn broken(&self, message: impl AsRef<str>) -> ModelError {
        ModelError::BrokenStream { model: self.model.to_owned(), message: one_line(message.as_ref(), self.key) }
    }

    /// What came is not the server's protocol.
    pub(super) fn not_protocol(&self, message: impl AsRef<str>) -> ModelError {
        ModelError::Protocol { server: self.server.to_owned(), message: one_line(message.as_ref(), self.key) }
    }

    /// No connection, or none that lasted until an answer.
    pub(super) fn unreachable(&self, message: impl AsRef<str>) -> ModelError {
        ModelError::Unreachable { server: self.server.to_owned(), message: one_line(message.as_ref(), self.key) }
    }

    fn protocol(&self, told: &Told, status: u16) -> ModelError {
        let words = status_words(status);
        let text = told.message(self.key, "");
        self.not_protocol(if text.is_empty() { words } else { format!("{words}: {text}") })
    }

    fn meant(&self, meaning: Meaning, told: &Told, message: String) -> ModelError {
        let model = self.model.to_owned();
        match meaning {
            Meaning::UnreadableCall => ModelError::UnreadableCall { model, message },
            Meaning::PromptTooLong => ModelError::PromptTooLong { model, message, context_tokens: told.context_tokens },
            Meaning::OutOfMemory => ModelError::OutOfMemory { model, message },
            Meaning::Unsupported(what) => ModelError::Unsupported { model, what, message },
            Meaning::NoSuchModel => ModelError::NoSuchModel { server: self.server.to_owned(), model },
        }
    }
}

/// One line of at most 300 characters, without control characters and without the credential.
pub(super) fn one_line(text: &str, key: Option<&Key>) -> String {
    let hidden = key.map_or_else(|| text.to_owned(), |key| key.hide_in(text));
    let mut line = String::new();
    for word in hidden.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.chars().nth(MESSAGE_CHARS_MAX).is_some() {
            line = line.chars().take(MESSAGE_CHARS_MAX - 1).chain(['…']).collect();
            break;
        }
    }
    line
}

/// A web page as what it is, with its title; other text as it stands.
pub(super) fn readable(text: &str) -> String {
    let trimmed = text.trim_start();
    let lower = trimmed.to_ascii_lowercase();
    if !lower.starts_with("<!doctype") && !lower.starts_with("<html") && !lower.contains("<body") {
        return text.to_owned();
    }
    let title = lower.find("<title>").map(|at| at + "<title>".len()).and_then(|from| {
        let to = from + lower[from..].find("</title>")?;
        trimmed.get(from..to)
    });
    title.map_or_else(|| "a web page".to_owned(), |title| format!("a web page `{}`", title.trim()))
}

fn status_words(status: u16) -> String {
    let words = reqwest::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    words.map_or_else(|| format!("HTTP {status}"), |words| format!("HTTP {status} {words}"))
}

/// The window out of words such as `context size (4096 tokens)` or `maximum context length is 8192 tokens`.
fn window_in(lower: &str) -> Option<u32> {
    ["context size (", "context length is ", "context length of ", "context window of "].iter().find_map(|before| {
        let rest = &lower[lower.find(before)? + before.len()..];
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'static> = Asked { server: "http://box", model: "qwen3:8b", key: None };

    fn kind(error: &ModelError) -> String {
        let text = format!("{error:?}");
        text.split([' ', '{']).next().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn check(status: u16, body: &str, expect: &str) {
        let error = ASKED.refusal(status, &Told::of_body(body.as_bytes()), None);
        assert_eq!(kind(&error), expect, "{status} {body}: {error}");
    }

    #[test]
    fn the_words_of_ollama_are_known() {
        check(400, r#"{"error":"missing request body"}"#, "Protocol");
        check(400, r#"{"error":"model is required"}"#, "Protocol");
        check(400, r#"{"error":"registry.ollama.ai/library/gemma:2b does not support tools"}"#, "Unsupported");
        check(400, r#"{"error":"\"gemma:2b\" does not support thinking"}"#, "Unsupported");
        check(400, r#"{"error":"\"nomic-embed-text\" does not support chat"}"#, "Unsupported");
        check(
            400,
            r#"{"error":"the prompt is longer than the context length currently available to the model; shorten it"}"#,
            "PromptTooLong",
        );
        check(400, r#"{"error":"the input length exceeds the context length"}"#, "PromptTooLong");
        check(500, r#"{"error":"no user query found in messages"}"#, "PromptTooLong");
        check(401, r#"{"error":"unauthorized","signin_url":"https://ollama.com/x"}"#, "Denied");
        check(403, "", "Denied");
        check(404, r#"{"error":"model 'qwen3:8b' not found"}"#, "NoSuchModel");
        check(404, r#"{"error":"model \"qwen3:8b\" not found, try pulling it first"}"#, "NoSuchModel");
        check(404, "404 page not found", "Protocol");
        check(405, "405 method not allowed", "Protocol");
        check(429, r#"{"error":"too many"}"#, "Busy");
        check(503, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, "Busy");
        check(
            500,
            r#"{"error":"model requires more system memory (5.6 GiB) than is available (3.1 GiB)"}"#,
            "OutOfMemory",
        );
        check(500, r#"{"error":"llama-server process has terminated: signal: killed"}"#, "OutOfMemory");
        check(
            500,
            r#"{"error":"llama runner process has terminated: cudaMalloc failed: out of memory"}"#,
            "OutOfMemory",
        );
        check(
            500,
            r#"{"error":"model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"}"#,
            "OutOfMemory",
        );
        check(
            500,
            r#"{"error":"error parsing tool call: raw='{\"city\":\"out of memory', err=unexpected end"}"#,
            "UnreadableCall",
        );
        check(500, r#"{"error":"failed to parse JSON: unexpected end of JSON input"}"#, "UnreadableCall");
        check(500, r#"{"error":"llama-server returned invalid tool call arguments for \"f\": x"}"#, "UnreadableCall");
        check(500, r#"{"error":"something else"}"#, "ServerError");
        check(502, r#"{"error":"cloud unreachable"}"#, "Unreachable");
    }

    #[test]
    fn the_words_of_other_servers_are_known() {
        check(404, r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#, "Protocol");
        check(404, r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#, "NoSuchModel");
        check(
            400,
            r#"{"object":"error","message":"This model's maximum context length is 8192 tokens.","code":400}"#,
            "PromptTooLong",
        );
        check(503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, "Busy");
        check(501, r#"{"error":{"code":501,"message":"This server does not support embeddings"}}"#, "Protocol");
        check(500, r#"{"error":{"code":500,"message":"tools param requires --jinja flag"}}"#, "Unsupported");
        check(400, r#"{"error":{"code":400,"message":"failed to parse grammar"}}"#, "Protocol");
        check(401, r#"{"error":{"message":"Invalid API Key"}}"#, "Denied");
        check(504, "<html><head><title>504 Gateway Time-out</title></head></html>", "Unreachable");
        check(500, "<html><body>oops</body></html>", "ServerError");
        check(404, "<!DOCTYPE html><title>Not here</title>", "Protocol");
        check(302, "", "Protocol");
        check(400, "out of memory", "Protocol");
    }

    #[test]
    fn the_window_is_taken_from_where_it_stands() {
        let window = |body: &str| match ASKED.refusal(400, &Told::of_body(body.as_bytes()), None) {
            ModelError::PromptTooLong { context_tokens, .. } => context_tokens,
            other => panic!("{other:?}"),
        };
        let llama = r#"{"error":{"code":400,"message":"request (5010 tokens) exceeds the available context size (4096 tokens)","type":"exceed_context_size_error","n_prompt_tokens":5010,"n_ctx":2048}}"#;
        assert_eq!(window(llama), Some(2_048));
        assert_eq!(window(&llama.replace(",\"n_ctx\":2048", "")), Some(4_096));
        assert_eq!(window(r#"{"message":"This model's maximum context length is 8192 tokens."}"#), Some(8_192));
        assert_eq!(window(r#"{"error":"the input length exceeds the context length"}"#), None);
    }

    #[test]
    fn an_error_in_a_stream_is_read_by_its_words() {
        let read = |text: &str| kind(&ASKED.in_stream(&Told::of_value(&serde_json::from_str(text).unwrap())));
        assert_eq!(read(r#""an error was encountered while running the model: unexpected EOF""#), "BrokenStream");
        assert_eq!(read(r#""CUDA error: out of memory""#), "OutOfMemory");
        assert_eq!(read(r#""failed to parse JSON: x""#), "UnreadableCall");
        assert_eq!(read(r#"{"message":"overloaded","code":529}"#), "Busy");
        assert_eq!(read(r#"{"message":"Context size has been exceeded.","code":500}"#), "PromptTooLong");
        assert_eq!(read("{}"), "BrokenStream");
        assert_eq!(read(r#""""#), "BrokenStream");
    }

    #[test]
    fn messages_are_one_bounded_line_without_the_key() {
        let key = Key::bearer("sk-secret").unwrap();
        let asked = Asked { key: Some(&key), ..ASKED };
        let body = format!("{{\"error\":\"bad\\nkey sk-secret\\u001b[31m {}\"}}", "é ".repeat(5_000));
        let ModelError::Denied { message, .. } = asked.refusal(401, &Told::of_body(body.as_bytes()), None) else {
            panic!()
        };
        assert!(message.starts_with("bad key (secret) [31m é é"), "{message}");
        assert_eq!(message.chars().count(), MESSAGE_CHARS_MAX);
        assert!(message.ends_with('…'));
        let long = asked.broken("x".repeat(10_000));
        assert!(long.to_string().chars().count() < 400);
    }

    #[test]
    fn a_web_page_is_named_as_one() {
        assert_eq!(readable("<!DOCTYPE html><html><TITLE> Sign in </TITLE>"), "a web page `Sign in`");
        assert_eq!(readable("<html><body>"), "a web page");
        assert_eq!(readable("404 page not found"), "404 page not found");
    }
}
