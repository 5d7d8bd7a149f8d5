//! The window of one attempt: which size to ask for, and what is sent of a conversation that has outgrown it.

use std::collections::BTreeMap;

use super::setup::Setup;
use crate::agent::budget::{self, DoesNotFit, Scale};
use crate::domain::failure::Failure;
use crate::model::{Message, Offer};

/// Room for results of calls, in tokens, where a window can hold it.
const RESULTS_TOKENS: u64 = 4_096;
/// Times that a prompt is built smaller.
const BUILDS_MAX: u32 = 6;

/// The window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// What is asked for.
    pub(super) context_tokens: u32,
    context_tokens_max: u32,
    reply_tokens_max: u32,
    results_tokens: u64,
    scale: Scale,
    /// The guess for the latest request.
    guessed_tokens: u64,
}

impl Window {
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        Self {
            context_tokens: 0,
            context_tokens_max: setup.context_tokens_max(),
            reply_tokens_max: setup.reply_tokens_max(),
            results_tokens: if setup.tools.is_empty() { 0 } else { RESULTS_TOKENS },
            scale: Scale::default(),
            guessed_tokens: 0,
        }
    }

    /// The first messages, small enough for the model's window, and the size of the window for them.
    pub(super) fn prompt(&mut self, setup: &Setup<'_>, native: bool) -> Result<Vec<Message>, Failure> {
        let tools: Vec<Offer> =
            if native { setup.tools.iter().map(|tool| tool.offer.clone()).collect() } else { Vec::new() };
        let room = u64::from(self.context_tokens_max.saturating_sub(self.reply_tokens_max));
        let mut chars_max = usize::MAX;
        for _ in 0..BUILDS_MAX {
            let messages = setup.prompt(native, chars_max)?;
            let tokens = self.scale.of(budget::prompt_tokens(&messages, &tools));
            if tokens <= room {
                let window =
                    budget::window(tokens, self.reply_tokens_max, self.results_tokens, self.context_tokens_max);
                let window = window.map_err(|why| super::setup::too_long(&why.to_string()))?;
                self.context_tokens = self.context_tokens.max(window.context_tokens).min(self.context_tokens_max);
                return Ok(messages);
            }
            // As much shorter as it is too long, and a little more.
            let chars: usize = messages.iter().map(|message| message.text.chars().count()).sum();
            let share = room.saturating_mul(95) / tokens.max(1);
            chars_max = usize::try_from(chars as u64 * share / 100).unwrap_or(usize::MAX);
        }
        let why = DoesNotFit { needed_tokens: room + 1, tokens_max: room };
        Err(super::setup::too_long(&why.to_string()))
    }

    /// The conversation as it is sent.
    pub(super) fn fit(
        &mut self,
        messages: &[Message],
        handles: &BTreeMap<usize, String>,
        tools: &[Offer],
    ) -> Result<Vec<Message>, DoesNotFit> {
        loop {
            let room = u64::from(self.context_tokens.saturating_sub(self.reply_tokens_max));
            match budget::compact(messages, handles, tools, self.scale, room) {
                Ok(fitted) => {
                    self.guessed_tokens = budget::prompt_tokens(&fitted, tools);
                    return Ok(fitted);
                }
                Err(why) if !self.grow() => return Err(why),
                Err(_) => {}
            }
        }
    }

    /// What the server counted of the latest request.
    pub(super) fn counted(&mut self, tokens: u64) {
        self.scale = self.scale.learned(self.guessed_tokens, tokens);
    }

    /// The server said that a request was longer than its window. False where nothing can be done about it.
    pub(super) fn did_not_fit(&mut self, context_tokens: Option<u32>) -> bool {
        match context_tokens {
            Some(tokens) if tokens < self.context_tokens => {
                self.context_tokens_max = tokens;
                self.context_tokens = tokens;
                tokens > self.reply_tokens_max
            }
            _ if self.grow() => true,
            _ => {
                // It counts more than we guess.
                self.scale = self.scale.learned(3_000, self.scale.of(4_000));
                true
            }
        }
    }

    fn grow(&mut self) -> bool {
        if self.context_tokens >= self.context_tokens_max {
            return false;
        }
        self.context_tokens = self.context_tokens.saturating_mul(2).min(self.context_tokens_max);
        true
    }
}
