//! The other end of the control socket.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Refused;
use super::socket::ShortPath;

/// Limit of one call.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A way to the process that owns a state folder.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers in time.
    #[error("the process that owns the state folder does not answer on `{socket}`: {why}")]
    Silent {
        /// The socket.
        socket: String,
        /// What was waited for.
        why: String,
    },
    /// The owner went away, before the question or over it.
    #[error("the process that owns the state folder left without an answer on `{socket}`: {why}")]
    Gone {
        /// The socket.
        socket: String,
        /// What the system said.
        why: String,
        /// It may have done what it was asked.
        may_have_acted: bool,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// A client of the socket at a path.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<T: Serialize>(&self, path: &str, body: &T) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).expect("bodies are plain data");
        self.call(Method::POST, path, Bytes::from(body)).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        match tokio::time::timeout(CALL_LIMIT, self.call_unlimited(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Silent {
                socket: self.socket.display().to_string(),
                why: format!("no answer within {} s", CALL_LIMIT.as_secs()),
            }),
        }
    }

    async fn call_unlimited<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let unasked = |error: std::io::Error| self.gone(&error, false);
        let socket = ShortPath::of(&self.socket).map_err(unasked)?;
        let stream = UnixStream::connect(&socket).await.map_err(unasked)?;
        let may_act = method != Method::GET;
        let failed = |why: &dyn std::fmt::Display| self.gone(why, may_act);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "ollmcp")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let bytes = body.map_err(|error| failed(&error))?.to_bytes();
            if status.is_success() {
                return serde_json::from_slice(&bytes).map_err(|error| failed(&error));
            }
            match serde_json::from_slice::<Refused>(&bytes) {
                Ok(refused) => Err(ClientError::Refused(refused.error)),
                Err(_) => Err(failed(&format!("status {status}"))),
            }
        };
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(failed(&error)),
            },
        }
    }

    fn gone(&self, why: &dyn std::fmt::Display, may_have_acted: bool) -> ClientError {
        ClientError::Gone { socket: self.socket.display().to_string(), why: why.to_string(), may_have_acted }
    }
}
