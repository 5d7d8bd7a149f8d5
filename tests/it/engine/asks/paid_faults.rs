//! S22: each way in which Claude gives no answer, on a real socket with the real account. Distinct reasons; what may
//! pass is tried again and counts for nothing; what will not buys nothing more; every request that was sent is one
//! record. Each undisturbed, and with the process gone before and after every append.

use std::cell::RefCell;
use std::rc::Rc;

use futures::future::join_all;
use ollmcp::domain::event::{Event, RunEnd};
use ollmcp::domain::failure::Failure;
use ollmcp::domain::run::{RunState, TaskPhase};
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::super::world::{Cut, World};
use super::paid::{Shop, an_hour, paid_world, sum};
use super::scenes::{NUMBER, batch, ends, hasten, item_of, story};
use super::{first, output, with_kills};
use crate::anthropic_server::Answer;
use crate::model_server::ModelServer;

const RIGHT: &str = r#"{"n": 42}"#;

/// What Claude answers to request number so much, from 1.
type Script = fn(usize) -> Answer;

/// A local model that is wrong, and Claude that answers as told: request by request.
fn scene(answers: impl Fn(usize) -> Answer + Send + 'static) -> (ModelServer, World, Shop) {
    let (local, mut world, shop) = slow_scene(answers);
    hasten(&mut world, 50);
    (local, world, shop)
}

