//! Ollama's own protocol (`/api`): the only one that lets a client say how large the window is and that nothing may be cut.
//!
//! Every request streams, names its window, and forbids truncation and shifting, so that a prompt that does not fit is an
//! error and never a model that has quietly forgotten its task.

mod wire;

pub use wire::is_remote_name;

use futures::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::address::Address;
use super::fault::Told;
use super::frames::{Frames, Framing};
use super::http::{Http, deepest, excerpt};
use super::key::Key;
use super::stream::{Answer, Said};
use super::watch::later;
use super::{About, Loaded, ModelError, ModelInfo, ModelServer, Notices, PullProgress, Reply, Request, Timing, Tokens};

/// How long a download may stand still.
const PULL_IDLE_MS_MAX: u64 = 5 * 60_000;

/// One Ollama server.
#[derive(Debug)]
pub struct Ollama {
    http: Http,
}

impl Ollama {
    /// A client for the server at an address. A key is sent as it is; user and password of the address are sent where no key is.
    ///
    /// # Errors
    /// [`ModelError::Denied`] for a key that no header can hold; [`ModelError::Protocol`] where no client can be made.
    pub fn new(address: Address, key: Option<Key>) -> Result<Self, ModelError> {
        Ok(Self { http: Http::new(address, key)? })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.http.shown())
    }

    async fn ask(&self, request: &Request, notices: &dyn Notices) -> Result<Reply, ModelError> {
        let asked = self.http.asked(&request.model);
        let body = wire::request(request);
        let url = self.url("/api/chat");
        let mut answer = Answer::ask(&self.http, &url, &body, asked, request.limits, |_| Framing::Lines).await?;
        let mut said = Said::default();
        while let Some(bytes) = answer.next().await? {
            let line: wire::Line = serde_json::from_slice(&bytes).map_err(|error| answer.unreadable(&bytes, &error))?;
            if let Some(error) = &line.error {
                return Err(asked.in_stream(&Told::of_value(error)));
            }
            if !line.is_of_a_chat() {
                return Err(answer.unknown(&bytes, "neither `message` nor `done`"));
            }
            answer.understood();
            if take(&line, &mut said, notices) || line.is_last() {
                answer.saw_content();
            }
            said.check(&asked)?;
            if line.is_last() {
                let (first_token_ms, whole_ms) = answer.passed_ms(Instant::now());
                return Ok(reply(said, &line, first_token_ms, whole_ms));
            }
        }
        Err(asked.broken("the stream ended before its last line"))
    }

    async fn tags(&self) -> Result<Vec<ModelInfo>, ModelError> {
        let asked = self.http.asked("");
        let list: wire::Tags = self.http.document(&self.url("/api/tags"), None, asked).await?;
        Ok(list.infos())
    }

    async fn show(&self, name: &str) -> Result<ModelInfo, ModelError> {
        let asked = self.http.asked(name);
        let shown: wire::Shown =
            self.http.document(&self.url("/api/show"), Some(&json!({ "model": name })), asked).await?;
        // Only the list tells the digest and the size.
        let listed = self.tags().await?.into_iter().find(|info| wire::is_same_model(&info.name, name));
        let mut info = listed.unwrap_or_else(|| ModelInfo {
            name: name.to_owned(),
            chat: true,
            is_remote: wire::is_remote_name(name),
            ..ModelInfo::default()
        });
        shown.add_to(&mut info);
        Ok(info)
    }

    async fn fetch(&self, name: &str, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<(), ModelError> {
        let asked = self.http.asked(name);
        let body = json!({ "model": name, "stream": true });
        let late = || asked.unreachable(format!("no sign of the download for {} s", PULL_IDLE_MS_MAX / 1000));
        let deadline = || later(Instant::now(), PULL_IDLE_MS_MAX);
        let mut response = self.http.open(&self.url("/api/pull"), Some(&body), asked, deadline(), late).await?;
        let mut frames = Frames::new(Framing::Lines);
        let too_long = |_| asked.not_protocol("a line that does not end");
        loop {
            let chunk = timeout_at(deadline(), response.chunk()).await.map_err(|_| late())?;
            let chunk = chunk.map_err(|error| asked.broken(deepest(&error)))?;
            let last = match &chunk {
                Some(bytes) => frames.push(bytes, ()).map(|_| None),
                None => frames.end(()),
            };
            let last = last.map_err(too_long)?;
            while let Some(part) = frames.next() {
                if self.pulled(name, &part.bytes, progress)? {
                    return Ok(());
                }
            }
            if let Some(part) = last
                && self.pulled(name, &part.bytes, progress)?
            {
                return Ok(());
            }
            if chunk.is_none() {
                return Err(asked.broken("the download ended before it was complete"));
            }
        }
    }

    /// One line of a download; `true` when it was the last.
    fn pulled(
        &self,
        name: &str,
        bytes: &[u8],
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<bool, ModelError> {
        let asked = self.http.asked(name);
        let line: wire::Pull =
            serde_json::from_slice(bytes).map_err(|error| asked.not_protocol(excerpt(bytes, &error.to_string())))?;
        if let Some(error) = &line.error {
            return Err(wire::pull_error(&asked, error));
        }
        let is_ready = line.status == "success";
        progress(PullProgress { status: line.status, completed: line.completed, total: line.total });
        Ok(is_ready)
    }
}

impl ModelServer for Ollama {
    fn address(&self) -> &str {
        self.http.shown()
    }

    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(self.ask(request, notices))
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        Box::pin(self.tags())
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        Box::pin(self.show(name))
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        Box::pin(async {
            let asked = self.http.asked("");
            let list: wire::Running = self.http.document(&self.url("/api/ps"), None, asked).await?;
            Ok(Some(list.loaded()))
        })
    }

    fn about(&self) -> BoxFuture<'_, Result<About, ModelError>> {
        Box::pin(async {
            let asked = self.http.asked("");
            let told: wire::Version = self.http.document(&self.url("/api/version"), None, asked).await?;
            Ok(About { program: "Ollama".to_owned(), version: told.version, slots: None })
        })
    }

    fn pull<'a>(
        &'a self,
        name: &'a str,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        Box::pin(self.fetch(name, progress))
    }
}

/// Takes what one line carries; whether that was anything.
fn take(line: &wire::Line, said: &mut Said, notices: &dyn Notices) -> bool {
    let before = said.calls.len();
    said.thinking(line.thinking(), notices);
    said.text(line.text(), notices);
    for call in line.calls() {
        said.call(call);
    }
    !line.thinking().is_empty() || !line.text().is_empty() || said.calls.len() > before
}

fn reply(said: Said, last: &wire::Line, first_token_ms: u64, whole_ms: u64) -> Reply {
    const NANOS_PER_MS: u64 = 1_000_000;
    let writing_ms = match last.eval_duration {
        0 => whole_ms.saturating_sub(first_token_ms),
        nanos => nanos / NANOS_PER_MS,
    };
    Reply {
        text: said.text,
        thinking: said.thinking,
        calls: said.calls,
        stop: last.stop(),
        tokens: Tokens::new(last.prompt_eval_count, last.eval_count),
        timing: Timing { first_token_ms, whole_ms, load_ms: last.load_duration / NANOS_PER_MS, writing_ms },
        ..Reply::default()
    }
}
