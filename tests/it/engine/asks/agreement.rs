//! Agreement: an answer that passed its checks is asked for again from another family, and what differs gets in nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ollmcp::domain::event::{Event, RunEnd, StepEnd, TaskEnd};
use ollmcp::domain::failure::FailureKind;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::{RunState, StepPhase, TaskPhase};
use ollmcp::engine::supervisor::RunExit;
use serde_json::{Value, json};

use super::scenes::{
    NUMBER, all_right, batch, counts, ends, hasten, item_of, killed_after, right, story, values, worlds,
};
use super::{failures, first, output, with_kills, world};
use crate::engine::world::{Cut, World, echo, plan, task};
use crate::model_server::{Answer, Asked, ModelServer};

const MODELS: [&str; 2] = ["alpha:8b", "beta:9b"];

/// An invoice as a schema sees it.
const INVOICE: &str = "output: { schema: { type: object, required: [number, total, vendor], properties: { number: { type: string }, \
     total: { type: number }, vendor: { type: string }, note: { type: string, x-agree: ignore } } } }";

fn invoice(item: u32) -> Value {
    json!({ "number": format!("R-{item:04}"), "total": f64::from(item) * 7.5, "vendor": "Nordlys Electric" })
}

/// A wrong invoice that passes the schema, in one of several ways.
fn wrong_invoice(item: u32) -> Value {
    let mut wrong = invoice(item);
    match item / 10 % 3 {
        0 => wrong["total"] = json!(f64::from(item) * 75.0),
        1 => wrong["number"] = json!(format!("R-{:04}", item + 1)),
        _ => wrong["vendor"] = json!("Customer Ltd."),
    }
    wrong
}

/// Two models, each wrong on another tenth; each writes in a manner of its own.
fn pair() -> ModelServer {
    let server = ModelServer::setup(MODELS).fits(2).start();
    server.respond("alpha:8b", |asked| {
        let item = item_of(asked);
        Answer::text(if item % 10 == 3 { wrong_invoice(item) } else { invoice(item) }.to_string())
    });
    server.respond("beta:9b", |asked| {
        let item = item_of(asked);
        let mut value = if item % 10 == 7 { wrong_invoice(item) } else { invoice(item) };
        value["vendor"] = json!(value["vendor"].as_str().unwrap().to_uppercase());
        value["note"] = json!("read with care");
        Answer::text(format!("Here it is:\n```json\n{value}\n```"))
    });
    server
}

/// Items whose value is not what their invoice says.
fn wrong_rows(values: &BTreeMap<u32, Value>) -> Vec<u32> {
    let is_wrong = |(item, value): (&u32, &Value)| {
        let vendor = value["vendor"].as_str().unwrap().to_lowercase() == "nordlys electric";
        let right = invoice(*item);
        (value["number"] != right["number"] || value["total"] != right["total"] || !vendor).then_some(*item)
    };
    values.iter().filter_map(is_wrong).collect()
}

#[tokio::test]
async fn of_two_models_wrong_on_another_tenth_each_no_wrong_row_gets_in_with_agreement() {
    let server = pair();
    let world = world(&server, &MODELS, "", |call, _| echo(call));
    let (exit, state) = world.run(&batch(200, &format!(", {INVOICE}, on_error: quarantine"))).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let wanted: Vec<u32> = (0..200).filter(|item| item % 10 == 3).collect();
    assert_eq!(wrong_rows(&values(&world, &state)), wanted, "one model alone gets its wrong rows in");
    let alone = server.chats().len();

    let server = pair();
    let world = self::world(&server, &MODELS, "", |call, _| echo(call));
    let (exit, state) = world.run(&batch(200, &format!(", {INVOICE}, on_error: quarantine, agree: true"))).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Partial));
    assert_eq!(wrong_rows(&values(&world, &state)), Vec::<u32>::new());
    assert_eq!(ends(&state), counts([("done", 160), ("quarantined", 40)]));
    for (item, task) in state.tasks_of(0) {
        match &task.phase {
            TaskPhase::Done { verdicts, .. } => {
                let told = verdicts.last().unwrap().evidence.join("; ");
                assert!(told.contains("two models agree: box:alpha:8b and box:beta:9b"), "{item}: {told}");
            }
            TaskPhase::Ended(TaskEnd::Quarantined(failure)) => {
                assert!(matches!(item % 10, 3 | 7), "{item}");
                assert_eq!(failure.kind, FailureKind::Disagreement, "{item}");
                assert_eq!(story(task), ["box:alpha:8b disagreement", "box:beta:9b disagreement"], "{item}");
                let field = ["total", "number", "vendor"][(item / 10 % 3) as usize];
                assert!(failure.message.contains(&format!("{field}: ")), "{item}: {}", failure.message);
            }
            other => panic!("{item}: {other:?}"),
        }
    }
    let calls = server.chats().len();
    assert_eq!(calls, 2 * 160 + 4 * 40);
    println!(
        "calls per task: {:.2} without agreement (20 wrong rows of 200), {:.2} with it (0 wrong rows, 40 set aside)",
        f64::from(u32::try_from(alone).unwrap()) / 200.0,
        f64::from(u32::try_from(calls).unwrap()) / 200.0
    );
}

