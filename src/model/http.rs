//! The HTTP client that the adapters share: one connection per request, no proxy to this machine, no redirects, no retries.
//!
//! It has no limit on a whole request: [`super::watch`] knows how long which silence may last. Every request has its own
//! connection, so that dropping one closes it, which is how a server learns that nobody waits, and so that none is
//! ever written into a connection that the server is just closing.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::ModelError;
use super::address::Address;
use super::fault::{Asked, Told, readable};
use super::key::Key;
use super::watch::later;

/// Time for a connection: a machine that answers does so at once.
const CONNECT_MS_MAX: u64 = 5_000;
/// Time for a list or a description.
pub(super) const LISTING_MS_MAX: u64 = 30_000;
/// Time for the words of a refusal, once its status is there.
const REFUSAL_MS_MAX: u64 = 5_000;
/// Longest body of a refusal that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Longest name of a request that is kept.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest list or description.
const LISTING_BYTES_MAX: usize = 16 << 20;

/// The way to one server.
pub(super) struct Http {
    client: Client,
    address: Address,
    key: Option<Key>,
    /// The key's header, where there is a key, and what else goes with every request.
    headers: HeaderMap,
    reading: Reading,
}

/// How a server's refusals are read.
pub(super) type Reading = fn(&Asked<'_>, &Refused) -> ModelError;

/// A whole answer with a status other than 2xx.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Its first bytes.
    pub(super) body: Vec<u8>,
    pub(super) retry_after_ms: Option<u64>,
}

/// What became of a request that has no answer to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It never went out.
    Unsent,
    /// The server turned it away.
    TurnedAway,
    /// It went out, and nobody said that it was turned away: a model may have begun to answer.
    Unknown,
}

/// Why there is no answer to read, and what may have happened nevertheless.
#[derive(Debug)]
pub(super) struct Unopened {
    pub(super) error: ModelError,
    pub(super) fate: Fate,
    /// The server's own name for the request.
    pub(super) request_id: Option<String>,
}

impl From<Unopened> for ModelError {
    fn from(unopened: Unopened) -> Self {
        unopened.error
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.address.shown()).finish()
    }
}

impl Http {
    /// A client for one server. A key that is given beats the user and password of the address.
    pub(super) fn new(address: Address, key: Option<Key>) -> Result<Self, ModelError> {
        let reading: Reading =
            |asked, refused| asked.refusal(refused.status, &Told::of_body(&refused.body), refused.retry_after_ms);
        Self::with(address, key, HeaderMap::new(), reading)
    }

    /// The same with headers for every request and another reading of refusals.
    pub(super) fn with(
        address: Address,
        key: Option<Key>,
        mut headers: HeaderMap,
        reading: Reading,
    ) -> Result<Self, ModelError> {
        // The second time it is there already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("ollmcp/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .pool_max_idle_per_host(0)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false);
        if address.is_loopback() {
            builder = builder.no_proxy();
        }
        if !address.is_tls() {
            // Without TLS no certificates are needed, so none are looked for on machines that have none.
            builder = builder.tls_certs_only([]);
        }
        let server = address.shown().to_owned();
        let fault = |message: String| ModelError::Protocol { server: server.clone(), message };
        let client = builder.build().map_err(|error| fault(format!("no HTTP client: {}", deepest(&error))))?;
        let key = key.or_else(|| address.key().cloned());
        if let Some(key) = &key {
            let mut value = HeaderValue::from_str(key.header()).map_err(|_| ModelError::Denied {
                server: server.clone(),
                message: "the key holds characters that no header may hold".to_owned(),
            })?;
            value.set_sensitive(true);
            headers.insert(key.header_name(), value);
        }
        Ok(Self { client, address, key, headers, reading })
    }

