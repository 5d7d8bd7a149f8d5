//! Claude through Anthropic's Messages API, behind the same port as the local models.
//!
//! It retries nothing: every request may cost money, so each is decided, reserved and recorded above. What a request
//! cost comes back with it, also where it broke off ([`ModelServer::chat_billed`]).

pub mod catalogue;
mod conversation;
mod listing;
mod names;
pub mod prices;
mod refusal;
mod stream;
mod strict;
mod usage;
mod wire;

use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use self::catalogue::Catalogue;
use self::names::Names;
use self::stream::{Assembly, Heard, Whole};
use super::address::{Address, AddressError};
use super::bill::{Bill, Billed, Spent};
use super::frames::{Frames, Framing};
use super::http::{Fate, Http};
use super::key::Key;
use super::stream::{Answer, Said};
use super::{Loaded, ModelError, ModelInfo, ModelServer, Notices, PullProgress, Reply, Request, Timing, Tokens};

/// Where the interface is when nobody says otherwise.
pub const BASE_URL: &str = "https://api.anthropic.com";
/// The version of the interface. This one is taken by every model and every gateway.
const VERSION: &str = "2023-06-01";

/// Whether an id looks like one of Claude's.
#[must_use]
pub fn is_claude(id: &str) -> bool {
    id.starts_with("claude")
}

/// The address of the interface: `ANTHROPIC_BASE_URL` or what stands in the configuration, else its own.
///
/// # Errors
/// [`AddressError`] for a text that is no `http://` or `https://` address.
pub fn address(base_url: Option<&str>) -> Result<Address, AddressError> {
    let given = base_url.map(str::trim).filter(|text| !text.is_empty());
    Address::url(given.unwrap_or(BASE_URL))
}

/// One account at one address.
#[derive(Debug)]
pub struct Claude {
    http: Http,
    base: String,
    catalogue: Arc<Catalogue>,
}

impl Claude {
    /// A client with an account's key ([`Key::api`]; a gateway may want [`Key::bearer`]).
    ///
    /// # Errors
    /// [`ModelError::Denied`] for a key that no header can hold; [`ModelError::Protocol`] where no client can be made.
    pub fn new(address: Address, key: Option<Key>, catalogue: Arc<Catalogue>) -> Result<Self, ModelError> {
        let headers =
            HeaderMap::from_iter([("anthropic-version".parse().expect("a name"), HeaderValue::from_static(VERSION))]);
        // `…/v1` is how some write it; the paths of the interface begin with it.
        let prefix = address.prefix();
        let base = address.with_prefix(prefix.strip_suffix("/v1").unwrap_or(prefix)).shown().to_owned();
        Ok(Self { http: Http::with(address, key, headers, refusal::read)?, base, catalogue })
    }

    /// The models and prices that it goes by.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Tokens of a request's prompt, as the interface estimates them; free of charge.
    ///
    /// # Errors
    /// Those of [`ModelServer::models`] and [`ModelError::NoSuchModel`].
    pub async fn count_tokens(&self, request: &Request) -> Result<u64, ModelError> {
        #[derive(Deserialize)]
        struct Counted {
            input_tokens: u64,
        }
        let sent = self.catalogue.resolve(&request.model).sent;
        let body = wire::count(request, &sent);
        let url = format!("{}/v1/messages/count_tokens", self.base);
        let counted: Counted = self.http.document(&url, Some(&body), self.http.asked(&sent)).await?;
        Ok(counted.input_tokens)
    }

    async fn buy(&self, request: &Request, notices: &dyn Notices) -> Billed {
        let resolved = self.catalogue.resolve(&request.model);
        if let Some(note) = resolved.note() {
            tracing::debug!("{note}");
        }
        let mut bill = Bill { sent: resolved.sent, ..Bill::default() };
        let outcome = self.ask(request, notices, &mut bill).await;
        if let Err(error) = &outcome {
            tracing::info!(%error, request_id = bill.request_id, model = bill.sent, "a paid request failed");
        }
        Billed { outcome, bill }
    }

    async fn ask(&self, request: &Request, notices: &dyn Notices, bill: &mut Bill) -> Result<Reply, ModelError> {
        let sent = bill.sent.clone();
        let asked = self.http.asked(&sent);
        let body = wire::request(request, &sent, &self.catalogue);
        let url = format!("{}/v1/messages", self.base);
        let framing = |kind: &str| if kind == "application/json" { Framing::Whole } else { Framing::Events };
        let opened = Answer::ask(&self.http, &url, &body, asked, request.limits, framing).await;
        let mut answer = match opened {
            Ok(answer) => answer,
            Err(unopened) => {
                bill.request_id.clone_from(&unopened.request_id);
                bill.spent = match unopened.fate {
                    Fate::Unsent => Spent::Nothing,
                    Fate::TurnedAway => Spent::TurnedAway,
                    Fate::Unknown => Spent::Unknown,
                };
                return Err(unopened.into());
            }
        };
        bill.request_id = answer.request_id();
        bill.spent = Spent::Unknown;
        let mut assembly = Assembly::default();
        let mut said = Said::default();
        while let Some(bytes) = answer.next().await? {
            let event: Value = serde_json::from_slice(&bytes).map_err(|error| answer.unreadable(&bytes, &error))?;
            let heard = assembly.take(&event).map_err(|why| answer.unknown(&bytes, &why))?;
            answer.understood();
            if let Some(tokens) = assembly.tokens() {
                bill.spent = Spent::AtLeast(tokens);
                bill.answered = assembly.model().map(str::to_owned);
            }
            let carries = match heard {
                Heard::Nothing | Heard::Begun => false,
                Heard::Text(part) => {
                    said.text(&part, notices);
                    !part.is_empty()
                }
                Heard::Thinking(part) => {
                    said.thinking(&part, notices);
                    !part.is_empty()
                }
                Heard::Kept(bytes) => {
                    said.count(bytes);
                    true
                }
                Heard::Error(error) => return Err(refusal::in_stream(&asked, &error, bill.request_id.as_deref())),
                Heard::End => {
                    answer.saw_content();
                    let tokens = assembly.tokens().unwrap_or_default();
                    // From here on nothing more is written, whatever is wrong with it.
                    bill.spent = Spent::Exactly(tokens);
                    let (first_token_ms, whole_ms) = answer.passed_ms(Instant::now());
                    let whole = assembly.whole(&Names::of(&request.tools)).map_err(|why| asked.broken(why))?;
                    if said.text.is_empty() {
                        // An answer in one piece.
                        said.text(&whole.text, notices);
                    }
                    said.check(&asked)?;
                    let writing_ms = whole_ms.saturating_sub(first_token_ms);
                    let timing = Timing { first_token_ms, whole_ms, load_ms: 0, writing_ms };
                    return Ok(reply(whole, tokens, timing));
                }
            };
            if carries {
                answer.saw_content();
            }
            said.check(&asked)?;
        }
        Err(asked.broken(assembly.whole(&Names::default()).err().unwrap_or("the stream ended")))
    }

