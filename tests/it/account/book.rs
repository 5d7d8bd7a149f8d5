//! The account as a plain list in memory, on the pure rules alone: what the real one is compared with.

use std::collections::BTreeMap;

use ollmcp::account::rules::{DAY_MS, Moment, Sums, Verdict, decide};
use ollmcp::account::{Limit, Limits};

/// A call that was granted and not released.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// When it was asked for, in the order of all asks.
    pub(super) ticket: usize,
    pub(super) run: u128,
    pub(super) at: Moment,
    /// When it really was.
    pub(super) true_ms: i64,
    pub(super) is_open: bool,
    /// Its reservation, then its cost.
    pub(super) microdollars: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted,
    Reached(Limit),
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) limits: Limits,
    pub(super) calls: Vec<Call>,
    /// Tickets that wait: run and reservation.
    pub(super) line: BTreeMap<usize, (u128, u64)>,
}

impl Book {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, calls: Vec::new(), line: BTreeMap::new() }
    }

    fn sums<'a>(&self, calls: impl Iterator<Item = &'a Call>, run: u128, now: Moment) -> Sums {
        let day_start_ms = now.wall_ms - now.wall_ms.rem_euclid(DAY_MS);
        let mut sums = Sums::default();
        for call in calls {
            sums.hour_calls += u64::from(call.at.is_within_hour(&now));
            // What is open counts whenever it was reserved.
            if call.is_open || call.at.is_within_day(&now, day_start_ms) {
                sums.day_microdollars += call.microdollars;
            }
            if call.run == run {
                sums.run_microdollars += call.microdollars;
            }
        }
        sums
    }

    /// What is settled, of asks before a ticket.
    pub(super) fn settled_before(&self, ticket: usize, run: u128, now: Moment) -> Sums {
        self.sums(self.calls.iter().filter(|call| !call.is_open && call.ticket < ticket), run, now)
    }

    /// Takes a place at the end of the line.
    pub(super) fn ask(&mut self, ticket: usize, run: u128, microdollars: u64) {
        self.line.insert(ticket, (run, microdollars));
    }

    /// Walks the line from its head; gives those who have their answer.
    pub(super) fn serve(&mut self, now: Moment, true_ms: i64) -> Vec<(usize, Answer)> {
        let mut answers = Vec::new();
        let mut ahead: Vec<(u128, u64)> = Vec::new();
        for (ticket, (run, microdollars)) in self.line.clone() {
            let settled = self.sums(self.calls.iter().filter(|call| !call.is_open), run, now);
            let mut held = self.sums(self.calls.iter().filter(|call| call.is_open), run, now);
            for (other, amount) in &ahead {
                held.add(true, *other == run, *amount);
            }
            match decide(microdollars, &self.limits, &settled, &held) {
                Verdict::Wait => ahead.push((run, microdollars)),
                Verdict::Reached(limit) => answers.push((ticket, Answer::Reached(limit))),
                Verdict::Granted => {
                    self.calls.push(Call { ticket, run, at: now, true_ms, is_open: true, microdollars });
                    answers.push((ticket, Answer::Granted));
                }
            }
            if answers.last().is_some_and(|(last, _)| *last == ticket) {
                self.line.remove(&ticket);
            }
        }
        answers
    }

    pub(super) fn open(&self) -> Vec<usize> {
        self.calls.iter().filter(|call| call.is_open).map(|call| call.ticket).collect()
    }

    /// `None`: it counts at its reservation.
    pub(super) fn settle(&mut self, ticket: usize, cost: Option<u64>) {
        let call = self.calls.iter_mut().find(|call| call.ticket == ticket).unwrap();
        call.is_open = false;
        call.microdollars = cost.unwrap_or(call.microdollars);
    }

    pub(super) fn release(&mut self, ticket: usize) {
        self.calls.retain(|call| call.ticket != ticket);
    }

    /// All processes end; what they held counts as spent, who waited is gone, and the wall clock is believed.
    pub(super) fn reboots(&mut self, now: Moment) {
        self.line.clear();
        for call in &mut self.calls {
            call.is_open = false;
            call.at = call.at.anchored(&now);
        }
    }
}
