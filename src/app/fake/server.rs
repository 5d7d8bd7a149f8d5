//! The scripted Claude on its socket: `/v1/messages` on a free port of this machine, for as long as its handle lives.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::answer::{Answer, error, input_tokens};
use super::forms::Forms;

/// Largest request, as of the interface itself.
const BODY_BYTES_MAX: usize = 32 << 20;

/// A running one. Dropped, it stops.
#[derive(Debug)]
pub struct FakeClaude {
    address: SocketAddr,
    key: String,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Served {
    forms: Forms,
    key: String,
    answered: AtomicU64,
}

impl FakeClaude {
    /// Starts it on a thread of its own. Only who has [`Self::key`] is answered.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(forms: Forms) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let key = format!("fake-{}", crate::app::new_uuid().simple());
        let stop = CancellationToken::new();
        let served = Arc::new(Served { forms, key: key.clone(), answered: AtomicU64::new(0) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = stop.clone();
        let work = move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    ended = std::future::IntoFuture::into_future(axum::serve(listener, router(served))) => {
                        if let Err(error) = ended {
                            tracing::warn!(%error, "the fake Claude stopped");
                        }
                    }
                    () = until.cancelled() => {}
                }
            });
        };
        std::thread::Builder::new().name("fake-claude".to_owned()).spawn(work)?;
        Ok(Self { address, key, _stop: stop.drop_guard() })
    }

    /// Where it is, as a base URL: always this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its key, made for this process alone.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

fn router(served: Arc<Served>) -> Router {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count))
        .fallback(|| async {
            refused(StatusCode::NOT_FOUND, "not_found_error", "the fake Claude answers messages alone")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(served)
}

fn refused(status: StatusCode, kind: &str, message: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], error(kind, message).to_string()).into_response()
}

/// The body of a request that has the key.
fn read(served: &Served, headers: &HeaderMap, body: &Bytes) -> Result<Value, Box<Response>> {
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    if key != Some(served.key.as_str()) {
        let words = "this is the fake Claude of another process";
        return Err(Box::new(refused(StatusCode::UNAUTHORIZED, "authentication_error", words)));
    }
    serde_json::from_slice(body).map_err(|error| {
        Box::new(refused(StatusCode::BAD_REQUEST, "invalid_request_error", &format!("no JSON: {error}")))
    })
}

async fn messages(State(served): State<Arc<Served>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = match read(&served, &headers, &body) {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let number = served.answered.fetch_add(1, Ordering::Relaxed) + 1;
    let answer = Answer::to(&body, &served.forms, format!("msg_fake_{number}"));
    let request = ("request-id", format!("req_fake_{number}"));
    if body["stream"] == json!(true) {
        let events = answer.events().into_iter().map(Ok::<_, Infallible>);
        let stream = Body::from_stream(futures::stream::iter(events));
        return ([(header::CONTENT_TYPE.as_str(), "text/event-stream; charset=utf-8".to_owned()), request], stream)
            .into_response();
    }
    ([(header::CONTENT_TYPE.as_str(), "application/json".to_owned()), request], answer.whole().to_string())
        .into_response()
}

async fn count(State(served): State<Arc<Served>>, headers: HeaderMap, body: Bytes) -> Response {
    match read(&served, &headers, &body) {
        Ok(body) => {
            let counted = json!({ "input_tokens": input_tokens(&body) }).to_string();
            ([(header::CONTENT_TYPE, "application/json")], counted).into_response()
        }
        Err(refused) => *refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::claude::Claude;
    use crate::model::claude::catalogue::Catalogue;
    use crate::model::key::Key;
    use crate::model::{Message, ModelError, ModelServer as _, NoNotices, Request, Speaker, Think, TimeLimits};

    async fn ask(url: &str, key: &str) -> Result<String, ModelError> {
        let address = crate::model::claude::address(Some(url)).unwrap();
        let catalogue = Arc::new(Catalogue::on("2026-11-25".parse().unwrap()));
        let claude = Claude::new(address, Key::api(key), catalogue).unwrap();
        let request = Request {
            model: "claude-haiku-5-5".to_owned(),
            messages: vec![Message::new(Speaker::User, "Go.")],
            tools: Vec::new(),
            schema: Some(
                json!({ "type": "object", "required": ["a"], "properties": { "a": { "const": 7, "type": "integer" } } }),
            ),
            think: Think::Unset,
            temperature: None,
            sampling: crate::domain::sampling::Sampling::default(),
            seed: None,
            reply_tokens_max: 100,
            context_tokens: 10_000,
            limits: TimeLimits { first_token_ms: 10_000, idle_ms: 10_000, whole_ms: 10_000 },
        };
        claude.chat(&request, &NoNotices).await.map(|reply| reply.text)
    }

    #[tokio::test]
    async fn it_answers_the_adapter_and_nobody_else_and_stops_with_its_handle() {
        let fake = FakeClaude::start(Forms::default()).unwrap();
        let url = fake.url();
        assert!(fake.address.ip().is_loopback());
        assert_eq!(ask(&url, fake.key()).await.unwrap(), r#"{"a":7}"#);
        assert!(matches!(ask(&url, "sk-ant-mine").await, Err(ModelError::BadKey { .. })));
        let key = fake.key().to_owned();
        drop(fake);
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while ask(&url, &key).await.is_ok() {
            assert!(std::time::Instant::now() < limit, "it goes on");
        }
    }
}
