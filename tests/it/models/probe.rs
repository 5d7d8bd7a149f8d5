//! `models probe`: what a model can do, asked the way that runs ask; kept, compared, and turned into a ladder.

use super::*;
use crate::model_server::{Answer, Asked, Gate};

/// Words of each task, and what is right: a text, or calls and then a text.
fn right(asked: &Asked) -> Answer {
    let seen = asked.seen();
    let has = |words: &str| seen.contains(words);
    let called = asked.messages.iter().any(|said| said.role == "tool");
    let value = |value: Value| Answer::text(value.to_string());
    let call = |name: &str, arguments: Value, then: &str| {
        if called { Answer::text(then) } else { Answer::tool(name, arguments) }
    };
    let step =
        |id: &str, role: &str, needs: &[&str]| json!({ "id": id, "role": role, "prompt": "do it", "needs": needs });
    match () {
        () if has("Give the number of the invoice") => {
            value(json!({ "number": "2024-117", "date": "2024-03-14", "total": 194.8 }))
        }
        () if has("What is paid back") => value(json!({ "vendor": "Miller Garage", "amount": -26.7 })),
        () if has("Give every line of the order") => value(json!({ "lines": [
            { "item": "chairs", "count": 4 }, { "item": "tables", "count": 2 }, { "item": "lamp", "count": 1 }
        ] })),
        () if has("Give the name of the sender") => value(json!({ "name": "Ida Berg", "telephone": null })),
        () if has("leave from Bergen") => value(json!({ "time": "15:57" })),
        () if has("How warm is it") => {
            call("get_weather", json!({ "city": "Oslo", "unit": "celsius" }), "It is 7 degrees.")
        }
        () if has("Put 12.5 into") => call("add_row", json!({ "table": "sales", "amount": 12.5 }), "done"),
        () if has("Add 40 to the table") => {
            if called {
                Answer::text("done")
            } else {
                let first = Answer::tool("add_row", json!({ "table": "rent", "amount": 40 }));
                first.call("add_row", json!({ "table": "food", "amount": 15 }))
            }
        }
        () if has("the code of the door") => call("read_file", json!({ "path": "notes.txt" }), "4471"),
        () if has("Tell Jonas") => call("send_message", json!({ "to": "Jonas", "text": "Lunch is at noon." }), "told"),
        () if has("Delete the file") => value(json!({ "done": false })),
        () if has("17 plus 25") => value(json!({ "sum": 42 })),
        () if has("In which city") => value(json!({ "city": "Tromso" })),
        () if has("Describe the person") => value(json!({
            "name": "Eva Lind", "age": 34, "address": { "street": "5 Mill Lane", "city": "Leeds" },
            "languages": ["Finnish", "English"]
        })),
        () if has("Which kind of message") => value(json!({ "kind": "complaint", "answer_wanted": true })),
        () if has("Which column") => value(json!({ "number": "Inv#", "customer": "Cust. name", "amount": "Total €" })),
        () if has("three amounts") => value(json!({ "amounts": [3.2, 4.3, 2.5], "sum": 10.0 })),
        () if has("Plan two steps") => value(json!({ "steps": [step("a", "READ", &[]), step("b", "WRITE", &["a"])] })),
        () if has("Plan the work") => value(json!({ "steps": [
            step("a", "LIST", &[]), step("b", "EXTRACT", &["a"]), step("c", "SAVE", &["b"])
        ] })),
        () if has("Plan three steps") => value(json!({ "steps": [
            step("a", "READ", &[]), step("b", "READ", &[]), step("c", "COMPARE", &["a", "b"])
        ] })),
        () => panic!("a task that nobody knows: {seen}"),
    }
}

/// Right, but it describes its calls instead of making them.
fn describes(asked: &Asked) -> Answer {
    if asked.tools.is_empty() {
        right(asked)
    } else {
        Answer::text(format!("I will now call {}.", asked.tool_names()[0]))
    }
}

