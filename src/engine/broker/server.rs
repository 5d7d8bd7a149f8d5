//! The actor of one model server. It decides nothing: `queue` says which call is next, `breaker` whether any is; this
//! carries calls out and answers.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::board::{Board, Shown, until};
use super::breaker::{Breaker, Change, about_model, about_server};
use super::measure::MODELS_KEPT;
use super::queue::{Next, Policy, Queue, Ticket};
use super::residence::{Ending, key_of};
use crate::engine::Clock;
use crate::model::{Loaded, ModelError, ModelInfo, ModelServer, NoNotices, Reply, Request};

/// How long a server may take to say what is in memory.
const LOADED_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to tell of a model.
const INFO_LIMIT: Duration = Duration::from_secs(30);
/// For how long what it told of a model is believed.
pub const INFO_FRESH_MS: u64 = 60_000;
/// What a call may take beyond its own limits before its connection is given up here.
const CALL_GRACE_MS: u64 = 10_000;

/// Who waits for the answer to a call.
pub type Answer<T> = oneshot::Sender<Result<T, ModelError>>;

/// A call on its way.
#[derive(Debug)]
pub struct Call {
    /// Its number.
    pub ticket: Ticket,
    /// Who asks, for the turns.
    pub asker: String,
    /// What is asked.
    pub request: Request,
    /// Who is told.
    pub answer: Answer<Reply>,
}

/// What the actor of a server is told.
#[derive(Debug)]
pub enum ServerMessage {
    /// Ask the server, when its turn has come.
    Ask(Box<Call>),
    /// Nobody waits for this call any more.
    Forget(Ticket),
    /// A call has ended.
    Ended {
        /// Which.
        ticket: Ticket,
        /// How; `None`: nobody waited for it any more.
        result: Option<Box<Result<Reply, ModelError>>>,
    },
    /// The server has said what is in memory, or has not.
    Told(Result<Option<Vec<Loaded>>, ModelError>),
    /// Tell of a model.
    Info {
        /// The model.
        model: String,
        /// Who is told.
        answer: Answer<ModelInfo>,
    },
    /// The server has told of a model.
    Informed {
        /// The model.
        model: String,
        /// What it told.
        result: Box<Result<ModelInfo, ModelError>>,
    },
    /// Look for work again.
    Look,
}

/// The actor.
#[derive(Debug)]
pub struct Server;

/// What it needs.
#[derive(Debug)]
pub struct ServerArguments {
    /// The way to the server.
    pub server: Arc<dyn ModelServer>,
    /// Its name.
    pub name: String,
    /// Its address, for people.
    pub address: String,
    /// Where its state is shown.
    pub board: Arc<Board>,
    /// Bounds.
    pub policy: Policy,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Info {
    Known { info: Box<ModelInfo>, at_ms: u64 },
    Asked(Vec<Answer<ModelInfo>>),
}

#[derive(Debug)]
struct Running {
    answer: Option<Answer<Reply>>,
    model: String,
    loads: bool,
}

/// Its memory.
#[derive(Debug)]
pub struct ServerState {
    arguments: ServerArguments,
    queue: Queue,
    breaker: Breaker,
    model_breakers: BTreeMap<String, Breaker>,
    waiting: HashMap<Ticket, Box<Call>>,
    running: HashMap<Ticket, Running>,
    infos: BTreeMap<String, Info>,
    /// Everything that waits for the server. All of it ends with the actor.
    tasks: JoinSet<()>,
    looks_at_ms: Option<u64>,
}

impl Actor for Server {
    type Msg = ServerMessage;
    type State = ServerState;
    type Arguments = ServerArguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let state = ServerState {
            queue: Queue::new(arguments.policy, arguments.server.slots()),
            arguments,
            breaker: Breaker::default(),
            model_breakers: BTreeMap::new(),
            waiting: HashMap::new(),
            running: HashMap::new(),
            infos: BTreeMap::new(),
            tasks: JoinSet::new(),
            looks_at_ms: None,
        };
        state.show();
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let now_ms = state.now_ms();
        match message {
            ServerMessage::Ask(call) => state.ask(call, now_ms),
            ServerMessage::Forget(ticket) => state.forget(ticket, now_ms),
            ServerMessage::Ended { ticket, result } => state.ended(ticket, result, now_ms),
            ServerMessage::Told(result) => {
                let result = result.as_ref().map(|loaded| loaded.as_deref()).map_err(|error| {
                    tracing::debug!(server = state.arguments.name, %error, "the server does not say what is loaded");
                });
                state.queue.learn(result, now_ms);
            }
            ServerMessage::Info { model, answer } => state.info(&myself, model, answer, now_ms),
            ServerMessage::Informed { model, result } => state.informed(model, *result, now_ms),
            ServerMessage::Look => state.looks_at_ms = None,
        }
        state.work(&myself);
        state.show();
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        _event: SupervisionEvent,
        _state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // It has no children.
        Ok(())
    }
}

