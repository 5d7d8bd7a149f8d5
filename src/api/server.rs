//! The control socket: answers other terminals while this process owns the state folder.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::socket::ShortPath;
use super::{Answer, Call, ROUTES, Refused};
use crate::domain::command::{Command, Refusal};
use crate::domain::event::DoubtAnswer;
use crate::domain::ids::{AskId, RunId};
use crate::domain::run::RunState;
use crate::engine::root::{RegistryDoor, Service};
use crate::engine::tree::TreeNode;
use crate::journal::blobs::Blobs;
use crate::report::detail::{AskLine, RunDetail, ask_lines};
use crate::report::item::ItemStory;
use crate::report::line::RunLine;
use crate::state::StateHandle;

/// How long those who have asked are answered after the end; less than the tree gives the doors.
const LAST_ANSWERS_LIMIT: std::time::Duration = std::time::Duration::from_secs(4);

type TreeAsker = Arc<dyn Fn() -> BoxFuture<'static, Option<TreeNode>> + Send + Sync>;

/// The socket. Cheap to clone.
#[derive(Clone)]
pub struct ControlSocket {
    path: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    state: StateHandle,
    blobs: Arc<Blobs>,
    door: RegistryDoor,
    tree: Mutex<Option<TreeAsker>>,
    /// Opened before the engine starts, and taken by the first who serves it.
    listener: Mutex<Option<UnixListener>>,
}

impl std::fmt::Debug for ControlSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlSocket").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ControlSocket {
    /// At a path in the state folder.
    #[must_use]
    pub fn new(path: PathBuf, state: StateHandle, blobs: Arc<Blobs>, door: RegistryDoor) -> Self {
        let shared = Shared { state, blobs, door, tree: Mutex::default(), listener: Mutex::default() };
        Self { path, shared: Arc::new(shared) }
    }

    /// Begins to listen. Whoever asks from now on waits until the engine runs.
    ///
    /// # Errors
    /// What the system says. The engine runs without: then no other terminal gets an answer.
    pub fn listen(&self) -> io::Result<()> {
        let listener = self.bind()?;
        *self.shared.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        Ok(())
    }

    fn bind(&self) -> io::Result<UnixListener> {
        // A socket of an owner that was killed; the lock says that nobody listens on it.
        let _ = std::fs::remove_file(&self.path);
        let listener = UnixListener::bind(ShortPath::of(&self.path)?)?;
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// The socket that was opened at the start, or a new one for a server that was started again.
    fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        let opened = self.shared.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        tokio::net::UnixListener::from_std(opened.map_or_else(|| self.bind(), Ok)?)
    }

    /// Gives it the way to the tree, which is there only after the engine has started.
    pub fn set_tree(&self, asker: TreeAsker) {
        *self.shared.tree.lock().unwrap_or_else(PoisonError::into_inner) = Some(asker);
    }

    fn router(&self) -> Router {
        let router = Router::new();
        let router = ROUTES.iter().fold(router, |router, route| router.route(route.path, handler(route.call)));
        router.with_state(self.shared.clone())
    }
}

fn handler(call: Call) -> MethodRouter<Arc<Shared>> {
    match call {
        Call::Runs => get(runs),
        Call::Run => get(run),
        Call::Item => get(item),
        Call::Cancel => post(cancel),
        Call::Asks => get(asks),
        Call::Answer => post(answer),
        Call::Tree => get(tree),
    }
}

