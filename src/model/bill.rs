//! What one call cost, known or not: told also where there is no answer, for tokens of a broken answer are paid for too.

use super::{ModelError, Reply, Request, Tokens};

/// How much of a call was bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: no request went out.
    #[default]
    Nothing,
    /// Nothing: the request went out, and the server turned it away.
    TurnedAway,
    /// The request went out, and nobody said what became of it.
    Unknown,
    /// These tokens were told before the answer broke off; of those written there may be more.
    AtLeast(Tokens),
    /// These tokens.
    Exactly(Tokens),
}

impl Spent {
    /// The tokens that were told.
    #[must_use]
    pub const fn tokens(&self) -> Tokens {
        match self {
            Self::Nothing | Self::TurnedAway | Self::Unknown => Tokens::new(0, 0),
            Self::AtLeast(tokens) | Self::Exactly(tokens) => *tokens,
        }
    }

    /// Whether more may have been bought than was told: then what was reserved for the call counts.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Unknown | Self::AtLeast(_))
    }
}

/// The bill of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// The model that was sent for, after retired ids were replaced.
    pub sent: String,
    /// The model that answered, as it says.
    pub answered: Option<String>,
    /// The server's own name for the request.
    pub request_id: Option<String>,
    /// What was bought.
    pub spent: Spent,
}

/// An answer or none, and the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Billed {
    /// What came.
    pub outcome: Result<Reply, ModelError>,
    /// What it cost.
    pub bill: Bill,
}

impl Billed {
    /// The bill of a server that says nothing about money: tokens where there is an answer, nothing where there is none.
    #[must_use]
    pub fn of_free(request: &Request, outcome: Result<Reply, ModelError>) -> Self {
        let spent = outcome.as_ref().map_or(Spent::Nothing, |reply| Spent::Exactly(reply.tokens));
        Self { bill: Bill { sent: request.model.clone(), spent, ..Bill::default() }, outcome }
    }
}