/// Three models of which the lowest is wrong: the next rung is compared with the third, not with the one that differed.
#[tokio::test]
async fn of_two_that_differ_a_third_one_finds_out_which_is_right() {
    let server = ModelServer::setup(["alpha:8b", "beta:9b", "gamma:30b"]).fits(3).start();
    server.respond_all(right);
    server.respond("alpha:8b", |asked| if item_of(asked) == 1 { Answer::text("{\"n\": 99}") } else { right(asked) });
    let world = world(&server, &["alpha:8b", "beta:9b", "gamma:30b"], "", |call, _| echo(call));
    let (_, state) = world.run(&batch(3, &format!(", {NUMBER}, agree: true"))).await;
    assert_eq!(story(task(&state, "a", 1)), ["box:alpha:8b disagreement", "box:beta:9b -"]);
    assert_eq!(ends(&state), counts([("done", 3)]));
    assert_eq!(values(&world, &state)[&1], json!({ "n": 1 }));
    assert_eq!(server.count("gamma:30b"), 1);
}

/// The same name on two servers is two models: the second is asked, and not answered from the record of the first.
#[tokio::test]
async fn a_model_of_the_same_name_elsewhere_is_asked_too() {
    let (home, spare) = (ModelServer::start(["alpha:8b"]), ModelServer::start(["alpha:8b"]));
    home.respond_all(right);
    spare.respond_all(|_| Answer::text("{\"n\": 6}"));
    let rungs = ["box:alpha:8b"];
    let world = worlds(&[("box", &home), ("spare", &spare)], &rungs, "", |call, _| echo(call));
    let (_, state) = world.run(&batch(1, &format!(", {NUMBER}, agree: {{ with: \"spare:alpha:8b\" }}"))).await;
    assert_eq!(failures(first(&state)), ["disagreement", "disagreement"]);
    assert_eq!(spare.count("alpha:8b"), 2);
}

/// The only model of a ladder cannot give the second answer: said before any model is asked.
#[tokio::test]
async fn agreement_with_the_only_model_of_the_ladder_is_refused_at_the_start() {
    let server = ModelServer::start(["alpha:8b"]);
    server.respond_all(right);
    let world = world(&server, &["alpha:8b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&batch(1, &format!(", {NUMBER}, agree: {{ with: \"box:alpha:8b\" }}"))).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let StepPhase::Ended { end: StepEnd::Failed(failure), .. } = &state.steps[0].phase else { panic!() };
    assert!(failure.message.contains("the only local model"), "{}", failure.message);
    assert_eq!(server.chats().len(), 0);
}

fn agreeing(items: u32, more: &str) -> Plan {
    batch(items, &format!(", {NUMBER}, agree: true{more}"))
}

fn two(second: impl FnMut(&Asked) -> Answer + Send + 'static) -> ModelServer {
    let server = ModelServer::setup(MODELS).fits(2).start();
    server.respond("alpha:8b", right);
    server.respond("beta:9b", second);
    server
}

#[tokio::test]
async fn a_kill_in_a_second_opinion_asks_for_nothing_again_that_was_recorded() {
    let make = || {
        let server = two(right);
        let world = world(&server, &MODELS, "", |call, _| echo(call));
        (server, world)
    };
    with_kills(make, &agreeing(1, ""), |server, world, state| {
        let task = first(state);
        assert_eq!(failures(task), ["-"]);
        assert_eq!(output(world, task), json!({ "n": 0 }));
        assert!(server.chats().len() <= 3, "{}", server.chats().len());
    })
    .await;
}

/// The second opinion takes two turns; the process dies after each of its replies was recorded.
#[tokio::test]
async fn a_second_opinion_of_several_turns_goes_on_from_its_replies() {
    for kill_after in 1..=4 {
        let server = ModelServer::setup(MODELS).fits(2).start();
        server.respond_all(|asked| match asked.last_role() {
            "tool" => right(asked),
            _ => Answer::tool("box_look", json!({ "x": 1 })),
        });
        let world = world(&server, &MODELS, "box.look", |call, _| echo(call));
        let is_reply = |event: &Event| matches!(event, Event::TurnTaken { .. });
        let (booted, exit) = killed_after(&world, &agreeing(1, ""), kill_after, is_reply).await;
        assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Complete));
        all_right(&world, &booted.state(), 1);
        // One that was on its way at the kill was never recorded.
        assert!(server.chats().len() <= 5, "killed after reply {kill_after}: {}", server.chats().len());
        assert!(world.calls().len() <= 3, "{:?}", world.calls());
    }
}

