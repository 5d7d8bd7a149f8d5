//! `models pull`: a download with its progress, cut, resumed, stopped, refused.

use super::*;

#[test]
fn a_model_is_fetched_with_progress_and_is_there_then() {
    let ollama = ModelServer::start([Model::new("new:1b").not_installed().bytes(2_000_000_000)]);
    let desk = Desk::new(&ollama);
    desk.ollmcp(&["models"]).exits(0).says("no models");
    let told = desk.ollmcp(&["models", "pull", "new:1b"]).exits(0).says("ollama:new:1b  2.0 GB");
    let told = told
        .notes("pulling manifest\n")
        .notes(" 0 % · 0 kB of 2.0 GB")
        .notes("next: ollmcp models probe ollama:new:1b");
    assert!(!told.err.contains('\r'), "{}", told.err);
    desk.ollmcp(&["models"]).exits(0).says("new:1b");
    let again = desk.ollmcp(&["models", "pull", "ollama:new:1b", "--json"]).exits(0).json();
    assert_eq!((&again["rung"], &again["is_there"]), (&json!("ollama:new:1b"), &json!(true)));
}

#[test]
fn a_download_that_is_cut_goes_on_from_where_it_was() {
    let ollama = ModelServer::start([Model::new("new:1b").pull_is_cut(2).bytes(4_000_000_000)]);
    let desk = Desk::new(&ollama);
    let told = desk.ollmcp(&["models", "pull", "new:1b"]).exits(0).says("ollama:new:1b");
    let told = told.notes("broke off").notes("again in 1 s, from where it was");
    // It had half of it, then half of the rest.
    told.notes("50 % · 2.0 GB of 4.0 GB").notes("75 % · 3.0 GB of 4.0 GB");
    assert_eq!(ollama.count_path("/api/pull"), 3);
}

#[test]
fn a_download_that_comes_no_further_is_given_up_with_the_way_on() {
    let ollama = ModelServer::start([Model::new("new:1b").pull_is_cut(1_000).bytes(8)]);
    let desk = Desk::new(&ollama);
    let mut child = desk.command(&["models", "pull", "new:1b"]).spawn().unwrap();
    // Eight bytes are halved three times; then it stands still. The waits double, so it is stopped before the last ones.
    let (reader, seen) = until(&mut child, "again in 4 s");
    interrupt(&child);
    rest(child, reader, seen).exits(130).notes("It goes on with: ollmcp models pull ollama:new:1b");
}

#[test]
fn an_interrupt_ends_the_download_and_says_how_to_go_on() {
    let ollama = ModelServer::setup([Model::new("new:1b").not_installed()]).pull_ms(120_000).start();
    let desk = Desk::new(&ollama);
    let mut child = desk.command(&["models", "pull", "new:1b"]).spawn().unwrap();
    let (reader, seen) = until(&mut child, "pulling manifest");
    interrupt(&child);
    let told = rest(child, reader, seen).exits(130);
    let told = told.notes("stopped; what has come stays at the server").notes("ollmcp models pull ollama:new:1b");
    assert_eq!(told.out, "");
}

#[test]
fn what_cannot_be_fetched_is_refused_with_the_reason_and_a_way() {
    let ollama = ModelServer::start([qwen(), Model::new("bad").pull_fails("max retries exceeded")]);
    let llama = ModelServer::setup(["smol"]).llama_cpp().start();
    let desk = Desk::new(&ollama);
    desk.config(&json!({ "model_servers": { "box": { "kind": "openai", "url": llama.url() } } }));
    let told = desk.ollmcp(&["models", "pull", "box:other"]).exits(2);
    told.notes("`box` is an OpenAI-compatible server, and such a server fetches no models").notes("hint: ");
    assert!(llama.requests().iter().all(|asked| !asked.path.contains("pull")));
    let told = desk.ollmcp(&["models", "pull", "qwen33:8b"]).exits(1);
    told.notes("`ollama` cannot fetch `qwen33:8b`: no model has this name").notes("hint: names and tags");
    desk.ollmcp(&["models", "pull", "big:120b-cloud"]).exits(2).notes("for money: it is no local model");
    desk.ollmcp(&["models", "pull", "ollama:"]).exits(2).notes("names no model");
    desk.ollmcp(&["models", "pull", "bad"]).exits(1).notes("max retries exceeded");
    let told = Desk::at(NOBODY).ollmcp(&["models", "pull", "qwen3:8b"]).exits(1);
    told.notes("cannot fetch `qwen3:8b`: cannot reach `http://127.0.0.1:9`").notes("hint: start the server");
}

#[test]
fn without_a_named_server_the_one_of_ollamas_kind_that_answers_fetches() {
    let other = ModelServer::start([Model::new("new:1b").not_installed()]);
    let desk = Desk::at(NOBODY);
    desk.config(&json!({ "model_servers": { "box": { "kind": "ollama", "url": other.url() } } }));
    desk.ollmcp(&["models", "pull", "new:1b"]).exits(0).says("box:new:1b");
}
