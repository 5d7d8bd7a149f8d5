//! The model broker with scripted servers, under time that stands still until all wait.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use ollmcp::engine::broker::breaker::OPEN_MS;
use ollmcp::engine::broker::{Broker, BrokerArguments, Door, Policy};
use ollmcp::engine::{Clock, Models};
use ollmcp::model::{
    Loaded, Message, ModelError, ModelInfo, ModelServer, ModelServers, Notices, PullProgress, Reply, Request, Speaker,
    Think, TimeLimits, Timing, Tokens,
};
use ractor::{Actor, ActorRef};
use tokio::time::{Instant, sleep, timeout};

use super::world::{Cut, World};

/// What the server does with a request.
#[derive(Clone, Debug)]
enum Does {
    Answers,
    Fails(ModelError),
    Hangs,
    Panics,
}

#[derive(Debug)]
struct Scripted {
    slots: usize,
    load_ms: u64,
    service_ms: u64,
    /// What happens to the next requests; then all are answered.
    script: Mutex<VecDeque<Does>>,
    /// Overrides the script while it is set.
    always: Mutex<Option<Does>>,
    in_memory: Mutex<Option<(String, u32)>>,
    loads: AtomicUsize,
    /// Requests, in the order in which they came: model and window.
    asked: Mutex<Vec<(String, u32)>>,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
    infos: AtomicUsize,
}

struct AtWork<'a>(&'a Scripted);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn new(slots: usize, load_ms: u64, service_ms: u64) -> Self {
        Self {
            slots,
            load_ms,
            service_ms,
            script: Mutex::default(),
            always: Mutex::default(),
            in_memory: Mutex::default(),
            loads: AtomicUsize::new(0),
            asked: Mutex::default(),
            at_work: AtomicUsize::new(0),
            most_at_work: AtomicUsize::new(0),
            infos: AtomicUsize::new(0),
        }
    }

    fn always(&self, does: Option<Does>) {
        *self.always.lock().unwrap() = does;
    }

    fn asked(&self) -> Vec<(String, u32)> {
        self.asked.lock().unwrap().clone()
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn next(&self) -> Does {
        let scripted = self.script.lock().unwrap().pop_front();
        self.always.lock().unwrap().clone().or(scripted).unwrap_or(Does::Answers)
    }

    async fn answer(&self, request: &Request) -> Result<Reply, ModelError> {
        let at_work = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        let _at_work = AtWork(self);
        self.most_at_work.fetch_max(at_work, Ordering::SeqCst);
        self.asked.lock().unwrap().push((request.model.clone(), request.context_tokens));
        match self.next() {
            Does::Answers => {}
            Does::Fails(error) => return Err(error),
            Does::Hangs => pending().await,
            Does::Panics => panic!("scripted"),
        }
        let wanted = (request.model.clone(), request.context_tokens);
        let loads = self.in_memory.lock().unwrap().replace(wanted.clone()) != Some(wanted);
        let load_ms = if loads { self.load_ms } else { 0 };
        self.loads.fetch_add(usize::from(loads), Ordering::SeqCst);
        sleep(Duration::from_millis(load_ms + self.service_ms)).await;
        Ok(Reply {
            text: format!("{} says hello", request.model),
            tokens: Tokens::new(10, 20),
            timing: Timing {
                first_token_ms: load_ms + self.service_ms / 2,
                whole_ms: load_ms + self.service_ms,
                load_ms,
                writing_ms: self.service_ms / 2,
            },
            ..Reply::default()
        })
    }
}

