//! What a request holds when results, inputs or the window's own server make it tight: S18, S19.

use std::fmt::Write as _;

use ollmcp::domain::event::RunEnd;
use ollmcp::domain::run::RunState;
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::reasoning::{Cost, by_openai};
use super::scenes::{hasten, story};
use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{Reply, World, echo, plan, task};
use crate::model_server::{Answer, Asked, Model, ModelServer};

const RETRY: &str = ", retry: { transient: 2, backoff: 5ms..20ms }";

/// Long, and different everywhere: a cut in the middle would be seen.
fn three_megabytes() -> String {
    let mut text = String::new();
    for line in 0..60_000 {
        writeln!(text, "entry {line}: nothing of note was found in drawer {}", line * 7).unwrap();
    }
    assert!(text.len() > 3_000_000);
    text
}

fn results(asked: &Asked) -> usize {
    asked.messages.iter().filter(|said| said.role == "tool" || said.text.starts_with("Result of")).count()
}

fn window(asked: &Asked) -> u64 {
    asked.options["num_ctx"].as_u64().unwrap()
}

/// What every request must be, however large what it tells of.
#[track_caller]
fn fits(asked: &Asked, tokens_max: u64) {
    let nth = asked.nth;
    assert!(!asked.is_cut(), "the server had to cut request {nth}");
    assert_ne!(asked.status, Some(400), "the server refused request {nth}");
    assert!(window(asked) <= tokens_max, "{nth}");
    assert_eq!(window(asked), u64::from(asked.context_tokens), "the window that is asked for is the one it has");
    let all = asked.prompt_tokens + asked.reply_tokens_max().unwrap();
    assert!(all <= window(asked), "request {nth} takes {all} tokens of {}", window(asked));
    assert_eq!((&asked.body["truncate"], &asked.body["shift"]), (&json!(false), &json!(false)), "{nth}");
}

const LEDGER: &str = "name: p\nsteps:\n  - { id: list, value: { cabinet: WALNUT, keys: [17, 23] } }\n  - { id: a, needs: [list], \
                      agent: WORKER, prompt: \"Look into the drawers 0, 1 and 2 of the MAHOGANY cabinet.\", with: { ledger: \
                      \"${{ steps.list.output }}\", note: BRASS } }\n";

/// S18: task, inputs and results of other steps stay beside results of 3 MB, for models that take tools natively and
/// those that do not, and wherever the process dies.
#[tokio::test]
async fn s18_task_and_inputs_stay_wherever_the_process_dies() {
    let text = three_megabytes();
    for (is_native, looks, is_killed) in [(true, 3, false), (false, 3, false), (true, 1, true)] {
        let cost = Cost::default();
        let make = || {
            let model = Model::new("m:8b").context(8_192);
            let server = ModelServer::start([if is_native { model } else { model.can(&["completion"]) }]);
            server.respond("m:8b", move |asked| match results(asked) {
                nth if nth < looks && is_native => Answer::tool("box_look", json!({ "x": nth })),
                nth if nth < looks => {
                    Answer::text(json!({ "tool": "box_look", "arguments": { "x": nth } }).to_string())
                }
                _ => Answer::text("Nothing of note."),
            });
            let text = text.clone();
            let world = world(&server, &["m:8b"], "box.look", move |_, _| Reply::Value(json!(text)));
            (server, world)
        };
        let check = |server: &ModelServer, world: &World, state: &RunState| {
            let task = task(state, "a", 0);
            assert_eq!(failures(task), ["-"], "{task:#?}");
            assert_eq!(output(world, task), json!("Nothing of note."));
            let chats = server.chats();
            assert!((looks + 1..=looks + 2).contains(&chats.len()), "{}", chats.len());
            for asked in &chats {
                fits(asked, 8_192);
                for word in ["MAHOGANY", "WALNUT", "23", "BRASS"] {
                    assert!(asked.seen().contains(word), "{word} is there in request {}", asked.nth);
                }
            }
            let last = chats.last().unwrap();
            let cuts: Vec<&str> =
                last.messages.iter().map(|said| said.text.as_str()).filter(|text| text.contains("[cut: ")).collect();
            assert_eq!(cuts.len(), looks, "each result says that it was cut");
            let chars = text.chars().count().to_string();
            for (at, cut) in cuts.iter().enumerate() {
                assert!(
                    cut.contains(&format!("of {chars} characters")),
                    "how much there was: {}",
                    cut.rsplit('\n').next().unwrap()
                );
                assert!(
                    cut.contains(&format!("handle r{}", at + 1)),
                    "how to read on: {}",
                    cut.rsplit('\n').next().unwrap()
                );
            }
            cost.is_as_before(state);
        };
        if is_killed {
            with_kills(make, &plan(LEDGER), check).await;
        } else {
            let (server, world) = make();
            let (_, state) = world.run(&plan(LEDGER)).await;
            check(&server, &world, &state);
        }
    }
}

