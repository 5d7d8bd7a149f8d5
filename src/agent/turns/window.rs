//! The first messages of an attempt, made small enough for the model's window.

use super::setup::Setup;
use crate::agent::budget::{self, Budget};
use crate::domain::failure::Failure;
use crate::model::{Message, Offer};

/// Room for results of calls, in tokens, where a window can hold it.
const RESULTS_TOKENS: u64 = 4_096;
/// Times that a prompt is built smaller.
const BUILDS_MAX: u32 = 6;

/// What an attempt may send.
pub(super) fn budget(setup: &Setup<'_>) -> Budget {
    let budget = Budget::new(setup.context_tokens_max(), setup.reply_tokens_max());
    let budget = if setup.defaults.context_tokens.is_some() { budget.whole() } else { budget };
    if setup.tools.is_empty() { budget } else { budget.expecting(RESULTS_TOKENS) }
}

/// The first messages, in the form that the model takes tools in: inputs and results of other steps give way.
pub(super) fn prompt(setup: &Setup<'_>, budget: &Budget, native: bool) -> Result<Vec<Message>, Failure> {
    let tools: Vec<Offer> =
        if native { setup.tools.iter().map(|tool| tool.offer.clone()).collect() } else { Vec::new() };
    let room = budget.room_tokens();
    let mut chars_max = usize::MAX;
    for _ in 0..BUILDS_MAX {
        let messages = setup.prompt(native, chars_max)?;
        let tokens = budget.scale().of(budget::prompt_tokens(&messages, &tools));
        if tokens <= room {
            return Ok(messages);
        }
        // As much shorter as it is too long, and a little more.
        let chars: usize = messages.iter().map(|message| message.text.chars().count()).sum();
        let share = room.saturating_mul(95) / tokens.max(1);
        chars_max = usize::try_from(chars as u64 * share / 100).unwrap_or(usize::MAX);
    }
    Err(setup.too_long(&format!("the first messages do not fit into the {room} tokens that the model has for them")))
}
