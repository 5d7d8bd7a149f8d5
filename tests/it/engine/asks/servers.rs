//! Model servers that are away, lose their model, die, hang, slow down or answer garbage: as the failure classes say, and
//! every batch ends with nothing lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ollmcp::domain::event::{Event, RunEnd, TaskEnd};
use ollmcp::domain::failure::FailureKind;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::{RunState, TaskPhase};
use ollmcp::engine::supervisor::RunExit;

use super::scenes::{NUMBER, all_right, batch, counts, ends, hasten, killed_after, right, story, worlds};
use super::{first, world};
use crate::engine::world::{Cut, World, echo, task};
use crate::model_server::{Answer, ModelServer};

fn good(models: &[&str]) -> ModelServer {
    let server = ModelServer::start(models.iter().copied());
    server.respond_all(right);
    server
}

fn numbers(items: u32, more: &str) -> Plan {
    batch(items, &format!("{more}, {NUMBER}"))
}

#[tokio::test]
async fn a_server_that_is_away_is_passed_over_uncounted() {
    let (home, spare) = (good(&["m:8b"]), good(&["n:8b"]));
    home.refuse();
    let world = worlds(&[("box", &home), ("spare", &spare)], &["box:m:8b", "spare:n:8b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&numbers(3, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    all_right(&world, &state, 3);
    for (_, task) in state.tasks_of(0) {
        let last = story(task).pop().unwrap();
        assert_eq!(last, "spare:n:8b -");
        assert!(story(task)[..task.tried.len() - 1].iter().all(|line| line == "box:m:8b unreachable"), "{task:?}");
        assert_eq!(task.attempts, 4, "three tries, then the other rung");
    }
    assert_eq!(spare.count("n:8b"), 3);
}

#[tokio::test]
async fn a_server_that_comes_back_is_waited_for() {
    let server = good(&["m:8b"]);
    server.refuse();
    let mut world = world(&server, &["m:8b"], "", |call, _| echo(call));
    world.ladders.server_wait_ms = 60_000;
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let exit = booted.start(&numbers(2, ""));
    booted.event(|event| matches!(event, Event::TaskRetryAt { for_server: true, .. }).then_some(())).await;
    server.back();
    assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Complete));
    all_right(&world, &booted.state(), 2);
    assert_eq!(server.count("m:8b"), 2);
}

#[tokio::test]
async fn waiting_for_a_server_outlives_the_process_and_its_limit_does_too() {
    for comes_back in [true, false] {
        let server = good(&["m:8b"]);
        server.refuse();
        let mut world = world(&server, &["m:8b"], "", |call, _| echo(call));
        hasten(&mut world, 20);
        world.ladders.server_wait_ms = if comes_back { 600_000 } else { 20_000 };
        let started_ms = world.now_ms();
        let waits = |event: &Event| matches!(event, Event::TaskRetryAt { for_server: true, .. });
        let (booted, exit) = killed_after(&world, &numbers(1, ""), 2, waits).await;
        let since_ms = first(&booted.state()).standing.away_since_ms;
        assert!(since_ms > 0, "it is known since when");
        if comes_back {
            server.back();
            assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Complete));
            all_right(&world, &booted.state(), 1);
            continue;
        }
        assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Failed));
        let took_ms = world.now_ms() - started_ms;
        assert!((20_000..60_000).contains(&took_ms), "it waits as long as it may, not anew: {took_ms}");
        let state = booted.state();
        let TaskPhase::Ended(TaskEnd::Failed(failure)) = &first(&state).phase else { panic!("it failed") };
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert_eq!(first(&state).standing.failures, 0);
        assert_eq!(server.count("m:8b"), 0);
    }
}

