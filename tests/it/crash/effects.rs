//! What tools did, judged by the call log: `unsafe` calls at most once, `idempotent` ones under one key, and questions
//! about calls in doubt that lead where their answer says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::place::{At, Place, Said, is_full, until};

const SIX_OF_EACH: &str = r#"
name: effects
steps:
  - id: look
    for_each: { range: 6 }
    max_parallel: 3
    tool: log.echo
    with: { n: "${{ item }}" }
  - id: add
    for_each: "${{ steps.look.items }}"
    max_parallel: 3
    tool: log.add_row
    with: { row: "${{ item.item }}" }
  - id: send
    for_each: "${{ steps.look.items }}"
    max_parallel: 2
    tool: log.send
    with: { to: "n${{ item.item }}" }
    done_when: [ "output.done == 'send'" ]
"#;

fn inbox(place: &Place) -> Vec<Value> {
    let said = place.run(&["inbox", "--json"]).exits(0);
    said.json()["asks"].as_array().unwrap().clone()
}

/// Whom `send` was called for.
fn sent(place: &Place) -> Vec<String> {
    let calls = place.calls().into_iter().filter(|call| call.tool == "send");
    calls.map(|call| call.arguments["to"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn at_most_once(place: &Place) {
    let sent = sent(place);
    let once: BTreeSet<&String> = sent.iter().collect();
    assert_eq!(once.len(), sent.len(), "sent twice: {sent:?}");
}

/// Calls of `add_row` for one row carry one key, and no two rows share it.
#[track_caller]
fn keys_hold(place: &Place) {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in place.calls().into_iter().filter(|call| call.tool == "add_row") {
        assert!(!call.key.is_empty(), "{call:?}");
        keys.entry(call.arguments.to_string()).or_default().insert(call.key);
    }
    let all: BTreeSet<&String> = keys.values().flatten().collect();
    assert!(keys.values().all(|keys| keys.len() == 1) && all.len() == keys.len(), "{keys:?}");
}

/// Killed there; resumed; what is in doubt is answered as someone would who has looked. False: the run ended before.
fn happens_once(at: At) -> bool {
    let place = Place::with_calls(SIX_OF_EACH);
    let killed = place.killed_at_sync(&["run", "plan.yaml"], at);
    if !killed.is_killed() {
        killed.exits(0);
        return false;
    }
    place.until_alone();
    at_most_once(&place);
    let words: &[&str] = if place.history().last.frame == 0 { &["run", "plan.yaml"] } else { &["resume"] };
    let said = place.run(words);
    at_most_once(&place);
    place.history().holds();
    let asks = inbox(&place);
    if asks.is_empty() {
        said.exits(0);
    } else {
        let said = said.exits(4);
        for ask in &asks {
            assert_eq!(ask["step"], "send", "{at:?}: only the unsafe tool leaves doubt");
            let (id, item) = (ask["id"].as_str().unwrap(), ask["item"].as_str().unwrap());
            assert!(said.err.contains(id), "{said:#?}");
            if sent(&place).contains(&format!("n{item}")) {
                place.run(&["answer", id, "happened", "--output", r#"{"done": "send"}"#]).exits(0);
            } else {
                place.run(&["answer", id, "again"]).exits(0);
            }
        }
        place.run(&["resume"]).exits(0);
    }
    place.history().holds();
    keys_hold(&place);
    let mut sent = sent(&place);
    sent.sort();
    assert_eq!(sent, ["n0", "n1", "n2", "n3", "n4", "n5"], "{at:?}");
    assert!(inbox(&place).is_empty());
    place.run(&["resume"]).exits(0);
    true
}

#[test]
fn whatever_sync_a_run_is_killed_at_nothing_is_sent_twice_and_nothing_is_lost() {
    let kills = (1..).take_while(|number| happens_once(At::After(*number))).count();
    assert!(kills >= 8, "{kills}");
    if is_full() {
        let kills = (1..).take_while(|number| happens_once(At::Before(*number))).count();
        assert!(kills >= 8, "{kills}");
    }
}

/// One unsafe call of a second, with a check and a step behind it; `extra` goes into the step.
fn plan(extra: &str) -> String {
    format!(
        r#"
name: doubt
steps:
  - id: act
    for_each: [ one ]
    tool: log.slow
    with: {{ seconds: 0.5 }}
    repeat: unsafe
    done_when: [ "output.slept > 0" ]
    {extra}
  - id: after
    for_each: "${{{{ steps.act.items }}}}"
    value: {{ slept: "${{{{ item.output.slept }}}}" }}
"#
    )
}

/// A run whose only call was cut off by a kill: in doubt.
fn in_doubt(extra: &str) -> (Place, String) {
    let place = Place::with_calls(&plan(extra));
    let running = place.start(&["run", "plan.yaml"]);
    place.until_calls(1);
    running.kill();
    let said = place.run(&["resume"]).exits(4);
    assert!(said.err.contains("act") && said.err.contains("may or may not have happened"), "{said:#?}");
    let asks = inbox(&place);
    assert_eq!(asks.len(), 1);
    let text = place.run(&["inbox"]).exits(0).out;
    let id = asks[0]["id"].as_str().unwrap().to_owned();
    assert!(text.contains("happened") && text.contains("log.slow"), "{text}");
    // Waiting is not working: a second resume changes nothing, and asks again.
    place.run(&["resume"]).exits(4);
    assert_eq!(place.calls().len(), 1);
    (place, id)
}

fn step(said: &Said, name: &str) -> Value {
    let steps = said.json()["steps"].as_array().unwrap().clone();
    steps.into_iter().find(|step| step["step"] == name).unwrap()
}

#[test]
fn happened_takes_an_output_and_the_checks_run_on_it() {
    let (place, id) = in_doubt("");
    place.run(&["answer", &id, "happened", "--output", r#"{"slept": 7}"#]).exits(0);
    place.run(&["resume"]).exits(0);
    assert_eq!(place.calls().len(), 1);
    let story = place.run(&["show", "--item", "one", "--json"]).exits(0);
    assert!(story.out.contains(r#"{"slept":7}"#), "{story:#?}");
    assert_eq!(step(&place.run(&["show", "--json"]), "after")["done"], 1);
    place.history().holds();
}

#[test]
fn happened_with_an_output_that_fails_the_checks_fails_the_task_and_calls_nothing() {
    let (place, id) = in_doubt("");
    place.run(&["answer", &id, "happened", "--output", r#"{"slept": 0}"#]).exits(0);
    let said = place.run(&["resume"]).exits(1);
    assert!(said.out.contains("output.slept > 0"), "{said:#?}");
    assert_eq!(place.calls().len(), 1);
}

#[test]
fn again_calls_once_more() {
    let (place, id) = in_doubt("");
    place.run(&["answer", &id, "again"]).exits(0);
    place.run(&["resume"]).exits(0);
    assert_eq!(place.calls().len(), 2);
    assert_eq!(step(&place.run(&["show", "--json"]), "after")["done"], 1);
}

#[test]
fn skip_leaves_the_item_out() {
    let (place, id) = in_doubt("");
    place.run(&["answer", &id, "skip"]).exits(0);
    place.run(&["resume"]).exits(0);
    assert_eq!(place.calls().len(), 1);
    let shown = place.run(&["show", "--json"]);
    assert_eq!((&step(&shown, "act")["done"], &step(&shown, "after")["done"]), (&0.into(), &0.into()));
}

#[test]
fn fail_counts_the_call_as_failed() {
    let (place, id) = in_doubt("");
    place.run(&["answer", &id, "fail"]).exits(0);
    let said = place.run(&["resume"]).exits(1);
    assert!(said.err.contains("has ended: failed"), "{said:#?}");
    let shown = place.run(&["show"]).exits(0);
    assert!(shown.out.contains("counted the call in doubt as failed"), "{shown:#?}");
    let (place, id) = in_doubt("on_error: quarantine");
    place.run(&["answer", &id, "fail"]).exits(0);
    place.run(&["resume"]).exits(3);
    assert_eq!(place.calls().len(), 1);
}

#[test]
fn answers_that_fit_no_question_are_refused_and_change_nothing() {
    let (place, id) = in_doubt("");
    for (words, hint) in [
        (vec!["answer", "ffff", "again"], "inbox"),
        (vec!["answer", &id, "perhaps"], "happened, again, skip or fail"),
        (vec!["answer", &id, "again", "--output", "1"], "happened"),
        (vec!["answer", &id, "happened", "--output", "{"], "JSON"),
    ] {
        let said = place.run(&words).exits(2);
        assert!(said.err.contains(hint), "{words:?}: {said:#?}");
    }
    assert_eq!(inbox(&place).len(), 1);
    place.run(&["answer", &id[..13], "skip"]).exits(0);
    let said = place.run(&["answer", &id, "skip"]).exits(2);
    assert!(said.err.contains("no open question"), "{said:#?}");
}

const BESIDE: &str = r#"
name: beside
steps:
  - id: dies
    for_each: [ happened, skip, fail ]
    max_parallel: 3
    tool: other.die
    with: {}
    on_error: quarantine
  - id: works
    for_each: { range: 10000 }
    max_parallel: 4
    tool: log.slow
    with: { seconds: 0.05 }
  - id: after
    for_each: "${{ steps.dies.items }}"
    value: "${{ item.output }}"
"#;

#[test]
fn answers_are_taken_beside_a_running_run() {
    let place = Place::with_calls(BESIDE);
    place.second_server("other");
    let mut running = place.start(&["run", "plan.yaml"]);
    place.until_socket(&mut running);
    let asks = until("three questions", || Some(inbox(&place)).filter(|asks| asks.len() == 3));
    for ask in &asks {
        let (id, item) = (ask["id"].as_str().unwrap(), ask["item"].as_str().unwrap());
        let mut words = vec!["answer", id, item];
        words.extend((item == "happened").then_some(["--output", "[1]"]).into_iter().flatten());
        place.run(&words).exits(0);
        let said = place.run(&words).exits(2);
        assert!(said.err.contains("no open question"), "{said:#?}");
    }
    assert!(inbox(&place).is_empty());
    let shown = until("the item behind the answer", || {
        Some(place.run(&["show", "--json"]).exits(0)).filter(|shown| step(shown, "after")["done"] == 1)
    });
    assert_eq!(step(&shown, "dies")["quarantined"], 1);
    // One death takes all three calls with it, whether the server had seen them or not.
    assert!(place.calls().iter().filter(|call| call.tool == "die").count() <= 3);
    place.run(&["cancel"]).exits(0);
    running.wait().exits(1);
}
