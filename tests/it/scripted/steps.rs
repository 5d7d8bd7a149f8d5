//! From an answer to what goes over the socket, step by step: the same for all protocols.

use std::time::Duration;

use hyper::body::Bytes;
use serde_json::Value;

use super::answer::{Answer, Call, Ending, Head};
use super::asked::Asked;
use super::connection::Turn;

/// One step of a body.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes.
    Bytes(Bytes),
    /// Waits so many milliseconds; 0 only sees to it that what stands before goes out on its own.
    Wait(u64),
    /// Nothing more, for ever.
    Hang,
    /// Closes the connection.
    Cut,
    /// Resets the connection.
    Reset,
    /// Writes again and again, so many milliseconds apart.
    Forever(Bytes, u64),
}

/// A response, as far as it is known before it is sent.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Milliseconds before the status.
    pub(crate) before_ms: u64,
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    /// Length to announce; `None`: in chunks.
    pub(crate) length: Option<usize>,
    pub(crate) steps: Vec<Step>,
}

pub(crate) const JSON: &str = "application/json; charset=utf-8";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

impl Reply {
    /// A whole body at once.
    pub(crate) fn bytes(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = Some(body.len());
        Self { before_ms: 0, status, content_type, headers: Vec::new(), length, steps: vec![Step::Bytes(body)] }
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::bytes(status, JSON, value.to_string())
    }

    pub(crate) fn stream(content_type: &'static str, steps: Vec<Step>) -> Self {
        Self { before_ms: 0, status: 200, content_type, headers: Vec::new(), length: None, steps }
    }
}

