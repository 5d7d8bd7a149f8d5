//! What a scripted model answers: words, calls, delays and every fault, in one value that knows no protocol.

use serde_json::{Value, json};
use tokio::sync::watch;

/// How an answer that has begun goes on after its last part.
#[derive(Clone, Debug, Default)]
pub(crate) enum Ending {
    /// As it should.
    #[default]
    Done,
    /// An error line in the stream, status 200; without streaming a 500.
    Error(String),
    /// The stream ends cleanly, without its last line; without streaming `done` is false.
    Ends,
    /// The connection is closed in the middle of the body.
    Cut,
    /// The connection is reset in the middle of the body.
    Reset,
    /// These bytes, then a clean end.
    Garbage(Vec<u8>),
    /// Nothing more, for ever.
    Hang,
    /// Part after part, for ever.
    Endless,
    /// One line that never ends.
    EndlessLine,
}

/// What happens before any part.
#[derive(Clone, Debug, Default)]
pub(crate) enum Head {
    /// Status 200 and the parts.
    #[default]
    Answers,
    /// A status with an error in the protocol's shape. Nothing is loaded for it.
    Refused { status: u16, message: String, headers: Vec<(String, String)> },
    /// A status with a body as given.
    Raw { status: u16, body: Vec<u8>, headers: Vec<(String, String)> },
    /// Bytes that are no HTTP, then the connection is closed.
    NotHttp(Vec<u8>),
    /// The connection is closed without a byte.
    Cut,
    /// The connection is reset without a byte.
    Reset,
    /// No byte, not even a status, for ever.
    Hang,
}

/// A call that the model writes natively.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// Name of the tool.
    pub(crate) name: String,
    /// Arguments; a string goes out as it is: the wrong type on Ollama's protocol, JSON text (broken or not) on OpenAI's.
    pub(crate) arguments: Value,
}

/// One answer to one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) calls: Vec<Call>,
    pub(crate) are_calls_last: bool,
    pub(crate) is_without_ids: bool,
    pub(crate) is_length: bool,
    pub(crate) part_bytes: Option<usize>,
    pub(crate) piece_bytes: usize,
    pub(crate) first_ms: u64,
    pub(crate) drip_ms: u64,
    pub(crate) pause: Option<(usize, u64)>,
    pub(crate) gate: Option<Gate>,
    pub(crate) ending: Ending,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) reply_tokens: Option<u64>,
    pub(crate) is_without_counts: bool,
    /// On Anthropic's protocol: `stop_reason` in place of what follows from the answer, with its `stop_details`.
    pub(crate) stop: Option<(String, Value)>,
    /// On Anthropic's protocol: `type` and `error_code` of an error, in place of what follows from the status.
    pub(crate) error_kind: Option<String>,
    pub(crate) error_code: Option<String>,
    /// On Anthropic's protocol: tokens written to a cache for 5 minutes and for an hour, and tokens read from one.
    pub(crate) cache: Option<[u64; 3]>,
    /// On Anthropic's protocol: events, blocks and parts of kinds that nobody knows yet stand between the others.
    pub(crate) has_news: bool,
}

/// Answers that work.
impl Answer {
    /// A text, then the end.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Neither text nor calls, `stop`: what a swallowed call looks like.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// A native call and no text.
    pub(crate) fn tool(name: &str, arguments: Value) -> Self {
        Self::default().call(name, arguments)
    }

    /// Adds a native call.
    pub(crate) fn call(mut self, name: &str, arguments: Value) -> Self {
        self.calls.push(Call { name: name.into(), arguments });
        self
    }

    /// Sends the calls on the `done` line and not before it (Ollama's protocol has both).
    pub(crate) fn calls_last(self) -> Self {
        Self { are_calls_last: true, ..self }
    }

    /// Sends the calls without ids, as older servers do.
    pub(crate) fn without_ids(self) -> Self {
        Self { is_without_ids: true, ..self }
    }

    /// Adds reasoning, sent before the text. Not sent when the request says `think: false`.
    pub(crate) fn thinking(self, thinking: impl Into<String>) -> Self {
        Self { thinking: thinking.into(), ..self }
    }

    /// Ends with `length` in place of `stop`.
    pub(crate) fn stop_length(self) -> Self {
        Self { is_length: true, ..self }
    }

    /// Splits text and reasoning into parts of about so many bytes, one line each; 0: all in one line. Without it: short parts.
    pub(crate) fn parts_of(self, bytes: usize) -> Self {
        Self { part_bytes: Some(bytes), ..self }
    }

    /// Writes to the socket in pieces of so many bytes: cut in the middle of lines, words and characters.
    pub(crate) fn pieces_of(self, bytes: usize) -> Self {
        Self { piece_bytes: bytes, ..self }
    }

