//! The hourly limit and budgets through the engine: fifty tasks that escalate at once, counted at the server. Never one
//! call too many, and none refused that would have fitted once the others had settled.

use ollmcp::account::Limits;
use ollmcp::domain::event::Event;
use ollmcp::domain::ladder::{Rung, WhenLimited};
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::RunState;
use serde_json::json;

use super::super::world::{World, plan};
use super::paid::{Shop, an_hour, paid_world};
use super::scenes::{NUMBER, ends, item_of};
use crate::anthropic_server::{Answer, Asked, Gate};
use crate::model_server::ModelServer;

/// Items that the local model gets right. With these the step is not held: its first ten do not fail alike.
const LOCAL: u32 = 5;
/// Items that escalate.
const PAID: u32 = 50;

/// What each answer costs: 1,000 tokens in and 100 out at 3 and 15 dollars a million.
const COST: u64 = 4_500;

fn fifty() -> Plan {
    let items = LOCAL + PAID;
    plan(&format!(
        "name: p\nsteps:\n  - {{ id: a, for_each: {{ range: {items} }}, max_parallel: 50, agent: WORKER, threshold: 1, \
         prompt: \"What is item-${{{{ item }}}}?\", {NUMBER}, done_when: [ \"output.n == item\" ], on_error: quarantine }}\n"
    ))
}