/// A part of an answer, for a protocol to write down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Thinking(&'a str),
    Text(&'a str),
    Calls(&'a [Call]),
    /// The end, with calls that were not sent before.
    End(&'a [Call]),
    Error(&'a str),
}

/// How a protocol writes an answer.
pub(crate) trait Dialect {
    const STREAM: &'static str;

    /// What a stream opens with, if anything.
    fn opening(&self) -> Option<String>;

    /// One part: each string is written on its own.
    fn frames(&self, answer: &Answer, part: Part<'_>) -> Vec<String>;

    /// The whole answer without streaming.
    fn whole(&self, answer: &Answer, is_done: bool) -> Value;

    /// An error in its shape.
    fn error(&self, status: u16, message: &str) -> Value;
}

/// How long the parts of an answer take, as scripted.
fn waits_ms(answer: &Answer, parts: usize) -> u64 {
    let pause = answer.pause.filter(|(after, _)| *after <= parts).map_or(0, |(_, wait)| wait);
    pause + answer.drip_ms * parts.saturating_sub(1) as u64
}

/// How long the writing takes, as scripted.
pub(crate) fn writing_ms(answer: &Answer) -> u64 {
    waits_ms(answer, answer.parts(&answer.thinking).len() + answer.parts(&answer.text).len())
}

/// Waits for what an answer waits for; whatever is no answer comes back.
pub(crate) async fn begin(answer: &Answer, refused: impl Fn(u16, &str) -> Reply) -> Option<Turn> {
    if let Some(gate) = &answer.gate {
        gate.passed().await;
    }
    if answer.first_ms > 0 {
        tokio::time::sleep(Duration::from_millis(answer.first_ms)).await;
    }
    Some(match &answer.head {
        Head::Answers => return None,
        Head::Refused { status, message, headers } => {
            let reply = refused(*status, message);
            let headers = reply.headers.iter().chain(headers).cloned().collect();
            Reply { headers, ..reply }.into()
        }
        Head::Raw { status, body, headers } => {
            Reply { headers: headers.clone(), ..Reply::bytes(*status, JSON, body.clone()) }.into()
        }
        Head::NotHttp(bytes) => Turn::NotHttp(bytes.clone()),
        Head::Cut => Turn::Cut,
        Head::Reset => Turn::Reset,
        // Keeps its slot, as a model that never ends does.
        Head::Hang => std::future::pending().await,
    })
}

/// An answer in the way that was asked for.
pub(crate) fn render<D: Dialect>(asked: &Asked, dialect: &D, answer: &Answer) -> Reply {
    if asked.is_streamed { streamed(dialect, answer) } else { whole(dialect, answer) }
}

/// A stream.
fn streamed<D: Dialect>(dialect: &D, answer: &Answer) -> Reply {
    let mut steps = Vec::new();
    let write = |steps: &mut Vec<Step>, frames: Vec<String>| {
        for frame in frames {
            push(steps, frame.into_bytes(), answer.piece_bytes);
        }
    };
    write(&mut steps, dialect.opening().into_iter().collect());
    let thinking = answer.parts(&answer.thinking).into_iter().map(Part::Thinking);
    let text = answer.parts(&answer.text).into_iter().map(Part::Text);
    let mut count = 0;
    for part in thinking.chain(text) {
        if count > 0 && answer.drip_ms > 0 {
            steps.push(Step::Wait(answer.drip_ms));
        }
        pause(&mut steps, answer, count);
        write(&mut steps, dialect.frames(answer, part));
        count += 1;
    }
    pause(&mut steps, answer, count);
    let (before, last) =
        if answer.are_calls_last { (&[][..], answer.calls.as_slice()) } else { (answer.calls.as_slice(), &[][..]) };
    if !before.is_empty() {
        write(&mut steps, dialect.frames(answer, Part::Calls(before)));
    }
    match &answer.ending {
        Ending::Done => write(&mut steps, dialect.frames(answer, Part::End(last))),
        Ending::Error(message) => write(&mut steps, dialect.frames(answer, Part::Error(message))),
        Ending::Ends => {}
        Ending::Cut => steps.extend([Step::Wait(0), Step::Cut]),
        Ending::Reset => steps.extend([Step::Wait(0), Step::Reset]),
        Ending::Garbage(bytes) => push(&mut steps, bytes.clone(), 0),
        Ending::Hang => steps.push(Step::Hang),
        Ending::Endless => {
            let frame = dialect.frames(answer, Part::Text("again and ")).concat();
            steps.push(Step::Forever(frame.into(), answer.drip_ms.max(1)));
        }
        Ending::EndlessLine => steps.push(Step::Forever(Bytes::from(vec![b' '; 64 * 1024]), answer.drip_ms)),
    }
    Reply::stream(D::STREAM, steps)
}

fn pause(steps: &mut Vec<Step>, answer: &Answer, count: usize) {
    if let Some((after, wait_ms)) = answer.pause
        && after == count
    {
        steps.push(Step::Wait(wait_ms));
    }
}

fn push(steps: &mut Vec<Step>, bytes: Vec<u8>, piece_bytes: usize) {
    let bytes = Bytes::from(bytes);
    if piece_bytes == 0 {
        steps.push(Step::Bytes(bytes));
        return;
    }
    let mut at = 0;
    while at < bytes.len() {
        let end = (at + piece_bytes).min(bytes.len());
        steps.extend([Step::Bytes(bytes.slice(at..end)), Step::Wait(0)]);
        at = end;
    }
}

/// The whole answer in one body: what would have been waited for comes before the status.
fn whole<D: Dialect>(dialect: &D, answer: &Answer) -> Reply {
    let body = dialect.whole(answer, !matches!(answer.ending, Ending::Ends)).to_string().into_bytes();
    let mut reply = match &answer.ending {
        Ending::Done | Ending::Ends => Reply::bytes(200, JSON, body),
        Ending::Error(message) => Reply::json(500, &dialect.error(500, message)),
        Ending::Garbage(bytes) => Reply::bytes(200, JSON, bytes.clone()),
        Ending::Cut | Ending::Reset => {
            let last = if matches!(answer.ending, Ending::Cut) { Step::Cut } else { Step::Reset };
            let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
            let length = Some(body.len());
            Reply { length, ..Reply::stream(JSON, vec![Step::Bytes(half), Step::Wait(0), last]) }
        }
        Ending::Hang | Ending::Endless => Reply { before_ms: u64::MAX, ..Reply::stream(JSON, Vec::new()) },
        Ending::EndlessLine => {
            Reply::stream(JSON, vec![Step::Forever(Bytes::from(vec![b' '; 64 * 1024]), answer.drip_ms)])
        }
    };
    reply.before_ms = reply.before_ms.max(writing_ms(answer));
    if answer.piece_bytes > 0 {
        let steps = std::mem::take(&mut reply.steps);
        for step in steps {
            match step {
                Step::Bytes(bytes) => push(&mut reply.steps, bytes.to_vec(), answer.piece_bytes),
                other => reply.steps.push(other),
            }
        }
    }
    reply
}