    /// Says that so many tokens were read and written, in place of the estimate.
    pub(crate) fn tokens(self, prompt: u64, reply: u64) -> Self {
        Self { prompt_tokens: Some(prompt), reply_tokens: Some(reply), ..self }
    }

    /// Leaves out all metrics and counts of tokens.
    pub(crate) fn without_counts(self) -> Self {
        Self { is_without_counts: true, ..self }
    }

    /// Nothing comes before so many milliseconds, not even a status.
    pub(crate) fn after_ms(self, wait_ms: u64) -> Self {
        Self { first_ms: wait_ms, ..self }
    }

    /// Nothing comes before the gate is open.
    pub(crate) fn behind(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// Waits so many milliseconds before each part but the first.
    pub(crate) fn drip_ms(self, wait_ms: u64) -> Self {
        Self { drip_ms: wait_ms, ..self }
    }

    /// Waits once, after so many parts.
    pub(crate) fn pause_ms(self, after_parts: usize, wait_ms: u64) -> Self {
        Self { pause: Some((after_parts, wait_ms)), ..self }
    }
}

/// What only Anthropic's protocol has.
impl Answer {
    /// Ends with this `stop_reason`.
    pub(crate) fn stops(self, reason: &str) -> Self {
        Self { stop: Some((reason.into(), Value::Null)), ..self }
    }

    /// The model declines, after what it has said so far.
    pub(crate) fn then_declines(self, category: &str, explanation: &str) -> Self {
        let details = json!({ "type": "refusal", "category": category, "explanation": explanation });
        Self { stop: Some(("refusal".into(), details)), ..self }
    }

    /// Says that so many tokens were written to a cache for 5 minutes and for an hour, and read from one.
    pub(crate) fn cached(self, write_5m: u64, write_1h: u64, read: u64) -> Self {
        Self { cache: Some([write_5m, write_1h, read]), ..self }
    }

    /// Sets the `type` of an error, whatever its status says.
    pub(crate) fn kind(self, kind: &str) -> Self {
        Self { error_kind: Some(kind.into()), ..self }
    }

    /// Puts events, blocks and parts of unknown kinds between the others.
    pub(crate) fn with_news(self) -> Self {
        Self { has_news: true, ..self }
    }

    /// 429: the account's cap of the month, which has no `retry-after`.
    pub(crate) fn spend_cap() -> Self {
        let message = "You have reached the spend limit of your tier. Access is restored at the start of next month.";
        Self { error_code: Some("enforced_spend_limit_reached".into()), ..Self::refused(429, message) }
    }

    /// 529.
    pub(crate) fn overloaded() -> Self {
        Self::refused(529, "Overloaded")
    }
}

/// Faults in the middle: what came before is what the answer says so far.
impl Answer {
    fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// Goes on with an error line in place of the end.
    pub(crate) fn then_error(self, message: &str) -> Self {
        self.ending(Ending::Error(message.into()))
    }

    /// Ends cleanly, without the last line.
    pub(crate) fn then_ends(self) -> Self {
        self.ending(Ending::Ends)
    }

    /// Closes the connection in the middle of the body.
    pub(crate) fn then_cut(self) -> Self {
        self.ending(Ending::Cut)
    }

    /// Resets the connection.
    pub(crate) fn then_reset(self) -> Self {
        self.ending(Ending::Reset)
    }

    /// Goes on with bytes that are neither JSON nor UTF-8, then ends cleanly.
    pub(crate) fn then_garbage(self) -> Self {
        self.ending(Ending::Garbage(b"\xff\xfe<html>\x00 502 {]\n".to_vec()))
    }

    /// Says nothing more, for ever.
    pub(crate) fn then_hangs(self) -> Self {
        self.ending(Ending::Hang)
    }
}

/// Faults in place of an answer.
impl Answer {
    /// A status with an error in the shape of the request's protocol.
    pub(crate) fn refused(status: u16, message: impl Into<String>) -> Self {
        let head = Head::Refused { status, message: message.into(), headers: Vec::new() };
        Self { head, ..Self::default() }
    }

    /// A status with exactly this body.
    pub(crate) fn raw(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { head: Head::Raw { status, body: body.into(), headers: Vec::new() }, ..Self::default() }
    }

    /// Adds a header to [`Answer::refused`] or [`Answer::raw`].
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        match &mut self.head {
            Head::Refused { headers, .. } | Head::Raw { headers, .. } => headers.push((name.into(), value.into())),
            other => panic!("no header for {other:?}"),
        }
        self
    }

    /// 503: more requests wait for a load than the server allows.
    pub(crate) fn busy() -> Self {
        Self::refused(503, "server busy, please try again.  maximum pending requests exceeded")
    }

