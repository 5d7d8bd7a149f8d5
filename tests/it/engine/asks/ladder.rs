//! The ladder: what is wrong climbs and counts, what passes by itself does neither, and the next task starts low again.

use ollmcp::domain::event::{Event, RunEnd};
use ollmcp::domain::run::RunState;
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::scenes::{NUMBER, all_right, batch, counts, ends, item_of, right, story};
use super::{failures, first, output, with_kills, world};
use crate::engine::world::{echo, plan, task};
use crate::model_server::{Answer, Asked, ModelServer};

fn server(
    small: impl Fn(&Asked) -> Answer + Send + 'static,
    large: impl Fn(&Asked) -> Answer + Send + 'static,
) -> ModelServer {
    let server = ModelServer::start(["m:8b", "n:8b"]);
    server.respond("m:8b", small);
    server.respond("n:8b", large);
    server
}

/// Wrong on the first reply and on the second, which asks for the form again.
fn wrong(asked: &Asked) -> Answer {
    Answer::text(json!({ "number": item_of(asked) }).to_string())
}

fn wrong_where(is_wrong: impl Fn(u32) -> bool + Send + 'static) -> impl Fn(&Asked) -> Answer + Send + 'static {
    move |asked| if is_wrong(item_of(asked)) { wrong(asked) } else { right(asked) }
}

#[tokio::test]
async fn what_is_wrong_climbs_with_its_complaint_and_the_next_task_starts_low() {
    let server = server(wrong_where(|item| item == 1), right);
    let world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&batch(4, &format!(", max_parallel: 1, {NUMBER}"))).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(story(task(&state, "a", 1)), ["box:m:8b schema", "box:n:8b -"]);
    for item in [0, 2, 3] {
        assert_eq!(story(task(&state, "a", item)), ["box:m:8b -"], "{item}");
    }
    let asked = server.chats();
    let of_large: Vec<&Asked> = asked.iter().filter(|asked| asked.model == "n:8b").collect();
    assert_eq!(of_large.len(), 1);
    assert!(of_large[0].seen().contains("\"n\" is a required property"), "the complaint: {}", of_large[0].seen());
    assert!(!of_large[0].seen().contains("\"number\""), "and not the transcript");
}

#[tokio::test]
async fn counters_and_rungs_survive_kills() {
    let plan = batch(2, &format!(", {NUMBER}"));
    let make = || {
        let server = server(wrong_where(|item| item == 0), right);
        let world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
        (server, world)
    };
    with_kills(make, &plan, |server, world, state: &RunState| {
        let task = task(state, "a", 0);
        assert_eq!(failures(task), ["schema", "-"]);
        assert_eq!(task.standing.failures, 1);
        assert_eq!(output(world, task), json!({ "n": 0 }));
        // Two replies of the wrong attempt and one of the other item; what a kill took is asked for once more.
        assert!(server.count("m:8b") <= 3 + 2, "{}", server.count("m:8b"));
        assert!(server.count("n:8b") <= 1 + 1, "{}", server.count("n:8b"));
    })
    .await;
}

#[tokio::test]
async fn two_local_rungs_are_tried_once_each_and_then_it_fails() {
    let server = server(wrong, wrong);
    let world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&batch(1, &format!(", {NUMBER}"))).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(story(first(&state)), ["box:m:8b schema", "box:n:8b schema"]);
    assert_eq!((server.count("m:8b"), server.count("n:8b")), (2, 2));
}

#[tokio::test]
async fn one_local_model_is_asked_twice_and_something_changes() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", wrong);
    let world = world(&server, &["m:8b"], "", |call, _| echo(call));
    let (_, state) = world.run(&batch(1, &format!(", {NUMBER}"))).await;
    assert_eq!(story(first(&state)), ["box:m:8b schema", "box:m:8b schema"]);
    let asked = server.chats();
    assert_eq!(asked.len(), 4);
    assert_ne!(asked[0].body, asked[2].body, "the second attempt is told what was wrong");
    assert!(asked[2].seen().contains("is a required property"));
}

#[tokio::test]
async fn three_rungs_are_all_tried_although_two_failures_would_do() {
    let server = ModelServer::start(["a:1b", "b:2b", "c:3b"]);
    server.respond_all(wrong);
    server.respond("c:3b", right);
    let world = world(&server, &["a:1b", "b:2b", "c:3b"], "", |call, _| echo(call));
    let (_, state) = world.run(&batch(1, &format!(", {NUMBER}"))).await;
    assert_eq!(story(first(&state)), ["box:a:1b schema", "box:b:2b schema", "box:c:3b -"]);
    let told = server.chats().last().unwrap().seen();
    assert!(told.matches("is a required property").count() >= 1, "{told}");
}

