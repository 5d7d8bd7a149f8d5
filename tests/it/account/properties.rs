//! Never one call too many, and none refused that would have fitted once the others had settled: under random
//! interleavings, clock changes and reboots, on the pure rules and on the real account of three processes.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::FutureExt as _;
use ollmcp::account::rules::{DAY_MS, Moment};
use proptest::prelude::*;
use tempfile::tempdir;

use super::book::{Answer, Book};
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Ask {
        process: usize,
        run: u128,
        microdollars: u64,
    },
    /// Of the nth open call, so many hundredths of its reservation.
    Settle(usize, u64),
    Unknown(usize),
    Release(usize),
    Passes(i64),
    /// Moves the wall clock.
    SetWall(i64),
    /// Off for so long; the wall clock may come back behind.
    Reboots(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..3_usize, 1..4_u128, 1..60_u64).prop_map(|(process, run, microdollars)| Op::Ask { process, run, microdollars }),
        5 => (0..8_usize, 0..=100_u64).prop_map(|(nth, percent)| Op::Settle(nth, percent)),
        1 => (0..8_usize).prop_map(Op::Unknown),
        2 => (0..8_usize).prop_map(Op::Release),
        3 => (1..40 * 60_000_i64).prop_map(Op::Passes),
        1 => (-30 * HOUR_MS..30 * HOUR_MS).prop_map(Op::SetWall),
        1 => (0..2 * HOUR_MS).prop_map(Op::Reboots),
    ]
}

fn some_limits() -> impl Strategy<Value = Limits> {
    (0..5_u64, 20..200_u64, proptest::option::of(20..120_u64)).prop_map(|(calls, day, run)| Limits {
        calls_per_hour_max: calls,
        day_microdollars_max: Some(day),
        run_microdollars_max: run,
        warn_at_microdollars: None,
    })
}

/// True time, and the clocks as they are.
#[derive(Debug)]
struct World {
    clock: TestClock,
    true_ms: i64,
    /// Wall clock minus truth: now, and the least so far.
    offset_ms: i64,
    offset_ms_min: i64,
    boots: u32,
    wall_was_set: bool,
}

impl World {
    fn new() -> Self {
        let clock = TestClock::new();
        Self { clock, true_ms: 0, offset_ms: 0, offset_ms_min: 0, boots: 0, wall_was_set: false }
    }

    fn now(&self) -> Moment {
        self.clock.read().moment()
    }

    fn passes(&mut self, ms: i64) {
        self.true_ms += ms;
        self.clock.passes(ms);
    }

    fn sets_wall(&mut self, ms: i64) {
        self.wall_was_set = true;
        self.offset_ms += ms;
        self.offset_ms_min = self.offset_ms_min.min(self.offset_ms);
        self.clock.set_wall(ms);
    }

    /// The wall clock that is believed after it is never ahead of what it was: what it says then is taken for true.
    fn reboots(&mut self, off_ms: i64) {
        let back_ms = self.offset_ms_min - self.offset_ms;
        if back_ms != 0 {
            self.sets_wall(back_ms);
        }
        self.passes(off_ms);
        self.boots += 1;
        self.clock.reboots(&format!("boot {}", self.boots));
    }
}

/// Holds one book, and looks at every answer with the eyes of somebody who knows the truth.
#[derive(Debug)]
struct Judge {
    book: Book,
    asked: Vec<(u128, u64)>,
}

impl Judge {
    fn new(limits: Limits) -> Self {
        Self { book: Book::new(limits), asked: Vec::new() }
    }

    fn asks(&mut self, run: u128, microdollars: u64) -> usize {
        let ticket = self.asked.len();
        self.asked.push((run, microdollars));
        self.book.ask(ticket, run, microdollars);
        ticket
    }

    fn open(&self, nth: usize) -> Option<usize> {
        let open = self.book.open();
        (!open.is_empty()).then(|| open[nth % open.len()])
    }

