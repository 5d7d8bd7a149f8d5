//! What a run's models cost: the report's line of money.

use serde::Serialize;

use super::models::ModelWork;
use super::text::{plural, thousands};
use crate::domain::money::dollars;

/// What the report must be told from outside: the usage account's numbers, and a price list.
pub struct Paid<'a> {
    /// Paid calls of the run on record.
    pub calls: u64,
    /// What they cost, in millionths of a dollar; a call whose outcome is unknown at its reservation.
    pub microdollars: u64,
    /// The model that the configuration names, as it is sent.
    pub model: &'a str,
    /// Date of the prices.
    pub prices_of: &'a str,
    /// What that model takes for tokens in and out, in millionths of a dollar.
    pub price: &'a dyn Fn(u64, u64) -> u64,
}

impl Paid<'_> {
    /// Of a run that no account knows, with models that cost nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { calls: 0, microdollars: 0, model: "", prices_of: "", price: &|_, _| 0 }
    }
}

impl std::fmt::Debug for Paid<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paid")
            .field("calls", &self.calls)
            .field("microdollars", &self.microdollars)
            .finish_non_exhaustive()
    }
}

/// Local and paid work of a run, and its cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Money {
    /// Tasks that models were asked for, reused ones left out.
    pub tasks: u64,
    /// Of them accepted from a local model.
    pub local: u64,
    /// Of them accepted from Claude.
    pub claude: u64,
    /// Of them set aside.
    pub set_aside: u64,
    /// Of them failed.
    pub failed: u64,
    /// Paid calls on record.
    pub paid_calls: u64,
    /// The same for each 100 tasks.
    pub paid_calls_per_100: f64,
    /// What they cost, in millionths of a dollar.
    pub microdollars: u64,
    /// Share of Claude in all tokens, 0 to 1.
    pub claude_token_share: f64,
    /// What the same run would have cost on Claude alone, in millionths of a dollar: each task's last attempt, as it
    /// was paid, else by its tokens.
    pub on_claude_alone_microdollars: u64,
    /// The model that this is worked out for.
    pub model: String,
    /// Date of its prices.
    pub prices_of: String,
}

impl Money {
    /// From the work of all steps; `None` where no model was asked.
    #[must_use]
    pub fn of(work: &[ModelWork], paid: &Paid<'_>) -> Option<Self> {
        let sum = |number: fn(&ModelWork) -> u64| work.iter().map(number).sum::<u64>();
        let tasks = sum(|work| work.tasks);
        if tasks == 0 {
            return None;
        }
        let tokens = sum(|work| work.input_tokens + work.output_tokens);
        let alone = work.iter().flat_map(|work| &work.last_attempts);
        Some(Self {
            tasks,
            local: sum(|work| work.local),
            claude: sum(|work| work.claude),
            set_aside: sum(|work| work.set_aside),
            failed: sum(|work| work.failed),
            paid_calls: paid.calls,
            paid_calls_per_100: paid.calls as f64 * 100.0 / tasks as f64,
            microdollars: paid.microdollars,
            claude_token_share: sum(|work| work.claude_tokens) as f64 / (tokens as f64).max(1.0),
            on_claude_alone_microdollars: alone
                .map(|last| match last.microdollars {
                    0 => (paid.price)(last.input_tokens, last.output_tokens),
                    paid => paid,
                })
                .sum(),
            model: paid.model.to_owned(),
            prices_of: paid.prices_of.to_owned(),
        })
    }

    /// Two lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "local {} · Claude {} · set aside {} · failed {} · ${} for {} ({:.1} per 100 tasks, {:.1} % of tokens)\n\
             the same on Claude alone: about ${} ({}, prices of {}, tokens of each task's last attempt)\n",
            thousands(self.local),
            thousands(self.claude),
            thousands(self.set_aside),
            thousands(self.failed),
            dollars(self.microdollars),
            plural(self.paid_calls, "paid call"),
            self.paid_calls_per_100,
            self.claude_token_share * 100.0,
            dollars(rounded(self.on_claude_alone_microdollars)),
            self.model,
            self.prices_of,
        )
    }
}

/// To hundredths of a cent: more would be pretended.
const fn rounded(microdollars: u64) -> u64 {
    microdollars.div_ceil(100) * 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::models::LastAttempt;

    fn last(input_tokens: u64, output_tokens: u64, microdollars: u64) -> LastAttempt {
        LastAttempt { input_tokens, output_tokens, microdollars }
    }

    fn paid<'a>(price: &'a dyn Fn(u64, u64) -> u64) -> Paid<'a> {
        Paid { calls: 3, microdollars: 61_234, model: "m", prices_of: "2026-01-01", price }
    }

    #[test]
    fn the_line_adds_up_and_prices_each_tasks_last_attempt() {
        let work = [
            ModelWork {
                tasks: 200,
                local: 190,
                claude: 3,
                set_aside: 5,
                failed: 2,
                input_tokens: 90_000,
                output_tokens: 9_000,
                claude_tokens: 990,
                last_attempts: vec![last(1_000, 10, 0), last(1_000, 10, 0), last(9_000, 90, 77)],
                ..ModelWork::default()
            },
            ModelWork { tasks: 100, local: 100, last_attempts: vec![last(1, 1, 0)], ..ModelWork::default() },
        ];
        let price = |input: u64, output: u64| 3 * input + 15 * output;
        let money = Money::of(&work, &paid(&price)).unwrap();
        assert_eq!(money.on_claude_alone_microdollars, 2 * 3_150 + 77 + 18);
        assert_eq!(
            money.text(),
            "local 290 · Claude 3 · set aside 5 · failed 2 · $0.061234 for 3 paid calls (1.0 per 100 tasks, 1.0 % of \
             tokens)\nthe same on Claude alone: about $0.0064 (m, prices of 2026-01-01, tokens of each task's last attempt)\n"
        );
    }

    #[test]
    fn a_run_that_asked_no_model_has_no_line() {
        let price = |_: u64, _: u64| 0;
        assert_eq!(Money::of(&[], &paid(&price)), None);
        assert_eq!(Money::of(&[ModelWork::default()], &paid(&price)), None);
    }
}