    pub(super) fn shown(&self) -> &str {
        self.address.shown()
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn asked<'a>(&'a self, model: &'a str) -> Asked<'a> {
        Asked { server: self.shown(), model, key: self.key.as_ref() }
    }

    /// Sends a request and waits for the head of a good answer. `late` is the error when the deadline passes.
    pub(super) async fn open(
        &self,
        url: &str,
        body: Option<&Value>,
        asked: Asked<'_>,
        deadline: Instant,
        late: impl FnOnce() -> ModelError,
    ) -> Result<Response, Unopened> {
        let request = match body {
            None => self.client.get(url),
            Some(body) => self.client.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string()),
        };
        let answer = match timeout_at(deadline, request.headers(self.headers.clone()).send()).await {
            Err(_) => return Err(Unopened { error: late(), fate: Fate::Unknown, request_id: None }),
            Ok(Err(error)) => {
                let fate = if error.is_connect() || error.is_builder() { Fate::Unsent } else { Fate::Unknown };
                return Err(Unopened { error: no_answer(asked, &error), fate, request_id: None });
            }
            Ok(Ok(answer)) => answer,
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(answer, asked, deadline).await)
    }

    async fn refusal(&self, mut answer: Response, asked: Asked<'_>, deadline: Instant) -> Unopened {
        let status = answer.status().as_u16();
        let request_id = request_id(answer.headers());
        let deadline = deadline.min(later(Instant::now(), REFUSAL_MS_MAX));
        if (300..400).contains(&status) {
            let target = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            // Of a foreign address only what names the place: its query may hold anything.
            let place = reqwest::Url::parse(target).ok().and_then(|url| url.host_str().map(str::to_owned));
            let place = place.unwrap_or_else(|| "another place".to_owned());
            let error = asked.not_protocol(format!("HTTP {status}, a redirect to `{place}`, which is not followed"));
            return Unopened { error, fate: Fate::TurnedAway, request_id };
        }
        let mut body = Vec::new();
        // The status has been said; words that do not come in time are missed, not waited for.
        while let Ok(Ok(Some(chunk))) = timeout_at(deadline, answer.chunk()).await {
            let room = REFUSAL_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == REFUSAL_BYTES_MAX {
                break;
            }
        }
        let retry_after_ms = retry_after_ms(answer.headers());
        let refused = Refused { status, headers: answer.headers().clone(), body, retry_after_ms };
        // What a proxy says when it lost sight of the server behind it.
        let is_lost = matches!(status, 408 | 502 | 504 | 520..=527 | 530);
        let fate = if is_lost { Fate::Unknown } else { Fate::TurnedAway };
        Unopened { error: (self.reading)(&asked, &refused), fate, request_id }
    }

    /// Asks for one JSON document. `None` as body is a GET.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        url: &str,
        body: Option<&Value>,
        asked: Asked<'_>,
    ) -> Result<T, ModelError> {
        let deadline = later(Instant::now(), LISTING_MS_MAX);
        let late = || asked.unreachable(format!("no answer within {} s", LISTING_MS_MAX / 1000));
        let mut answer = self.open(url, body, asked, deadline, late).await?;
        let mut bytes = Vec::new();
        loop {
            match timeout_at(deadline, answer.chunk()).await {
                Err(_) => return Err(late()),
                Ok(Err(error)) => return Err(asked.unreachable(format!("the answer broke off: {}", deepest(&error)))),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) if bytes.len() + chunk.len() > LISTING_BYTES_MAX => {
                    return Err(asked.not_protocol(format!("an answer of more than {} MiB", LISTING_BYTES_MAX >> 20)));
                }
                Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
            }
        }
        serde_json::from_slice(&bytes).map_err(|error| asked.not_protocol(excerpt(&bytes, &error.to_string())))
    }
}

/// What came where something else was expected, with the reason.
pub(super) fn excerpt(bytes: &[u8], why: &str) -> String {
    let start = &bytes[..bytes.len().min(REFUSAL_BYTES_MAX)];
    format!("{why} in `{}`", readable(&String::from_utf8_lossy(start)).chars().take(120).collect::<String>())
}

