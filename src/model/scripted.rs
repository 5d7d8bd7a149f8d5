//! A model server inside the process, for tests of the engine under paused time: a closure answers, every request is kept.
//!
//! It keeps the limits of a request as a real one does: an answer that is delayed beyond `first_token_ms` is
//! [`ModelError::NoFirstToken`] at that moment, and a future that is dropped is counted.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::watch::later;
use super::{
    Loaded, ModelError, ModelInfo, ModelServer, NativeCall, Notices, PullProgress, Reply, Request, Stop, Timing, Tokens,
};

type Answers = Box<dyn FnMut(&Request) -> Result<Reply, ModelError> + Send>;
type Delays = Box<dyn Fn(&Request) -> Duration + Send + Sync>;

/// One server of a script.
pub struct Scripted {
    address: String,
    answers: Mutex<Answers>,
    delay: Option<Delays>,
    gate: Option<Arc<Semaphore>>,
    models: Vec<ModelInfo>,
    loaded: Option<Vec<Loaded>>,
    seen: Mutex<Seen>,
}

/// What a script has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All requests, in the order in which they came.
    pub requests: Vec<Request>,
    /// Requests that wait for their answer now.
    pub open: usize,
    /// The most that waited at one time.
    pub open_most: usize,
    /// Requests whose future was dropped before it was answered.
    pub dropped: usize,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Scripted {
    /// A server that answers each request with what the closure says, at once.
    pub fn new(
        address: impl Into<String>,
        answers: impl FnMut(&Request) -> Result<Reply, ModelError> + Send + 'static,
    ) -> Self {
        Self {
            address: address.into(),
            answers: Mutex::new(Box::new(answers)),
            delay: None,
            gate: None,
            models: Vec::new(),
            loaded: None,
            seen: Mutex::default(),
        }
    }

    /// Each answer takes so long, in tokio's time.
    #[must_use]
    pub fn with_delay(mut self, delay: impl Fn(&Request) -> Duration + Send + Sync + 'static) -> Self {
        self.delay = Some(Box::new(delay));
        self
    }

    /// Each answer waits for a permit, which it uses up: a test decides when which request goes on.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<Semaphore>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The models that it lists. Without any it knows every name.
    #[must_use]
    pub fn with_models(mut self, models: Vec<ModelInfo>) -> Self {
        self.models = models;
        self
    }

    /// The models that are in memory.
    #[must_use]
    pub fn with_loaded(mut self, loaded: Vec<Loaded>) -> Self {
        self.loaded = Some(loaded);
        self
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// Everything that was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // A closure that panics ends the attempt that asked, not the script.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, request: &Request, notices: &dyn Notices) -> Result<Reply, ModelError> {
        let sent = Instant::now();
        let mut waiting = Waiting::begin(self, request);
        let limit_ms = request.limits.first_token_ms;
        let delay = self.delay.as_ref().map_or(Duration::ZERO, |delay| delay(request));
        let wait = async {
            if let Some(gate) = &self.gate {
                // A closed gate holds nobody any more.
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
            }
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
        };
        let in_time = timeout_at(later(sent, limit_ms), wait).await;
        waiting.is_answered = true;
        if in_time.is_err() {
            return Err(ModelError::NoFirstToken { model: request.model.clone(), limit_ms });
        }
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            (*answers)(request)
        };
        let mut reply = answer?;
        if reply.timing == Timing::default() {
            let waited_ms = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
            reply.timing = Timing { first_token_ms: waited_ms, whole_ms: waited_ms, ..Timing::default() };
        }
        if !reply.text.is_empty() {
            notices.part(&reply.text);
        }
        Ok(reply)
    }
}

/// Counts a request while it waits, also when its future is dropped.
struct Waiting<'a> {
    server: &'a Scripted,
    is_answered: bool,
}

