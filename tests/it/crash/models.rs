//! The real program and a scripted model server on real sockets: questions in words, steps that are held, kills.

use serde_json::{Value, json};

use super::place::{Place, Said};
use crate::model_server::{Answer, Asked, Gate, ModelServer};

const QUESTION: &str = "Who sent the parcel in log.txt?";

/// A project that asks this server's models in this order.
fn place(server: &ModelServer, rungs: &[&str]) -> Place {
    let place = Place::new();
    place.config(&json!({
        "ollama": { "url": server.url() },
        "ladders": { "default": rungs.iter().map(|model| format!("ollama:{model}")).collect::<Vec<_>>() },
    }));
    place
}

/// Reads the file, then answers from what it holds.
fn reader(asked: &Asked) -> Answer {
    if asked.last_role() != "tool" {
        return Answer::tool("fs_read", json!({ "path": "log.txt" }));
    }
    let sender = if asked.last().contains("sent by Ines Okafor") { "Ines Okafor" } else { "nobody" };
    Answer::text(json!({ "answer": format!("{sender}\nsent it."), "sources": ["log.txt"] }).to_string())
}

fn is_silent(said: &Said) -> bool {
    said.out.is_empty()
}

#[test]
fn a_question_is_answered_on_standard_output_by_an_agent_that_only_reads() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", reader);
    let place = place(&server, &["m:8b"]);
    place.write("log.txt", "2025-01-04 one parcel, sent by Ines Okafor\n");
    let said = place.run(&[QUESTION]).exits(0);
    assert_eq!(said.out, "Ines Okafor\nsent it.\n", "the answer and nothing else");
    assert!(said.err.contains("log.txt") && said.err.contains("unchecked"), "{}", said.err);
    let first = &server.chats()[0];
    assert!(first.seen().contains(QUESTION));
    assert_eq!(
        first.tool_names().into_iter().filter(|tool| tool.contains("write") || tool.contains("patch")).count(),
        0,
        "{:?}",
        first.tool_names()
    );
    let json = place.run(&["--json", "Who", "wrote", "in", "log.txt?"]).exits(0).json();
    assert_eq!((json["v"].as_u64(), json["answer"].as_str()), (Some(1), Some("Ines Okafor\nsent it.")), "{json}");
    assert_eq!(json["sources"], json!(["log.txt"]));
    place.run(&["verify", "last"]).exits(0);
}

#[test]
fn a_question_that_nobody_answers_ends_with_one_and_says_why_beside_the_results() {
    let server = ModelServer::start(["m:8b", "n:8b"]);
    server.respond_all(|_| Answer::text("The sender is known."));
    let place = place(&server, &["m:8b", "n:8b"]);
    let said = place.run(&[QUESTION]).exits(1);
    assert!(is_silent(&said), "{}", said.out);
    assert!(said.err.contains("answer: ") && said.err.contains("n:8b"), "{}", said.err);
    assert_eq!((server.count("m:8b"), server.count("n:8b")), (2, 2), "two counted failures each");
}

#[test]
fn words_that_are_no_question_are_refused_before_anything_is_made() {
    let server = ModelServer::start(["m:8b"]);
    let place = place(&server, &["m:8b"]);
    for (words, hint) in [
        (&["resmue", "last"][..], "did you mean `ollmcp resume`?"),
        (&["frobnicate"], "is no verb"),
        (&["  "], "the question is empty"),
        (&["Which files?", "--verbose"], "before the question"),
    ] {
        let said = place.run(words).exits(2);
        assert!(is_silent(&said) && said.err.contains(hint), "{words:?}: {said:#?}");
    }
    let long = "why ".repeat(6_000);
    assert!(place.run(&[&long]).exits(2).err.contains("longer than 20000 characters"));
    assert_eq!(server.chats().len(), 0);
    assert!(!place.state().exists(), "nothing was made");
}

/// Reads this path, then answers with what came.
fn reads(path: String) -> impl FnMut(&Asked) -> Answer + Send + 'static {
    move |asked| match asked.last_role() {
        "tool" => Answer::text(json!({ "answer": asked.last(), "sources": [] }).to_string()),
        _ => Answer::tool("fs_read", json!({ "path": path })),
    }
}

