//! The Claude actor in the tree: many calls at once, a call that breaks, a restart, a stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use ollmcp::domain::command::Command;
use ollmcp::domain::event::{Event, RunEnd};
use ollmcp::domain::failure::FailureKind;
use ollmcp::domain::ladder::PaidReason;
use ollmcp::domain::money::Today;
use ollmcp::domain::plan::Plan;
use ollmcp::engine::Clock;
use ollmcp::engine::paid::actor::{Claude, ClaudeArguments};
use ollmcp::engine::paid::{Bought, Door, PaidModels, PaidRequest};
use ollmcp::engine::supervisor::RunExit;
use ollmcp::model::{Message, ModelError, ModelInfo, Request, Speaker, Think, TimeLimits};
use ractor::Actor as _;

use super::super::world::{Cut, World, plan, run_id};
use super::paid::{Scripted, only_paid, says, sum};
use super::scenes::{NUMBER, counts, ends};
use super::{failures, first};

fn batch(items: u32, more: &str) -> Plan {
    plan(&format!(
        "name: p\nsteps:\n  - {{ id: a, for_each: {{ range: {items} }}, max_parallel: 50, agent: WORKER, \
         prompt: \"What is item-${{{{ item }}}}?\", {NUMBER}, on_error: quarantine{more} }}\n"
    ))
}

/// The actor alone, with who sells behind it.
async fn door_to(seller: Arc<Scripted>, clock: Arc<dyn Clock>) -> Door {
    let door = Door::new(seller);
    Claude::spawn(None, Claude, ClaudeArguments { door: door.clone(), clock }).await.unwrap();
    door
}

fn request(nth: u32) -> PaidRequest {
    let time = TimeLimits { first_token_ms: 300_000, idle_ms: 60_000, whole_ms: 600_000 };
    let request = Request {
        model: String::new(),
        messages: vec![Message::new(Speaker::User, "hello")],
        tools: Vec::new(),
        schema: None,
        think: Think::Unset,
        temperature: None,
        sampling: ollmcp::domain::sampling::Sampling::default(),
        seed: None,
        reply_tokens_max: 100,
        context_tokens: 3_000,
        limits: time,
    };
    let (task, rung) = (format!("a[{nth}]"), "claude".to_owned());
    PaidRequest { run: run_id(), task, agent: "WORKER".to_owned(), reason: PaidReason::Fallback, rung, request }
}

#[tokio::test(start_paused = true)]
async fn fifty_calls_are_open_at_once_after_the_first_has_gone_alone() {
    let clock = World::calm().clock;
    let seller = Scripted::new(clock.clone(), 99, 60_000, |_, _| says("yes"));
    let door = door_to(seller.clone(), clock.clone()).await;
    let begun_ms = clock.now_ms();
    let bought = join_all((0..50).map(|nth| door.buy(request(nth)))).await;
    assert!(bought.iter().all(|bought| matches!(bought, Bought::Reply(_, 450))), "{bought:?}");
    let took_ms = clock.now_ms() - begun_ms;
    assert!((62_000..62_100).contains(&took_ms), "{took_ms}: a minute for all, and two seconds for the first");
    assert_eq!(seller.times().iter().filter(|at_ms| **at_ms < begun_ms + 2_000).count(), 1);
    // What has been heard once needs no second try.
    let begun_ms = clock.now_ms();
    join_all((0..49).map(|nth| door.buy(request(nth)))).await;
    assert_eq!(clock.now_ms() - begun_ms, 60_000);
}