impl<'a> Waiting<'a> {
    fn begin(server: &'a Scripted, request: &Request) -> Self {
        let mut seen = server.lock();
        seen.requests.push(request.clone());
        seen.open += 1;
        seen.open_most = seen.open_most.max(seen.open);
        Self { server, is_answered: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut seen = self.server.lock();
        seen.open -= 1;
        seen.dropped += usize::from(!self.is_answered);
    }
}

impl ModelServer for Scripted {
    fn address(&self) -> &str {
        &self.address
    }

    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(self.ask(request, notices))
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        Box::pin(async { Ok(self.models.clone()) })
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        Box::pin(async move {
            if self.models.is_empty() {
                return Ok(ModelInfo { name: name.to_owned(), tools: Some(true), chat: true, ..ModelInfo::default() });
            }
            let found = self.models.iter().find(|info| info.name == name).cloned();
            found.ok_or_else(|| ModelError::NoSuchModel { server: self.address.clone(), model: name.to_owned() })
        })
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        Box::pin(async { Ok(self.loaded.clone()) })
    }

    fn pull<'a>(
        &'a self,
        name: &'a str,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        Box::pin(async move {
            self.model(name).await?;
            progress(PullProgress { status: "success".to_owned(), completed: 0, total: 0 });
            Ok(())
        })
    }
}

/// A reply that is text, with a count of tokens that follows from it.
#[must_use]
pub fn said(text: impl Into<String>) -> Reply {
    let text = text.into();
    let tokens = Tokens::new(0, u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX));
    Reply { text, tokens, ..Reply::default() }
}

/// A reply that is one call in the server's own form.
#[must_use]
pub fn called(name: impl Into<String>, arguments: Value) -> Reply {
    Reply { calls: vec![NativeCall { id: Some("call_1".to_owned()), name: name.into(), arguments }], ..said("") }
}

/// A reply that was cut at the limit of tokens.
#[must_use]
pub fn cut(text: impl Into<String>) -> Reply {
    Reply { stop: Stop::Length, ..said(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sampling::Sampling;
    use crate::model::{Message, NoNotices, Speaker, Think, TimeLimits};

    fn request(text: &str) -> Request {
        Request {
            model: "m".to_owned(),
            messages: vec![Message::new(Speaker::User, text)],
            tools: Vec::new(),
            schema: None,
            think: Think::Unset,
            temperature: None,
            sampling: Sampling::default(),
            seed: None,
            reply_tokens_max: 100,
            context_tokens: 4_096,
            limits: TimeLimits { first_token_ms: 300_000, idle_ms: 60_000, whole_ms: 600_000 },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_answers_in_order_and_keeps_what_it_was_asked() {
        let mut count = 0;
        let server = Scripted::new("script", move |request| {
            count += 1;
            Ok(said(format!("{count}: {}", request.messages[0].text)))
        });
        let replies = [server.chat(&request("a"), &NoNotices).await, server.chat(&request("b"), &NoNotices).await];
        let texts: Vec<String> = replies.into_iter().map(|reply| reply.unwrap().text).collect();
        assert_eq!(texts, ["1: a", "2: b"]);
        assert_eq!(server.requests(), [request("a"), request("b")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_passes_in_paused_time_and_a_longer_one_than_the_limit_is_an_error_in_time() {
        let start = Instant::now();
        let server = Scripted::new("script", |_| Ok(said("x")))
            .with_delay(|request| Duration::from_secs(if request.messages[0].text == "slow" { 400 } else { 200 }));
        assert_eq!(server.chat(&request("a"), &NoNotices).await.unwrap().timing.first_token_ms, 200_000);
        let error = server.chat(&request("slow"), &NoNotices).await.unwrap_err();
        assert_eq!(error, ModelError::NoFirstToken { model: "m".to_owned(), limit_ms: 300_000 });
        assert_eq!(start.elapsed(), Duration::from_secs(500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_holds_requests_and_drops_are_counted() {
        let gate = Arc::new(Semaphore::new(0));
        let server = Scripted::new("script", |_| Ok(said("x"))).with_gate(Arc::clone(&gate));
        let (first, second) = (request("a"), request("b"));
        let mut one = server.chat(&first, &NoNotices);
        let mut two = server.chat(&second, &NoNotices);
        assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut two).is_pending());
        assert_eq!((server.seen().open, server.seen().open_most), (2, 2));
        gate.add_permits(1);
        assert!(one.await.is_ok());
        drop(two);
        let seen = server.seen();
        assert_eq!((seen.open, seen.open_most, seen.dropped, seen.requests.len()), (0, 2, 1, 2));
    }
}