impl Service for ControlSocket {
    fn run(&self, stop: CancellationToken) -> BoxFuture<'static, Result<(), String>> {
        let (socket, path, router) = (self.clone(), self.path.clone(), self.router());
        Box::pin(async move {
            let failed = |error: io::Error| format!("cannot listen on `{}`: {error}", path.display());
            let listener = match socket.listener() {
                Ok(listener) => listener,
                Err(error) => {
                    // A run needs nobody who asks about it.
                    tracing::warn!(%error, path = %path.display(), "no control socket");
                    stop.cancelled().await;
                    return Ok(());
                }
            };
            let closing = CancellationToken::new();
            let serving = axum::serve(listener, router).with_graceful_shutdown(closing.clone().cancelled_owned());
            let mut served = std::pin::pin!(serving.into_future());
            tokio::select! {
                result = &mut served => result.map_err(failed),
                () = stop.cancelled() => {
                    // Whoever comes from now on waits for the lock; who has asked is answered.
                    let _ = std::fs::remove_file(&path);
                    closing.cancel();
                    let answered = tokio::time::timeout(LAST_ANSWERS_LIMIT, served).await;
                    answered.map_or(Ok(()), |result| result.map_err(failed))
                }
            }
        })
    }

    fn node(&self) -> (String, Vec<TreeNode>) {
        (format!("listens on {}", self.path.display()), Vec::new())
    }
}

/// An answer that is an error.
struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(Refused { error: self.1 })).into_response()
    }
}

type Answered<T> = Result<Json<T>, Failed>;

fn internal(error: impl std::fmt::Display) -> Failed {
    Failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn not_found(what: impl std::fmt::Display) -> Failed {
    Failed(StatusCode::NOT_FOUND, what.to_string())
}

/// Reads the store on a thread that may block, after it has taken up all that is durable.
async fn settled<T: Send + 'static>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&Shared) -> Result<T, crate::state::StateError> + Send + 'static,
) -> Result<T, Failed> {
    let shared = shared.clone();
    let read = move || {
        shared.state.settle();
        read(&shared)
    };
    tokio::task::spawn_blocking(read).await.map_err(internal)?.map_err(internal)
}

/// Runs that wait for a person.
async fn asking(shared: &Arc<Shared>) -> Result<Vec<RunState>, Failed> {
    settled(shared, |shared| shared.state.reader().asking()).await
}

fn run_id(text: &str) -> Result<RunId, Failed> {
    Uuid::parse_str(text).map(RunId).map_err(|_| not_found(format!("`{text}` is no run id")))
}

async fn one_run(shared: &Arc<Shared>, id: &str) -> Result<RunState, Failed> {
    let run = run_id(id)?;
    let found = settled(shared, move |shared| shared.state.reader().run(run)).await?;
    found.ok_or_else(|| not_found(format!("no run {id}")))
}

async fn runs(State(shared): State<Arc<Shared>>) -> Answered<Vec<RunLine>> {
    let live = shared.door.runs().await;
    let all = settled(&shared, |shared| shared.state.reader().outlines()).await?;
    Ok(Json(all.iter().map(|(head, steps)| RunLine::new(head, steps, live.contains(&head.run))).collect()))
}

