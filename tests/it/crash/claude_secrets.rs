//! No secret leaves the place where it stands: a run that uses a key in the configuration, one in the environment, one of a
//! model server, a header and a variable of tool servers, and then every file, screen, prompt and child process searched.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::place::{Place, Said, descendants, root, until};
use crate::anthropic_server::{Answer, AnthropicServer, Asked, Gate};
use crate::model_server::ModelServer;

/// What must not be found, each where it is given.
const IN_FILE: &str = "sk-ant-in-the-file-71c2a9";
const IN_ENVIRONMENT: &str = "sk-ant-in-the-environment-c40b17";
const OF_MODEL_SERVER: &str = "key-of-the-model-server-5f9e03";
const OF_HEADER: &str = "bearer-of-a-header-8d12fe";
const OF_TOOL_SERVER: &str = "token-of-a-tool-server-e6617b";
const SECRETS: [&str; 5] = [IN_FILE, IN_ENVIRONMENT, OF_MODEL_SERVER, OF_HEADER, OF_TOOL_SERVER];

const PLAN: &str = r#"
name: secret
steps:
  - id: read
    tool: pdf_extract.extract_text
    with: { path: in/a.pdf }
  - id: sum
    needs: [read]
    threshold: 1
    agent: WORKER
    prompt: What is 19 and 23 together?
    output: { schema: { type: object, required: [sum], properties: { sum: { type: integer } } } }
    done_when: [ "output.sum == 42" ]
"#;

const AGENT: &str = "---\nname: WORKER\ndescription: works\nformat: 1\ngrants: [read, write]\ntools: [log.environment, own.environment]\n---\nYou do one task.\n";

fn place(local: &ModelServer, claude: &AnthropicServer) -> Place {
    let place = Place::new();
    let server = root().join("tests/tools/call_log_server.py");
    let tool = |name: &str| place.project().parent().unwrap().join(name);
    place.config(&json!({
        "model_servers": { "box": { "kind": "openai", "url": format!("{}/v1", local.url()), "key_env": "KEY_OF_BOX" } },
        "ladders": { "default": ["box:m:8b"] },
        "claude_integration": { "enabled": true, "api_key": IN_FILE, "base_url": claude.url(), "model": "claude-sonnet-4-6" },
        "mcpServers": {
            "log": { "command": "python3", "args": [server], "env": { "CALL_LOG": tool("calls.log") } },
            "own": { "command": "python3", "args": [server], "env": { "CALL_LOG": tool("own.log"), "TOKEN": OF_TOOL_SERVER } },
            "far": { "type": "http", "url": "http://127.0.0.1:9/mcp", "headers": { "Authorization": format!("Bearer {OF_HEADER}") }, "disabled": true },
        },
    }));
    place.write("plan.yaml", PLAN);
    place.write("agents/WORKER.md", AGENT);
    fs::create_dir(place.project().join("in")).unwrap();
    fs::copy(root().join("plans/samples/invoices/lind_0007.pdf"), place.project().join("in/a.pdf")).unwrap();
    place
}

fn start(place: &Place, words: &[&str]) -> super::place::Running {
    let mut command = place.command(words);
    command.env("ANTHROPIC_API_KEY", IN_ENVIRONMENT).env("KEY_OF_BOX", OF_MODEL_SERVER).env("OLLMCP_LOG", "trace");
    place.spawn(command)
}

/// Secrets that stand in these bytes.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    let stands = |secret: &&&str| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
    SECRETS.iter().filter(stands).copied().collect()
}

/// All files below a folder with what stands in them.
fn search(folder: &Path, hits: &mut Vec<String>, files: &mut usize) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            search(&path, hits, files);
        } else if path.file_name().is_some_and(|name| name != "config.json") && path.is_file() {
            *files += 1;
            let secrets = found(&fs::read(&path).unwrap());
            hits.extend(secrets.iter().map(|secret| format!("{}: {secret}", path.display())));
        }
    }
}

