//! The HTTP client that the adapters share: one connection per request, no proxy to this machine, no redirects, no retries.
//!
//! It has no limit on a whole request: [`super::watch`] knows how long which silence may last. Every request has its own
//! connection, so that dropping one closes it, which is how a server learns that nobody waits, and so that none is
//! ever written into a connection that the server is just closing.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
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
/// Longest list or description.
const LISTING_BYTES_MAX: usize = 16 << 20;

/// The way to one server.
pub(super) struct Http {
    client: Client,
    address: Address,
    key: Option<Key>,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.address.shown()).finish()
    }
}

impl Http {
    /// A client for one server. A key that is given beats the user and password of the address.
    pub(super) fn new(address: Address, key: Option<Key>) -> Result<Self, ModelError> {
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
        let authorization = match &key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::from_str(key.header()).map_err(|_| ModelError::Denied {
                    server: server.clone(),
                    message: "the key holds characters that no header may hold".to_owned(),
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { client, address, key, authorization })
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
    ) -> Result<Response, ModelError> {
        let mut request = match body {
            None => self.client.get(url),
            Some(body) => self.client.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string()),
        };
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let answer = match timeout_at(deadline, request.send()).await {
            Err(_) => return Err(late()),
            Ok(Err(error)) => return Err(no_answer(asked, &error)),
            Ok(Ok(answer)) => answer,
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer, asked, deadline).await)
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

async fn refusal(mut answer: Response, asked: Asked<'_>, deadline: Instant) -> ModelError {
    let status = answer.status().as_u16();
    let retry_after_ms = retry_after_ms(answer.headers());
    let deadline = deadline.min(later(Instant::now(), REFUSAL_MS_MAX));
    if (300..400).contains(&status) {
        let target = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Of a foreign address only what names the place: its query may hold anything.
        let place = reqwest::Url::parse(target).ok().and_then(|url| url.host_str().map(str::to_owned));
        let place = place.unwrap_or_else(|| "another place".to_owned());
        return asked.not_protocol(format!("HTTP {status}, a redirect to `{place}`, which is not followed"));
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
    asked.refusal(status, &Told::of_body(&body), retry_after_ms)
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
    // The server's own clock, where it tells it: only the span between the two counts.
    let now = text(DATE.as_str()).and_then(http_date).unwrap_or_else(jiff::Timestamp::now);
    Some(u64::try_from(until.as_millisecond().saturating_sub(now.as_millisecond())).unwrap_or(0))
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