async fn run(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answered<RunDetail> {
    let live = shared.door.runs().await;
    let named = run_id(&id)?;
    let found = settled(&shared, move |shared| shared.state.reader().run_to_show(named)).await?;
    let state = found.ok_or_else(|| not_found(format!("no run {id}")))?;
    Ok(Json(RunDetail::new(&state, live.contains(&state.head.run))))
}

#[derive(serde::Deserialize)]
struct ItemQuery {
    key: String,
}

async fn item(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<ItemQuery>,
) -> Answered<Vec<ItemStory>> {
    let state = one_run(&shared, &id).await?;
    let blobs = shared.blobs.clone();
    Ok(Json(ItemStory::of(&state, &query.key, &|payload| blobs.read_value(payload).ok())))
}

async fn asks(State(shared): State<Arc<Shared>>) -> Answered<Vec<AskLine>> {
    let all = asking(&shared).await?;
    Ok(Json(all.iter().flat_map(ask_lines).collect()))
}

async fn answer(State(shared): State<Arc<Shared>>, Path(id): Path<String>, Json(answer): Json<Answer>) -> Answered<()> {
    let ask = Uuid::parse_str(&id).map(AskId).map_err(|_| not_found(format!("`{id}` is no question")))?;
    let all = asking(&shared).await?;
    let state = all.iter().find(|state| state.head.asks.contains_key(&ask));
    let state = state.ok_or_else(|| not_found(format!("no open question {id}")))?;
    let run = state.head.run;
    let line = ask_lines(state).into_iter().find(|line| line.id == ask.to_string());
    let line = line.ok_or_else(|| not_found(format!("no open question {id}")))?;
    let blobs = shared.blobs.clone();
    let by = answer.by.clone();
    let parsed =
        tokio::task::spawn_blocking(move || answer_command(&blobs, ask, &line, &answer, by)).await.map_err(internal)?;
    request(&shared, run, parsed.map_err(|why| Failed(StatusCode::BAD_REQUEST, why))?).await
}

/// A person's words as the core takes them.
///
/// # Errors
/// What is wrong with them.
pub fn answer_command(
    blobs: &Blobs,
    ask: AskId,
    line: &AskLine,
    answer: &Answer,
    by: String,
) -> Result<Command, String> {
    fits(&line.answers, &answer.answer)?;
    if answer.output.is_some() && answer.answer != "happened" {
        return Err("an output belongs to `happened` alone".to_owned());
    }
    match answer.answer.as_str() {
        "happened" => {
            let output = answer.output.clone().unwrap_or_default();
            let output = blobs.put_value(&output).map_err(|error| error.to_string())?;
            Ok(Command::Answer { ask, answer: DoubtAnswer::Happened { output }, by })
        }
        "again" => Ok(Command::Answer { ask, answer: DoubtAnswer::Again, by }),
        "skip" => Ok(Command::Answer { ask, answer: DoubtAnswer::Skip, by }),
        "fail" => Ok(Command::Answer { ask, answer: DoubtAnswer::Fail, by }),
        "go" => Ok(Command::AnswerHold { ask, go: true, by }),
        "stop" => Ok(Command::AnswerHold { ask, go: false, by }),
        other => Err(format!("`{other}` cannot be answered here")),
    }
}

/// Whether a question takes an answer.
fn fits(answers: &[String], answer: &str) -> Result<(), String> {
    if answers.iter().any(|taken| taken == answer) {
        return Ok(());
    }
    let known = match answers.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    };
    Err(format!("`{answer}` is no answer to this question: it takes {known}"))
}

#[derive(serde::Deserialize)]
struct CancelQuery {
    by: String,
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(query): Json<CancelQuery>,
) -> Answered<()> {
    let run = run_id(&id)?;
    request(&shared, run, Command::Cancel { by: query.by }).await
}

async fn request(shared: &Shared, run: RunId, command: Command) -> Answered<()> {
    match shared.door.request(run, command).await {
        Some(Ok(())) => Ok(Json(())),
        Some(Err(refusal @ Refusal::NoSuchAsk(_))) => Err(not_found(refusal)),
        Some(Err(refusal)) => Err(Failed(StatusCode::CONFLICT, refusal.to_string())),
        None => Err(Failed(StatusCode::CONFLICT, format!("run {run} is not at work in this process"))),
    }
}

async fn tree(State(shared): State<Arc<Shared>>) -> Answered<TreeNode> {
    let asker = shared.tree.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let asker = asker.ok_or_else(|| Failed(StatusCode::SERVICE_UNAVAILABLE, "the engine is starting".to_owned()))?;
    asker().await.map(Json).ok_or_else(|| Failed(StatusCode::SERVICE_UNAVAILABLE, "the engine is stopping".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn what_a_question_does_not_take_is_told_with_what_it_takes() {
        let taken = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let hold = taken(&["go", "stop"]);
        assert_eq!(fits(&hold, "go"), Ok(()));
        for answer in ["maybe", "again"] {
            let why = format!("`{answer}` is no answer to this question: it takes go or stop");
            assert_eq!(fits(&hold, answer), Err(why));
        }
        let doubt = taken(&["happened", "again", "skip", "fail"]);
        assert!(fits(&doubt, "go").unwrap_err().ends_with("it takes happened, again, skip or fail"));
    }
}