#[test]
fn no_secret_is_found_anywhere_after_a_run_that_used_all_of_them() {
    let local = ModelServer::start(["m:8b"]);
    local.always_all(Answer::text(r#"{"sum": 41}"#));
    let (claude, gate) = (AnthropicServer::setup().key(IN_ENVIRONMENT).start(), Gate::new());
    let behind = gate.clone();
    claude.respond(move |asked: &Asked| match asked.body["messages"].as_array().unwrap().len() {
        1 => Answer::tool("log_environment", json!({})).call("own_environment", json!({})),
        // What a model says of a secret that it was never told proves nothing; what it was told is looked at below.
        _ => Answer::text(r#"{"sum": 42}"#).behind(&behind),
    });
    let place = place(&local, &claude);
    let mut screens: Vec<(String, Said)> = Vec::new();
    let call = start(&place, &["call", "own.environment"]).wait().exits(0);
    assert!(call.out.contains("\"TOKEN\": \"***\""), "what a server says of its own secret is hidden: {call:#?}");
    screens.push(("call".to_owned(), call));

    let running = start(&place, &["run", "plan.yaml"]);
    until("the second paid turn", || (claude.chats().len() == 2).then_some(()));
    let children = descendants(running.id());
    assert!(children.len() >= 2, "tool servers are there: {children:?}");
    let (mut seen, mut owners) = (0, 0);
    for (child, _) in &children {
        let read = |name: &str| fs::read(format!("/proc/{child}/{name}")).unwrap_or_default();
        let (environment, line) = (read("environ"), read("cmdline"));
        seen += usize::from(!environment.is_empty());
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        assert_eq!(found(line.as_bytes()), Vec::<&str>::new(), "{line}");
        let is_own = environment.windows(7).any(|part| part == b"own.log");
        let expect: &[&str] = if is_own { &[OF_TOOL_SERVER] } else { &[] };
        assert_eq!(found(&environment), expect, "{line}: {}", String::from_utf8_lossy(&environment));
        owners += usize::from(is_own);
    }
    assert!(seen >= 3 && owners >= 1, "environments were read: {seen}, {owners}");
    gate.open();
    screens.push(("run".to_owned(), running.wait().exits(0)));
    for words in [
        &["show", "last"][..],
        &["show", "last", "--json"],
        &["show", "last", "--item", "sum"],
        &["doctor"],
        &["config", "show"],
        &["config", "show", "--origin"],
        &["config", "check"],
        &["claude-usage"],
        &["budget"],
        &["tools"],
        &["models"],
        &["ls", "--json"],
    ] {
        screens.push((words.join(" "), start(&place, words).wait()));
    }
    // A server that repeats a key which it does not take tells nobody.
    let refused = AnthropicServer::start();
    refused.always(Answer::refused(401, format!("invalid x-api-key: {IN_ENVIRONMENT}")));
    let mut command = place.command(&["run", "plan.yaml", "--fresh"]);
    command.env("ANTHROPIC_API_KEY", IN_ENVIRONMENT).env("KEY_OF_BOX", OF_MODEL_SERVER).env("OLLMCP_LOG", "trace");
    command.env("ANTHROPIC_BASE_URL", refused.url());
    let said = place.spawn(command).wait().exits(1);
    assert!(said.out.contains("does not take the key: invalid x-api-key: (secret)"), "{said:#?}");
    screens.push(("a refused key".to_owned(), said));

    for (what, said) in &screens {
        assert!(said.code().is_some(), "{what}: {said:#?}");
        for text in [&said.out, &said.err] {
            assert_eq!(found(text.as_bytes()), Vec::<&str>::new(), "{what}: {text}");
        }
    }
    let log = &screens[1].1.err;
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log was at its most talkative: {log}");
    for asked in local.requests().iter().chain(&claude.requests()) {
        assert_eq!(found(asked.body.to_string().as_bytes()), Vec::<&str>::new(), "{asked:?}");
    }
    let headers = |asked: &Asked| format!("{:?}", asked.headers);
    for asked in claude.requests() {
        assert_eq!(found(headers(&asked).as_bytes()), [IN_ENVIRONMENT], "Claude gets its own key alone: {asked:?}");
    }
    assert!(local.chats().iter().all(|asked| found(headers(asked).as_bytes()) == [OF_MODEL_SERVER]));

    let config = fs::read(place.project().parent().unwrap().join("config.json")).unwrap();
    assert_eq!(found(&config), [IN_FILE, OF_HEADER, OF_TOOL_SERVER], "the one file that holds them");
    let (mut hits, mut files) = (Vec::new(), 0);
    search(place.project().parent().unwrap(), &mut hits, &mut files);
    println!("{files} files searched");
    assert!(files > 20, "journal, state, blobs and screens are among them: {files}");
    assert_eq!(hits, Vec::<String>::new());
}