impl ModelServer for Scripted {
    fn address(&self) -> &str {
        "http://scripted"
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn chat<'a>(&'a self, request: &'a Request, _: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        self.answer(request).boxed()
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        async move {
            self.infos.fetch_add(1, Ordering::SeqCst);
            match self.next() {
                Does::Fails(error) => Err(error),
                Does::Hangs => pending().await,
                Does::Panics => panic!("scripted"),
                Does::Answers => Ok(ModelInfo { name: name.to_owned(), chat: true, ..ModelInfo::default() }),
            }
        }
        .boxed()
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        async {
            if matches!(*self.always.lock().unwrap(), Some(Does::Hangs)) {
                pending::<()>().await;
            }
            let in_memory = self.in_memory.lock().unwrap().clone();
            let loaded = in_memory.map(|(name, context_tokens)| Loaded {
                name,
                context_tokens: Some(context_tokens),
                bytes: 1,
                vram_bytes: 0,
                until_ms: None,
            });
            Ok(Some(loaded.into_iter().collect()))
        }
        .boxed()
    }

    fn pull<'a>(
        &'a self,
        _: &'a str,
        _: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        async { Ok(()) }.boxed()
    }
}

/// A clock at which the next actor that looks at it dies, when told so.
#[derive(Debug)]
struct DeadlyClock {
    begun: Instant,
    kills: AtomicBool,
}

impl DeadlyClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), kills: AtomicBool::new(false) })
    }
}

impl Clock for DeadlyClock {
    fn now_ms(&self) -> u64 {
        assert!(!self.kills.swap(false, Ordering::SeqCst), "scripted");
        1_800_000_000_000 + u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }
}

struct Running {
    door: Door,
    server: Arc<Scripted>,
    clock: Arc<DeadlyClock>,
    broker: ActorRef<ollmcp::engine::broker::BrokerMessage>,
}

async fn started_with(policy: Policy, scripted: Scripted) -> Running {
    let (door, server) = (Door::new(policy), Arc::new(scripted));
    let adapter: Arc<dyn ModelServer> = server.clone();
    let clock = DeadlyClock::new();
    let arguments = BrokerArguments {
        door: door.clone(),
        servers: ModelServers(BTreeMap::from([("box".to_owned(), adapter)])),
        clock: clock.clone(),
    };
    let (broker, _) = Broker::spawn(None, Broker, arguments).await.unwrap();
    Running { door, server, clock, broker }
}

async fn started(scripted: Scripted) -> Running {
    started_with(Policy::default(), scripted).await
}

fn request(model: &str) -> Request {
    Request {
        model: model.to_owned(),
        messages: vec![Message::new(Speaker::User, "hello")],
        tools: Vec::new(),
        schema: None,
        think: Think::Unset,
        temperature: None,
        sampling: ollmcp::domain::sampling::Sampling::default(),
        seed: None,
        reply_tokens_max: 100,
        context_tokens: 3_000,
        limits: TimeLimits { first_token_ms: 300_000, idle_ms: 60_000, whole_ms: 600_000 },
    }
}

fn unreachable() -> Does {
    Does::Fails(ModelError::Unreachable { server: "box".to_owned(), message: "refused".to_owned() })
}

fn out_of_memory() -> Does {
    Does::Fails(ModelError::OutOfMemory { model: "a".to_owned(), message: "cuda".to_owned() })
}

impl Running {
    async fn ask(&self, model: &str) -> Result<Reply, ModelError> {
        self.door.ask(&format!("box:{model}"), request(model)).await
    }

    /// Seconds until the answer.
    async fn timed(&self, asker: &str, model: &str) -> f64 {
        let begun = Instant::now();
        self.door.ask_for(asker, &format!("box:{model}"), request(model)).await.unwrap();
        begun.elapsed().as_secs_f64()
    }