#[test]
fn paths_that_a_question_names_can_be_read_in_quotes_and_from_home_and_settings_with_keys_never() {
    let server = ModelServer::start(["m:8b"]);
    let place = place(&server, &["m:8b"]);
    let outside = place.project().parent().unwrap().canonicalize().unwrap();
    std::fs::create_dir_all(outside.join("my docs")).unwrap();
    std::fs::write(outside.join("my docs/f.txt"), "the blue one").unwrap();
    std::fs::write(outside.join("home/note.txt"), "the green one").unwrap();
    std::fs::create_dir_all(outside.join("home/.ollmcp")).unwrap();
    std::fs::write(outside.join("home/.ollmcp/config.json"), r#"{"comment": "zzsecretzz"}"#).unwrap();
    for (question, path, seen) in [
        (format!("Which is in '{}/my docs/f.txt'?", outside.display()), outside.join("my docs/f.txt"), "the blue one"),
        ("Which is in ~/note.txt, please?".to_owned(), outside.join("home/note.txt"), "the green one"),
    ] {
        server.respond("m:8b", reads(path.display().to_string()));
        let said = place.run(&[&question]).exits(0);
        assert!(said.out.contains(seen), "{said:#?}");
    }
    let settings = outside.join("home/.ollmcp/config.json");
    server.respond("m:8b", reads(settings.display().to_string()));
    let said = place.run(&[&format!("What servers does {} declare?", settings.display())]);
    assert!(!said.out.contains("zzsecretzz") && !said.err.contains("zzsecretzz"), "{said:#?}");
    assert!(!server.chats().iter().any(|asked| asked.body.to_string().contains("zzsecretzz")), "it reached no prompt");
    server.always("m:8b", Answer::text(r#"{"answer": "none", "sources": []}"#));
    assert_eq!(place.run(&["--", "models"]).exits(0).out, "none\n", "behind `--` stands a question");
}

/// A step that asks a model may have arguments of its own.
#[test]
fn a_step_with_a_prompt_gets_its_arguments_as_inputs() {
    let server = ModelServer::start(["m:8b"]);
    server.always("m:8b", Answer::text("seen"));
    let place = place(&server, &["m:8b"]);
    place.write(
        "with.yaml",
        "name: w\nsteps:\n  - id: a\n    agent: FILE_EXECUTOR\n    prompt: Sum up the doc.\n    with: { doc: the MAHOGANY text, database: none }\n",
    );
    place.run(&["run", "with.yaml"]).exits(0);
    assert!(server.chats()[0].seen().contains("MAHOGANY"), "{}", server.chats()[0].seen());
}

/// What is there already, and what says how later runs work, is changed only where somebody named it.
#[test]
fn an_agent_replaces_nothing_that_nobody_named() {
    let server = ModelServer::start(["m:8b"]);
    let place = place(&server, &["m:8b"]);
    place.write("precious.txt", "as it was");
    let plan = |task: &str| {
        format!(
            "name: w\nsteps:\n  - id: a\n    agent: CODER\n    tools: [fs.write]\n    prompt: {task}\n    done_when: [ {{ called: fs.write }} ]\n"
        )
    };
    let writes = |path: &'static str| {
        move |asked: &Asked| match asked.last_role() {
            "tool" if !asked.last().contains("nothing this task was given") => Answer::text("written"),
            _ => Answer::tool("fs_write", json!({ "path": path, "text": "oops" })),
        }
    };
    for path in ["precious.txt", "agents/CODER.md", "plans/new.yaml"] {
        server.respond("m:8b", writes(path));
        place.write("w.yaml", &plan("Write a summary to out.txt"));
        place.run(&["run", "w.yaml", "--fresh"]).exits(1);
        assert!(!place.project().join(path).exists() || path == "precious.txt", "{path}");
    }
    assert_eq!(std::fs::read_to_string(place.project().join("precious.txt")).unwrap(), "as it was");
    server.respond("m:8b", writes("precious.txt"));
    place.write("w.yaml", &plan("Write a summary to precious.txt"));
    place.run(&["run", "w.yaml", "--fresh"]).exits(0);
    assert_eq!(std::fs::read_to_string(place.project().join("precious.txt")).unwrap(), "oops", "it was named");
}

#[test]
fn a_question_that_was_killed_goes_on_with_the_replies_it_has() {
    let server = ModelServer::start(["m:8b"]);
    let gate = Gate::new();
    let behind = gate.clone();
    server.respond("m:8b", move |asked| {
        let answer = reader(asked);
        if asked.last_role() == "tool" { answer.behind(&behind) } else { answer }
    });
    let place = place(&server, &["m:8b"]);
    place.write("log.txt", "2025-01-04 one parcel, sent by Ines Okafor\n");
    let running = place.start(&[QUESTION]);
    super::place::until("the second question", || (server.count("m:8b") == 2).then_some(()));
    assert!(running.kill().is_killed());
    gate.open();
    let said = place.run(&[QUESTION]).exits(0);
    assert_eq!(said.out, "Ines Okafor\nsent it.\n");
    assert!(said.err.contains("goes on"), "{}", said.err);
    assert_eq!(server.count("m:8b"), 3, "the first reply was on record, the second was cut");
    let runs = place.run(&["ls", "--json"]).exits(0).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");
}

const ALIKE: &str = r#"
name: alike
steps:
  - id: read
    for_each: { range: 500 }
    on_error: quarantine
    agent: FILE_EXECUTOR
    prompt: "Number ${{ item }}"
    output: { schema: { type: object, required: [code], properties: { code: { type: string, minLength: 3 } } } }
"#;

/// A step whose form nobody meets is held; gives the question's id.
fn held(server: &ModelServer, place: &Place) -> String {
    place.write("alike.yaml", ALIKE);
    let said = place.run(&["run", "alike.yaml"]).exits(4);
    assert!(said.err.contains("read") && said.err.contains("go on"), "{}", said.err);
    let asked = server.count("m:8b");
    assert!(asked <= 10 * 2 * 2 + 4, "held after at most ten items, {asked} calls");
    let asks = place.run(&["inbox", "--json"]).exits(0).json();
    let ask = &asks["asks"][0];
    let text = ask.to_string();
    assert!(text.contains("schema") || text.contains("form"), "it says what the failures have in common: {text}");
    let answers: Vec<&str> = ask["answers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(answers, ["go", "stop"], "{ask}");
    ask["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_step_that_is_held_goes_on_when_a_person_says_go() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |_| Answer::text(r#"{"code": "x"}"#));
    let place = place(&server, &["m:8b"]);
    let ask = held(&server, &place);
    place.run(&["answer", &ask, "again"]).exits(2);
    place.run(&["resume", "last"]).exits(4);
    place.run(&["answer", &ask, "go"]).exits(0);
    let said = place.run(&["resume", "last"]).exits(3);
    assert!(said.out.contains("0 of 500 done, 500 set aside"), "{}", said.out);
}

#[test]
fn a_step_that_is_held_ends_when_a_person_says_stop() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |_| Answer::text(r#"{"code": "x"}"#));
    let place = place(&server, &["m:8b"]);
    let ask = held(&server, &place);
    let before = server.count("m:8b");
    place.run(&["answer", &ask, "stop"]).exits(0);
    let said = place.run(&["resume", "last"]);
    assert!(matches!(said.code(), Some(1 | 3)), "{said:#?}");
    assert_eq!(server.count("m:8b"), before, "nobody is asked any more");
}

/// What a model says about databases and rows is no row.
#[test]
fn rows_that_a_model_claims_are_not_told_as_written() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |_| Answer::text(r#"{"database": "sqlite:out.db", "rows": 3, "tables_found": 1}"#));
    let place = place(&server, &["m:8b"]);
    place.write("claims.yaml", "name: claims\nsteps:\n  - { id: a, agent: FILE_EXECUTOR, prompt: Save., output: { schema: { type: object } } }\n");
    let said = place.run(&["run", "claims.yaml"]).exits(0);
    assert!(!said.out.contains("out.db:"), "{}", said.out);
    let said = place.run(&["verify", "last"]).exits(0);
    assert!(said.out.contains("wrote no rows"), "{}", said.out);
}

/// An output is taken over by a step with `agree` only where two models agreed on it.
#[test]
fn agree_that_is_added_later_asks_a_second_model_for_what_is_there() {
    let server = ModelServer::start(["alpha:8b", "beta:9b"]);
    server.always_all(Answer::text(r#"{"n": 7}"#));
    let place = place(&server, &["alpha:8b", "beta:9b"]);
    let plan = |more: &str| {
        format!(
            "name: p\nsteps:\n  - id: a\n    for_each: [x, y]\n    agent: FILE_EXECUTOR\n    prompt: \"How many are in ${{{{ item }}}}?\"\n    \
             output: {{ schema: {{ type: object, required: [n], properties: {{ n: {{ type: integer }} }} }} }}\n{more}"
        )
    };
    let asked = || (server.count("alpha:8b"), server.count("beta:9b"));
    place.write("p.yaml", &plan(""));
    place.run(&["run", "p.yaml"]).exits(0);
    place.run(&["run", "p.yaml"]).exits(0);
    assert_eq!(asked(), (2, 0), "what is there is taken over");
    place.write("p.yaml", &plan("    agree: true\n"));
    place.run(&["run", "p.yaml"]).exits(0);
    assert_eq!(asked().1, 2, "each gets a second answer");
    let before = asked();
    place.run(&["run", "p.yaml"]).exits(0);
    assert_eq!(asked(), before, "what two agreed on is taken over");
}
