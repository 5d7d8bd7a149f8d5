//! `models`: what is there, what is loaded, what was measured, which rung it is.

use super::*;
use crate::model_server::Answer;

/// A plan of one step that asks a model.
const ASKS: &str = "name: asks\nsteps:\n  - id: a\n    agent: FILE_EXECUTOR\n    tools: []\n    prompt: Say a word.\n";

#[test]
fn every_model_is_shown_with_what_its_server_says_of_it() {
    let ollama = ModelServer::start([
        qwen(),
        Model::new("embed").family("bert").can(&["embedding"]),
        Model::new("big:120b-cloud").remote("https://vendor.example"),
        Model::new("plain:1b").can(&["completion"]).parameter_size("1.1B").bytes(700_000_000).context(2_048),
    ]);
    let desk = Desk::new(&ollama);
    desk.config(&ladder(&["ollama:qwen3:8b", "ollama:gone:1b"]));
    let told = desk
        .ollmcp(&["models"])
        .exits(0)
        .says("Ollama 0.33.0")
        .says("8.2B Q4_K_M · 5.2 GB · window 40,960 · tools · thinking");
    let told = told.says("700 MB · window 2,048 · no tools of its own").says("does not chat: takes part in no ladder");
    let told =
        told.says("runs on its vendor's machines, for money").says("measured here: not yet").says("rung: default 1");
    told.says("ladder default: ollama:qwen3:8b → ollama:gone:1b (not there)").says("ollmcp models pull ollama:gone:1b");
    let list = desk.ollmcp(&["models", "--json"]).exits(0).json();
    let qwen = model(&list, "ollama:qwen3:8b");
    assert_eq!(
        (&qwen["tools"], &qwen["thinking"], &qwen["context_tokens_max"]),
        (&json!(true), &json!(true), &json!(40_960))
    );
    assert_eq!(
        (&qwen["rungs"], &qwen["measured"], &qwen["loaded"]),
        (&json!([["default", 1]]), &Value::Null, &Value::Null)
    );
    assert_eq!(list["ladders"][0]["rungs"][1]["is_missing"], true);
    assert_eq!(server(&list, "ollama")["version"], "0.33.0");
}

#[test]
fn a_server_that_does_not_answer_is_said_with_the_reason_and_the_others_are_shown() {
    let llama = ModelServer::setup(["smol"]).llama_cpp().start();
    let desk = Desk::at(NOBODY);
    desk.config(&json!({ "model_servers": { "box": { "kind": "openai", "url": llama.url() } } }));
    let told = desk.ollmcp(&["models"]).exits(0).says("ollama  http://127.0.0.1:9 · does not answer: cannot reach");
    told.says("box  http://127.0.0.1:").says("smol").says("ladder default: box:smol:latest (built from what there is");
    let list = desk.ollmcp(&["models", "--json"]).exits(0).json();
    assert!(server(&list, "ollama")["away"].as_str().unwrap().contains("refused"), "{list}");
    assert_eq!(server(&list, "box")["away"], Value::Null);
    drop(llama);
    desk.ollmcp(&["models"]).exits(0).says("no ladder: no model can take part");
}

#[test]
fn something_else_at_an_address_is_no_model_server() {
    let desk = Desk::at(NOBODY);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    desk.config(&json!({ "model_servers": { "box": { "kind": "openai", "url": url } } }));
    desk.ollmcp(&["models"]).exits(0).says("box  http://").says("does not answer: ").says("is no model server");
}