    fn state(&self) -> String {
        self.door.nodes()[0].state.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_items_that_need_two_models_load_at_most_four_times_beside_a_second_run() {
    for (slots, service_ms) in [(1, 1_000), (1, 2_500), (3, 700)] {
        let running = started(Scripted::new(slots, 5_000, service_ms)).await;
        let items = (0..200).map(|_| async {
            running.door.ask_for("first", "box:a", request("a")).await.unwrap();
            running.door.ask_for("first", "box:b", request("b")).await.unwrap();
        });
        let single = async {
            sleep(Duration::from_secs(30)).await;
            running.timed("second", "b").await
        };
        let (_, seconds) = tokio::join!(join_all(items), single);
        let told =
            format!("{slots} slots, {service_ms} ms: {} loads, the single call {seconds} s", running.server.loads());
        println!("{told}");
        assert!(running.server.loads() <= 4, "{told}");
        assert!(seconds <= 120.0 + 5.0 + 2.0 * service_ms as f64 / 1e3 + 2.0, "{told}");
        assert_eq!(running.server.asked().len(), 401);
        assert!(running.server.asked().iter().all(|(_, context_tokens)| *context_tokens == 4_096));
        assert_eq!(running.server.most_at_work.load(Ordering::SeqCst), slots);
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_call_of_a_third_model_takes_its_turn_within_the_bound() {
    let running = started(Scripted::new(1, 5_000, 3_000)).await;
    let items = (0..200).map(|_| async {
        running.door.ask_for("first", "box:a", request("a")).await.unwrap();
        running.door.ask_for("first", "box:b", request("b")).await.unwrap();
    });
    let single = async {
        sleep(Duration::from_secs(400)).await;
        running.timed("second", "c").await
    };
    let (_, seconds) = tokio::join!(join_all(items), single);
    assert!(seconds <= 120.0 + 5.0 + 3.0 + 5.0 + 3.0, "{seconds} s");
    assert!(running.server.loads() <= 4 + 2, "{} loads", running.server.loads());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_is_not_asked_for_a_while_and_is_found_again() {
    let running = started(Scripted::new(1, 0, 10)).await;
    running.server.always(Some(unreachable()));
    for _ in 0..3 {
        assert!(!running.door.is_away("box:a"));
        assert!(matches!(running.ask("a").await, Err(ModelError::Unreachable { .. })));
    }
    assert_eq!(running.door.away(), ["box"]);
    assert!(running.door.is_away("box:b") && !running.door.is_away("other:b"));
    let asked = running.server.asked().len();
    let error = running.ask("b").await.unwrap_err();
    assert!(
        matches!(&error, ModelError::Unreachable { message, .. } if message.contains("not asked until")),
        "{error}"
    );
    assert!(running.state().starts_with("breaker open until "), "{}", running.state());
    assert_eq!(running.server.asked().len(), asked, "nobody knocked");
    // The first probe fails, so the second waits twice as long.
    sleep(Duration::from_millis(OPEN_MS)).await;
    assert!(!running.door.is_away("box:a"));
    assert!(running.ask("a").await.is_err());
    assert_eq!(running.server.asked().len(), asked + 1);
    sleep(Duration::from_millis(OPEN_MS)).await;
    assert!(running.door.is_away("box:a"));
    running.server.always(None);
    sleep(Duration::from_millis(OPEN_MS)).await;
    let (probe, beside) = tokio::join!(running.ask("a"), running.ask("a"));
    assert!(probe.is_ok() && matches!(beside, Err(ModelError::Unreachable { .. })), "one probe: {beside:?}");
    assert_eq!(running.door.away(), Vec::<String>::new());
    assert!(running.ask("b").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_behind_a_breaker_that_opens_are_told_at_once() {
    let running = started(Scripted::new(1, 0, 1_000)).await;
    running.server.script.lock().unwrap().extend([Does::Answers, unreachable(), unreachable(), unreachable()]);
    let begun = Instant::now();
    let results = join_all((0..50).map(|_| running.ask("a"))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(running.server.asked().len(), 4);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(running.state().contains("idle"), "{}", running.state());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_dies_again_and_again_does_not_take_the_others_with_it() {
    let running = started(Scripted::new(1, 0, 10)).await;
    running.server.script.lock().unwrap().extend([out_of_memory(), out_of_memory(), out_of_memory()]);
    for _ in 0..3 {
        assert!(matches!(running.ask("a").await, Err(ModelError::OutOfMemory { .. })));
    }
    assert_eq!(running.door.away(), ["box:a"]);
    assert!(running.door.is_away("box:a") && running.door.is_away("box:a:latest") && !running.door.is_away("box:b"));
    assert!(matches!(running.ask("a").await, Err(ModelError::Unreachable { .. })));
    assert!(running.ask("b").await.is_ok());
    sleep(Duration::from_millis(OPEN_MS)).await;
    assert!(running.ask("a").await.is_ok());
    assert_eq!(running.door.away(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn wrong_answers_never_close_a_door() {
    let running = started(Scripted::new(1, 0, 10)).await;
    let wrong = Does::Fails(ModelError::TooSlow { model: "a".to_owned(), limit_ms: 1 });
    running.server.always(Some(wrong));
    for _ in 0..30 {
        assert!(matches!(running.ask("a").await, Err(ModelError::TooSlow { .. })));
    }
    assert_eq!(running.door.away(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_costs_each_call_its_limit_and_then_nothing() {
    let running = started(Scripted::new(1, 0, 10)).await;
    running.server.always(Some(Does::Hangs));
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(matches!(running.ask("a").await, Err(ModelError::NoFirstToken { .. })));
    }
    assert_eq!(running.server.at_work.load(Ordering::SeqCst), 0, "the connections are closed");
    assert!(running.door.is_away("box:a"));
    running.server.always(None);
    sleep(Duration::from_millis(OPEN_MS)).await;
    assert!(running.ask("a").await.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(3 * 910 + 60));
}

#[tokio::test(start_paused = true)]
async fn an_asker_that_goes_away_leaves_the_queue_and_closes_its_connection() {
    let running = started(Scripted::new(1, 0, 60_000)).await;
    let begun = Instant::now();
    {
        let first = running.ask("a");
        let second = running.ask("b");
        let third = running.ask("a");
        tokio::pin!(first, second, third);
        let waits = async {
            let _ = futures::join!(&mut first, &mut second, &mut third);
        };
        assert!(timeout(Duration::from_secs(5), waits).await.is_err());
        assert_eq!(running.server.at_work.load(Ordering::SeqCst), 1);
        assert!(running.state().starts_with("1 of 1 slots, 2 wait"), "{}", running.state());
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(running.server.at_work.load(Ordering::SeqCst), 0);
    assert!(running.state().starts_with("idle"), "{}", running.state());
    assert!(running.ask("a").await.is_ok());
    assert_eq!(running.server.asked().len(), 2, "only what was sent, and the last one");
    assert!(begun.elapsed() < Duration::from_secs(70));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_lets_the_next_call_try() {
    let running = started(Scripted::new(1, 0, 10)).await;
    running.server.always(Some(unreachable()));
    for _ in 0..3 {
        assert!(running.ask("a").await.is_err());
    }
    sleep(Duration::from_millis(OPEN_MS)).await;
    running.server.always(Some(Does::Hangs));
    assert!(timeout(Duration::from_secs(1), running.ask("a")).await.is_err());
    running.server.always(None);
    sleep(Duration::from_millis(10)).await;
    assert!(running.ask("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn too_many_waiting_calls_are_told_that_the_server_is_busy() {
    let policy = Policy { waiting_max: 5, ..Policy::default() };
    let running = started_with(policy, Scripted::new(1, 0, 1_000)).await;
    running.ask("a").await.unwrap();
    let results = join_all((0..9).map(|_| running.ask("a"))).await;
    let busy = results.iter().filter(|result| matches!(result, Err(ModelError::Busy { .. }))).count();
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!((busy, done), (3, 6), "one runs, five wait");
    assert_eq!(running.door.away(), Vec::<String>::new(), "its own queue is no fault of the server");
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_panics_fails_its_call_alone() {
    let running = started(Scripted::new(2, 0, 1_000)).await;
    running.server.script.lock().unwrap().extend([Does::Answers, Does::Panics]);
    let (first, second) = tokio::join!(running.ask("a"), running.ask("a"));
    assert!(first.is_ok() && matches!(second, Err(ModelError::ServerError { .. })), "{second:?}");
    assert_eq!(running.door.nodes()[0].restarts, 0);
    assert!(running.ask("a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_loses_its_calls_and_is_started_again() {
    let running = started(Scripted::new(1, 0, 1_000)).await;
    let last = async {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(running.server.at_work.load(Ordering::SeqCst), 1);
        running.clock.kills.store(true, Ordering::SeqCst);
        running.ask("a").await
    };
    let (runs, waits, last) = tokio::join!(running.ask("a"), running.ask("b"), last);
    for result in [&runs, &waits, &last] {
        assert!(matches!(result, Err(ModelError::ServerError { .. })), "{result:?}");
    }
    assert!(running.ask("a").await.is_ok(), "the next call works");
    assert_eq!(running.door.nodes()[0].restarts, 1);
    assert_eq!(running.server.at_work.load(Ordering::SeqCst), 0, "what ran was cut off with it");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_again_and_again_ends_the_broker() {
    let running = started(Scripted::new(1, 0, 1_000)).await;
    for _ in 0..4 {
        running.clock.kills.store(true, Ordering::SeqCst);
        assert!(matches!(running.ask("a").await, Err(ModelError::ServerError { .. })));
    }
    running.broker.wait(Some(Duration::from_secs(5))).await.unwrap();
    let begun = Instant::now();
    assert!(matches!(running.ask("a").await, Err(ModelError::ServerError { .. })), "nobody is left to ask");
    assert!(begun.elapsed() <= Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn what_a_server_tells_of_a_model_is_kept_for_a_minute_and_its_errors_are_not() {
    let running = started(Scripted::new(1, 0, 10)).await;
    let infos = || running.server.infos.load(Ordering::SeqCst);
    running.server.script.lock().unwrap().push_back(unreachable());
    assert!(running.door.info("box:a").await.is_err());
    let asks = join_all((0..10).map(|_| running.door.info("box:a"))).await;
    assert!(asks.iter().all(|info| info.as_ref().unwrap().name == "a"));
    assert_eq!(infos(), 2, "one error, then one question for all who ask at once");
    sleep(Duration::from_secs(59)).await;
    running.door.info("box:a").await.unwrap();
    running.door.info("box:b:8b").await.unwrap();
    assert_eq!(infos(), 3);
    sleep(Duration::from_secs(2)).await;
    running.door.info("box:a").await.unwrap();
    assert_eq!(infos(), 4);
    running.server.always(Some(Does::Hangs));
    assert!(matches!(running.door.info("box:c").await, Err(ModelError::Unreachable { .. })));
    running.server.always(Some(Does::Panics));
    assert!(matches!(running.door.info("box:c").await, Err(ModelError::ServerError { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_larger_window_is_loaded_once_and_then_used_by_all() {
    let running = started(Scripted::new(1, 5_000, 10)).await;
    for need in [3_000, 9_000, 100, 5_000] {
        let request = Request { context_tokens: need, ..request("a") };
        running.door.ask("box:a", request).await.unwrap();
    }
    running.ask("b").await.unwrap();
    running.door.ask("box:a", Request { context_tokens: 10, ..request("a") }).await.unwrap();
    let sizes: Vec<u32> = running.server.asked().iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes, [4_096, 16_384, 16_384, 16_384, 4_096, 16_384]);
    assert_eq!(running.server.loads(), 4);
}

#[tokio::test(start_paused = true)]
async fn nodes_and_measurements_say_what_was_seen_here() {
    let running = started(Scripted::new(1, 5_000, 1_000)).await;
    assert_eq!(running.state(), "idle");
    for _ in 0..3 {
        running.ask("qwen3:8b").await.unwrap();
    }
    let expected = "idle · qwen3:8b loaded for 4096 tokens · qwen3:8b: first token 500 ms, 40.0 tokens/s, load 5000 ms";
    assert_eq!(running.state(), expected);
    let measured = running.door.measured();
    assert_eq!(measured.len(), 1);
    assert_eq!((measured[0].calls, measured[0].load_ms), (3, Some(5_000)));
}

#[tokio::test(start_paused = true)]
async fn the_tree_keeps_the_broker_and_starts_it_again_when_its_children_die_too_often() {
    let (door, clock) = (Door::default(), DeadlyClock::new());
    let adapter: Arc<dyn ModelServer> = Arc::new(Scripted::new(1, 0, 10));
    let mut world = World::calm();
    world.clock = clock.clone();
    world.model_servers = ModelServers(BTreeMap::from([("box".to_owned(), adapter)]));
    world.models = Arc::new(door.clone());
    let booted = world.boot(Vec::new(), Cut::Never).await;
    for _ in 0..4 {
        clock.kills.store(true, Ordering::SeqCst);
        assert!(door.ask("box:a", request("a")).await.is_err());
    }
    assert!(door.ask("box:a", request("a")).await.is_ok(), "the next call works");
    let tree = booted.engine.tree().await.unwrap();
    let names: Vec<&str> = tree.children.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["journal-writer", "tool-host", "model-broker", "claude", "run-registry", "doors"]);
    let broker = &tree.children[2];
    assert_eq!((broker.restarts, broker.state.as_str()), (1, "shares out 1 server"));
    assert_eq!((broker.children[0].name.as_str(), broker.children[0].restarts), ("box", 3));
    booted.engine.shut_down().await;
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

#[tokio::test(start_paused = true)]
async fn every_call_is_answered_whatever_the_server_the_askers_and_the_actors_do() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let policy = Policy { waiting_max: 40, group_wait_max_ms: 20_000, turn_max_ms: 60_000, ..Policy::default() };
        let slots = 1 + usize::try_from(dice.below(3)).unwrap();
        let running = started_with(policy, Scripted::new(slots, dice.below(8_000), 1 + dice.below(3_000))).await;
        let faults = (0..100).map(|_| match dice.below(14) {
            0 => unreachable(),
            1 => out_of_memory(),
            2 => Does::Hangs,
            3 => Does::Panics,
            _ => Does::Answers,
        });
        running.server.script.lock().unwrap().extend(faults);
        // One more death within a minute would be the broker's.
        let mut kills_left = 3;
        let calls: Vec<_> = (0..120)
            .map(|_| {
                let (asker, model) = (dice.below(3).to_string(), ["a", "b", "c"][dice.below(3) as usize]);
                let (at_ms, patience_ms) = (dice.below(200_000), 1 + dice.below(2_000_000));
                let need = u32::try_from(dice.below(9_000)).unwrap();
                let kills = kills_left > 0 && dice.below(40) == 0;
                kills_left -= i32::from(kills);
                let running = &running;
                async move {
                    sleep(Duration::from_millis(at_ms)).await;
                    running.clock.kills.fetch_or(kills, Ordering::SeqCst);
                    let request = Request { context_tokens: need, ..request(model) };
                    let rung = format!("box:{model}");
                    let asks = running.door.ask_for(&asker, &rung, request);
                    timeout(Duration::from_millis(patience_ms), asks).await.is_ok()
                }
            })
            .collect();
        let answered = timeout(Duration::from_secs(4_000), join_all(calls)).await;
        assert!(answered.is_ok(), "seed {seed}: somebody waits for ever");
        sleep(Duration::from_millis(100)).await;
        running.clock.kills.store(false, Ordering::SeqCst);
        assert_eq!(running.server.at_work.load(Ordering::SeqCst), 0, "seed {seed}");
        assert!(running.server.most_at_work.load(Ordering::SeqCst) <= slots, "seed {seed}");
        let status = format!("{:?}, {:?}", running.broker.get_status(), running.door.nodes()[0]);
        assert!(!running.state().contains("slots"), "seed {seed}: {status}");
        // However it went, it is found again.
        running.server.script.lock().unwrap().clear();
        sleep(Duration::from_secs(901)).await;
        for model in ["a", "b", "c"] {
            assert!(running.ask(model).await.is_ok(), "seed {seed}: {model}: {}", running.state());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rung_of_no_declared_server_is_refused_by_name() {
    let running = started(Scripted::new(1, 0, 10)).await;
    for rung in ["other:a", "a", ":a", "box:"] {
        let error = running.door.ask(rung, request("a")).await.unwrap_err();
        assert!(matches!(error, ModelError::Protocol { .. }), "{rung}: {error}");
    }
}
