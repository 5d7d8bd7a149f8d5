//! One answer as it comes: parts out of the network, under the three limits.

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::fault::Asked;
use super::frames::{Frames, Framing, PART_BYTES_MAX, Part};
use super::http::{Fate, Http, Unopened, deepest, excerpt, request_id};
use super::watch::{Late, Watch};
use super::{ModelError, NativeCall, Notices, TimeLimits};

/// Longest text, reasoning and calls of one answer together, in bytes.
const REPLY_BYTES_MAX: usize = 32 << 20;

/// The open answer of one request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    response: Response,
    frames: Frames<Instant>,
    watch: Watch,
    limits: TimeLimits,
    asked: Asked<'a>,
    /// Set once the body has ended.
    is_over: bool,
    /// A part was understood.
    is_known: bool,
    part_began: Instant,
}

impl<'a> Answer<'a> {
    /// Sends the request and waits for the head of its answer.
    pub(super) async fn ask(
        http: &'a Http,
        url: &str,
        body: &Value,
        asked: Asked<'a>,
        limits: TimeLimits,
        framing: fn(&str) -> Framing,
    ) -> Result<Self, Unopened> {
        let sent = Instant::now();
        let watch = Watch::new(limits, sent);
        let late = || Late::NoFirstToken.error(&limits, asked.model);
        let response = http.open(url, Some(body), asked, watch.first_deadline(), late).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "text/html" {
            let error = asked.not_protocol("a web page instead of an answer");
            return Err(Unopened { error, fate: Fate::TurnedAway, request_id: request_id(response.headers()) });
        }
        let frames = Frames::new(framing(&kind));
        Ok(Self { response, frames, watch, limits, asked, is_over: false, is_known: false, part_began: sent })
    }

    /// The name that the server gave to the request.
    pub(super) fn request_id(&self) -> Option<String> {
        request_id(self.response.headers())
    }

    /// The next part as JSON text; `None` when the body has ended as bodies do.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, ModelError> {
        loop {
            if let Some(part) = self.frames.next() {
                return Ok(Some(self.begin(part)));
            }
            if self.is_over {
                let last = self.frames.end(Instant::now()).map_err(|_| self.too_long())?;
                return Ok(last.map(|part| self.begin(part)));
            }
            let (deadline, late) = self.watch.deadline(self.frames.open_since());
            let chunk = match timeout_at(deadline, self.response.chunk()).await {
                Err(_) if late == Late::AfterEnd => None,
                Err(_) => return Err(late.error(&self.limits, self.asked.model)),
                Ok(Err(_)) if self.watch.has_ended() => None,
                Ok(Err(error)) => return Err(self.asked.broken(deepest(&error))),
                Ok(Ok(chunk)) => chunk,
            };
            let now = Instant::now();
            match chunk {
                None => self.is_over = true,
                Some(bytes) => {
                    if self.frames.push(&bytes, now).map_err(|_| self.too_long())? {
                        self.watch.saw_bytes(now);
                    }
                }
            }
            // A stream that never pauses never lets a timer fire, so the clock is asked as well.
            let (deadline, late) = self.watch.deadline(self.frames.open_since());
            let is_late = match late {
                Late::TooSlow => true,
                // Parts that wait here may carry something.
                Late::NoFirstToken => !self.frames.has_next(),
                Late::Silent | Late::AfterEnd => false,
            };
            if now > deadline && is_late {
                return Err(late.error(&self.limits, self.asked.model));
            }
        }
    }

    /// The part that was given out last carries something of an answer.
    pub(super) fn saw_content(&mut self) {
        self.watch.saw_content(self.part_began);
    }

    /// The answer is whole; what may follow are figures.
    pub(super) fn saw_end(&mut self) {
        self.watch.saw_end();
    }

    /// The part that was given out last was understood.
    pub(super) fn understood(&mut self) {
        self.is_known = true;
    }

    /// What it means that a part is no JSON, or not the JSON that was expected.
    pub(super) fn unreadable(&self, part: &[u8], error: &serde_json::Error) -> ModelError {
        // A last part that only lacks its end was cut, wherever that was.
        if self.is_over && error.is_eof() {
            return self.asked.broken("it ends in the middle of a line");
        }
        self.unknown(part, &error.to_string())
    }

    /// What it means that a part is not what the protocol says: nothing of the kind so far, or the stream is damaged.
    pub(super) fn unknown(&self, part: &[u8], why: &str) -> ModelError {
        let words = excerpt(part, why);
        if self.is_known { self.asked.broken(words) } else { self.asked.not_protocol(words) }
    }

    /// From sending to the first part that carried something, and to the end.
    pub(super) fn passed_ms(&self, end: Instant) -> (u64, u64) {
        (self.watch.first_ms(end), self.watch.whole_ms(end))
    }

    fn begin(&mut self, part: Part<Instant>) -> Vec<u8> {
        self.part_began = part.began;
        part.bytes
    }

    fn too_long(&self) -> ModelError {
        self.asked.broken(format!("a line of more than {} MiB", PART_BYTES_MAX >> 20))
    }
}

/// What has been said so far, bounded.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) calls: Vec<NativeCall>,
    bytes: usize,
}

impl Said {
    /// Takes a part of the text; an empty one is nothing.
    pub(super) fn text(&mut self, part: &str, notices: &dyn Notices) {
        self.text.push_str(part);
        self.heard(part, notices);
    }

    /// Takes a part of the reasoning.
    pub(super) fn thinking(&mut self, part: &str, notices: &dyn Notices) {
        self.thinking.push_str(part);
        self.heard(part, notices);
    }

    /// Takes a whole call.
    pub(super) fn call(&mut self, call: NativeCall) {
        self.bytes += call.name.len() + call.arguments.to_string().len();
        self.calls.push(call);
    }

    /// Counts what is kept elsewhere until it is whole.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Whether it has become more than a reply may be.
    pub(super) fn check(&self, asked: &Asked<'_>) -> Result<(), ModelError> {
        if self.bytes > REPLY_BYTES_MAX {
            return Err(asked.broken(format!("more than {} MiB", REPLY_BYTES_MAX >> 20)));
        }
        Ok(())
    }

    fn heard(&mut self, part: &str, notices: &dyn Notices) {
        if !part.is_empty() {
            self.bytes += part.len();
            notices.part(part);
        }
    }
}
