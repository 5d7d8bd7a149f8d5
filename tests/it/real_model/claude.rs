//! The same ten invoices by the same weak model, with Claude as the last rung and without: what the local rungs get wrong
//! and the checks can see goes to a scripted Claude, which knows the truth, and ends right.

use std::collections::BTreeMap;
use std::fs;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::Server;
use super::tap::{TURN, Tap};
use super::{Batch, RUN, SET_ASIDE, config, project, samples, score, states, to_the_end};
use crate::anthropic_server::{Answer, AnthropicServer, Asked};
use crate::crash::place::{Place, Said};

/// Longest time for one batch.
const LIMIT: Duration = Duration::from_mins(20);

/// The truth by file.
fn truths(batch: &Batch) -> BTreeMap<String, Value> {
    let lines = batch.truth.iter().flat_map(|path| {
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect::<Vec<Value>>()
    });
    lines.map(|truth: Value| (truth["file"].as_str().unwrap().to_owned(), truth)).collect()
}

/// The right answer to a question about one of these invoices: the one whose vendor and number stand in it.
fn right(truths: &BTreeMap<String, Value>, asked: &Asked) -> Answer {
    let text = asked.body["messages"].to_string();
    let stands = |value: &Value| text.contains(value.as_str().unwrap());
    let found: Vec<&Value> =
        truths.values().filter(|truth| stands(&truth["vendor"]) && stands(&truth["number"])).collect();
    assert_eq!(found.len(), 1, "one invoice: {found:?} in {text}");
    let truth = found[0];
    let lines: Vec<Value> = truth["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| json!({ "text": line["text"], "amount": line["amount"] }))
        .collect();
    let form = json!({ "number": truth["number"], "date": truth["date"], "vendor": truth["vendor"], "lines": lines, "total": truth["total"] });
    Answer::text(form.to_string())
}

/// What a batch came to.
struct Came {
    place: Place,
    said: Said,
    states: BTreeMap<String, String>,
    score: Value,
    seconds: f64,
}

impl Came {
    fn of(place: Place, batch: &Batch) -> Self {
        let began = Instant::now();
        let said = to_the_end(&place, place.start(RUN).wait_within(LIMIT), LIMIT);
        let seconds = began.elapsed().as_secs_f64();
        let (states, score) = (states(&place), score(&place, batch));
        Self { place, said, states, score, seconds }
    }

    fn count(&self, state: &str) -> usize {
        self.states.values().filter(|found| *found == state).count()
    }

    fn right(&self) -> u64 {
        self.score["all_right_count"].as_u64().unwrap_or_else(|| panic!("{}", self.score))
    }
}

#[test]
fn what_a_weak_model_gets_wrong_is_bought_and_ends_right_and_without_claude_is_set_aside() {
    let batch = samples();
    let truths = truths(&batch);
    let server = Server::start();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tap = Tap::remembering(server.address());

    let off = Came::of(project(&batch, tap.url()), &batch);
    let (asked_off, known) = (tap.take().len(), Tap::known());
    let claude = AnthropicServer::start();
    let of_claude = truths.clone();
    claude.respond(move |asked| right(&of_claude, asked));
    let place = project(&batch, tap.url());
    let mut with_claude = config(tap.url());
    with_claude["claude_integration"] =
        json!({ "enabled": true, "api_key": "sk-ant-test", "base_url": claude.url(), "model": "claude-sonnet-4-6" });
    place.config(&with_claude);
    let on = Came::of(place, &batch);
    let asked_on = tap.take().len();
    drop(turn);

    for (name, came) in [("without Claude", &off), ("with Claude", &on)] {
        println!("{name}: {}\n{}{}", came.score, came.said.out, came.said.err);
    }
    let (invoices, paid) = (on.states.len(), claude.chats().len());
    println!(
        "{invoices} invoices · without Claude {} accepted, {} right, {} set aside in {:.1} s · with Claude {} accepted, {} right · \
         {paid} paid calls, {} per 100 invoices · {asked_off} and {asked_on} local questions, {} of them new",
        off.count("done"),
        off.right(),
        off.count("quarantined"),
        off.seconds,
        on.count("done"),
        on.right(),
        paid * 100 / invoices,
        Tap::known() - known,
    );
    assert_eq!(off.said.code(), Some(SET_ASIDE));
    assert_eq!(on.said.code(), Some(0), "{:#?}", on.said);
    assert_eq!(on.count("done"), invoices, "{:?}", on.states);
    assert_eq!(paid, off.count("quarantined"), "what was set aside is bought, each with one call");
    assert_eq!(asked_on, asked_off, "the local rungs are asked the same");
    // What the checks cannot see stays as the local rungs left it.
    assert_eq!(on.right(), off.right() + paid as u64);
    assert_eq!(on.score["passed_but_wrong"], off.score["passed_but_wrong"]);
    on.place.run(&["verify", "last"]).exits(0);
    let usage = on.place.project().parent().unwrap().join("home/.ollmcp/claude_usage.json");
    let records: Vec<Value> = serde_json::from_str(&fs::read_to_string(usage).unwrap()).unwrap();
    assert_eq!(records.len(), paid, "each paid call is on record");
    assert!(records.iter().all(|record| record["success"] == true && record["reason"] == "fallback"), "{records:?}");
}