impl ServerState {
    fn now_ms(&self) -> u64 {
        self.arguments.clock.now_ms()
    }

    fn address(&self) -> String {
        self.arguments.address.clone()
    }

    fn ask(&mut self, call: Box<Call>, now_ms: u64) {
        let model = key_of(&call.request.model).to_owned();
        if let Some(error) = self.refusal(&model, now_ms) {
            answer(call.answer, Err(error));
            return;
        }
        if !self.queue.push(call.ticket, &call.asker, &model, call.request.context_tokens, now_ms) {
            let message = format!("{} calls wait for it already", self.arguments.policy.waiting_max);
            answer(call.answer, Err(ModelError::Busy { server: self.address(), message, retry_after_ms: None }));
            return;
        }
        self.breaker.admit(call.ticket, now_ms);
        if let Some(breaker) = self.model_breakers.get_mut(&model) {
            breaker.admit(call.ticket, now_ms);
        }
        self.waiting.insert(call.ticket, call);
    }

    /// Why a call is not even tried.
    fn refusal(&self, model: &str, now_ms: u64) -> Option<ModelError> {
        let of_server = self.breaker.away(now_ms).map(|away| ("it".to_owned(), away));
        let of_model = || {
            let away = self.model_breakers.get(model)?.away(now_ms)?;
            Some((format!("`{model}`"), away))
        };
        let (what, away) = of_server.or_else(of_model)?;
        let message = format!("{what} failed several times in a row and is not asked {}", until(away, now_ms));
        Some(ModelError::Unreachable { server: self.address(), message })
    }

    fn forget(&mut self, ticket: Ticket, now_ms: u64) {
        // One that runs notices by itself that nobody waits for it.
        if let Some(call) = self.waiting.remove(&ticket) {
            self.queue.remove(ticket);
            self.unheard(&call, now_ms);
        }
    }

    /// A call that was never sent says nothing, also where it was to be the probe.
    fn unheard(&mut self, call: &Call, now_ms: u64) {
        use super::breaker::Signal::Nothing;
        self.breaker.hear(call.ticket, Nothing, now_ms);
        if let Some(breaker) = self.model_breakers.get_mut(key_of(&call.request.model)) {
            breaker.hear(call.ticket, Nothing, now_ms);
        }
    }

    fn ended(&mut self, ticket: Ticket, result: Option<Box<Result<Reply, ModelError>>>, now_ms: u64) {
        let Some(running) = self.running.remove(&ticket) else { return };
        let result = result.map(|result| *result);
        self.queue.end(ticket, result.as_ref().map_or(Ending::Other, ending), now_ms);
        if let Some(Ok(reply)) = &result {
            let load_ms = self.arguments.board.measure(&running.model, reply, running.loads);
            if let Some(load_ms) = load_ms {
                self.queue.learn_load(&running.model, load_ms);
            }
        }
        self.hear(ticket, &running.model, result.as_ref(), now_ms);
        if let (Some(sender), Some(result)) = (running.answer, result) {
            answer(sender, result);
        }
    }