/// Whoever goes away while it waits is forgotten: nothing is sent for it.
#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_never_sent() {
    let clock = World::calm().clock;
    let seller = Scripted::new(clock.clone(), 99, 60_000, |_, _| says("yes"));
    let door = door_to(seller.clone(), clock).await;
    let first = door.buy(request(0));
    let others = tokio::time::timeout(Duration::from_secs(1), join_all((1..50).map(|nth| door.buy(request(nth)))));
    let (first, others) = tokio::join!(first, others);
    assert!(matches!(first, Bought::Reply(..)) && others.is_err());
    assert_eq!((seller.times().len(), door.state().as_str()), (1, "asks nothing now"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_taken_is_tried_once_for_a_hundred_items() {
    let refused = |_: &_, _| {
        let message = "invalid x-api-key".to_owned();
        Bought::Failed(ModelError::BadKey { server: "https://api".to_owned(), message })
    };
    let seller = Arc::new(std::sync::OnceLock::new());
    let kept = seller.clone();
    let world = only_paid("", move |clock| kept.get_or_init(|| Scripted::new(clock, 999, 300, refused)).clone());
    let (_, state) = world.run(&batch(100, "")).await;
    assert_eq!(seller.get().unwrap().times().len(), 1, "one request for all");
    assert_eq!(ends(&state), counts([("quarantined", 100)]));
    for task in state.tasks.values() {
        let failure = task.tried.last().unwrap().failure.as_ref().unwrap();
        assert_eq!(failure.kind, FailureKind::Denied);
        assert!(failure.message.contains("invalid x-api-key") && failure.hint.is_some(), "{failure:?}");
    }
}

/// A panic in a call fails its attempt alone, and is counted as one of an attempt.
#[tokio::test(start_paused = true)]
async fn a_call_that_breaks_fails_its_attempt_alone() {
    let world = only_paid("", |clock| {
        Scripted::new(clock, 99, 10, |asked, _| {
            assert!(!asked.task.ends_with("[3]"), "scripted");
            says(r#"{"n": 1}"#)
        })
    });
    let booted = world.boot(Vec::new(), Cut::Never).await;
    booted.start(&batch(8, "")).await.unwrap();
    let state = booted.state();
    assert_eq!(ends(&state), counts([("done", 7), ("quarantined", 1)]));
    let broken = state.tasks.values().find(|task| task.key == "3").unwrap();
    assert_eq!(failures(broken), ["panic"]);
    let tree = booted.engine.tree().await.unwrap();
    let claude = tree.children.iter().find(|node| node.name == "claude").unwrap();
    assert_eq!((claude.restarts, claude.state.as_str(), claude.kind.as_str()), (0, "asks nothing now", "permanent"));
}

/// A clock at which the actor that looks at it next dies, when told so.
#[derive(Debug)]
struct Deadly(Arc<dyn Clock>, Arc<AtomicBool>);

impl Clock for Deadly {
    fn now_ms(&self) -> u64 {
        assert!(!self.1.swap(false, Ordering::SeqCst), "scripted");
        self.0.now_ms()
    }
}

/// Tells the clock to kill when the door looks the model up: the next to look at the clock is the actor behind it.
#[derive(Debug)]
struct Killing(Arc<Scripted>, Arc<AtomicBool>, AtomicUsize);

impl PaidModels for Killing {
    fn info(&self, rung: &str) -> ModelInfo {
        // The attempt looks first, for its prompt.
        if self.2.fetch_add(1, Ordering::SeqCst) == 1 {
            self.1.store(true, Ordering::SeqCst);
        }
        self.0.info(rung)
    }

    fn today(&self) -> Option<Today> {
        None
    }

    fn buy(&self, request: PaidRequest) -> BoxFuture<'_, Bought> {
        self.0.buy(request)
    }
}

/// The actor is permanent: it is started again, and the run that is resumed buys.
#[tokio::test(start_paused = true)]
async fn an_actor_that_dies_is_started_again_and_is_shown() {
    let kills = Arc::<AtomicBool>::default();
    let of_seller = kills.clone();
    let mut world = only_paid("", |clock| {
        let seller = Scripted::new(clock, 99, 10, |_, _| says(r#"{"n": 42}"#));
        Arc::new(Killing(seller, of_seller, AtomicUsize::new(0)))
    });
    world.clock = Arc::new(Deadly(world.clock.clone(), kills));
    let booted = world.boot(Vec::new(), Cut::Never).await;
    // The registry behind it in the tree is started again with it: the run is lost to its starter, not to the journal.
    let lost = booted.start(&sum("")).await;
    assert!(lost.is_err() || matches!(lost, Ok(RunExit::Fault(_))), "{lost:?}");
    let exit = booted.resume(booted.run_here()).await.unwrap();
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let tree = booted.engine.tree().await.unwrap();
    let names: Vec<(&str, u32)> = tree.children.iter().map(|node| (node.name.as_str(), node.restarts)).collect();
    assert_eq!(names[3], ("claude", 1), "{names:?}");
    booted.engine.shut_down().await;
}

/// Counts what is given up in the middle.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Never answers; counts requests that went out and requests that were given up.
#[derive(Debug)]
struct Hanging(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl PaidModels for Hanging {
    fn info(&self, _rung: &str) -> ModelInfo {
        ModelInfo { name: "x".to_owned(), tools: Some(true), ..ModelInfo::default() }
    }

    fn today(&self) -> Option<Today> {
        None
    }

    fn buy(&self, _request: PaidRequest) -> BoxFuture<'_, Bought> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let dropped = Dropped(self.1.clone());
        Box::pin(async move {
            let _dropped = dropped;
            std::future::pending().await
        })
    }
}

/// A stop gives up what is open (its reservations with it), and lets go nothing of what waits.
#[tokio::test(start_paused = true)]
async fn a_stop_gives_up_what_is_open_and_lets_nothing_go_that_waits() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let world = only_paid("", |_| Arc::new(Hanging(begun.clone(), dropped.clone())));
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let _exit = booted.start(&batch(10, ""));
    for _ in 0..10 {
        booted.event(|event| matches!(event, Event::AttemptStarted { .. }).then_some(())).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 1, "the first one goes alone");
    booted.gone().await;
    assert_eq!((begun.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst)), (1, 1));
    // With the others let go, too.
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let _exit = booted.start(&batch(10, ""));
    for _ in 0..10 {
        booted.event(|event| matches!(event, Event::AttemptStarted { .. }).then_some(())).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 11);
    booted.gone().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 11);
}

/// A cancelled run gives its open calls up.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_cancelled_gives_its_call_up() {
    let (begun, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let world = only_paid("", |_| Arc::new(Hanging(begun.clone(), dropped.clone())));
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let exit = booted.start(&sum(""));
    booted.event(|event| matches!(event, Event::AttemptStarted { .. }).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    let run = booted.run_here();
    booted.request(run, Command::Cancel { by: "ann".to_owned() }).await.unwrap();
    assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Cancelled));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(first(&booted.state()).phase.word(), "cancelled");
}