#[test]
fn a_model_that_does_everything_right_gets_all_points_through_the_real_path() {
    let ollama = ModelServer::start([qwen()]);
    ollama.respond_all(|asked| right(asked).tokens(50, 10).parts_of(8).drip_ms(2));
    let desk = Desk::new(&ollama);
    let told = desk.ollmcp(&["models", "probe"]).exits(0).says("ollama:qwen3:8b\n  20 of 20 right\n");
    let groups = told
        .out
        .lines()
        .filter(|line| line.contains("tokens/s"))
        .map(|line| line.split_whitespace().find(|word| word.contains('/')).unwrap().to_owned());
    assert_eq!(groups.collect::<Vec<_>>(), ["5/5", "3/3", "3/3", "4/4", "5/5", "20/20"], "{}", told.out);
    told.says("ladder: ollama:qwen3:8b\n")
        .says("rule: small and good first")
        .says("ollmcp config set --user ladders.default");
    let chats = ollama.chats();
    assert!(chats.iter().any(|asked| asked.schema.is_some()), "no answer was bound to a schema");
    assert!(chats.iter().any(|asked| !asked.tools.is_empty()), "no tools were offered");
    assert!(chats.iter().all(|asked| asked.body["truncate"] == false), "it was not asked as runs ask");
    assert_eq!(ollama.loads().len(), 1, "cases with another window load the model again: {:?}", ollama.loads());
    desk.ollmcp(&["models"]).exits(0).says("20 of 20 right · extraction 5/5").says("measured here: first token ");
}

#[test]
fn failures_are_told_by_kind_and_make_the_ladder() {
    let ollama = ModelServer::start([
        Model::new("tiny:1b").bytes(500_000_000),
        Model::new("talks:3b").bytes(2_000_000_000),
        Model::new("good:8b").bytes(5_000_000_000),
    ]);
    ollama.respond("good:8b", right);
    ollama.respond("talks:3b", describes);
    ollama.always("tiny:1b", Answer::text("Sure! Here is what you asked for."));
    let desk = Desk::new(&ollama);
    let shape = desk.ollmcp(&["models", "probe", "--json"]).exits(0).json();
    let models = shape["models"].as_array().unwrap();
    let rungs: Vec<&str> = models.iter().map(|model| model["rung"].as_str().unwrap()).collect();
    assert_eq!(rungs, ["ollama:tiny:1b", "ollama:talks:3b", "ollama:good:8b"], "small ones first");
    let tiny = &models[0]["summary"];
    assert_eq!((&tiny["right"], &tiny["asked"]), (&json!(0), &json!(20)));
    assert_eq!(tiny["failures"]["schema"], 15);
    assert_eq!(models[1]["fails_tools"], true);
    assert!(models[1]["summary"]["failures"]["described, not called"] == 8, "{shape}");
    assert_eq!(models[2]["summary"]["right"], 20);
    let proposal = &shape["proposal"];
    assert_eq!(proposal["default"], json!(["ollama:good:8b"]));
    assert_eq!(proposal["text"], json!(["ollama:talks:3b", "ollama:good:8b"]));
    assert!(proposal["left_out"][0]["why"].as_str().unwrap().contains("right in 0 of 20"), "{proposal}");
    // What was probed counts from here on, in `init`, `doctor` and runs alike.
    desk.ollmcp(&["init"]).exits(0);
    let list = desk.ollmcp(&["models", "--json"]).exits(0).json();
    assert_eq!(list["ladders"][0]["rungs"][0]["rung"], "ollama:good:8b", "{list}");
    assert_eq!(model(&list, "ollama:tiny:1b")["probe"]["right"], 0);
    assert_eq!(list["ladders"][1]["name"], "text");
}

