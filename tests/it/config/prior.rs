//! The configuration of the prior program and of its specification, whole: every key read, nothing silently without effect.

use serde_json::json;

use super::{World, key};
use crate::crash::place::Place;
use ollmcp::config::Settings;

fn prior() -> serde_json::Value {
    serde_json::from_str(include_str!("../../fixtures/config/prior.json")).unwrap()
}

fn with(settings: &mut serde_json::Value, path: &str, value: serde_json::Value) {
    let mut at = settings;
    for name in key(path).0 {
        at = &mut at[name];
    }
    *at = value;
}

#[test]
fn the_models_section_of_the_prior_program_counts() {
    let Settings { models, .. } = World::new().user(prior()).settings();
    assert_eq!((models.first.as_deref(), models.thinks, models.turns_max), (Some("qwen2.5:32b"), Some(true), Some(3)));
    assert_eq!((models.context_tokens, models.reply_tokens_max, models.system_prompt), (Some(32_000), None, None));
    assert_eq!((models.sampling.seed, models.sampling.num_keep), (Some(1), None));
    assert_eq!((models.sampling.top_p, models.sampling.stop), (Some(0.9), vec!["<end>".to_owned()]));
}

/// Everything that can be switched on and does nothing yet is said by name.
#[test]
fn every_switch_of_the_prior_program_works_or_is_said() {
    for (path, value, said) in [
        ("claude_integration.validation.enabled", json!(true), "not in this version: validation by Claude"),
        ("claude_integration.planning.enabled", json!(true), "not in this version: planning by Claude"),
        ("claude_integration.planning.use_claude_for_planner", json!(true), "not in this version: planning by Claude"),
        ("claude_integration.remote_access.enabled", json!(true), "not in this version: remote access"),
        ("contextSettings.retainContext", json!(true), "not in this version: the interactive session"),
        ("sessionSaveDirectory", json!("s"), "not in this version: the interactive session"),
        ("modelSettings.showThinking", json!(true), "not in this version: the interactive session"),
        ("hilSettings.enabled", json!(true), "not in this version: asking before each tool call"),
        ("memory.enabled", json!(true), "not in this version: memory"),
        ("model_intelligence.enabled", json!(true), "not in this version: choice of models by statistics"),
        ("model_selection.intelligence_enabled", json!(true), "not in this version: choice of models by statistics"),
        ("permission_mode", json!("ask"), "not in this version: permission modes"),
        ("displaySettings.showToolExecution", json!(true), "without effect here"),
        ("displaySettings.showMetrics", json!(true), "without effect here"),
        ("delegation.trace_enabled", json!(true), "without effect here"),
        ("delegation.trace_console", json!(true), "without effect here"),
        ("delegation.collapsible_output.auto_collapse", json!(true), "without effect here"),
    ] {
        let mut config = json!({});
        with(&mut config, path, value);
        let settings = World::new().user(config).settings();
        let [note] = settings.notes.as_slice() else { panic!("{path}: {:?}", settings.notes) };
        assert!(note.starts_with(said) && note.contains(&format!("`{path}`")), "{note}");
        let mut off = json!({});
        with(&mut off, path, json!(null));
        assert_eq!(World::new().user(off).settings().notes, Vec::<String>::new(), "{path}: null is not set");
    }
}

#[test]
fn a_wrong_type_anywhere_in_the_file_is_named_by_its_path() {
    let mut paths = Vec::new();
    leaves(&prior(), &ollmcp::config::KeyPath::default(), &mut paths);
    assert!(paths.len() > 60);
    for path in paths {
        let text = path.to_string();
        // What may be anything, and remarks, cannot be wrong.
        if ["vscode", "comment", "mcpServers.old.oauth", "delegation.trace_truncate"]
            .iter()
            .any(|free| text.contains(free))
        {
            continue;
        }
        let mut config = prior();
        with(&mut config, &text, json!([{ "neither": "this" }]));
        let faults = World::new().user(config).faults();
        let [fault] = faults.as_slice() else { panic!("{text}: {faults:?}") };
        // A part of a map is named with the map.
        let named = fault.split(' ').next().unwrap();
        assert!(text.starts_with(named) && named.len() > 3, "{text}: {fault}");
    }
}

fn leaves(value: &serde_json::Value, path: &ollmcp::config::KeyPath, out: &mut Vec<ollmcp::config::KeyPath>) {
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| leaves(value, &path.child(name), out)),
        _ => out.push(path.clone()),
    }
}

#[test]
fn the_text_false_is_no_switch_and_the_program_says_how_to_write_it() {
    for path in ["claude_integration.enabled", "hilSettings.enabled", "memory.enabled", "displaySettings.showMetrics"] {
        let mut config = json!({});
        with(&mut config, path, json!("false"));
        let world = World::new().user(config);
        assert_eq!(world.faults(), [format!("{path} must be true or false, and is the text \"false\"")]);
        assert_eq!(world.resolve().unwrap_err().hint().unwrap(), "write false without quotes");
    }
}

/// A remark may be a text, a list or anything, wherever it stands.
#[test]
fn remarks_of_every_kind_are_silent_at_any_depth() {
    for remark in [json!("text"), json!(["a", "b"]), json!(1.5), json!(null), json!(true)] {
        let mut config = prior();
        remark_everywhere(&mut config, &remark);
        let settings = World::new().user(config).settings();
        assert_eq!(settings.warnings, Vec::<String>::new(), "{remark}");
        assert_eq!(settings.mcp_servers.keys().collect::<Vec<_>>(), ["files"]);
    }
}

fn remark_everywhere(value: &mut serde_json::Value, remark: &serde_json::Value) {
    // Maps of texts and of free form hold what a person chooses.
    const FREE: [&str; 4] = ["env", "headers", "vscode", "oauth"];
    if let serde_json::Value::Object(map) = value {
        let inside = map.iter_mut().filter(|(name, _)| !FREE.contains(&name.as_str()));
        inside.for_each(|(_, value)| remark_everywhere(value, remark));
        map.insert("comment_more".to_owned(), remark.clone());
    }
}

#[test]
fn the_whole_file_is_read_by_the_program_and_what_waits_for_a_later_part_is_said_at_every_start() {
    let place = Place::new();
    let mut config = prior();
    for path in ["claude_integration.enabled", "claude_integration.validation.enabled", "memory.enabled"] {
        with(&mut config, path, json!(true));
    }
    config.as_object_mut().unwrap().remove("mcpServers");
    config["limits"] = json!({ "attemps_max": 3 });
    place.config(&config);
    place.write("one.yaml", "name: one\nsteps:\n  - id: a\n    value: { n: 1 }\n");
    for words in [&["config", "check"][..], &["run", "one.yaml"], &["doctor"]] {
        let said = place.run(words);
        for part in [
            "not in this version: validation by Claude (`claude_integration.validation.enabled`)",
            "not in this version: memory (`memory.enabled`)",
            "Claude is switched on but there is no key; set `ANTHROPIC_API_KEY`",
            "unknown key `limits.attemps_max` is kept without effect; did you mean `limits.attempts_max`?",
        ] {
            assert!(said.err.contains(part), "{words:?}: no `{part}` in {said:#?}");
        }
        assert_eq!(said.err.matches("unknown key").count(), 1, "{said:#?}");
    }
    let said = place.run(&["config", "check"]).exits(0);
    let why = "`displaySettings.showToolExecution` is kept without effect: The prior program's screen; `show RUN` lists every call.";
    assert!(said.err.contains(why) && said.err.contains("`vscode` is kept without effect"), "{said:#?}");
}
