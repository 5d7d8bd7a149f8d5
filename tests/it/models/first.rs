//! `init` and `doctor`: the first ladder, and what is wrong with models.

use super::*;

fn small() -> Model {
    Model::new("small:1b").bytes(900_000_000)
}

#[test]
fn init_builds_the_first_ladder_and_says_why_in_the_file() {
    let ollama = ModelServer::start([qwen(), small(), Model::new("embed").family("bert").can(&["embedding"])]);
    let desk = Desk::new(&ollama);
    let told = desk.ollmcp(&["init"]).exits(0).notes("ladder default: ollama:small:1b → ollama:qwen3:8b");
    let text = fs::read_to_string(told.out.trim()).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["ladders"]["default"], json!(["ollama:small:1b", "ollama:qwen3:8b"]));
    assert!(config["comment_ladders"].as_str().unwrap().contains("Built by `ollmcp init`"), "{text}");
    let told = desk.ollmcp(&["models"]).exits(0).says("ladder default: ollama:small:1b → ollama:qwen3:8b\n");
    assert!(!told.err.contains("warning") && !told.err.contains("note: "), "{}", told.err);
    // A second one leaves what is there as it is.
    ollama.lose_model("small:1b");
    desk.ollmcp(&["init"]).exits(0).notes("is there already and stays as it is");
    assert_eq!(fs::read_to_string(desk.project.join(".ollmcp/config.json")).unwrap(), text);
    let told = desk.ollmcp(&["doctor"]).exits(1).says("BAD ladder default: `ollama:small:1b` is not there");
    told.says("hint: fetch it: ollmcp models pull ollama:small:1b");
}

#[test]
fn without_models_init_still_makes_a_project_and_says_so() {
    let desk = Desk::at(NOBODY);
    let told = desk.ollmcp(&["init", "--json"]).exits(0).notes("no model was found");
    let shape = told.json();
    assert_eq!((&shape["is_new"], &shape["models"]), (&json!(true), &json!([])));
    assert!(!fs::read_to_string(shape["config"].as_str().unwrap()).unwrap().contains("ladders"));
}

#[test]
fn a_ladder_of_the_user_is_not_built_again() {
    let ollama = ModelServer::start([qwen()]);
    let desk = Desk::new(&ollama);
    desk.config(&ladder(&["ollama:mine:7b"]));
    let told = desk.ollmcp(&["init"]).exits(0);
    assert!(!fs::read_to_string(told.out.trim()).unwrap().contains("ladders"));
}

#[test]
fn doctor_shows_servers_and_the_ladder_that_would_be_built() {
    let ollama = ModelServer::start([small(), Model::new("plain:3b").can(&["completion"]).bytes(2_000_000_000)]);
    let desk = Desk::new(&ollama);
    let told = desk.ollmcp(&["doctor"]).exits(0).says("ok  model server ollama: ").says("Ollama 0.33.0 · 2 models");
    let told = told.says("ladder default: ollama:small:1b → ollama:plain:3b (built from what there is)");
    told.says("odd model ollama:plain:3b: it has no tools of its own")
        .says("hint: see how it does: ollmcp models probe");
    let shape = desk.ollmcp(&["doctor", "--json"]).exits(0).json();
    assert!(shape["findings"].as_array().unwrap().iter().any(|finding| finding["odd"] == true), "{shape}");
}

#[test]
fn doctor_says_what_is_wrong_with_servers() {
    let llama = ModelServer::setup(["smol"]).llama_cpp().start();
    let old = ModelServer::setup([qwen()]).version("0.4.7").start();
    let desk = Desk::new(&old);
    desk.config(&json!({
        "model_servers": {
            "box": { "kind": "openai", "url": llama.url() },
            "away": { "kind": "openai", "url": NOBODY },
        },
        "ladders": { "default": ["box:smol", "nobody:x", "away:y"] },
    }));
    let told = desk.ollmcp(&["doctor"]).exits(1).says("BAD model server away: cannot reach");
    let told = told.says("BAD model server ollama: Ollama 0.4.7 is old: it does not bind answers");
    told.says("BAD ladder default: rung `nobody:x`: no model server is called `nobody`").says("hint: declare `nobody`");
    let middle = ModelServer::setup([qwen()]).version("0.12.0").start();
    Desk::new(&middle).ollmcp(&["doctor"]).exits(0).says("odd model server ollama: Ollama 0.12.0 is old");
    let empty = ModelServer::setup(Vec::<Model>::new()).start();
    let told = Desk::new(&empty).ollmcp(&["doctor"]).exits(0);
    told.says("odd ladder: no server has a model that can take part").says("ollmcp models pull qwen3:8b");
}

#[test]
fn a_server_that_was_named_and_is_away_is_bad_and_one_that_nobody_named_is_not() {
    Desk::at(NOBODY).ollmcp(&["doctor"]).exits(1).says("BAD model server ollama: cannot reach");
    let desk = Desk::at(NOBODY);
    let mut command = desk.command(&["doctor"]);
    // Whether or not Ollama runs here at its usual place, that is no fault.
    let output = command.env_remove("OLLAMA_HOST").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_server_that_was_found_is_declared_with_the_ladder_that_names_it() {
    use ollmcp::app::models::first::with_models;
    use ollmcp::app::models::survey::{ServerLine, Survey};
    let line = |name: &str, declared, slots_told| ServerLine {
        name: name.to_owned(),
        address: format!("http://{name}"),
        kind: "openai",
        declared,
        program: String::new(),
        version: None,
        slots: 1,
        slots_told,
        slots_declared: false,
        away: None,
        models: Vec::new(),
    };
    let mut survey = Survey {
        servers: vec![
            line("llama_cpp", "found", Some(2)),
            line("vllm", "found", None),
            line("box", "configuration", None),
        ],
        ..Survey::default()
    };
    let plain = "{\n  \"limits\": {}\n}\n";
    assert_eq!(with_models(plain, &survey).text, plain, "without a ladder there is nothing to declare");
    survey.proposal.default = vec!["llama_cpp:a:1b".to_owned(), "box:b".to_owned()];
    let config: Value = serde_json::from_str(&with_models(plain, &survey).text).unwrap();
    let declared = json!({ "llama_cpp": { "kind": "openai", "url": "http://llama_cpp", "slots": 2 } });
    assert_eq!((&config["model_servers"], &config["limits"]), (&declared, &json!({})));
    assert_eq!(config["ladders"]["default"], json!(["llama_cpp:a:1b", "box:b"]));
}

#[test]
fn a_run_builds_the_ladder_that_doctor_shows() {
    // The list of this server does not say what its models can do: they are asked for one by one.
    let ollama = ModelServer::start([
        Model::new("plain:1b").can(&["completion"]).bytes(100),
        Model::new("embed:1b").can(&["embedding"]).bytes(50),
        small(),
    ]);
    let desk = Desk::new(&ollama);
    let plan = "name: p\nsteps:\n  - { id: a, agent: FILE_EXECUTOR, tools: [], prompt: Say a word. }\n";
    fs::write(desk.project.join("p.yaml"), plan).unwrap();
    let ladder = "ollama:small:1b → ollama:plain:1b";
    desk.ollmcp(&["doctor"]).exits(0).says(&format!("ladder default: {ladder} (built"));
    desk.ollmcp(&["run", "p.yaml"])
        .exits(0)
        .notes(&format!("ladder (built from the models that are there): {ladder}\n"));
}