#[test]
fn a_second_probe_of_the_same_weights_says_what_changed() {
    let ollama = ModelServer::start([qwen()]);
    ollama.respond_all(right);
    let desk = Desk::new(&ollama);
    let first = desk.ollmcp(&["models", "probe", "qwen3:8b"]).exits(0);
    assert!(!first.out.contains("changed since"), "{}", first.out);
    desk.ollmcp(&["models", "probe", "qwen3:8b"]).exits(0).says("over 20 cases: nothing");
    ollama.respond_all(
        |asked| {
            if asked.seen().contains("17 plus 25") { Answer::text("{\"sum\": 41}") } else { right(asked) }
        },
    );
    desk.ollmcp(&["models", "probe", "qwen3:8b"]).exits(0).says("over 20 cases: now wrong: no-tool-known");
    ollama.respond_all(right);
    desk.ollmcp(&["models", "probe", "ollama:qwen3:8b"]).exits(0).says("now right: no-tool-known");
    // Other weights are another model.
    ollama.add_model(qwen().digest(&"7".repeat(64)));
    let other = desk.ollmcp(&["models", "probe", "qwen3:8b"]).exits(0);
    assert!(!other.out.contains("changed since"), "{}", other.out);
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_said_and_the_others_go_on() {
    let ollama = ModelServer::start([Model::new("a:1b").bytes(100), Model::new("b:9b").bytes(900)]);
    let other = ModelServer::start([Model::new("c:3b").bytes(300)]);
    let gate = Gate::new();
    let behind = gate.clone();
    ollama.respond_all(move |asked| if asked.nth == 4 { right(asked).behind(&behind) } else { right(asked) });
    other.respond_all(right);
    let desk = Desk::new(&ollama);
    desk.config(&json!({ "model_servers": { "box": { "kind": "ollama", "url": other.url() } } }));
    let mut child = desk.command(&["models", "probe", "--json"]).spawn().unwrap();
    let (reader, seen) = until(&mut child, "extract-absent");
    ollama.block_until("the fifth case is asked", |server| server.count("a:1b") == 5);
    ollama.refuse();
    let told = rest(child, reader, seen).exits(3).notes("4 of 20 asked: ");
    let shape = told.json();
    let models = shape["models"].as_array().unwrap();
    assert_eq!(models[0]["rung"], "ollama:a:1b");
    assert_eq!((&models[0]["summary"]["asked"], models[0]["cut"].is_string()), (&json!(4), true));
    let box_model = models.iter().find(|model| model["rung"] == "box:c:3b").unwrap();
    assert_eq!(box_model["summary"]["right"], 20);
    let gone = models.iter().find(|model| model["rung"] == "ollama:b:9b").unwrap();
    assert_eq!(gone["summary"]["asked"], 0);
    // What was asked is kept.
    ollama.back();
    desk.ollmcp(&["models"]).exits(0).says("4 of 4 right, 16 not asked");
}

#[test]
fn an_interrupt_in_the_middle_keeps_what_was_asked() {
    let ollama = ModelServer::start([qwen()]);
    let gate = Gate::new();
    let behind = gate.clone();
    ollama.respond_all(move |asked| if asked.nth == 3 { right(asked).behind(&behind) } else { right(asked) });
    let desk = Desk::new(&ollama);
    let mut child = desk.command(&["models", "probe"]).spawn().unwrap();
    let (reader, seen) = until(&mut child, "extract-lines");
    ollama.block_until("the fourth case is asked", |server| server.count("qwen3:8b") == 4);
    interrupt(&child);
    rest(child, reader, seen).exits(130).says("asked 3 of 20: stopped").says("3 of 3 right, 17 not asked");
    ollama.block_until("the server is left", |server| server.left() == 1);
    desk.ollmcp(&["models"]).exits(0).says("3 of 3 right, 17 not asked");
}

#[test]
fn a_case_that_the_server_spoils_once_is_asked_again_and_garbage_ends_only_its_model() {
    let ollama = ModelServer::start([Model::new("a:1b").bytes(100), Model::new("b:9b").bytes(900)]);
    let mut spoiled = 0;
    ollama.respond("a:1b", move |asked| {
        if asked.seen().contains("What is paid back") && spoiled == 0 {
            spoiled += 1;
            return Answer::text("{\"vendor").then_cut();
        }
        right(asked)
    });
    ollama.respond("b:9b", |asked| if asked.nth >= 2 { Answer::garbage() } else { right(asked) });
    let desk = Desk::new(&ollama);
    let shape = desk.ollmcp(&["models", "probe", "--json"]).exits(3).json();
    let models = shape["models"].as_array().unwrap();
    assert_eq!((&models[0]["summary"]["right"], &models[0]["cut"]), (&json!(20), &Value::Null));
    assert_eq!(models[1]["summary"]["asked"], 2);
    assert!(models[1]["cut"].as_str().unwrap().contains("does not understand"), "{shape}");
}

#[test]
fn a_model_that_is_lost_in_the_middle_ends_and_the_next_one_is_asked() {
    let ollama = ModelServer::start([Model::new("a:1b").bytes(100), Model::new("b:9b").bytes(900)]);
    ollama.respond("a:1b", |asked| if asked.nth >= 2 { Answer::gone("a:1b") } else { right(asked) });
    ollama.respond("b:9b", right);
    let desk = Desk::new(&ollama);
    let shape = desk.ollmcp(&["models", "probe", "--json"]).exits(3).json();
    assert!(shape["models"][0]["cut"].as_str().unwrap().contains("has no model"), "{shape}");
    assert_eq!(shape["models"][1]["summary"]["right"], 20);
}

#[test]
fn names_that_nobody_has_are_refused_with_a_way() {
    let ollama = ModelServer::start([qwen(), Model::new("embed").can(&["embedding"])]);
    let desk = Desk::new(&ollama);
    let told = desk.ollmcp(&["models", "probe", "qwen3:14b"]).exits(2).notes("no server has a model `qwen3:14b`");
    told.notes("hint: fetch it: ollmcp models pull ollama:qwen3:14b");
    desk.ollmcp(&["models", "probe", "embed"]).exits(2).notes("does not chat");
    Desk::at(NOBODY).ollmcp(&["models", "probe", "ollama:x"]).exits(1).notes("cannot ask `ollama:x`: cannot reach");
    assert_eq!(ollama.chats().len(), 0);
}
