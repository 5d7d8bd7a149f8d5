//! What an attempt needs from outside: somebody to ask, somebody to call.

use std::fmt::Debug;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::agent::grounding::MayBeNew;
use crate::domain::failure::Failure;
use crate::domain::plan::RepeatClass;
use crate::model::{ModelError, Offer, Reply, Request};

/// A tool as one attempt is offered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What the model sees of it.
    pub offer: Offer,
    /// Its server.
    pub server: String,
    /// Its name inside the server.
    pub tool: String,
    /// What follows if a call's outcome stays unknown.
    pub repeat: RepeatClass,
    /// It makes something: the name that it is given for it may be new.
    pub creates: bool,
}

impl Tool {
    /// `server.tool`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.server, self.tool)
    }

    /// Which of its arguments may name what is not there yet.
    #[must_use]
    pub const fn may_name(&self) -> MayBeNew {
        match self.repeat {
            RepeatClass::Read => MayBeNew::Nothing,
            RepeatClass::Idempotent | RepeatClass::Unsafe if self.creates => MayBeNew::Names,
            RepeatClass::Idempotent | RepeatClass::Unsafe => MayBeNew::Targets,
        }
    }
}

/// How asking a model went.
#[derive(Clone, Debug)]
pub enum Asked {
    /// It answered, and the answer is durable.
    Reply(Box<Reply>),
    /// It did not.
    Failed(ModelError),
    /// It was not asked: a limit stands.
    Refused(Failure),
    /// The attempt is not open any more, or its reply cannot be kept.
    Gone(String),
}

/// How a call went.
#[derive(Clone, Debug)]
pub enum Called {
    /// It succeeded.
    Value(Value),
    /// The tool says that it failed; the model may go on.
    Error(Failure),
    /// Nothing more can be done in this attempt.
    Failed(Failure),
    /// Nobody knows whether it happened, and it must not be repeated.
    InDoubt {
        /// What, for people.
        what: String,
        /// Why.
        failure: Failure,
    },
    /// The attempt is not open any more, or its result cannot be kept.
    Gone(String),
}

/// Outside of an attempt.
pub trait World: Send + Sync + Debug {
    /// Asks the attempt's model; a reply that was recorded for an equal request is taken from the record.
    fn ask(&self, request: Request) -> BoxFuture<'_, Asked>;

    /// Calls a tool; a call that changed something and was recorded is answered from the record. `nth` counts equal
    /// calls of this attempt, from 0.
    fn call<'a>(&'a self, tool: &'a Tool, arguments: &'a Map<String, Value>, nth: u32) -> BoxFuture<'a, Called>;
}
