//! Tables on single decisions, and whole batches on a simulated server: nothing lost, few swaps, bounded waits.

use super::*;

const BOUND_MS: u64 = 120_000;

fn queue(slots: usize) -> Queue {
    let mut queue = Queue::new(Policy::default(), slots);
    queue.learn(Ok(None), 0);
    queue
}

/// A queue of a server that has just said what it has in memory.
fn queue_with(slots: usize, loaded: &[(&str, u32)]) -> Queue {
    let mut queue = Queue::new(Policy::default(), slots);
    queue.learn(Ok(Some(&memory(loaded))), 0);
    queue
}

fn memory(loaded: &[(&str, u32)]) -> Vec<Loaded> {
    let one = |(name, context_tokens): &(&str, u32)| Loaded {
        name: (*name).to_owned(),
        context_tokens: Some(*context_tokens),
        bytes: 0,
        vram_bytes: 0,
        until_ms: None,
    };
    loaded.iter().map(one).collect()
}

#[track_caller]
fn starts(queue: &mut Queue, now_ms: u64, ticket: Ticket, context_tokens: u32, loads: bool) {
    assert_eq!(queue.next(now_ms), Next::Start { ticket, context_tokens, loads });
}

#[test]
fn what_is_loaded_goes_first_and_the_oldest_of_the_others_next() {
    let mut queue = queue_with(1, &[("b", 4_096)]);
    for (ticket, model) in ["a", "b", "c", "b"].into_iter().enumerate() {
        assert!(queue.push(ticket as u64, "", model, 1_000, 0));
    }
    for (ticket, size, loads) in [(1, 4_096, false), (3, 4_096, false), (0, 2_048, true), (2, 2_048, true)] {
        // Whether it is asked again depends on how old its word is: here it says nothing new.
        if queue.wants_to_know(0) {
            queue.learn(Err(()), 0);
        }
        starts(&mut queue, 0, ticket, size, loads);
        assert_eq!(queue.next(0), Next::Nothing, "one slot");
        queue.end(ticket, Ending::Answered, 0);
    }
    assert_eq!((queue.waiting(), queue.running(), queue.swaps()), (0, 0, 2));
}

#[test]
fn another_group_waits_no_longer_than_the_bound() {
    let mut queue = queue(1);
    assert!(queue.push(0, "", "a", 1, 0));
    starts(&mut queue, 0, 0, 2_048, true);
    assert!(queue.push(1, "", "b", 1, 10));
    for (ticket, now_ms) in [(2, 20), (3, BOUND_MS + 9), (4, BOUND_MS + 10)] {
        assert!(queue.push(ticket, "", "a", 1, 20));
        queue.end(if ticket == 2 { 0 } else { ticket - 1 }, Ending::Answered, now_ms);
        match ticket {
            4 => starts(&mut queue, now_ms, 1, 2_048, true),
            _ => starts(&mut queue, now_ms, ticket, 2_048, false),
        }
    }
}

#[test]
fn nothing_is_started_beside_calls_that_a_load_has_to_wait_for() {
    let mut queue = queue(2);
    for (ticket, model) in ["a", "a", "a", "b", "b"].into_iter().enumerate() {
        assert!(queue.push(ticket as u64, "", model, 1, 0));
    }
    starts(&mut queue, 0, 0, 2_048, true);
    starts(&mut queue, 0, 1, 2_048, false);
    queue.end(0, Ending::Answered, BOUND_MS);
    assert_eq!(queue.next(BOUND_MS), Next::Nothing, "`b` is overdue, `a` still runs");
    queue.end(1, Ending::Answered, BOUND_MS);
    starts(&mut queue, BOUND_MS, 3, 2_048, true);
    starts(&mut queue, BOUND_MS, 4, 2_048, false);
    queue.end(3, Ending::Answered, BOUND_MS);
    queue.end(4, Ending::Answered, BOUND_MS);
    starts(&mut queue, BOUND_MS, 2, 2_048, true);
}