#[tokio::test]
async fn what_passes_by_itself_never_counts_and_never_climbs() {
    for fault in [
        Answer::busy(),
        Answer::too_many(None),
        Answer::out_of_memory(),
        Answer::crashed(),
        Answer::cut(),
        Answer::reset(),
    ] {
        let server = ModelServer::start(["m:8b", "n:8b"]);
        let shown = format!("{fault:?}");
        server.respond("m:8b", move |asked| if asked.nth < 2 { fault.clone() } else { right(asked) });
        let world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
        let (exit, state) = world.run(&batch(1, &format!(", {NUMBER}"))).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{shown}");
        let task = first(&state);
        assert_eq!((task.standing.failures, task.attempts), (0, 3), "{shown}: {:?}", task.tried);
        assert_eq!((server.count("m:8b"), server.count("n:8b")), (3, 0), "{shown}");
        assert_eq!(task.complaints, Vec::<String>::new(), "{shown}");
    }
}

#[tokio::test]
async fn a_passing_fault_in_the_middle_of_an_attempt_goes_on_from_its_replies() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match (asked.last_role(), asked.nth) {
        ("tool", 1) => Answer::text("half an ans").then_cut(),
        ("tool", _) => Answer::text("kept"),
        _ => Answer::tool("box_keep", json!({ "x": 1 })),
    });
    let world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
    let (_, state) = world.run(&batch(1, "")).await;
    assert_eq!(story(first(&state)), ["box:m:8b silent", "box:m:8b -"]);
    assert_eq!((server.count("m:8b"), world.calls().len()), (3, 1), "neither the reply nor the call is made again");
}

#[tokio::test]
async fn a_whole_batch_climbs_only_where_it_is_wrong() {
    let server = server(wrong_where(|item| item % 10 == 3), right);
    let world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
    let mut booted = world.boot(Vec::new(), crate::engine::world::Cut::Never).await;
    let exit = booted.start(&batch(60, &format!(", {NUMBER}")));
    let climbs = async {
        let mut climbs = 0;
        while booted
            .event(|event| match event {
                Event::TaskClimbed { for_server, .. } => {
                    assert!(!for_server);
                    Some(true)
                }
                Event::RunEnded { .. } => Some(false),
                _ => None,
            })
            .await
        {
            climbs += 1;
        }
        climbs
    };
    let (climbs, _) = tokio::join!(climbs, exit);
    assert_eq!(climbs, 6);
    let state = booted.state();
    assert_eq!(ends(&state), counts([("done", 60)]));
    assert_eq!((server.count("m:8b"), server.count("n:8b")), (60 + 6, 6));
    assert_eq!(state.tasks_of(0).filter(|(_, task)| task.standing.failures == 1).count(), 6);
}

#[tokio::test]
async fn a_critical_step_and_a_threshold_end_where_they_say() {
    for (more, rungs, attempts) in
        [(", threshold: 1", 1, 1), (", critical: true", 1, 1), (", threshold: 4", 2, 4), (", threshold: 1", 2, 2)]
    {
        let server = server(wrong, wrong);
        let world = world(&server, &["m:8b", "n:8b"][..rungs], "", |call, _| echo(call));
        let (_, state) = world.run(&batch(1, &format!("{more}, {NUMBER}"))).await;
        assert_eq!(first(&state).attempts, attempts, "{more} with {rungs} rungs");
    }
}

/// A failed check is wrong as a schema is; what the plan says of it is the complaint.
#[tokio::test]
async fn a_failed_check_climbs_and_names_itself() {
    let server = server(|_| Answer::text("{\"n\": 9}"), right);
    let world = world(&server, &["m:8b", "n:8b"], "", |call, _| echo(call));
    let text = "name: p\nsteps:\n  - id: a\n    agent: WORKER\n    prompt: What is item-7?\n    done_when: [ \"output.n == 7\" ]\n";
    let (_, state) = world.run(&plan(text)).await;
    assert_eq!(story(first(&state)), ["box:m:8b check", "box:n:8b -"]);
    assert!(server.chats()[1].seen().contains("`output.n == 7` does not hold"), "{}", server.chats()[1].seen());
    assert_eq!(output(&world, first(&state)), json!({ "n": 7 }));
}

#[tokio::test]
async fn an_undisturbed_batch_asks_once_for_each_item() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", right);
    let world = world(&server, &["m:8b"], "", |call, _| echo(call));
    let (_, state) = world.run(&batch(40, &format!(", {NUMBER}"))).await;
    all_right(&world, &state, 40);
    assert_eq!(server.count("m:8b"), 40);
}