    async fn list(&self) -> Result<Vec<ModelInfo>, ModelError> {
        let mut infos = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..listing::PAGES_MAX {
            let from = after.as_deref().map_or_else(String::new, |id| format!("&after_id={}", listing::in_path(id)));
            let url = format!("{}/v1/models?limit=1000{from}", self.base);
            let page: listing::Page = self.http.document(&url, None, self.http.asked("")).await?;
            let (models, next) = page.split();
            infos.extend(models);
            if next.is_none() {
                break;
            }
            after = next;
        }
        Ok(infos)
    }

    async fn show(&self, name: &str) -> Result<ModelInfo, ModelError> {
        let sent = self.catalogue.resolve(name).sent;
        let url = format!("{}/v1/models/{}", self.base, listing::in_path(&sent));
        let entry: listing::Entry = self.http.document(&url, None, self.http.asked(&sent)).await?;
        Ok(entry.info())
    }
}

fn reply(whole: Whole, tokens: Tokens, timing: Timing) -> Reply {
    Reply {
        text: whole.text,
        thinking: whole.thinking,
        calls: whole.calls,
        stop: whole.stop,
        note: whole.note,
        echo: whole.echo,
        tokens,
        timing,
    }
}

/// Reads the body of a streamed answer that came in these pieces: what a client of it does, without one.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_stream<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Reply, String> {
    let mut frames = Frames::new(Framing::Events);
    let mut assembly = Assembly::default();
    let too_long = |_| "a part that does not end".to_owned();
    for piece in pieces {
        frames.push(piece, ()).map_err(too_long)?;
    }
    let mut parts: Vec<_> = std::iter::from_fn(|| frames.next()).collect();
    parts.extend(frames.end(()).map_err(too_long)?);
    for part in parts {
        let event: Value = serde_json::from_slice(&part.bytes).map_err(|error| error.to_string())?;
        match assembly.take(&event)? {
            Heard::Error(error) => return Err(format!("the server reports {error}")),
            Heard::End => break,
            _ => {}
        }
    }
    let tokens = assembly.tokens().unwrap_or_default();
    let whole = assembly.whole(&Names::default()).map_err(str::to_owned)?;
    Ok(reply(whole, tokens, Timing::default()))
}

impl ModelServer for Claude {
    fn address(&self) -> &str {
        self.http.shown()
    }

    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async move { self.buy(request, notices).await.outcome })
    }

    fn chat_billed<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Billed> {
        Box::pin(self.buy(request, notices))
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        Box::pin(self.list())
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        Box::pin(self.show(name))
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        Box::pin(async { Ok(None) })
    }

    fn pull<'a>(
        &'a self,
        name: &'a str,
        _progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        let message = "there is nothing to fetch: it runs at Anthropic's".to_owned();
        Box::pin(async move { Err(ModelError::Unsupported { model: name.to_owned(), what: "pull", message }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Claude {
        let catalogue = Catalogue::on("2026-11-25".parse().unwrap());
        Claude::new(Address::url(url).unwrap(), Key::api("sk-ant-secret"), Arc::new(catalogue)).unwrap()
    }

    #[test]
    fn the_address_may_be_given_with_and_without_its_version() {
        for (url, base) in [
            ("https://api.anthropic.com", "https://api.anthropic.com"),
            ("http://box:8080/v1/", "http://box:8080"),
            ("http://box/anthropic", "http://box/anthropic"),
            ("http://box/anthropic/v1", "http://box/anthropic"),
        ] {
            assert_eq!(client(url).base, base);
        }
        assert_eq!(address(None).unwrap().shown(), BASE_URL);
        assert_eq!(address(Some(" ")).unwrap().shown(), BASE_URL);
        assert_eq!(address(Some("http://127.0.0.1:9/")).unwrap().shown(), "http://127.0.0.1:9");
        assert!(address(Some("127.0.0.1:9")).is_err());
    }

    #[test]
    fn no_secret_is_printed() {
        let shown = format!("{:?}", client("http://me:hidden@box"));
        assert!(!shown.contains("secret-") && !shown.contains("sk-ant") && !shown.contains("hidden"), "{shown}");
    }
}
