//! S22 in the real program: each way in which Claude gives no answer has its own words in `show`, costs what it costs in
//! the usage file, and ends as it should.

use serde_json::{Value, json};

use super::claude::{SUM, Shop, local, usage};
use super::place::{Place, until};
use crate::anthropic_server::{Answer, AnthropicServer};
use crate::model_server::ModelServer;

const RIGHT: &str = r#"{"sum": 42}"#;

/// A project with one local model that is wrong, and quick retries.
fn place(local: &ModelServer, claude: &AnthropicServer, plan: &str) -> Place {
    let place = Shop::new(local, claude).place();
    place.write(
        "sum.yaml",
        &plan.replace("  - id: add\n", "  - id: add\n    retry: { transient: 5, backoff: 20ms..50ms }\n"),
    );
    place
}

/// What `show` says of the last run.
fn shown(place: &Place) -> String {
    place.run(&["show", "last", "--item", "add"]).out
}

#[test]
fn s22_what_will_not_pass_is_said_with_what_to_do_and_sent_once() {
    let faults = [
        (Answer::refused(401, "invalid x-api-key"), "does not take the key: invalid x-api-key"),
        (Answer::refused(403, "not for this workspace"), "does not allow this to the key"),
        (Answer::refused(400, "messages: is wrong"), "is wrong"),
        (Answer::refused(404, "model: claude-sonnet-4-6"), "has no model `claude-sonnet-4-6`"),
        (Answer::refused(400, "model: claude-sonnet-4-6 is unknown"), "has no model `claude-sonnet-4-6`"),
        (Answer::spend_cap(), "has reached its spend limit"),
        (Answer::refused(402, "no credit"), "wants to be paid first"),
    ];
    let mut all = std::collections::BTreeSet::new();
    for (answer, words) in faults {
        let (local, claude) = (local(r#"{"sum": 41}"#), AnthropicServer::start());
        claude.always(answer);
        let place = place(&local, &claude, SUM);
        let said = place.run(&["run", "sum.yaml"]).exits(1);
        let shown = shown(&place);
        assert!(shown.contains(words), "no `{words}`: {shown}");
        assert!(said.out.contains(words), "no `{words}`: {said:#?}");
        let records = usage(&place);
        assert_eq!((claude.chats().len(), records.len()), (1, 1), "{words}");
        assert_eq!((&records[0]["success"], &records[0]["cost_estimate"]), (&json!(false), &json!(0.0)), "{words}");
        all.insert(words);
    }
    assert_eq!(all.len(), 6, "an unknown model is one reason, whatever the status");
}

#[test]
fn s22_what_passes_is_tried_again_and_ends_right() {
    let faults = [
        (Answer::too_many(Some(1)), "limits the rate of requests", true),
        (Answer::overloaded(), "is overloaded", true),
        (Answer::refused(500, "oops"), "failed: oops", true),
        (Answer::text(RIGHT).pieces_of(8).then_cut(), "broke off", false),
        (Answer::text(RIGHT).then_error("Overloaded"), "is overloaded", false),
    ];
    for (answer, words, is_free) in faults {
        let (local, claude) = (local(r#"{"sum": 41}"#), AnthropicServer::start());
        claude.script([answer.clone(), answer, Answer::text(RIGHT)]);
        let place = place(&local, &claude, SUM);
        place.run(&["run", "sum.yaml"]).exits(0);
        let shown = shown(&place);
        assert!(shown.contains(words), "no `{words}`: {shown}");
        let records = usage(&place);
        let good: Vec<&Value> = records.iter().filter(|record| record["success"] == true).collect();
        assert_eq!((claude.chats().len(), records.len(), good.len()), (3, 3, 1), "{words}: {records:?}");
        let cost = |record: &Value| record["cost_estimate"].as_f64().unwrap();
        let failed = records.iter().filter(|record| record["success"] == false);
        assert!(failed.into_iter().all(|record| (cost(record) == 0.0) == is_free), "{words}: {records:?}");
    }
}

/// Killed while it waits for the time that it was told: it waits on, buys once, and both requests are on record.
#[test]
fn s22_a_told_wait_outlives_a_kill() {
    let (local, claude) = (local(r#"{"sum": 41}"#), AnthropicServer::start());
    claude.script([Answer::too_many(Some(3)), Answer::text(RIGHT)]);
    let place = place(&local, &claude, SUM);
    let begun = std::time::Instant::now();
    let running = place.start(&["run", "sum.yaml"]);
    // The line is told of what is durable, and the call's record is made before that.
    until("the refusal in the journal", || running.err().contains("Claude API call failed: ").then_some(()));
    assert!(running.kill().is_killed());
    place.run(&["resume", "last"]).exits(0);
    assert!(begun.elapsed().as_secs_f64() >= 3.0, "{:?}", begun.elapsed());
    assert_eq!((claude.chats().len(), usage(&place).len()), (2, 2));
}

/// No connection: nothing was sent, so nothing is on record; the task waits for it like for any server.
#[test]
fn s22_no_connection_is_waited_for_and_is_no_call() {
    let (local, claude) = (local(r#"{"sum": 41}"#), AnthropicServer::start());
    claude.always(Answer::text(RIGHT));
    claude.refuse();
    let place = place(&local, &claude, SUM);
    let running = place.start(&["run", "sum.yaml"]);
    until("a try", || shown(&place).contains("cannot reach").then_some(()));
    assert!(running.kill().is_killed());
    assert_eq!(usage(&place).len(), 0);
    claude.back();
    place.run(&["resume", "last"]).exits(0);
    assert_eq!((claude.chats().len(), usage(&place).len()), (1, 1));
}

/// A batch of a hundred with a key that is not taken: one request, each item says why, and a resumed process tries once.
#[test]
fn s22_a_hundred_items_find_out_once_that_the_key_is_not_taken() {
    let local = ModelServer::start(["m:8b", "n:8b"]);
    let mut count = 0_u32;
    local.respond_all(move |_| {
        count += 1;
        // The first ones are right, so that the step is not held.
        Answer::text(if count < 6 { r#"{"sum": 42}"# } else { r#"{"sum": 41}"# })
    });
    let claude = AnthropicServer::setup().key("another").start();
    let plan = SUM.replace(
        "  - id: add\n",
        "  - id: add\n    for_each: { range: 100 }\n    threshold: 1\n    on_error: quarantine\n    max_parallel: 50\n",
    );
    let place = place(&local, &claude, &plan);
    let said = place.run(&["run", "sum.yaml"]).exits(3);
    assert_eq!(claude.requests().len(), 1, "one request for all");
    assert!(said.out.contains("does not take the key"), "{said:#?}");
    let records = usage(&place);
    assert_eq!((records.len(), &records[0]["success"]), (1, &json!(false)));
}