    /// 429, with `retry-after` in seconds where given.
    pub(crate) fn too_many(retry_after_s: Option<u64>) -> Self {
        let answer = Self::refused(429, "too many requests");
        match retry_after_s {
            Some(wait_s) => answer.header("retry-after", &wait_s.to_string()),
            None => answer,
        }
    }

    /// 500: the model does not fit into memory.
    pub(crate) fn out_of_memory() -> Self {
        Self::refused(500, "model requires more system memory (9.3 GiB) than is available (4.1 GiB)")
    }

    /// 500: the model's process died.
    pub(crate) fn crashed() -> Self {
        Self::refused(
            500,
            "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check \
             ollama server logs for details",
        )
    }

    /// 404: the model was there and is not any more.
    pub(crate) fn gone(model: &str) -> Self {
        Self::refused(404, format!("model '{model}' not found"))
    }

    /// 500: the model wrote a call that its server cannot read.
    pub(crate) fn unreadable_call() -> Self {
        Self::refused(500, "error parsing tool call: raw='{\"city\":\"Os', err=unexpected end of JSON input")
    }

    /// 400: the prompt is longer than the window.
    pub(crate) fn too_long() -> Self {
        Self::refused(400, "the input length exceeds the context length")
    }

    /// 500: a template that wants a user's message found none.
    pub(crate) fn no_user_query() -> Self {
        Self::refused(500, "no user query found in messages")
    }

    /// 200 with a body that is neither JSON nor UTF-8.
    pub(crate) fn garbage() -> Self {
        Self::raw(200, *b"\xff\xfe<html>\x00 it works {]\n")
    }

    /// Bytes that are no HTTP.
    pub(crate) fn not_http() -> Self {
        Self { head: Head::NotHttp(b"SSH-2.0-OpenSSH_9.9\r\n\x00\xff".to_vec()), ..Self::default() }
    }

    /// The connection is closed without a byte.
    pub(crate) fn cut() -> Self {
        Self { head: Head::Cut, ..Self::default() }
    }

    /// The connection is reset without a byte.
    pub(crate) fn reset() -> Self {
        Self { head: Head::Reset, ..Self::default() }
    }

    /// No byte, for ever.
    pub(crate) fn hang() -> Self {
        Self { head: Head::Hang, ..Self::default() }
    }

    /// A text of so many bytes in one line.
    pub(crate) fn long_line(bytes: usize) -> Self {
        Self::text("x".repeat(bytes)).parts_of(0)
    }

    /// Part after part for ever, one each millisecond (see [`Answer::drip_ms`]).
    pub(crate) fn endless() -> Self {
        Self::text("again and ").ending(Ending::Endless)
    }

    /// A line that never ends.
    pub(crate) fn endless_line() -> Self {
        Self::default().ending(Ending::EndlessLine)
    }
}

/// Holds answers back until a test opens it: order without sleeping.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets all through, now and later.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn passed(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|is_open| *is_open).await;
    }
}

/// Tokens of a text, as this server counts: a quarter of its bytes, rounded up.
pub(crate) fn tokens_of(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

/// The first bytes of a text, not cutting a character.
pub(crate) fn front(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

impl Answer {
    /// Tokens of reasoning, text and calls together.
    pub(crate) fn tokens_written(&self) -> u64 {
        let calls = self.calls.iter().map(|call| tokens_of(&call.name) + tokens_of(&call.arguments.to_string()));
        tokens_of(&self.thinking) + tokens_of(&self.text) + calls.sum::<u64>()
    }

    /// The same answer, cut as a server cuts it after so many tokens: a call that does not fit is swallowed.
    pub(crate) fn within(mut self, tokens_max: Option<u64>) -> Self {
        let Some(tokens_max) = tokens_max.filter(|max| self.tokens_written() > *max) else { return self };
        let bytes_max = usize::try_from(tokens_max.saturating_mul(4)).unwrap_or(usize::MAX);
        self.thinking = front(&self.thinking, bytes_max).to_owned();
        self.text = front(&self.text, bytes_max.saturating_sub(self.thinking.len())).to_owned();
        self.calls.clear();
        self.is_length = true;
        self
    }

    /// Text or reasoning in parts, none of them empty.
    pub(crate) fn parts<'a>(&self, text: &'a str) -> Vec<&'a str> {
        // A long text in parts of a few bytes would be a hundred thousand lines.
        let bytes = match self.part_bytes {
            Some(0) => usize::MAX,
            Some(bytes) => bytes,
            None => (text.len() / 64).max(12),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.ceil_char_boundary(bytes.min(rest.len()));
            let (part, behind) = rest.split_at(end);
            parts.push(part);
            rest = behind;
        }
        parts
    }
}
