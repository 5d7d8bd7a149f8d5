//! The one door to paid models: each request is reserved, asked once, and settled behind it.

use std::fmt::Debug;

use futures::future::BoxFuture;

use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::ladder::PaidReason;
use crate::domain::money::Today;
use crate::model::{ModelError, ModelInfo, Reply, Request};

/// One request of an attempt on a paid rung.
#[derive(Clone, Debug)]
pub struct PaidRequest {
    /// The run that pays.
    pub run: RunId,
    /// The task, as reports name it: `extract[a.pdf]`.
    pub task: String,
    /// The agent's name.
    pub agent: String,
    /// Why it is asked.
    pub reason: PaidReason,
    /// `claude` or `claude:MODEL`.
    pub rung: String,
    /// What is asked; the door puts the model in.
    pub request: Request,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Bought {
    /// An answer, and its price in millionths of a dollar.
    Reply(Box<Reply>, u64),
    /// None; what it cost is on record.
    Failed(ModelError),
    /// It was not sent: a limit stands, or the account cannot be used.
    Refused(Failure),
}

/// Who sells answers.
pub trait PaidModels: Debug + Send + Sync + 'static {
    /// What is known of a rung's model.
    fn info(&self, rung: &str) -> ModelInfo;
    /// What is on record for today, as of the last call; `None`: there was none.
    fn today(&self) -> Option<Today>;
    /// Waits for room in the limits, asks once, and puts on record what it cost before anything is told.
    fn buy(&self, request: PaidRequest) -> BoxFuture<'_, Bought>;
}