    fn serve(&mut self, world: &World) -> Vec<(usize, Answer)> {
        let answers = self.book.serve(world.now(), world.true_ms);
        let limits = self.book.limits;
        for (ticket, answer) in &answers {
            let (run, microdollars) = self.asked[*ticket];
            match answer {
                Answer::Granted => {
                    let within = self.book.calls.iter().filter(|call| world.true_ms - call.true_ms < HOUR_MS).count();
                    assert!(within as u64 <= limits.calls_per_hour_max, "one call too many: {:?}", self.book);
                    let sum = |is_counted: &dyn Fn(i64, u128) -> bool| -> u64 {
                        let counted = self.book.calls.iter().filter(|call| is_counted(call.true_ms, call.run));
                        counted.map(|call| call.microdollars).sum()
                    };
                    let of_run = sum(&|_, of| of == run);
                    assert!(limits.run_microdollars_max.is_none_or(|max| of_run <= max), "{:?}", self.book);
                    if !world.wall_was_set {
                        // The world begins at noon.
                        let day = |true_ms: i64| (true_ms + 12 * HOUR_MS).div_euclid(DAY_MS);
                        let of_day = sum(&|true_ms, _| day(true_ms) == day(world.true_ms));
                        assert!(limits.day_microdollars_max.is_none_or(|max| of_day <= max), "{:?}", self.book);
                    }
                }
                Answer::Reached(limit) => {
                    // Whoever came later has taken nothing from it, and whoever is open could not have helped.
                    let sums = self.book.settled_before(*ticket, run, world.now());
                    let stands = match limit {
                        Limit::CallsPerHour => sums.hour_calls >= limits.calls_per_hour_max,
                        Limit::DayBudget => {
                            limits.day_microdollars_max.is_some_and(|max| sums.day_microdollars + microdollars > max)
                        }
                        Limit::RunBudget => {
                            limits.run_microdollars_max.is_some_and(|max| sums.run_microdollars + microdollars > max)
                        }
                    };
                    assert!(stands, "{ticket} was refused by {limit:?}: {:?}", self.book);
                }
            }
        }
        assert!(!self.book.open().is_empty() || self.book.line.is_empty(), "nobody waits for nobody: {:?}", self.book);
        answers
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn never_one_call_too_many_and_none_refused_that_would_have_fitted(
        limits in some_limits(), ops in proptest::collection::vec(op(), 1..80)
    ) {
        let (mut world, mut judge) = (World::new(), Judge::new(limits));
        for op in ops {
            match op {
                Op::Ask { run, microdollars, .. } => _ = judge.asks(run, microdollars),
                Op::Settle(nth, percent) => if let Some(ticket) = judge.open(nth) {
                    let reserved = judge.asked[ticket].1;
                    judge.book.settle(ticket, Some(reserved * percent / 100));
                },
                Op::Unknown(nth) => if let Some(ticket) = judge.open(nth) { judge.book.settle(ticket, None) },
                Op::Release(nth) => if let Some(ticket) = judge.open(nth) { judge.book.release(ticket) },
                Op::Passes(ms) => world.passes(ms),
                Op::SetWall(ms) => world.sets_wall(ms),
                Op::Reboots(off_ms) => {
                    world.reboots(off_ms);
                    judge.book.reboots(world.now());
                }
            }
            judge.serve(&world);
        }
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<Decision, AccountError>>>>;

/// Three processes on one folder.
struct Real {
    folder: tempfile::TempDir,
    accounts: Vec<Account>,
    asking: BTreeMap<usize, Asking>,
    held: BTreeMap<usize, (usize, Reservation)>,
    process_of: BTreeMap<usize, usize>,
}

impl Real {
    async fn new(world: &World) -> Self {
        let folder = tempdir().unwrap();
        let mut real = Self {
            folder,
            accounts: Vec::new(),
            asking: BTreeMap::new(),
            held: BTreeMap::new(),
            process_of: BTreeMap::new(),
        };
        real.start(world).await;
        real
    }

    async fn start(&mut self, world: &World) {
        for _ in 0..3 {
            self.accounts.push(open(self.folder.path(), &world.clock).await);
        }
    }

    async fn asks(&mut self, ticket: usize, process: usize, asked: Ask) {
        let account = self.accounts[process].clone();
        let mut asking: Asking = Box::pin(async move { account.reserve(&asked).await });
        if let Some(decision) = (&mut asking).now_or_never() {
            // The account's own thread was that fast.
            asking = Box::pin(std::future::ready(decision));
        }
        self.asking.insert(ticket, asking);
        self.process_of.insert(ticket, process);
        self.accounts[process].flush().await.unwrap();
    }

    /// Lets every process look until nothing changes, and gives the answers.
    async fn answers(&mut self) -> BTreeMap<usize, Answer> {
        let mut answers = BTreeMap::new();
        loop {
            for account in &self.accounts {
                account.flush().await.unwrap();
            }
            let before = answers.len();
            let mut still = BTreeMap::new();
            for (ticket, mut asking) in std::mem::take(&mut self.asking) {
                match (&mut asking).now_or_never() {
                    None => _ = still.insert(ticket, asking),
                    Some(decision) => match decision.unwrap() {
                        Decision::Granted(reservation) => {
                            self.held.insert(ticket, (self.process_of[&ticket], reservation));
                            answers.insert(ticket, Answer::Granted);
                        }
                        Decision::Reached(reached) => _ = answers.insert(ticket, Answer::Reached(reached.limit)),
                    },
                }
            }
            self.asking = still;
            if answers.len() == before {
                return answers;
            }
        }
    }

    async fn settle(&mut self, ticket: usize, cost: Option<u64>) {
        let (process, reservation) = self.held.remove(&ticket).unwrap();
        match cost {
            Some(cost) => self.accounts[process].settle(reservation, &spent(cost)).await.unwrap(),
            None => self.accounts[process].unknown(reservation).await.unwrap(),
        };
    }

    async fn release(&mut self, ticket: usize) {
        let (process, reservation) = self.held.remove(&ticket).unwrap();
        self.accounts[process].release(reservation).await.unwrap();
    }

    async fn dies(&mut self) {
        self.asking.clear();
        self.held.clear();
        for account in self.accounts.drain(..) {
            account.flush().await.unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn three_processes_answer_as_the_rules_say(
        limits in some_limits(), ops in proptest::collection::vec(op(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut world, mut judge) = (World::new(), Judge::new(limits));
            let mut real = Real::new(&world).await;
            for op in ops {
                match op {
                    Op::Ask { process, run, microdollars } => {
                        let ticket = judge.asks(run, microdollars);
                        real.asks(ticket, process, ask(run, microdollars, limits)).await;
                    }
                    Op::Settle(nth, percent) => if let Some(ticket) = judge.open(nth) {
                        let cost = judge.asked[ticket].1 * percent / 100;
                        judge.book.settle(ticket, Some(cost));
                        real.settle(ticket, Some(cost)).await;
                    },
                    Op::Unknown(nth) => if let Some(ticket) = judge.open(nth) {
                        judge.book.settle(ticket, None);
                        real.settle(ticket, None).await;
                    },
                    Op::Release(nth) => if let Some(ticket) = judge.open(nth) {
                        judge.book.release(ticket);
                        real.release(ticket).await;
                    },
                    Op::Passes(ms) => world.passes(ms),
                    Op::SetWall(ms) => world.sets_wall(ms),
                    Op::Reboots(off_ms) => {
                        real.dies().await;
                        world.reboots(off_ms);
                        judge.book.reboots(world.now());
                        real.start(&world).await;
                    }
                }
                let expected: BTreeMap<usize, Answer> = judge.serve(&world).into_iter().collect();
                assert_eq!(real.answers().await, expected, "{:?}", judge.book);
            }
        });
    }
}
