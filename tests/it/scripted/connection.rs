//! The socket: hyper speaks HTTP on it, and beside hyper a tap can reset it or write what is no HTTP.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::asked::{Asked, End};
use super::record::{Record, Ticket};
use super::steps::{Reply, Step};

/// All of a server but its socket.
pub(crate) trait House: Send + Sync + 'static {
    /// What was asked of it.
    fn record(&self) -> &Arc<Record>;

    /// Answers one request. `asked` has its head only.
    fn answer(self: Arc<Self>, asked: Asked, body: Bytes) -> impl Future<Output = (Turn, Ticket)> + Send;

    /// Its process was killed: what was in memory is gone.
    fn killed(&self) {}
}

/// Kept until the last byte of an answer.
pub(crate) type Hold = Box<dyn Send>;

/// What to do with a request.
pub(crate) enum Turn {
    /// Sends a response; the hold is kept until its last byte.
    Reply(Reply, Option<Hold>),
    /// Sends bytes that are no HTTP.
    NotHttp(Vec<u8>),
    /// Closes the connection without a byte.
    Cut,
    /// Resets the connection without a byte.
    Reset,
    /// Nothing, for ever.
    Hang,
}

impl From<Reply> for Turn {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply, None)
    }
}

/// The script ends the connection here.
#[derive(Debug, thiserror::Error)]
#[error("the script ends the connection")]
pub(crate) struct Broken;

type Body = UnsyncBoxBody<Bytes, Broken>;

/// What the script asks of the socket itself.
#[derive(Debug, Default)]
struct Control {
    is_reset: AtomicBool,
    /// Written in place of whatever hyper writes next; then the connection is closed.
    raw: Mutex<Option<Bytes>>,
}

/// Serves one connection until one side closes it.
pub(crate) async fn serve<H: House>(stream: TcpStream, house: Arc<H>) {
    // Parts of an answer are to arrive as they are written.
    let _ = stream.set_nodelay(true);
    let control = Arc::new(Control::default());
    let tap = Tap { stream, control: control.clone() };
    let service = service_fn(move |request| answer(house.clone(), control.clone(), request));
    // Ends with an error wherever the script or the client ends it early.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tap), service).await;
}

async fn answer<H: House>(
    house: Arc<H>,
    control: Arc<Control>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let mut asked = Asked::new(head.method.as_str(), head.uri.path());
    for (name, value) in &head.headers {
        asked.headers.insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let (turn, mut ticket) = house.answer(asked, body).await;
    match turn {
        Turn::Reply(reply, hold) => respond(reply, ticket, hold, control).await,
        Turn::NotHttp(bytes) => {
            *control.raw.lock().unwrap() = Some(bytes.into());
            ticket.end(End::Broken);
            let nothing = Reply { length: Some(0), ..Reply::stream("text/plain", Vec::new()) };
            respond(nothing, ticket, None, control).await
        }
        Turn::Cut => {
            ticket.end(End::Broken);
            Err(Broken)
        }
        Turn::Reset => {
            control.is_reset.store(true, Ordering::Relaxed);
            ticket.end(End::Broken);
            Err(Broken)
        }
        Turn::Hang => std::future::pending().await,
    }
}

async fn respond(
    reply: Reply,
    ticket: Ticket,
    hold: Option<Hold>,
    control: Arc<Control>,
) -> Result<Response<Body>, Broken> {
    match reply.before_ms {
        0 => {}
        u64::MAX => std::future::pending().await,
        wait_ms => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
    }
    ticket.status(reply.status);
    let mut response = Response::builder().status(reply.status).header("content-type", reply.content_type);
    if let Some(length) = reply.length {
        response = response.header("content-length", length);
    }
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let sending = Sending { steps: reply.steps.into(), ticket, hold, control };
    let body = StreamBody::new(stream::unfold(sending, Sending::next)).boxed_unsync();
    Ok(response.body(body).expect("scripts give proper headers"))
}

/// The body of one response on its way.
struct Sending {
    steps: VecDeque<Step>,
    ticket: Ticket,
    hold: Option<Hold>,
    control: Arc<Control>,
}

impl Sending {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Broken>, Self)> {
        loop {
            let Some(step) = self.steps.pop_front() else {
                self.done();
                return None;
            };
            match step {
                Step::Bytes(bytes) => {
                    if self.steps.is_empty() {
                        // With a length hyper does not ask again after the last byte.
                        self.done();
                    }
                    return Some((Ok(Frame::data(bytes)), self));
                }
                Step::Wait(0) => tokio::task::yield_now().await,
                Step::Wait(wait_ms) => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
                Step::Hang => std::future::pending().await,
                Step::Cut | Step::Reset => {
                    if matches!(step, Step::Reset) {
                        self.control.is_reset.store(true, Ordering::Relaxed);
                    }
                    self.ticket.end(End::Broken);
                    return Some((Err(Broken), self));
                }
                Step::Forever(bytes, wait_ms) => {
                    match wait_ms {
                        0 => tokio::task::yield_now().await,
                        _ => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
                    }
                    self.steps.push_front(Step::Forever(bytes.clone(), wait_ms));
                    return Some((Ok(Frame::data(bytes)), self));
                }
            }
        }
    }

    fn done(&mut self) {
        self.hold.take();
        self.ticket.end(End::Whole);
    }
}

/// The socket with what the script does to it.
struct Tap {
    stream: TcpStream,
    control: Arc<Control>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        if self.control.is_reset.load(Ordering::Relaxed) {
            // Closing with a linger of zero is a reset.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let raw = self.control.raw.lock().unwrap().take();
        let Some(mut raw) = raw else { return Pin::new(&mut self.stream).poll_write(cx, buffer) };
        while !raw.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &raw) {
                Poll::Ready(Ok(count)) => drop(raw.split_to(count)),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => {
                    *self.control.raw.lock().unwrap() = Some(raw);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