    fn hear(&mut self, ticket: Ticket, model: &str, result: Option<&Result<Reply, ModelError>>, now_ms: u64) {
        use super::breaker::Signal::Nothing;
        let of_server = self.breaker.hear(ticket, result.map_or(Nothing, about_server), now_ms);
        let about = result.map_or(Nothing, about_model);
        let of_model = match self.model_breakers.get_mut(model) {
            Some(breaker) => breaker.hear(ticket, about, now_ms),
            None => self.model_breakers.entry(model.to_owned()).or_default().hear(ticket, about, now_ms),
        };
        if self.model_breakers.len() > MODELS_KEPT {
            self.model_breakers.retain(|_, breaker| !breaker.is_quiet());
        }
        let server = self.arguments.name.as_str();
        match of_server {
            Change::Opened { until_ms } => tracing::warn!(server, until_ms, "the server is not asked for a while"),
            Change::Closed => tracing::info!(server, "the server answers again"),
            Change::None => {}
        }
        match of_model {
            Change::Opened { until_ms } => {
                tracing::warn!(server, model, until_ms, "the model is not asked for a while")
            }
            Change::Closed => tracing::info!(server, model, "the model answers again"),
            Change::None => {}
        }
        if matches!(of_server, Change::Opened { .. }) {
            self.turn_away(None, now_ms);
        } else if matches!(of_model, Change::Opened { .. }) {
            self.turn_away(Some(model), now_ms);
        }
    }

    /// Answers all that wait behind a breaker that has just opened.
    fn turn_away(&mut self, model: Option<&str>, now_ms: u64) {
        for ticket in self.queue.take_waiting(model) {
            let Some(call) = self.waiting.remove(&ticket) else { continue };
            self.unheard(&call, now_ms);
            let error = self.refusal(key_of(&call.request.model), now_ms).expect("a breaker has just opened");
            answer(call.answer, Err(error));
        }
    }

    /// Starts what may start.
    fn work(&mut self, myself: &ActorRef<ServerMessage>) {
        while self.tasks.try_join_next().is_some() {}
        loop {
            let now_ms = self.now_ms();
            if self.queue.wants_to_know(now_ms) {
                self.ask_loaded(myself);
            }
            match self.queue.next(now_ms) {
                Next::Start { ticket, context_tokens, loads } => self.start(myself, ticket, context_tokens, loads),
                Next::LookAgain { at_ms } => {
                    if self.looks_at_ms.is_none_or(|looks_at_ms| at_ms < looks_at_ms) {
                        self.looks_at_ms = Some(at_ms);
                        let wait = Duration::from_millis(at_ms.saturating_sub(now_ms).max(1));
                        myself.send_after(wait, || ServerMessage::Look);
                    }
                    return;
                }
                Next::Nothing => return,
            }
        }
    }