/// The same in real time.
fn slow_scene(answers: impl Fn(usize) -> Answer + Send + 'static) -> (ModelServer, World, Shop) {
    let local = ModelServer::start(["m:8b"]);
    local.always("m:8b", Answer::text(r#"{"n": 41}"#));
    let shop = Shop::open();
    let mut count = 0;
    shop.claude.respond(move |_| {
        count += 1;
        answers(count)
    });
    let world = paid_world(&local, "", shop.door(an_hour(1_000)));
    (local, world, shop)
}

/// The failures of the attempts on the paid rung.
fn paid_failures(state: &RunState) -> Vec<Failure> {
    let paid = first(state).tried.iter().filter(|tried| matches!(&tried.rung, ollmcp::domain::ladder::Rung::Paid(_)));
    paid.filter_map(|tried| tried.failure.clone()).collect()
}

/// Plays it with every kill. At the end as many requests were sent as are on record.
async fn played(answers: Script, check: impl Fn(&Shop, &World, &RunState)) {
    let shops: Rc<RefCell<Vec<Shop>>> = Rc::default();
    let make = || {
        let (local, world, shop) = scene(answers);
        // Those of earlier lives are not needed any more.
        *shops.borrow_mut() = vec![shop];
        (local, world)
    };
    let plan = sum(", threshold: 1, timeout: 10m");
    with_kills(make, &plan, |_, world, state| {
        let shops = shops.borrow();
        let shop = &shops[0];
        let (good, bad) = shop.counted();
        assert_eq!(
            good + bad,
            shop.claude.chats().len(),
            "each request that was sent is on record: {:?}",
            story(first(state))
        );
        check(shop, world, state);
    })
    .await;
}

/// 429 and 529, 500 and a stream that is cut: asked again, done, and nothing counted but the local failure.
#[tokio::test]
async fn s22_what_passes_is_asked_again_and_never_counts_against_the_task() {
    let faults: [(Script, &str); 6] = [
        (|nth| if nth < 3 { Answer::too_many(Some(1)) } else { Answer::text(RIGHT) }, "limits the rate"),
        (
            |nth| if nth < 3 { Answer::overloaded().header("retry-after", "1") } else { Answer::text(RIGHT) },
            "is overloaded",
        ),
        (|nth| if nth < 3 { Answer::overloaded() } else { Answer::text(RIGHT) }, "is overloaded"),
        (|nth| if nth < 3 { Answer::refused(500, "oops") } else { Answer::text(RIGHT) }, "failed: oops"),
        (|nth| if nth < 2 { Answer::text(RIGHT).pieces_of(8).then_cut() } else { Answer::text(RIGHT) }, "broke off"),
        (
            |nth| if nth < 2 { Answer::text(RIGHT).then_error("Overloaded") } else { Answer::text(RIGHT) },
            "is overloaded",
        ),
    ];
    // Side by side: they wait more than they work.
    join_all(faults.map(async |(answers, words)| {
        played(answers, |_, world, state| {
            let task = first(state);
            assert_eq!(output(world, task), json!({ "n": 42 }), "{words}");
            assert_eq!(task.standing.failures, 1, "{words}: {:?}", story(task));
            let failed = paid_failures(state);
            assert!(failed.iter().all(|failure| failure.message.contains(words)), "{words}: {failed:?}");
        })
        .await;
    }))
    .await;
}

/// 401, 403, an unknown model, the cap of the month, an open bill, a bad request: permanent, one request in one life of
/// the process, and the reason with what to do.
#[tokio::test]
async fn s22_what_does_not_pass_ends_the_task_with_its_reason_after_one_request() {
    let faults: [(Script, &str); 7] = [
        (|_| Answer::refused(401, "invalid x-api-key"), "does not take the key: invalid x-api-key"),
        (|_| Answer::refused(403, "not for this workspace"), "does not allow this to the key: not for this workspace"),
        (|_| Answer::refused(404, "model: claude-sonnet-4-6"), "has no model `claude-sonnet-4-6`"),
        (|_| Answer::refused(400, "model: claude-sonnet-4-6 is unknown"), "has no model `claude-sonnet-4-6`"),
        (|_| Answer::refused(400, "messages: is wrong"), "messages: is wrong"),
        (|_| Answer::spend_cap(), "the account has reached its spend limit"),
        (|_| Answer::refused(402, "no credit"), "wants to be paid first"),
    ];
    join_all(faults.map(async |(answers, words)| {
        let kills = std::cell::Cell::new(0);
        played(answers, |shop, _, state| {
            let task = first(state);
            let TaskPhase::Ended(_) = &task.phase else { panic!("{words}: {:?}", task.phase) };
            let failed = paid_failures(state);
            assert_eq!(failed.len(), 1, "{words}: {failed:?}");
            assert!(failed[0].message.contains(words) && failed[0].hint.is_some(), "{words}: {failed:?}");
            // One for each life of the process, of which there are two at most.
            let sent = shop.claude.chats().len();
            assert!(sent == 1 || (sent == 2 && kills.get() > 0), "{words}: {sent}");
            kills.set(kills.get() + 1);
            assert_eq!(shop.counted(), (0, sent));
        })
        .await;
    }))
    .await;
}

/// The told wait is waited for, and what is sent meanwhile is nothing.
#[tokio::test]
async fn s22_the_told_wait_is_waited_for() {
    let (_local, world, shop) = scene(|nth| if nth == 1 { Answer::too_many(Some(30)) } else { Answer::text(RIGHT) });
    let (exit, state) = world.run(&sum(", threshold: 1")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let task = first(&state);
    let paid: Vec<_> =
        task.tried.iter().filter(|tried| matches!(tried.rung, ollmcp::domain::ladder::Rung::Paid(_))).collect();
    assert_eq!(paid.len(), 2, "{:?}", story(task));
    let until_ms = paid[0].failure.as_ref().unwrap().until_ms.unwrap();
    assert!(paid[1].started_ms >= until_ms, "{paid:?}");
    assert_eq!((shop.claude.chats().len(), shop.counted()), (2, (1, 1)));
}

/// The first part never comes; then no connection can be made: waited for, tried again, and only what was sent is on
/// record, at its reservation.
#[tokio::test]
async fn s22_silence_counts_as_spent_and_no_connection_as_nothing() {
    let (_local, world, shop) = slow_scene(|nth| if nth == 1 { Answer::hang() } else { Answer::text(RIGHT) });
    let (_, state) = world.run(&sum(", threshold: 1, timeout: 1s")).await;
    assert_eq!(output(&world, first(&state)), json!({ "n": 42 }), "{:?}", story(first(&state)));
    assert!(paid_failures(&state)[0].message.contains("no answer from `claude-sonnet-4-6` within 1 s"));
    assert_eq!((first(&state).standing.failures, shop.counted()), (1, (1, 1)));
    let cost = |nth: usize| shop.records()[nth]["cost_estimate"].as_f64().unwrap();
    assert!(cost(0) > 10.0 * cost(1), "what may have been answered counts at the most that it can have cost");

    let (_local, world, shop) = scene(|_| Answer::text(RIGHT));
    shop.claude.refuse();
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let exit = booted.start(&sum(", threshold: 1"));
    let is_away = |event: &Event| matches!(event, Event::AttemptFailed { failure, .. } if failure.message.contains("cannot reach"));
    booted.event(|event| is_away(event).then_some(())).await;
    shop.claude.back();
    exit.await.unwrap();
    let state = booted.state();
    assert_eq!(output(&world, first(&state)), json!({ "n": 42 }), "{:?}", story(first(&state)));
    assert!(paid_failures(&state)[0].message.contains("cannot reach"));
    assert_eq!((first(&state).standing.failures, shop.counted()), (1, (1, 0)));
    assert_eq!(shop.claude.chats().len(), 1);
}

/// A refused key is found out once, also where fifty items escalate in the same moment; after a restart once more.
#[tokio::test]
async fn s22_a_refused_key_is_found_out_once_by_a_batch() {
    for (answer, words) in [
        (Answer::refused(401, "invalid x-api-key"), "invalid x-api-key"),
        (Answer::spend_cap(), "spend limit"),
        (Answer::refused(404, "model: x"), "has no model"),
    ] {
        let local = ModelServer::start(["m:8b"]);
        local.respond("m:8b", |asked| {
            match item_of(asked) {
                item if item % 3 == 0 => Answer::text(json!({ "n": item }).to_string()),
                // Of the ten that are begun first: behind the right ones, or five wrong ones are the first to end.
                0..10 => Answer::text(r#"{"n": -1}"#).after_ms(100),
                _ => Answer::text(r#"{"n": -1}"#),
            }
        });
        let shop = Shop::open();
        shop.claude.always(answer);
        let world = paid_world(&local, "", shop.door(an_hour(1_000)));
        let plan = batch(
            100,
            &format!(
                ", max_parallel: 50, threshold: 1, on_error: quarantine, {NUMBER}, done_when: [ \"output.n == item\" ]"
            ),
        );
        let mut booted = world.boot(Vec::new(), Cut::Never).await;
        let run = super::super::world::run_id();
        let exit = booted.start_as(run, &plan, false);
        let exit = booted.answering(run, exit, |_, _| panic!("no call is in doubt")).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Partial));
        let state = booted.state();
        assert_eq!(ends(&state)["quarantined"], 66, "{:?}", ends(&state));
        assert_eq!((shop.claude.chats().len(), shop.counted()), (1, (0, 1)), "{words}");
        for (_, task) in state.tasks_of(0).filter(|(item, _)| item % 3 != 0) {
            let last = task.tried.last().unwrap().failure.as_ref().unwrap();
            assert!(last.message.contains(words) && last.hint.is_some(), "{last:?}");
        }
    }
}