fn local() -> ModelServer {
    let local = ModelServer::start(["m:8b"]);
    local.respond("m:8b", |asked| {
        match item_of(asked) {
            item @ 0..LOCAL => Answer::text(json!({ "n": item }).to_string()),
            // Of the ten that are begun first: behind the right ones, or five wrong ones are the first to end.
            LOCAL..10 => Answer::text(r#"{"n": -1}"#).after_ms(100),
            _ => Answer::text(r#"{"n": -1}"#),
        }
    });
    local
}

fn paid_item(asked: &Asked) -> u32 {
    let text = asked.body["messages"].to_string();
    let digits = text.split_once("item-").expect("it names its item").1;
    digits.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn right(asked: &Asked) -> Answer {
    Answer::text(json!({ "n": paid_item(asked) }).to_string()).tokens(1_000, 100).cached(0, 0, 0)
}

/// A world in which a task that meets a limit fails with it.
fn world(local: &ModelServer, shop: &Shop, limits: Limits) -> World {
    let mut world = paid_world(local, "", shop.door(limits));
    world.ladders.when_limited = Some(WhenLimited::Fail);
    world
}

/// Tasks that were refused by a limit, and those that Claude answered.
fn limited_and_bought(state: &RunState) -> (usize, usize) {
    let limited = |task: &&ollmcp::domain::run::Task| {
        let last = task.tried.last().and_then(|tried| tried.failure.as_ref());
        last.is_some_and(|failure| failure.kind == ollmcp::domain::failure::FailureKind::Limited)
    };
    let bought = |task: &&ollmcp::domain::run::Task| {
        task.phase.word() == "done" && task.tried.iter().any(|tried| matches!(tried.rung, Rung::Paid(_)))
    };
    (state.tasks.values().filter(limited).count(), state.tasks.values().filter(bought).count())
}

#[tokio::test]
async fn fifty_tasks_that_escalate_at_once_buy_what_the_hour_allows_and_not_one_more() {
    for limit in [0_usize, 1, 7, 49, 50] {
        let (local, shop) = (local(), Shop::open());
        shop.claude.respond(right);
        let world = world(&local, &shop, an_hour(limit as u64));
        let (_, state) = world.run(&fifty()).await;
        assert_eq!(shop.claude.chats().len(), limit, "{:?}", ends(&state));
        assert_eq!(limited_and_bought(&state), (PAID as usize - limit, limit), "{limit}");
        assert_eq!(shop.counted(), (limit, 0), "{limit}");
        // A second run in the same hour finds nothing left.
        let (_, state) = self::world(&local, &shop, an_hour(limit as u64)).run(&fifty()).await;
        assert_eq!((shop.claude.chats().len(), limited_and_bought(&state).1), (limit, 0), "{limit}");
    }
}

/// What one request of the plan is reserved at.
async fn reservation() -> u64 {
    let (local, shop, gate) = (local(), Shop::open(), Gate::new());
    let behind = gate.clone();
    shop.claude.respond(move |asked| right(asked).behind(&behind));
    let world = world(&local, &shop, an_hour(1));
    let plan = fifty();
    let looks = async {
        shop.claude.wait_until("a paid request", |claude| claude.open() == 1).await;
        let open = shop.account.standing(None).await.unwrap().open;
        assert_eq!(open.len(), 1);
        gate.open();
        open[0].microdollars
    };
    let (_, reserved) = tokio::join!(world.run(&plan), looks);
    reserved
}

/// Reservations are larger than what answers cost: with reservations alone not a tenth of the calls would fit.
#[tokio::test]
async fn a_budget_that_holds_so_many_settled_calls_serves_so_many() {
    let reserved = reservation().await;
    assert!(reserved > 5 * COST, "{reserved}");
    for limit in [1_u64, 7, 30] {
        let budget = (limit - 1) * COST + reserved + COST / 2;
        let of_day = Limits { day_microdollars_max: Some(budget), ..an_hour(1_000) };
        let of_run = Limits { run_microdollars_max: Some(budget), ..an_hour(1_000) };
        for limits in [of_day, of_run] {
            let (local, shop) = (local(), Shop::open());
            shop.claude.respond(right);
            let (_, state) = world(&local, &shop, limits).run(&fifty()).await;
            let calls = usize::try_from(limit).unwrap();
            assert_eq!(shop.claude.chats().len(), calls, "{budget}: {:?}", ends(&state));
            assert_eq!(limited_and_bought(&state), (PAID as usize - calls, calls), "{limit}");
            let spent = shop.account.standing(None).await.unwrap().day_microdollars;
            assert!(spent == limit * COST && spent <= budget, "{spent} of {budget}");
        }
    }
}

/// A restart in the middle: what was cut counts as bought, so that all lives together buy exactly what the hour allows.
#[tokio::test]
async fn a_restart_in_the_middle_frees_nothing_and_loses_nothing() {
    for (limit, before) in [(7_usize, 3), (7, 7), (30, 12)] {
        let (local, shop) = (local(), Shop::open());
        shop.claude.respond(right);
        let world = world(&local, &shop, an_hour(limit as u64));
        let is_paid_reply = |event: &Event| matches!(event, Event::TurnTaken { usage, .. } if usage.model == "claude");
        let (booted, exit) = super::scenes::killed_after(&world, &fifty(), before, is_paid_reply).await;
        exit.await.unwrap();
        let state = booted.state();
        let sent = shop.claude.chats().len();
        let (good, cut) = shop.counted();
        assert_eq!(good + cut, limit, "the hour is used up, and not passed: {:?}", ends(&state));
        // A call that was reserved and not yet sent when the process died counts as well: nobody knows.
        assert!((good..=limit).contains(&sent), "{sent} sent, {good} answered, {cut} cut");
        let (limited, bought) = limited_and_bought(&state);
        assert!(bought >= before && bought <= limit && limited == PAID as usize - bought, "{bought} of {limit}");
        assert!(good <= bought + PAID as usize, "{good}");
        drop(booted.engine);
    }
}

/// Two engines, as two processes in two projects have them, on one account: together they buy what one may.
#[tokio::test]
async fn two_engines_on_one_account_share_the_hour() {
    let shop = Shop::open();
    shop.claude.respond(right);
    let other = ollmcp::account::Account::open(shop.home()).await.unwrap();
    let (one, two) = (local(), local());
    let first = world(&one, &shop, an_hour(33));
    let mut second = world(&two, &shop, an_hour(33));
    second.paid = Some(shop.door_on(other, an_hour(33)));
    let plan = fifty();
    let ((_, first), (_, second)) = tokio::join!(first.run(&plan), second.run(&plan));
    let bought = limited_and_bought(&first).1 + limited_and_bought(&second).1;
    assert_eq!((shop.claude.chats().len(), bought, shop.counted()), (33, 33, (33, 0)));
}