#[test]
fn models_that_fit_at_once_are_served_by_age_and_not_counted_as_swaps() {
    let mut queue = queue_with(1, &[("a", 4_096)]);
    assert!(queue.push(0, "", "b", 1, 0));
    starts(&mut queue, 0, 0, 2_048, true);
    queue.end(0, Ending::Answered, 1);
    assert!(queue.push(1, "", "a", 1, 2));
    assert!(queue.push(2, "", "b", 1, 3));
    assert!(queue.wants_to_know(3), "what had to leave for `b` is not known");
    assert!(!queue.wants_to_know(3), "it is asked once");
    queue.learn(Ok(Some(&memory(&[("a", 4_096), ("b", 2_048)]))), 4);
    starts(&mut queue, 4, 1, 4_096, false);
    queue.end(1, Ending::Answered, 5);
    starts(&mut queue, 5, 2, 2_048, false);
    assert_eq!(queue.swaps(), 0);
}

#[test]
fn no_load_begins_before_the_server_has_said_what_it_has() {
    let mut queue = Queue::new(Policy::default(), 1);
    assert!(queue.push(0, "", "a", 1, 0) && queue.push(1, "", "b", 1, 0));
    assert_eq!(queue.next(0), Next::Nothing);
    assert!(queue.wants_to_know(0));
    assert_eq!(queue.next(0), Next::Nothing);
    queue.learn(Ok(Some(&memory(&[("b:latest", 8_192)]))), 1);
    starts(&mut queue, 1, 1, 8_192, false);
    queue.end(1, Ending::Answered, 2);
    assert!(!queue.wants_to_know(2), "its word is fresh");
    starts(&mut queue, 2, 0, 2_048, true);
    queue.end(0, Ending::Answered, 3);
    assert!(queue.push(2, "", "c", 1, 4) && queue.wants_to_know(4));
    queue.learn(Err(()), 5);
    starts(&mut queue, 5, 2, 2_048, true);
}

#[test]
fn one_load_serves_all_sizes_that_wait() {
    let mut queue = queue(1);
    for (ticket, need) in [3_000, 9_000, 100].into_iter().enumerate() {
        assert!(queue.push(ticket as u64, "", "a", need, 0));
    }
    starts(&mut queue, 0, 0, 16_384, true);
    for ticket in [0, 1] {
        queue.end(ticket, Ending::Answered, 0);
        starts(&mut queue, 0, ticket + 1, 16_384, false);
    }
    queue.end(2, Ending::Answered, 0);
    assert!(queue.push(3, "", "a", 17_000, 0) && queue.push(4, "", "a", 1, 0));
    starts(&mut queue, 0, 4, 16_384, false);
    queue.end(4, Ending::Answered, 0);
    starts(&mut queue, 0, 3, 32_768, true);
    assert_eq!(queue.swaps(), 0, "a larger window is no other model");
}

#[test]
fn askers_take_turns_within_a_group() {
    let mut queue = queue(1);
    for ticket in 0..4 {
        assert!(queue.push(ticket, "batch", "a", 1, 0));
    }
    assert!(queue.push(10, "single", "a", 1, 1) && queue.push(11, "other", "a", 1, 1));
    let mut order = Vec::new();
    while let Next::Start { ticket, .. } = queue.next(2) {
        order.push(ticket);
        queue.end(ticket, Ending::Answered, 2);
    }
    assert_eq!(order, [0, 10, 11, 1, 2, 3]);
}

#[test]
fn a_dear_load_waits_a_moment_for_the_next_call_of_the_loaded_model() {
    let mut queue = queue(1);
    queue.learn_load("b", 5_000);
    assert!(queue.push(0, "", "a", 1, 0));
    starts(&mut queue, 0, 0, 2_048, true);
    assert!(queue.push(1, "", "b", 1, 5));
    queue.end(0, Ending::Answered, 10);
    assert_eq!(queue.next(10), Next::LookAgain { at_ms: 1_010 });
    assert!(queue.push(2, "", "a", 1, 500));
    starts(&mut queue, 500, 2, 2_048, false);
    queue.end(2, Ending::Answered, 600);
    assert_eq!(queue.next(600), Next::LookAgain { at_ms: 1_600 });
    starts(&mut queue, 1_600, 1, 2_048, true);
}