#[test]
fn what_a_run_measured_is_shown_afterwards_and_belongs_to_those_weights() {
    let ollama = ModelServer::start([qwen()]);
    ollama.always_all(Answer::text("word").tokens(40, 20).drip_ms(5).parts_of(1));
    let desk = Desk::new(&ollama);
    fs::write(desk.project.join("asks.yaml"), ASKS).unwrap();
    desk.ollmcp(&["run", "asks.yaml"]).exits(0);
    let told = desk.ollmcp(&["models"]).exits(0).says("measured here: first token ").says(" tokens/s");
    told.says("(1 call, last 20").says("loaded: 5.2 GB, all on the graphics card · num_ctx ").says("leaves in ");
    let list = desk.ollmcp(&["models", "--json"]).exits(0).json();
    assert_eq!(model(&list, "ollama:qwen3:8b")["measured"]["calls"], 1);
    // In another project too: it is the user's, not the project's.
    desk.ollmcp(&["run", "asks.yaml", "--new", "--fresh"]).exits(0);
    let list = desk.ollmcp(&["models", "--json"]).exits(0).json();
    assert_eq!(model(&list, "ollama:qwen3:8b")["measured"]["calls"], 2);
    ollama.add_model(qwen().digest(&"7".repeat(64)));
    let list = desk.ollmcp(&["models", "--json"]).exits(0).json();
    assert_eq!(model(&list, "ollama:qwen3:8b")["measured"], Value::Null);
}

#[test]
fn records_that_cannot_be_read_stop_nothing_and_are_put_aside() {
    let ollama = ModelServer::start([qwen()]);
    ollama.always_all(Answer::text("word"));
    let desk = Desk::new(&ollama);
    desk.config(&json!({}));
    fs::write(desk.records(), "{ half").unwrap();
    desk.ollmcp(&["models"]).exits(0).notes("models.json` cannot be read").says("measured here: not yet");
    fs::write(desk.project.join("asks.yaml"), ASKS).unwrap();
    desk.ollmcp(&["run", "asks.yaml"]).exits(0);
    desk.ollmcp(&["models"]).exits(0).says("measured here: first token ");
    assert_eq!(fs::read_to_string(desk.records().with_extension("json.unreadable")).unwrap(), "{ half");
}

#[test]
fn a_model_that_is_missing_is_said_before_a_run_starts_with_the_command_that_fetches_it() {
    let ollama = ModelServer::start([qwen()]);
    ollama.always_all(Answer::text("word"));
    let desk = Desk::new(&ollama);
    fs::write(desk.project.join("asks.yaml"), ASKS).unwrap();
    desk.config(&ladder(&["ollama:gone:1b", "ollama:qwen3:8b"]));
    desk.ollmcp(&["run", "asks.yaml"]).exits(0).notes("has no such model; fetch it: ollmcp models pull ollama:gone:1b");
    desk.config(&ladder(&["ollama:gone:1b"]));
    let told =
        desk.ollmcp(&["run", "asks.yaml", "--new"]).exits(2).notes("can ask nobody: no model of its ladder is there");
    told.notes("hint: fetch it: ollmcp models pull ollama:gone:1b");
}

#[tokio::test]
async fn servers_at_usual_places_are_found_by_what_they_answer() {
    use ollmcp::app::models::find::{answering, spec_at};
    let llama = ModelServer::setup(["smol"]).llama_cpp().start();
    let empty = ModelServer::setup(Vec::<Model>::new()).start();
    let specs = [("llama_cpp", llama.port()), ("vllm", empty.port()), ("lm_studio", 9)];
    let specs = specs.map(|(name, port)| (name.to_owned(), spec_at(port)));
    let found = answering(specs.into_iter().collect()).await;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["llama_cpp"]);
    assert_eq!(found["llama_cpp"].url, llama.url());
}

#[test]
fn ladders_of_agents_are_shown_and_missing_models_of_them_too() {
    let ollama = ModelServer::start([qwen()]);
    let desk = Desk::new(&ollama);
    fs::create_dir(desk.project.join("agents")).unwrap();
    let agent = "---\nname: MINE\ndescription: d\nformat: 1\nladder: [ollama:qwen3:8b, ollama:own:1b]\n---\nDo it.\n";
    fs::write(desk.project.join("agents/MINE.md"), agent).unwrap();
    let told = desk.ollmcp(&["models"]).exits(0).says("rung: default 1, of agent MINE 1");
    told.says("ladder of agent MINE: ollama:qwen3:8b → ollama:own:1b (not there)")
        .says("ollmcp models pull ollama:own:1b");
    desk.ollmcp(&["doctor"]).exits(1).says("BAD ladder of agent MINE: `ollama:own:1b` is not there");
}