/// The name that a server gives to a request: for asking its makers.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("request-id").or_else(|| headers.get("x-request-id"))?.to_str().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    (!text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.chars().all(is_plain)).then(|| text.to_owned())
}

/// Why there is no head of an answer.
fn no_answer(asked: Asked<'_>, error: &reqwest::Error) -> ModelError {
    if error.is_connect() && error.is_timeout() {
        return asked.unreachable(format!("no connection within {} s", CONNECT_MS_MAX / 1000));
    }
    let cause = deepest(error);
    for fault in chain(error) {
        if fault.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return asked.not_protocol(format!("its answer is no HTTP: {cause}"));
        }
        // A certificate that does not fit, or no TLS at all: waiting repairs neither.
        if fault.downcast_ref::<rustls::Error>().is_some() {
            return asked.not_protocol(format!("no encrypted connection: {cause}"));
        }
    }
    if error.is_builder() {
        return asked.not_protocol(format!("no request can be made: {cause}"));
    }
    asked.unreachable(cause)
}

/// The causes of an error, outermost first. What an I/O error wraps is a cause too.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut found = vec![error];
    // Bounded, should a foreign chain ever lead in a circle.
    while found.len() < 16 {
        let Some(last) = found.last().copied() else { break };
        let wrapped = last.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let next = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| last.source());
        match next {
            Some(cause) => found.push(cause),
            None => break,
        }
    }
    found
}

/// The words of the innermost cause: the outer ones say only that sending a request failed.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The wait that a server asks for: milliseconds, seconds or a date.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Some(whole_ms(ms));
    }
    let wanted = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = wanted.parse::<f64>() {
        return Some(whole_ms(seconds * 1000.0));
    }
    let until = http_date(wanted)?;
    Some(until_ms(headers, until))
}

/// From now to a moment that a server names, by the server's own clock where it tells it.
pub(super) fn until_ms(headers: &HeaderMap, until: jiff::Timestamp) -> u64 {
    let told = headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(http_date);
    let now = told.unwrap_or_else(jiff::Timestamp::now);
    u64::try_from(until.as_millisecond().saturating_sub(now.as_millisecond())).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floats saturate, and nothing is below zero"
)]
fn whole_ms(ms: f64) -> u64 {
    ms.max(0.0) as u64
}

fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        retry_after_ms(
            &pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect(),
        )
    }

    #[test]
    fn a_wait_is_read_from_seconds_and_dates() {
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "7")]), Some(7_000));
        assert_eq!(wait(&[("retry-after", " 1.5 ")]), Some(1_500));
        assert_eq!(wait(&[("retry-after", "-3")]), Some(0));
        assert_eq!(wait(&[("retry-after", "1e300")]), Some(u64::MAX));
        assert_eq!(wait(&[("retry-after", "NaN")]), Some(0));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("retry-after", "9"), ("retry-after-ms", "250")]), Some(250));
        let (now, until) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(wait(&[("retry-after", until), ("date", now)]), Some(30_000));
        assert_eq!(wait(&[("retry-after", now), ("date", until)]), Some(0));
        assert_eq!(wait(&[("retry-after", until)]), Some(0), "long gone");
    }

    #[test]
    fn a_client_prints_its_address_and_no_key() {
        let address = Address::url("http://me:hidden@127.0.0.1:9").unwrap();
        let http = Http::new(address, Key::bearer("sk-1")).unwrap();
        assert_eq!(format!("{http:?}"), "Http(\"http://127.0.0.1:9\")");
        assert!(Http::new(Address::url("https://box").unwrap(), None).is_ok());
        let error = Http::new(Address::url("http://box").unwrap(), Key::bearer("a\nb")).unwrap_err();
        assert!(matches!(&error, ModelError::Denied { .. }) && !error.to_string().contains("a\nb"), "{error}");
    }
}