    fn start(&mut self, myself: &ActorRef<ServerMessage>, ticket: Ticket, context_tokens: u32, loads: bool) {
        let call = self.waiting.remove(&ticket).expect("the queue holds what waits here");
        let Call { mut request, answer: mut sender, .. } = *call;
        request.context_tokens = context_tokens;
        let model = key_of(&request.model).to_owned();
        if loads {
            tracing::debug!(server = self.arguments.name, model, context_tokens, "loads");
        }
        let (answer, gone) = oneshot::channel();
        self.running.insert(ticket, Running { answer: Some(answer), model, loads });
        let (server, address, myself) = (self.arguments.server.clone(), self.address(), myself.clone());
        self.tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                () = sender.closed() => None,
                result = chat(server.as_ref(), &request, address) => Some(Box::new(result)),
            };
            // An actor that is gone has taken this task with it.
            let _ = myself.cast(ServerMessage::Ended { ticket, result });
            if let Ok(result) = gone.await {
                // The asker may have gone in this moment.
                let _ = sender.send(result);
            }
        });
    }

    fn ask_loaded(&mut self, myself: &ActorRef<ServerMessage>) {
        let (server, address, myself) = (self.arguments.server.clone(), self.address(), myself.clone());
        self.tasks.spawn(async move {
            let asked = tokio::time::timeout(LOADED_LIMIT, caught(async { server.loaded().await })).await;
            let result = match asked {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(broken(address)),
                Err(_) => Err(silent(address, LOADED_LIMIT)),
            };
            let _ = myself.cast(ServerMessage::Told(result));
        });
    }

    fn info(&mut self, myself: &ActorRef<ServerMessage>, model: String, sender: Answer<ModelInfo>, now_ms: u64) {
        match self.infos.get_mut(&model) {
            Some(Info::Known { info, at_ms }) if now_ms < at_ms.saturating_add(INFO_FRESH_MS) => {
                answer(sender, Ok(*info.clone()));
                return;
            }
            Some(Info::Asked(askers)) => {
                askers.push(sender);
                return;
            }
            Some(Info::Known { .. }) | None => {}
        }
        if let Some(away) = self.breaker.away(now_ms) {
            let message = format!("it failed several times in a row and is not asked {}", until(away, now_ms));
            answer(sender, Err(ModelError::Unreachable { server: self.address(), message }));
            return;
        }
        if self.infos.len() >= MODELS_KEPT {
            self.infos.retain(|_, info| matches!(info, Info::Asked(_)));
        }
        self.infos.insert(model.clone(), Info::Asked(vec![sender]));
        let (server, address, myself) = (self.arguments.server.clone(), self.address(), myself.clone());
        self.tasks.spawn(async move {
            let asked = tokio::time::timeout(INFO_LIMIT, caught(async { server.model(&model).await })).await;
            let result = Box::new(match asked {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(broken(address)),
                Err(_) => Err(silent(address, INFO_LIMIT)),
            });
            let _ = myself.cast(ServerMessage::Informed { model, result });
        });
    }

    fn informed(&mut self, model: String, result: Result<ModelInfo, ModelError>, now_ms: u64) {
        let Some(Info::Asked(askers)) = self.infos.remove(&model) else { return };
        for asker in askers {
            answer(asker, result.clone());
        }
        if let Ok(info) = result {
            self.queue.learn_trained(&model, info.context_tokens_max);
            self.infos.insert(model, Info::Known { info: Box::new(info), at_ms: now_ms });
        }
    }

    fn show(&self) {
        let models_away = self.model_breakers.iter();
        self.arguments.board.show(Shown {
            slots: self.queue.slots(),
            running: self.queue.running(),
            waiting: self.queue.waiting(),
            residents: self.queue.residents().to_vec(),
            swaps: self.queue.swaps(),
            away: self.breaker.away_later(),
            models_away: models_away.filter_map(|(name, one)| Some((name.clone(), one.away_later()?))).collect(),
        });
    }
}

/// An asker that has gone away needs no answer.
fn answer<T>(sender: Answer<T>, result: Result<T, ModelError>) {
    drop(sender.send(result));
}

/// One request, without end only where the request itself has none.
async fn chat(server: &dyn ModelServer, request: &Request, address: String) -> Result<Reply, ModelError> {
    let limit_ms = request.limits.first_token_ms.saturating_add(request.limits.whole_ms).saturating_add(CALL_GRACE_MS);
    let asks = caught(async { server.chat(request, &NoNotices).await });
    match tokio::time::timeout(Duration::from_millis(limit_ms), asks).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(broken(address)),
        Err(_) => {
            let limit_ms = request.limits.first_token_ms;
            Err(ModelError::NoFirstToken { model: request.model.clone(), limit_ms })
        }
    }
}

/// The panic of an adapter is an error of its call, and no more.
fn caught<F: Future>(future: F) -> impl Future<Output = std::thread::Result<F::Output>> {
    AssertUnwindSafe(future).catch_unwind()
}

fn broken(server: String) -> ModelError {
    let message = "the part of this program that talks to it broke".to_owned();
    ModelError::ServerError { server, message }
}

fn silent(server: String, limit: Duration) -> ModelError {
    let message = format!("no answer within {} s", limit.as_secs());
    ModelError::Unreachable { server, message }
}

const fn ending(result: &Result<Reply, ModelError>) -> Ending {
    match result {
        Ok(_) => Ending::Answered,
        Err(ModelError::Unreachable { .. }) => Ending::ServerGone,
        Err(ModelError::OutOfMemory { .. }) => Ending::Died,
        Err(
            ModelError::NoSuchModel { .. }
            | ModelError::Unsupported { .. }
            | ModelError::Denied { .. }
            | ModelError::BadKey { .. }
            | ModelError::Forbidden { .. }
            | ModelError::SpendLimit { .. }
            | ModelError::Unpaid { .. }
            | ModelError::BadRequest { .. }
            | ModelError::Protocol { .. }
            | ModelError::RateLimited { .. }
            | ModelError::Overloaded { .. }
            | ModelError::Busy { .. },
        ) => Ending::Untouched,
        Err(_) => Ending::Other,
    }
}