/// S18: an input of 3 MB gives way, says so, and leaves the task whole.
#[tokio::test]
async fn s18_an_input_of_megabytes_is_cut_and_says_so() {
    let text = three_megabytes();
    let server = ModelServer::start([Model::new("m:8b").context(8_192)]);
    server.always("m:8b", Answer::text("Nothing of note."));
    let world = world(&server, &["m:8b"], "", move |_, _| Reply::Value(json!(text)));
    let with = "name: p\nsteps:\n  - { id: list, tool: box.look, with: { x: 1 } }\n  - { id: a, needs: [list], agent: WORKER, \
                prompt: \"Look through the MAHOGANY cabinet.\", with: { note: BRASS, ledger: \"${{ steps.list.output }}\" } }\n";
    let (exit, state) = world.run(&plan(with)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{:?}", failures(task(&state, "a", 0)));
    let chats = server.chats();
    assert_eq!(chats.len(), 1);
    fits(&chats[0], 8_192);
    let seen = chats[0].seen();
    for word in ["MAHOGANY", "BRASS", "entry 0:"] {
        assert!(seen.contains(word), "{word}: {seen}");
    }
    assert!(seen.contains("left out") || seen.contains("[cut"), "it says that something is missing: {seen}");
}

/// S18: what a step is given is given: its names may be used in calls, and others are refused with them quoted.
#[tokio::test]
async fn s18_names_among_the_inputs_may_be_used_in_calls() {
    let given = "name: p\nsteps:\n  - { id: a, agent: WORKER, prompt: Look into the file., with: { file: January/rates.pdf } }\n";
    let make = || {
        let server = ModelServer::start(["m:8b"]);
        server.respond("m:8b", |asked| match results(asked) {
            0 => Answer::tool("box_look", json!({ "path": "January/raten.pdf" })),
            1 => Answer::tool("box_look", json!({ "path": "January/rates.pdf" })),
            _ => Answer::text("Seen."),
        });
        let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        (server, world)
    };
    with_kills(make, &plan(given), |server, world, state| {
        assert_eq!(failures(first(state)), ["-"]);
        assert_eq!(output(world, first(state)), json!("Seen."));
        assert!(
            world.calls().iter().all(|call| call.arguments == r#"{"path":"January/rates.pdf"}"#),
            "{:?}",
            world.calls()
        );
        assert!((1..=2).contains(&world.calls().len()), "a kill repeats a look");
        assert!((3..=4).contains(&server.count("m:8b")));
        let told = server.chats().iter().any(|asked| asked.last().contains("There are: `January/rates.pdf`"));
        assert!(told, "the right name is quoted");
    })
    .await;
}

/// S18: a task that does not fit by itself is never cut: it fails before anything is sent.
#[tokio::test]
async fn s18_a_task_that_is_too_long_is_never_sent_in_part() {
    let server = ModelServer::start([Model::new("m:8b").context(2_048)]);
    server.always("m:8b", Answer::text("Done."));
    let world = world(&server, &["m:8b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&asks(&"Look into every drawer. ".repeat(2_000), RETRY)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(server.count("m:8b"), 0, "{:?}", failures(first(&state)));
    assert_eq!(first(&state).standing.failures, 0, "no model did anything wrong: {:?}", failures(first(&state)));
}

/// S19: a prompt that is refused for ever is asked a bounded number of times, each time another one, and nothing of it
/// is counted against the model; a larger window on the next rung takes the task over.
#[tokio::test]
async fn s19_a_prompt_that_never_fits_goes_to_a_larger_window_uncounted() {
    for refusal in [Answer::too_long(), Answer::no_user_query()] {
        let shown = format!("{refusal:?}");
        let make = || {
            let server = ModelServer::start([Model::new("m:8b").context(4_096), Model::new("m:32b").context(32_768)]);
            server.always("m:8b", refusal.clone());
            server.always("m:32b", Answer::text("Seen."));
            let mut world = world(&server, &["m:8b", "m:32b"], "", |call, _| echo(call));
            hasten(&mut world, 50);
            (server, world)
        };
        with_kills(make, &asks("Look into 1.", RETRY), |server, world, state| {
            let task = first(state);
            assert_eq!(output(world, task), json!("Seen."), "{shown}: {:?}", story(task));
            assert_eq!(task.standing.failures, 0, "{shown}: {:?}", story(task));
            assert_eq!(task.tried.last().unwrap().failure, None);
            assert!(server.count("m:8b") <= 10, "{shown}: {}", server.count("m:8b"));
            assert!((1..=2).contains(&server.count("m:32b")), "{shown}");
        })
        .await;
    }
}

/// S19 on a server that tells its window only by refusing (OpenAI's protocol): results are shortened until they fit.
#[tokio::test]
async fn s19_a_server_that_says_its_window_only_by_refusing_is_fitted() {
    let make = || {
        let server = ModelServer::setup([Model::new("m:8b").window(4_096)]).llama_cpp().start();
        server.respond("m:8b", |asked| match results(asked) {
            nth @ 0..=2 => Answer::tool("box_look", json!({ "x": nth })),
            _ => Answer::text("Seen."),
        });
        let text = "a drawer with a very long list of things in it. ".repeat(1_000);
        let mut world = world(&server, &["m:8b"], "box.look", move |_, _| Reply::Value(json!(text)));
        by_openai(&server, &mut world);
        (server, world)
    };
    with_kills(make, &asks("Look into 0, 1 and 2.", ""), |server, world, state| {
        assert_eq!(output(world, first(state)), json!("Seen."));
        assert_eq!((first(state).standing.failures, failures(first(state))), (0, vec!["-".to_owned()]));
        for asked in server.chats() {
            assert!(!asked.is_cut(), "nothing is cut by the server: request {}", asked.nth);
            assert!(asked.seen().contains("Look into 0, 1 and 2."));
        }
    })
    .await;
}