#[tokio::test]
async fn a_batch_with_second_opinions_is_killed_at_many_places_and_asks_for_nothing_twice() {
    for kill_after in [3, 10, 27, 40] {
        let server = two(right);
        let world = world(&server, &MODELS, "", |call, _| echo(call));
        let is_reply = |event: &Event| matches!(event, Event::TurnTaken { .. });
        let (booted, exit) = killed_after(&world, &agreeing(30, ""), kill_after, is_reply).await;
        assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Complete));
        all_right(&world, &booted.state(), 30);
        // A reply that was on its way at the kill was never recorded: one for each open attempt at most.
        let calls = server.chats().len();
        assert!((60..=64).contains(&calls), "killed after reply {kill_after}: {calls}");
    }
}

#[tokio::test]
async fn a_second_model_that_gives_no_answer_is_a_counted_disagreement() {
    let server = two(|_| Answer::text("I would rather not."));
    let world = world(&server, &MODELS, "", |call, _| echo(call));
    let (exit, state) = world.run(&agreeing(1, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let task = first(&state);
    assert_eq!(story(task), ["box:alpha:8b disagreement", "box:beta:9b schema"]);
    let message = &task.tried[0].failure.as_ref().unwrap().message;
    assert!(message.contains("the second model, box:beta:9b, gave no answer"), "{message}");
}

#[tokio::test]
async fn a_second_model_that_is_busy_is_asked_again_and_the_first_is_not() {
    let server = two(|asked| if asked.nth < 2 { Answer::busy() } else { right(asked) });
    let world = world(&server, &MODELS, "", |call, _| echo(call));
    let (exit, state) = world.run(&agreeing(1, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    all_right(&world, &state, 1);
    assert_eq!((server.count("alpha:8b"), server.count("beta:9b")), (1, 3), "{:?}", story(first(&state)));
    assert_eq!(first(&state).standing.failures, 0);
}

#[tokio::test]
async fn a_second_model_that_is_away_is_waited_for() {
    let (home, spare) = (ModelServer::start(["alpha:8b"]), ModelServer::start(["beta:9b"]));
    home.respond_all(right);
    spare.respond_all(right);
    spare.refuse();
    let rungs = ["box:alpha:8b", "spare:beta:9b"];
    let mut world = worlds(&[("box", &home), ("spare", &spare)], &rungs, "", |call, _| echo(call));
    hasten(&mut world, 10);
    world.ladders.server_wait_ms = 3_000_000;
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let exit = booted.start(&agreeing(2, ""));
    for _ in 0..8 {
        booted.event(|event| matches!(event, Event::AttemptStarted { .. }).then_some(())).await;
    }
    assert_eq!(ends(&booted.state()).get("done"), None, "nothing is accepted without its second opinion");
    spare.back();
    assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Complete));
    let state = booted.state();
    all_right(&world, &state, 2);
    assert_eq!(home.count("alpha:8b"), 2, "the first answers were kept: {:?}", story(first(&state)));
}

#[tokio::test]
async fn one_family_is_no_second_opinion() {
    let server = ModelServer::start(["alpha:8b", "alpha:32b"]);
    server.respond_all(right);
    let world = self::world(&server, &["alpha:8b", "alpha:32b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&agreeing(3, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let StepPhase::Ended { end: StepEnd::Failed(failure), .. } = &state.steps[0].phase else { panic!("it failed") };
    assert!(failure.message.contains("no local model of another family"), "{failure:?}");
    assert!(failure.hint.as_ref().unwrap().contains("agree: {with: SERVER:MODEL}"), "{failure:?}");
    assert_eq!(server.chats().len(), 0, "nobody was asked");
    // A person may say that it is one all the same.
    let named = batch(3, &format!(", {NUMBER}, agree: {{ with: \"box:alpha:32b\" }}"));
    let (exit, state) = world.run(&named).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    all_right(&world, &state, 3);
    assert_eq!((server.count("alpha:8b"), server.count("alpha:32b")), (3, 3));
}

/// A second opinion proposes and does nothing: what it would change is made once, by the first.
#[tokio::test]
async fn a_second_opinion_changes_nothing() {
    let server = ModelServer::setup(MODELS).fits(2).start();
    server.respond_all(|asked| match asked.last_role() {
        "tool" => Answer::text("{\"n\": 5}"),
        _ => Answer::tool("box_send", json!({ "n": 5 })),
    });
    let world = world(&server, &MODELS, "box.send", |call, _| echo(call));
    let text =
        "name: p\nsteps:\n  - { id: a, agent: WORKER, prompt: Send 5., agree: true, ".to_owned() + NUMBER + " }\n";
    let (_, state): (RunExit, RunState) = world.run(&plan(&text)).await;
    assert_eq!(world.calls().len(), 1, "{:?}", story(first(&state)));
    assert_eq!(failures(first(&state)), ["-"], "a call that is proposed alike is no disagreement");
    // Another call is one, and is not made.
    server.respond("beta:9b", |_| Answer::tool("box_send", json!({ "n": 6 })));
    let world = self::world(&server, &MODELS, "box.send", |call, _| echo(call));
    let (_, state) = world.run(&plan(&text)).await;
    assert_eq!(failures(first(&state))[0], "disagreement");
    let told = &first(&state).tried[0].failure.as_ref().unwrap().message;
    assert!(told.contains("box:beta:9b, would call box.send {\"n\":6}, and the first did not"), "{told}");
}

/// What is compared is what was accepted; the second is told nothing of the first.
#[tokio::test]
async fn the_second_model_sees_the_task_and_not_the_first_answer() {
    let server = two(|_| Answer::text("{\"n\": 8}"));
    let world: World = world(&server, &MODELS, "", |call, _| echo(call));
    let (_, state) = world.run(&agreeing(1, "")).await;
    let asked = server.chats();
    assert_eq!(asked[1].model, "beta:9b");
    assert_eq!(asked[0].seen(), asked[1].seen(), "the same words for both");
    let told = &first(&state).tried[0].failure.as_ref().unwrap().message;
    assert!(told.contains("n: 0 or 8 (box:alpha:8b or box:beta:9b)"), "{told}");
}

/// A world of two models with a tool that changes something, and the number of its real executions.
fn keeping(server: &ModelServer) -> (World, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let world = world(server, &MODELS, "box.keep", move |call, _| {
        count.fetch_add(1, Ordering::SeqCst);
        echo(call)
    });
    (world, made)
}

fn keeps(rates: u32) -> impl Fn(&Asked) -> Answer + Send + 'static {
    move |asked| match asked.last_role() {
        "tool" => Answer::text(r#"{"kept": true}"#),
        _ => Answer::tool("box_keep", json!({ "rates": rates })),
    }
}

const KEEP: &str = "name: p\nsteps:\n  - id: a\n    agent: WORKER\n    prompt: Keep the rates 5 and 6.\n    agree: true\n    \
                    output: { schema: { type: object, required: [kept] } }\n";

#[tokio::test]
async fn an_effect_that_both_models_propose_is_made_once_and_answers_both() {
    let server = ModelServer::setup(MODELS).fits(2).start();
    server.respond_all(keeps(5));
    let (world, made) = keeping(&server);
    let (exit, state) = world.run(&plan(KEEP)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{:?}", story(first(&state)));
    assert_eq!(made.load(Ordering::SeqCst), 1, "a proposal is compared, never run");
    assert_eq!((server.count("alpha:8b"), server.count("beta:9b")), (2, 2));
}

#[tokio::test]
async fn an_effect_that_only_the_second_model_proposes_is_a_difference_and_never_made() {
    let server = ModelServer::setup(MODELS).fits(2).start();
    server.respond("alpha:8b", keeps(5));
    server.respond("beta:9b", keeps(6));
    let (world, made) = keeping(&server);
    let (exit, state) = world.run(&plan(KEEP)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let failures = failures(first(&state));
    assert!(failures.iter().all(|kind| kind == "disagreement"), "{failures:?}");
    let shown = format!("{:?}", first(&state).tried);
    assert!(shown.contains("would call box.keep") && shown.contains("the first did not"), "{shown}");
    assert!(made.load(Ordering::SeqCst) <= 2, "what the first models of two attempts did, and nothing of a second");
}

#[tokio::test]
async fn an_effect_that_only_the_first_model_makes_is_a_difference() {
    let server = ModelServer::setup(MODELS).fits(2).start();
    server.respond("alpha:8b", keeps(5));
    server.always("beta:9b", Answer::text(r#"{"kept": true}"#));
    let (world, made) = keeping(&server);
    let (exit, state) = world.run(&plan(KEEP)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert!(failures(first(&state)).iter().all(|kind| kind == "disagreement"), "{:?}", story(first(&state)));
    let shown = format!("{:?}", first(&state).tried);
    assert!(shown.contains("made a call of box.keep that box:beta:9b did not propose"), "{shown}");
    assert_eq!(made.load(Ordering::SeqCst), 1);
}