#[tokio::test]
async fn two_servers_that_are_away_are_waited_for_together() {
    let (home, spare) = (good(&["m:8b"]), good(&["n:8b"]));
    home.refuse();
    spare.refuse();
    let mut world = worlds(&[("box", &home), ("spare", &spare)], &["box:m:8b", "spare:n:8b"], "", |call, _| echo(call));
    hasten(&mut world, 20);
    world.ladders.server_wait_ms = 10_000;
    let (exit, state) = world.run(&numbers(1, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let story = story(first(&state));
    assert!(story.contains(&"box:m:8b unreachable".to_owned()), "{story:?}");
    assert!(story.contains(&"spare:n:8b unreachable".to_owned()), "{story:?}");
    assert!(first(&state).attempts < 60, "{} attempts: it goes round without a pause", first(&state).attempts);
    assert_eq!(first(&state).standing.failures, 0);
}

/// Runs a batch and does something to the server when it has answered so many requests.
async fn disturbed(
    world: &World,
    server: &ModelServer,
    plan: &Plan,
    after: usize,
    disturb: impl AsyncFnOnce(&ModelServer),
) -> (RunExit, RunState) {
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let exit = booted.start(plan);
    let disturbs = async {
        server.wait_until("it has answered some", |server| server.chats().len() >= after).await;
        disturb(server).await;
    };
    let (exit, ()) = tokio::join!(exit, disturbs);
    (exit.unwrap(), booted.state())
}

#[tokio::test]
async fn a_model_that_is_lost_in_the_middle_is_replaced_by_the_next_rung() {
    let server = good(&["m:8b", "n:8b"]);
    let world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
    let lose = async |server: &ModelServer| server.lose_model("m:8b");
    let (exit, state) = disturbed(&world, &server, &numbers(40, ""), 15, lose).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    all_right(&world, &state, 40);
    let replaced = state.tasks_of(0).filter(|(_, task)| story(task).last().unwrap() == "box:n:8b -").count();
    assert!((20..=26).contains(&replaced), "{replaced}");
    for (_, task) in state.tasks_of(0).filter(|(_, task)| task.tried.len() > 1) {
        assert_eq!(story(task), ["box:m:8b model missing", "box:n:8b -"], "it is not retried");
    }
}

#[tokio::test]
async fn a_model_that_is_lost_without_another_fails_with_what_to_do() {
    let server = good(&["m:8b"]);
    let world = world(&server, &["m:8b"], "", |call, _| echo(call));
    let lose = async |server: &ModelServer| server.lose_model("m:8b");
    let (exit, state) = disturbed(&world, &server, &numbers(40, ", on_error: continue"), 15, lose).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let done = ends(&state)["done"];
    assert!((14..=19).contains(&done), "{done}");
    assert_eq!(ends(&state), counts([("done", done), ("failed", 40 - done)]));
    for (_, task) in state.tasks_of(0) {
        let TaskPhase::Ended(TaskEnd::Failed(failure)) = &task.phase else { continue };
        assert_eq!(failure.kind, FailureKind::ModelMissing);
        assert!(failure.hint.as_ref().unwrap().contains("pull m:8b"), "{failure:?}");
        assert_eq!((task.attempts, task.standing.failures), (1, 0));
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_and_comes_back_costs_time_and_nothing_else() {
    let server = good(&["m:8b"]);
    let mut world = world(&server, &["m:8b"], "", |call, _| echo(call));
    hasten(&mut world, 50);
    let die = async |server: &ModelServer| {
        server.refuse();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.back();
    };
    let (exit, state) = disturbed(&world, &server, &numbers(40, ""), 15, die).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    all_right(&world, &state, 40);
    assert!(server.count("m:8b") <= 40 + 3, "at most what was open is asked again: {}", server.count("m:8b"));
}

#[tokio::test]
async fn a_server_that_dies_for_good_gives_its_batch_to_another() {
    let (home, spare) = (good(&["m:8b"]), good(&["n:8b"]));
    let mut world = worlds(&[("box", &home), ("spare", &spare)], &["box:m:8b", "spare:n:8b"], "", |call, _| echo(call));
    hasten(&mut world, 20);
    let die = async |server: &ModelServer| server.refuse();
    let (exit, state) = disturbed(&world, &home, &numbers(40, ""), 15, die).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    all_right(&world, &state, 40);
    assert!(spare.count("n:8b") >= 20, "{}", spare.count("n:8b"));
    assert!(home.count("m:8b") + spare.count("n:8b") <= 41, "nothing is asked of both");
}

/// The fault on every fifth request of the middle of a batch of 40, from the tenth on.
async fn with_fault(fault: Answer, more: &str) -> (ModelServer, World, RunExit, RunState) {
    let server = ModelServer::start(["m:8b", "n:8b"]);
    let seen = AtomicUsize::new(0);
    server.respond("m:8b", move |asked| {
        let nth = seen.fetch_add(1, Ordering::SeqCst);
        if (10..30).contains(&nth) && nth.is_multiple_of(5) { fault.clone() } else { right(asked) }
    });
    server.respond("n:8b", right);
    let mut world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
    hasten(&mut world, 10);
    let (exit, state) = world.run(&numbers(40, more)).await;
    (server, world, exit, state)
}

#[tokio::test]
async fn faults_that_pass_are_retried_and_count_nothing() {
    for fault in [
        Answer::busy(),
        Answer::out_of_memory(),
        Answer::crashed(),
        Answer::cut(),
        Answer::reset(),
        Answer::text("{\"n\": 1").then_cut(),
        Answer::text("{\"n\": 1").then_reset(),
        Answer::text("{\"n\": 1").then_ends(),
        Answer::text("{\"n\": 1").then_error("an error was encountered while running the model"),
        Answer::text("{\"n\": 1").then_garbage(),
        Answer::garbage(),
        Answer::not_http(),
        Answer::refused(500, "something broke"),
    ] {
        let shown = format!("{fault:?}");
        let (server, world, exit, state) = with_fault(fault, "").await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{shown}");
        all_right(&world, &state, 40);
        assert_eq!(server.count("m:8b"), 44, "{shown}: each of four requests is repeated once");
        assert_eq!(server.count("n:8b"), 0, "{shown}");
        assert_eq!(state.tasks.values().filter(|task| task.attempts == 2).count(), 4, "{shown}");
    }
}

#[tokio::test]
async fn a_request_that_hangs_is_given_up_and_made_again() {
    for fault in [Answer::hang(), Answer::text("{\"n\": 1").then_hangs()] {
        let shown = format!("{fault:?}");
        let (server, world, exit, state) = with_fault(fault, ", timeout: 300ms, idle_timeout: 200ms").await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{shown}");
        all_right(&world, &state, 40);
        assert_eq!((server.count("m:8b"), server.left()), (44, 4), "{shown}: the server is told that nobody waits");
        let silent = state.tasks.values().filter(|task| story(task)[0] == "box:m:8b silent").count();
        assert_eq!(silent, 4, "{shown}");
    }
}

#[tokio::test]
async fn a_reply_that_crawls_counts_and_climbs() {
    let crawls = Answer::text("{ \"n\":                                           1 }").parts_of(1).drip_ms(40);
    let (server, _world, exit, state) = with_fault(crawls, ", timeout: 400ms, idle_timeout: 200ms").await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(ends(&state), counts([("done", 40)]));
    assert_eq!(server.count("n:8b"), 4);
    let climbed = state.tasks.values().filter(|task| story(task) == ["box:m:8b slow reply", "box:n:8b -"]).count();
    assert_eq!(climbed, 4);
}

#[tokio::test]
async fn a_model_that_is_out_of_memory_for_good_gives_its_batch_to_a_smaller_one() {
    let server = good(&["m:8b", "n:8b"]);
    server.always("m:8b", Answer::out_of_memory());
    let mut world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
    hasten(&mut world, 10);
    let (exit, state) = world.run(&numbers(40, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    all_right(&world, &state, 40);
    assert_eq!(server.count("n:8b"), 40);
    assert!(server.count("m:8b") < 40, "a breaker keeps most of them away: {}", server.count("m:8b"));
    assert_eq!(state.tasks.values().filter(|task| task.standing.failures > 0).count(), 0);
}

#[tokio::test]
async fn a_server_that_always_answers_garbage_ends_the_batch() {
    let server = ModelServer::start(["m:8b"]);
    server.always("m:8b", Answer::garbage());
    let mut world = world(&server, &["m:8b"], "", |call, _| echo(call));
    hasten(&mut world, 100);
    world.ladders.server_wait_ms = 60_000;
    let (exit, state) = world.run(&numbers(10, ", on_error: continue")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(ends(&state), counts([("failed", 10)]));
    assert_eq!(state.tasks.values().filter(|task| task.standing.failures > 0).count(), 0);
}

/// While one rung is away a task may stand on the other; the item after it starts low again.
#[tokio::test]
async fn after_a_server_is_back_the_next_item_starts_low_again() {
    let (home, spare) = (good(&["m:8b"]), good(&["n:8b"]));
    home.refuse();
    let world = worlds(&[("box", &home), ("spare", &spare)], &["box:m:8b", "spare:n:8b"], "", |call, _| echo(call));
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let exit = booted.start(&numbers(2, ", max_parallel: 1"));
    spare.wait_until("the spare is asked", |spare: &ModelServer| spare.count("n:8b") == 1).await;
    home.back();
    assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Complete));
    let state = booted.state();
    assert_eq!(story(task(&state, "a", 0)).last().unwrap(), "spare:n:8b -");
    let second = story(task(&state, "a", 1));
    assert_eq!(second.last().unwrap(), "box:m:8b -");
    assert!(second.iter().all(|line| line.starts_with("box:")), "{second:?}");
}

/// A request that the server refuses for what it says is no transient fault: the key is wrong, so nothing else is tried.
#[tokio::test]
async fn a_wrong_key_fails_at_once_and_says_so() {
    let server = ModelServer::setup(["m:8b"]).key("k").start();
    let world = world(&server, &["m:8b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&numbers(1, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let TaskPhase::Ended(TaskEnd::Failed(failure)) = &first(&state).phase else { panic!("it failed") };
    assert_eq!((failure.kind, first(&state).attempts), (FailureKind::Denied, 1));
    assert!(failure.hint.as_ref().unwrap().contains("key"), "{failure:?}");
}