#[test]
fn so_many_wait_and_no_more_and_what_is_taken_out_is_not_served() {
    let mut queue = Queue::new(Policy { waiting_max: 3, ..Policy::default() }, 1);
    queue.learn(Ok(None), 0);
    for ticket in 0..3 {
        assert!(queue.push(ticket, "", if ticket == 1 { "b" } else { "a" }, 1, 0));
    }
    assert!(!queue.push(3, "", "a", 1, 0));
    assert!(queue.remove(0) && !queue.remove(0));
    assert!(queue.push(4, "", "b", 1, 0));
    assert_eq!(queue.take_waiting(Some("b:latest")), [1, 4]);
    starts(&mut queue, 0, 2, 2_048, true);
    assert_eq!(queue.take_waiting(None), Vec::<Ticket>::new());
    assert!(!queue.remove(2), "it runs");
    queue.end(2, Ending::Other, 0);
    queue.end(2, Ending::Other, 0);
    assert_eq!((queue.running(), queue.next(0)), (0, Next::Nothing));
}

/// Numbers from a seed, the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Calls one after the other, each asked `gap_ms` after the answer to the one before.
#[derive(Clone, Debug)]
struct Chain {
    asker: String,
    at_ms: u64,
    gap_ms: u64,
    calls: Vec<(&'static str, u32)>,
}

/// A server that loads one model (or `room` of them) at a time.
struct World {
    slots: usize,
    room: usize,
    load_ms: u64,
    service_ms: Box<dyn FnMut() -> u64>,
    tells: bool,
    /// One in so many calls that wait is taken back at the next change; 0: none.
    drops: u64,
    policy: Policy,
    seed: u64,
}

#[derive(Debug, Default)]
struct Outcome {
    /// By chain and place in it: arrival, start and end.
    calls: BTreeMap<(usize, usize), [u64; 3]>,
    loads: u64,
    swaps: u64,
    dropped: usize,
    end_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Asked(usize, usize),
    Ended(Ticket),
    Told,
    Look,
}

impl World {
    fn new(load_ms: u64, service_ms: u64) -> Self {
        Self {
            slots: 1,
            room: 1,
            load_ms,
            service_ms: Box::new(move || service_ms),
            tells: true,
            drops: 0,
            policy: Policy::default(),
            seed: 0,
        }
    }

    fn run(mut self, chains: &[Chain]) -> Outcome {
        let seed = self.seed;
        let mut dice = Dice(seed);
        let mut queue = Queue::new(self.policy, self.slots);
        let mut out = Outcome::default();
        let mut agenda: BTreeSet<(u64, u64, Happens)> = BTreeSet::new();
        let mut order = 0;
        let mut plan = |agenda: &mut BTreeSet<(u64, u64, Happens)>, at_ms: u64, what: Happens| {
            order += 1;
            agenda.insert((at_ms, order, what));
        };
        for (at, chain) in chains.iter().enumerate() {
            plan(&mut agenda, chain.at_ms, Happens::Asked(at, 0));
        }
        let mut calls: Vec<(usize, usize)> = Vec::new();
        let mut state: BTreeMap<Ticket, char> = BTreeMap::new();
        let mut in_memory: Vec<(&str, u32)> = Vec::new();
        let mut running: BTreeMap<Ticket, &str> = BTreeMap::new();
        while let Some((now_ms, _, what)) = agenda.pop_first() {
            out.end_ms = now_ms;
            match what {
                Happens::Asked(chain, place) => {
                    let ticket = calls.len() as u64;
                    calls.push((chain, place));
                    let (model, need) = chains[chain].calls[place];
                    assert!(queue.push(ticket, &chains[chain].asker, model, need, now_ms), "seed {seed}: full");
                    state.insert(ticket, 'w');
                    out.calls.insert((chain, place), [now_ms, 0, 0]);
                }
                Happens::Ended(ticket) => {
                    assert_eq!(state.insert(ticket, 'e'), Some('r'), "seed {seed}");
                    running.remove(&ticket);
                    queue.end(ticket, Ending::Answered, now_ms);
                    let (chain, place) = calls[ticket as usize];
                    out.calls.get_mut(&(chain, place)).unwrap()[2] = now_ms;
                    queue.learn_load(chains[chain].calls[place].0, self.load_ms);
                    if place + 1 < chains[chain].calls.len() {
                        plan(&mut agenda, now_ms + chains[chain].gap_ms, Happens::Asked(chain, place + 1));
                    }
                }
                Happens::Told => {
                    let loaded = memory(&in_memory);
                    queue.learn(Ok(self.tells.then_some(loaded.as_slice())), now_ms);
                }
                Happens::Look => {}
            }
            if self.drops > 0 && dice.below(self.drops) == 0 {
                let waiting: Vec<Ticket> = state.iter().filter(|(_, s)| **s == 'w').map(|(t, _)| *t).collect();
                if !waiting.is_empty() {
                    let ticket = waiting[dice.below(waiting.len() as u64) as usize];
                    assert!(queue.remove(ticket), "seed {seed}");
                    state.insert(ticket, 'd');
                    out.dropped += 1;
                }
            }
            loop {
                if queue.wants_to_know(now_ms) {
                    plan(&mut agenda, now_ms + 5, Happens::Told);
                }
                match queue.next(now_ms) {
                    Next::Start { ticket, context_tokens, loads } => {
                        assert_eq!(state.insert(ticket, 'r'), Some('w'), "seed {seed}: served twice, or after it left");
                        let (chain, place) = calls[ticket as usize];
                        let (model, need) = chains[chain].calls[place];
                        assert!(context_tokens >= need, "seed {seed}");
                        let is_there = in_memory.contains(&(model, context_tokens));
                        assert!(is_there || loads, "seed {seed}: an unexpected load");
                        let mut takes_ms = (self.service_ms)();
                        if !is_there {
                            assert!(running.is_empty() || self.room > 1, "seed {seed}: a load beside {running:?}");
                            in_memory.retain(|(name, _)| *name != model);
                            if in_memory.len() >= self.room {
                                in_memory.remove(0);
                            }
                            in_memory.push((model, context_tokens));
                            out.loads += 1;
                            takes_ms += self.load_ms;
                        }
                        running.insert(ticket, model);
                        assert!(running.len() <= self.slots, "seed {seed}");
                        out.calls.get_mut(&(chain, place)).unwrap()[1] = now_ms;
                        plan(&mut agenda, now_ms + takes_ms, Happens::Ended(ticket));
                    }
                    Next::LookAgain { at_ms } => {
                        assert!(at_ms > now_ms, "seed {seed}");
                        plan(&mut agenda, at_ms, Happens::Look);
                        break;
                    }
                    Next::Nothing => break,
                }
            }
        }
        assert!(state.values().all(|state| matches!(state, 'e' | 'd')), "seed {seed}: a call was lost");
        assert_eq!((queue.waiting(), queue.running()), (0, 0), "seed {seed}");
        out.swaps = queue.swaps();
        out
    }
}

fn batch(asker: &str, items: usize, calls: &[(&'static str, u32)]) -> Vec<Chain> {
    let chain = Chain { asker: asker.to_owned(), at_ms: 0, gap_ms: 20, calls: calls.to_vec() };
    vec![chain; items]
}

#[test]
fn two_hundred_items_that_need_two_models_swap_at_most_four_times_however_long_a_call_takes() {
    for service_ms in [10, 200, 1_000, 1_900, 2_500] {
        for (slots, tells) in [(1, true), (1, false), (2, true), (4, true), (4, false)] {
            let world = World { slots, tells, ..World::new(5_000, service_ms) };
            let outcome = world.run(&batch("run", 200, &[("a", 3_000), ("b", 3_000)]));
            let told = format!("{service_ms} ms, {slots} slots, tells: {tells}: {} loads", outcome.loads);
            assert!(outcome.loads <= 4, "{told}");
            assert_eq!(outcome.loads, outcome.swaps + 1, "{told}");
        }
    }
}

#[test]
fn a_server_with_room_for_both_models_loads_each_once() {
    let world = World { room: 2, ..World::new(5_000, 1_000) };
    let outcome = world.run(&batch("run", 200, &[("a", 3_000), ("b", 3_000)]));
    assert_eq!((outcome.loads, outcome.swaps), (2, 0));
}

#[test]
fn a_single_call_of_a_second_run_is_answered_within_its_bound() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let service_ms = [50, 1_000, 3_000, 9_000][dice.below(4) as usize];
        let slots = 1 + dice.below(3) as usize;
        let mut chains = batch("first", 200, &[("a", 3_000), ("b", 3_000)]);
        let at_ms = dice.below(400 * service_ms / slots as u64);
        let model = ["a", "b", "c"][dice.below(3) as usize];
        chains.push(Chain { asker: "second".to_owned(), at_ms, gap_ms: 0, calls: vec![(model, 2_000)] });
        let outcome = World { slots, seed, ..World::new(5_000, service_ms) }.run(&chains);
        let [asked, started, _] = outcome.calls[&(200, 0)];
        let limit_ms = BOUND_MS + 5_000 + service_ms + 2_100;
        assert!(started - asked <= limit_ms, "seed {seed}: {} ms for `{model}` of {limit_ms}", started - asked);
    }
}

#[test]
fn two_runs_with_a_model_each_share_the_server_without_thrash() {
    for service_ms in [500, 4_000] {
        let mut chains = batch("first", 200, &[("a", 3_000)]);
        chains.extend(batch("second", 200, &[("b", 3_000)]));
        let outcome = World::new(5_000, service_ms).run(&chains);
        let turns = outcome.end_ms / BOUND_MS + 2;
        assert!(outcome.loads <= turns, "{} loads in {} ms", outcome.loads, outcome.end_ms);
        let first_of_second = outcome.calls[&(200, 0)];
        assert!(first_of_second[1] <= BOUND_MS + 5_000 + service_ms + 2_100);
    }
}

#[test]
fn attempts_of_several_turns_keep_their_model_between_them() {
    let turns: Vec<(&'static str, u32)> = vec![("a", 3_000); 40];
    let other: Vec<(&'static str, u32)> = vec![("b", 3_000); 40];
    let mut chains = batch("first", 1, &turns);
    chains.extend(batch("second", 1, &other));
    let outcome = World::new(10_000, 2_000).run(&chains);
    assert!(outcome.loads <= 4, "{} loads for two attempts of 40 turns", outcome.loads);
}

#[test]
fn no_call_is_lost_or_served_twice_and_no_group_waits_for_ever() {
    for seed in 0..500_u64 {
        let mut dice = Dice(seed.wrapping_mul(7_919));
        let models = ["a", "b", "c", "d"];
        let askers = 1 + dice.below(3);
        let chains: Vec<Chain> = (0..1 + dice.below(150))
            .map(|_| {
                let calls = (0..1 + dice.below(4)).map(|_| (models[dice.below(4) as usize], dice.below(9_000) as u32));
                Chain {
                    calls: calls.collect(),
                    asker: dice.below(askers).to_string(),
                    at_ms: dice.below(600_000),
                    gap_ms: dice.below(3_000),
                }
            })
            .collect();
        let longest_ms = 1 + dice.below(5_000);
        let load_ms = dice.below(20_000);
        let mut service = Dice(seed);
        let policy = Policy::default();
        let world = World {
            slots: 1 + dice.below(4) as usize,
            room: 1,
            load_ms,
            service_ms: Box::new(move || 1 + service.below(longest_ms)),
            tells: dice.below(2) == 0,
            drops: dice.below(2) * 30,
            policy,
            seed,
        };
        let outcome = world.run(&chains);
        // A group waits for the bound, then for each other group at most one turn that is not its own.
        let turns_ms = 3 * (policy.turn_max_ms + load_ms + longest_ms);
        let mut longest_wait_ms = 0;
        for [asked, started, _] in outcome.calls.values().filter(|times| times[1] > 0) {
            longest_wait_ms = longest_wait_ms.max(started - asked);
        }
        // Its own group's calls before it are its own queue, not a wait for a group.
        let own_ms = chains.iter().map(|chain| chain.calls.len() as u64).sum::<u64>() * longest_ms;
        let limit_ms = policy.group_wait_max_ms + turns_ms + own_ms;
        assert!(longest_wait_ms <= limit_ms, "seed {seed}: {longest_wait_ms} of {limit_ms} ms");
    }
}
