//! Configuration: what goes over what, what is refused, what a project may not decide alone, what a file keeps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ollmcp::config::edit::{default_config_text, set_key, with_key};
use ollmcp::config::project::{self, ProjectError};
use ollmcp::config::shipped::{FoundPlan, find_plan, plan_names};
use ollmcp::config::{
    ConfigError, Consents, Flags, Given, Home, KeyPath, Origin, Settings, WhenLimited, check, consent, docs, document,
    resolve,
};
use ollmcp::domain::kinds::{Grant, TaskKind};
use ollmcp::domain::plan::RepeatClass;
use serde_json::{Value, json};
use uuid::Uuid;

mod asked;
mod doctor;
mod keep;
mod prior;

/// A home and a project beside each other.
struct World {
    root: tempfile::TempDir,
    environment: BTreeMap<String, String>,
    flags: Flags,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        fs::create_dir_all(home.join(".ollmcp")).unwrap();
        fs::create_dir_all(root.path().join("work/.ollmcp")).unwrap();
        fs::create_dir_all(root.path().join("work/.config")).unwrap();
        let environment = BTreeMap::from([("HOME".to_owned(), home.display().to_string())]);
        Self { root, environment, flags: Flags::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn home(&self) -> Home {
        Home::find(&self.environment).unwrap()
    }

    #[must_use]
    fn user(self, config: Value) -> Self {
        self.file("home/.ollmcp/config.json", &config.to_string())
    }

    #[must_use]
    fn project(self, config: Value) -> Self {
        self.file("work/.ollmcp/config.json", &config.to_string())
    }

    #[must_use]
    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    #[must_use]
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    #[must_use]
    fn flag(mut self, flag: &str, key: &str, value: Value) -> Self {
        self.flags.values.push((flag.into(), key.into(), value));
        self
    }

    fn resolve(&self) -> Result<Settings, ConfigError> {
        let (home, work) = (self.home(), self.path("work"));
        resolve(&Given { flags: &self.flags, environment: &self.environment, home: &home, project: Some(&work) })
    }

    fn settings(&self) -> Settings {
        self.resolve().unwrap()
    }

    #[track_caller]
    fn faults(&self) -> Vec<String> {
        match self.resolve() {
            Err(ConfigError::Faults(faults)) => faults.iter().map(|f| format!("{} {}", f.path, f.message)).collect(),
            other => panic!("expected faults, got {other:?}"),
        }
    }
}

fn key(text: &str) -> KeyPath {
    KeyPath::parse(text).unwrap()
}

#[test]
fn without_anything_every_default_holds() {
    let settings = World::new().settings();
    assert_eq!(settings.limits.attempts_max, 64);
    assert_eq!(settings.limits.tool_timeout_s, 300);
    assert_eq!(settings.ollama_url, "http://127.0.0.1:11434");
    assert_eq!(settings.claude.escalation_threshold, 2);
    assert_eq!(settings.claude.calls_per_hour_max, 50);
    assert_eq!(settings.claude.model, "claude-3-5-sonnet-20241022");
    assert_eq!(settings.claude.critical_tasks, None);
    assert!(settings.notes.is_empty() && settings.warnings.is_empty(), "{settings:?}");
    assert_eq!(settings.origin(&key("limits.attempts_max")), Some(&Origin::Default));
}

#[test]
fn each_source_goes_over_the_ones_below_key_by_key() {
    let limits = |attempts: u32, timeout: u32| json!({"limits": {"attempts_max": attempts, "tool_timeout_s": timeout}});
    let world = World::new().user(limits(2, 20));
    assert_eq!(world.settings().limits.attempts_max, 2);

    let world = world.project(json!({"limits": {"attempts_max": 3}}));
    let settings = world.settings();
    assert_eq!((settings.limits.attempts_max, settings.limits.tool_timeout_s), (3, 20));
    let project_file = world.path("work/.ollmcp/config.json");
    assert_eq!(settings.origin(&key("limits.attempts_max")), Some(&Origin::File(project_file)));

    let world = world.variable("OLLMCP_ATTEMPTS_MAX", "4");
    let settings = world.settings();
    assert_eq!(settings.limits.attempts_max, 4);
    assert_eq!(settings.origin(&key("limits.attempts_max")), Some(&Origin::Variable("OLLMCP_ATTEMPTS_MAX".into())));

    let world = world.flag("--attempts-max 5", "limits.attempts_max", json!(5));
    let settings = world.settings();
    assert_eq!(settings.limits.attempts_max, 5);
    assert_eq!(settings.origin(&key("limits.attempts_max")), Some(&Origin::Flag("--attempts-max 5".into())));
    assert_eq!(settings.limits.tool_timeout_s, 20);
}

#[test]
fn the_first_of_two_project_files_counts_and_that_is_said() {
    let world =
        World::new().file("work/.config/config.json", r#"{"limits": {"attempts_max": 7, "tool_timeout_s": 9}}"#);
    assert_eq!(world.settings().limits.attempts_max, 7);
    let world = world.project(json!({"limits": {"attempts_max": 6}}));
    let settings = world.settings();
    assert_eq!((settings.limits.attempts_max, settings.limits.tool_timeout_s), (6, 300));
    assert!(settings.warnings[0].contains("is not read beside it"), "{:?}", settings.warnings);
}

#[test]
fn a_named_file_stands_alone_and_must_be_there() {
    let mut world =
        World::new().user(json!({"limits": {"attempts_max": 2}})).project(json!({"disabledTools": ["a.b"]}));
    world = world.file("mine.json", r#"{"limits": {"tool_timeout_s": 1}, "mcpServers": {"x": {"command": "y"}}}"#);
    world.flags.config = Some(world.path("mine.json"));
    let settings = world.settings();
    assert_eq!((settings.limits.attempts_max, settings.limits.tool_timeout_s), (64, 1));
    assert!(settings.disabled_tools.is_empty());
    assert_eq!(settings.mcp_servers.len(), 1, "naming the file is the consent");
    assert_eq!(settings.needs_consent, None);
    world.flags.config = Some(world.path("none.json"));
    assert!(matches!(world.resolve(), Err(ConfigError::NoFile { .. })));
}

#[test]
fn all_wrong_types_are_named_at_once_with_their_paths() {
    let world = World::new()
        .user(json!({
            "claude_integration": {"enabled": "false", "escalation_threshold": 0, "critical_tasks": "file_write",
                                   "validation": [], "api_key": 12345},
            "limits": {"attempts_max": 1.5},
            "mcpServers": {"files": {"command": "npx", "args": "-y", "env": {"PORT": [1]}}},
            "tools": {"fs.read": {"repeat": "idempotant", "grants": ["write", "fly"]}},
            "modelConfig": {"temperature": "0.2", "num_ctx": null},
        }))
        .variable("OLLMCP_CLAUDE_ENABLED", "maybe");
    let faults = world.faults();
    let expected = [
        "claude_integration.enabled must be true or false, and is the text \"false\"",
        "claude_integration.escalation_threshold must be a whole number from 1 to 1000, and is 0",
        "claude_integration.critical_tasks must be a list of texts",
        "claude_integration.validation must be an object, and is a list",
        "claude_integration.api_key must be text, and is a number",
        "limits.attempts_max must be a whole number from 1 to 512, and is 1.5",
        "mcpServers.files.args must be a list of texts, and is the text \"-y\"",
        "mcpServers.files.env must be an object of texts, numbers, true and false, and is an object",
        "tools.\"fs.read\".repeat must be one of `read`, `idempotent`, `unsafe`",
        "tools.\"fs.read\".grants must be a list of `read`",
        "modelConfig.temperature must be a number",
        "claude_integration.enabled must be true or false, and is the text \"maybe\"",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(expected) {
        assert!(fault.starts_with(start), "{fault}\n  should start with\n{start}");
    }
    let hint = world.resolve().unwrap_err().hint().unwrap();
    assert!(hint.contains("write false without quotes") && hint.contains("did you mean `idempotent`?"), "{hint}");
}

#[test]
fn unknown_keys_are_kept_and_the_nearest_is_named() {
    for (config, kept, said) in [
        (json!({"mcp_servers": {}}), "mcp_servers", "did you mean `mcpServers`?"),
        (json!({"limits": {"attemps_max": 3}}), "limits.attemps_max", "did you mean `limits.attempts_max`?"),
        (
            json!({"max_calls_per_hour": 3}),
            "max_calls_per_hour",
            "did you mean `claude_integration.max_calls_per_hour`?",
        ),
        (json!({"zzz": {"a": 1}}), "zzz", "unknown key `zzz` is kept without effect"),
    ] {
        let settings = World::new().user(config.clone()).settings();
        assert!(settings.value(&key(kept)).is_some(), "{config}");
        assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
        assert!(settings.warnings[0].ends_with(said), "{}", settings.warnings[0]);
    }
}

#[test]
fn remarks_are_silent_everywhere() {
    let remarks = json!({
        "comment": "a", "comment_model": ["b"], "$schema": "x",
        "claude_integration": {"comment": 1, "comment_threshold": {"x": 1}, "validation": {"comment2": null}},
        "limits": {"comment": "c"},
        "ladders": {"comment": "cheap ones first"},
        "mcpServers": {"comment": "ours", "comments": {"command": "c", "comment": "its own"}},
        "enabledTools": {"comment": "none yet"},
    });
    let settings = World::new().user(remarks).settings();
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    assert!(settings.notes.is_empty(), "{:?}", settings.notes);
    assert!(settings.ladders.is_empty());
    assert_eq!(settings.mcp_servers.keys().collect::<Vec<_>>(), ["comments"], "a server may be called so");
}

#[test]
fn a_phase_that_is_switched_on_and_not_built_is_said() {
    let world = World::new().user(json!({
        "claude_integration": {
            "enabled": true, "api_key": "sk-ant-hidden",
            "validation": {"enabled": true, "validate_tasks": ["CODER"]},
            "planning": {"enabled": true, "use_claude_for_planner": true},
            "remote_access": {"enabled": true},
        },
        "model_selection": {"intelligence_enabled": true},
        "hilSettings": {"enabled": true},
        "memory": {"enabled": true},
    }));
    let notes = world.settings().notes.join("\n");
    for said in [
        "not in this version: validation by Claude (`claude_integration.validation.enabled`)",
        "not in this version: planning by Claude (`claude_integration.planning.enabled`, `claude_integration.planning.use_claude_for_planner`)",
        "not in this version: remote access (`claude_integration.remote_access.enabled`)",
        "`model_selection.intelligence_enabled`",
        "`hilSettings.enabled`",
        "`memory.enabled`",
    ] {
        assert!(notes.contains(said), "{said}\nis not in\n{notes}");
    }
    let off = json!({"claude_integration": {"enabled": false, "validation": {"enabled": false}}, "memory": {"enabled": false}});
    assert!(World::new().user(off).settings().notes.is_empty());
    let by_variable = World::new().variable("OLLMCP_CLAUDE_ENABLED", "true").settings();
    assert!(by_variable.warnings[0].contains("ANTHROPIC_API_KEY"), "the fix is named: {:?}", by_variable.warnings);
    assert!(World::new().variable("OLLAMA_HOST", "box:1").settings().notes.is_empty(), "no wish made of this program");
}

#[test]
fn the_documented_variables_go_over_the_file() {
    let world = World::new()
        .user(json!({"claude_integration": {"api_key": "from-file", "model": "m", "max_calls_per_hour": 1}}))
        .variable("ANTHROPIC_API_KEY", "from-variable")
        .variable("OLLMCP_CLAUDE_MODEL", "claude-x")
        .variable("OLLMCP_CLAUDE_ESCALATION_THRESHOLD", "3")
        .variable("OLLMCP_CLAUDE_MAX_CALLS_PER_HOUR", "")
        .variable("OLLMCP_ATEMPTS_MAX", "3")
        .variable("OLLMCP_SPILL_DIR", "/x");
    let settings = world.settings();
    assert_eq!(settings.claude.api_key.as_ref().unwrap().expose(), "from-variable");
    assert_eq!(settings.claude.model, "claude-x");
    assert_eq!(settings.claude.escalation_threshold, 3);
    assert_eq!(settings.claude.calls_per_hour_max, 1, "an empty variable counts as not set");
    assert_eq!(settings.warnings, ["variable `OLLMCP_ATEMPTS_MAX` is not known; did you mean `OLLMCP_ATTEMPTS_MAX`?"]);
    let faults = World::new().variable("OLLMCP_ATTEMPTS_MAX", "many").faults();
    assert_eq!(faults, ["limits.attempts_max must be a whole number from 1 to 512, and is the text \"many\""]);
}

#[test]
fn limits_of_paid_calls_count_and_are_no_later_part() {
    let defaults = World::new().settings();
    assert_eq!((defaults.claude.calls_per_hour_max, defaults.budget.day_microdollars_max), (50, 10_000_000));
    assert_eq!((defaults.budget.run_microdollars_max, defaults.budget.warn_at_microdollars), (None, None));
    assert_eq!(defaults.claude.when_limited, None);
    let budget = json!({ "usd_per_day_max": 2.5, "usd_per_run_max": 0.000001, "warn_at_usd": 2 });
    let claude = json!({ "max_calls_per_hour": 0, "when_limited": "park" });
    let set = World::new().user(json!({ "budget": budget, "claude_integration": claude })).settings();
    assert_eq!((set.claude.calls_per_hour_max, set.claude.when_limited), (0, Some(WhenLimited::Park)));
    assert_eq!((set.budget.day_microdollars_max, set.budget.run_microdollars_max), (2_500_000, Some(1)));
    assert_eq!(set.budget.warn_at_microdollars, Some(2_000_000));
    assert_eq!(set.notes, Vec::<String>::new());
    let limits = ollmcp::app::money::limits(&set, Some(7));
    assert_eq!((limits.calls_per_hour_max, limits.run_microdollars_max), (0, Some(7)), "`--budget` goes over the file");
}

#[test]
fn the_address_of_ollama_is_read_as_ollama_reads_it() {
    for (host, url) in [
        ("box", "http://box:11434"),
        ("box:8080", "http://box:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        (":1234", "http://127.0.0.1:1234"),
        ("https://models.example/ollama/", "https://models.example:443/ollama"),
        ("http://box", "http://box:80"),
        ("[::1]:5", "http://[::1]:5"),
        ("::1", "http://[::1]:11434"),
        ("[::]", "http://[::1]:11434"),
    ] {
        assert_eq!(World::new().variable("OLLAMA_HOST", host).settings().ollama_url, url, "{host}");
    }
}

#[test]
fn no_secret_is_shown_by_any_printer() {
    let secrets = ["sk-ant-secret", "hunter2", "tok-9", "pw-7"];
    let world = World::new().user(json!({
        "claude_integration": {"api_key": secrets[0], "base_url": "https://me:pw-7@api.example/v1"},
        "mcpServers": {"files": {"command": "x", "env": {"PASSWORD": secrets[1], "NAME": "${NAME}"},
                                 "headers": {"Authorization": secrets[2]}}},
    }));
    let settings = world.settings();
    let entries: Vec<String> =
        settings.entries().iter().map(|entry| format!("{} = {} ({})", entry.key, entry.value, entry.origin)).collect();
    let shown = format!("{settings:?}\n{:?}\n{}", settings.claude.api_key, entries.join("\n"));
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in\n{shown}");
    }
    assert!(shown.contains("claude_integration.api_key = \"(set, not shown)\"") || shown.contains("(set, not shown)"));
    assert!(shown.contains("${NAME}") && shown.contains("PASSWORD"), "names and references stay: {shown}");
    assert_eq!(settings.value(&key("claude_integration.api_key")), None);
    assert_eq!(settings.claude.base_url, "https://me:pw-7@api.example/v1", "only the printers hide it");
}

#[test]
fn every_key_of_the_prior_program_is_known() {
    let text = include_str!("../fixtures/config/prior.json");
    let world = World::new().file("home/.ollmcp/config.json", text);
    let settings = world.settings();
    assert!(settings.warnings.iter().all(|warning| !warning.contains("unknown")), "{:#?}", settings.warnings);
    assert_eq!(
        settings.claude.critical_tasks.as_deref(),
        Some(&[TaskKind::BatchProcess, TaskKind::CodeGeneration, TaskKind::FileWrite, TaskKind::DatabaseWrite][..])
    );
    assert_eq!(settings.limits.attempts_max, 3, "`delegation.max_parallel_tasks` is the prior word");
    assert!(settings.is_disabled("builtin", "execute_bash_command") && settings.is_disabled("old", "any"));
    assert!(!settings.is_disabled("builtin", "read_file"));
    assert_eq!(settings.mcp_servers.keys().collect::<Vec<_>>(), ["files"], "`enabled` wins over `disabled`");
    let document = settings.tool_document();
    assert_eq!(document["mcpServers"].as_object().unwrap().len(), 3, "switched-off ones can be listed");
    assert_eq!(document["disabledTools"], json!(["builtin.execute_bash_command", "web.fetch"]));
    assert_eq!(document["disabledServers"], json!(["old"]));
}

#[test]
fn tool_corrections_are_typed() {
    let settings = World::new()
        .user(json!({"tools": {"db.query": {"repeat": "read", "grants": ["read", "network"], "files": ["path"]},
                               "x.y": {"repeat": null}}}))
        .settings();
    let query = &settings.tools["db.query"];
    assert_eq!(query.repeat, Some(RepeatClass::Read));
    assert_eq!(query.grants.as_deref(), Some(&[Grant::Read, Grant::Network][..]));
    assert_eq!(query.files, ["path"]);
    assert_eq!(settings.tools.get("x.y").and_then(|tool| tool.repeat), None);
}

fn risky() -> Value {
    json!({
        "mcpServers": {"evil": {"command": "sh", "args": ["-c", "rm -rf \u{1b}[2K /"], "env": {"A": "b"}}},
        "ollama": {"url": "http://elsewhere.example"},
        "tools": {"x.y": {"repeat": "read", "files": ["path"]}},
        "limits": {"attempts_max": 3},
    })
}

#[test]
fn what_a_project_may_not_decide_alone_waits_for_consent() {
    let world = World::new().user(json!({"mcpServers": {"mine": {"command": "m"}}})).project(risky());
    let settings = world.settings();
    let asked = settings.needs_consent.clone().unwrap();
    assert_eq!(settings.mcp_servers.keys().collect::<Vec<_>>(), ["mine"]);
    assert_eq!(settings.ollama_url, "http://127.0.0.1:11434");
    assert_eq!(settings.tools["x.y"].repeat, None);
    assert_eq!(settings.tools["x.y"].files, ["path"], "what harms nobody counts at once");
    assert_eq!(settings.limits.attempts_max, 3);
    assert!(!settings.tool_document().to_string().contains("evil"));
    assert_eq!(asked.what.len(), 3, "{:?}", asked.what);
    assert!(asked.what[0].starts_with("starts tool server `evil`: `sh -c rm -rf"), "{:?}", asked.what);
    assert!(asked.what.iter().all(|line| !line.contains('\u{1b}')), "nothing steers the terminal: {:?}", asked.what);

    let file = world.home().consents_file();
    Consents::load(&file).unwrap().with(&asked, "2026-01-02T03:04:05Z").store(&file).unwrap();
    let settings = world.settings();
    assert_eq!(settings.needs_consent, None);
    assert_eq!(settings.mcp_servers.keys().collect::<Vec<_>>(), ["mine", "evil"]);
    assert_eq!(settings.tools["x.y"].repeat, Some(RepeatClass::Read));

    // A change elsewhere does not ask again, a change of what was agreed to does.
    let mut changed = risky();
    changed["limits"]["attempts_max"] = json!(4);
    let world = world.project(changed.clone());
    assert_eq!(world.settings().needs_consent, None);
    changed["mcpServers"]["evil"]["env"]["A"] = json!("c");
    let world = world.project(changed);
    let again = world.settings().needs_consent.unwrap();
    assert_ne!(again.digest, asked.digest);
}

#[test]
fn a_flag_trusts_the_project_for_one_process() {
    let mut world = World::new().project(risky());
    world.flags.trust_project_config = true;
    let settings = world.settings();
    assert_eq!(settings.needs_consent, None);
    assert!(settings.trusted.is_some());
    assert!(settings.mcp_servers.contains_key("evil"));
    world.flags.trust_project_config = false;
    assert!(world.settings().needs_consent.is_some());
}

#[test]
fn a_project_without_risky_values_asks_nothing() {
    let world = World::new().project(json!({"limits": {"attempts_max": 3}, "mcpServers": {}, "ollama": {"url": null}}));
    assert_eq!(world.settings().needs_consent, None);
}

#[test]
fn the_command_of_one_file_never_meets_the_variables_of_another() {
    let mut world = World::new()
        .user(json!({"mcpServers": {"db": {"command": "good", "env": {"PASSWORD": "p"}}}}))
        .project(json!({"mcpServers": {"db": {"command": "evil"}}}));
    world.flags.trust_project_config = true;
    assert_eq!(world.settings().mcp_servers["db"], json!({"command": "evil"}));
}

#[test]
fn equal_values_have_equal_digests_whatever_their_order() {
    let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"x": [1, 2], "y": null}}"#).unwrap();
    let two: Value = serde_json::from_str(r#"{"b": {"y": null, "x": [1, 2]}, "a": 1}"#).unwrap();
    let three: Value = serde_json::from_str(r#"{"b": {"y": null, "x": [2, 1]}, "a": 1}"#).unwrap();
    assert_eq!(consent::digest(&one), consent::digest(&two));
    assert_ne!(consent::digest(&one), consent::digest(&three));
}

#[test]
fn a_damaged_consents_file_is_an_error_and_never_an_empty_one() {
    let world = World::new().project(risky()).file("home/.ollmcp/consents.json", "{\"format\": 1, \"con");
    assert!(matches!(world.resolve(), Err(ConfigError::Read { .. })));
}

#[test]
fn the_home_folder_is_no_project_for_files_either() {
    let world = World::new().file("home/.ollmcp/config.json", r#"{"mcpServers": {"mine": {"command": "m"}}}"#);
    let (home, flags) = (world.home(), Flags::default());
    let folder = world.path("home");
    let given = Given { flags: &flags, environment: &world.environment, home: &home, project: Some(&folder) };
    let settings = resolve(&given).unwrap();
    assert_eq!(settings.needs_consent, None);
    assert_eq!(settings.files.len(), 1);
}

#[test]
fn one_key_changes_and_every_other_byte_stays() {
    let text = "\u{feff}{\r\n    \"zeta\": 1e3,   \"comment\" : \"caf\\u00e9 {,}\",\r\n    \"limits\": {\r\n        \"attempts_max\": 8.0\r\n    },\r\n    \"list\": [ 1,\r\n        2 ],\r\n    \"empty\": {}\r\n}\r\n";
    for (path, value, from, to) in [
        ("limits.attempts_max", json!(4), "8.0", "4"),
        ("limits.tool_timeout_s", json!(60), "8.0\r\n    }", "8.0,\r\n        \"tool_timeout_s\": 60\r\n    }"),
        ("model", json!("q\"x"), "\"empty\": {}\r\n}", "\"empty\": {},\r\n    \"model\": \"q\\\"x\"\r\n}"),
        ("empty.a", json!([1, 2]), "\"empty\": {}", "\"empty\": {\r\n        \"a\": [1,2]\r\n    }"),
        (
            "memory.enabled",
            json!(true),
            "\"empty\": {}\r\n}",
            "\"empty\": {},\r\n    \"memory\": {\r\n        \"enabled\": true\r\n    }\r\n}",
        ),
    ] {
        let changed = with_key(text, &key(path), &value).unwrap();
        assert_eq!(changed, text.replace(from, to), "{path}");
        let read = document::parse(&changed, Path::new("c")).unwrap();
        let names = key(path).0;
        let found = names.iter().skip(1).try_fold(&read.keys[&names[0]], |at, name| at.get(name)).unwrap();
        assert_eq!(found, &value);
    }
    assert_eq!(with_key("{}", &key("a.b"), &json!(1)).unwrap(), "{\n  \"a\": {\n    \"b\": 1\n  }\n}");
    assert_eq!(with_key(r#"{"a": 1}"#, &key("b"), &json!(2)).unwrap(), r#"{"a": 1, "b": 2}"#);
    assert_eq!(with_key(r#"{"a": 1, "a": 2}"#, &key("a"), &json!(3)).unwrap(), r#"{"a": 1, "a": 3}"#);
    assert_eq!(with_key(r#"{"a": null}"#, &key("a.b"), &json!(1)).unwrap(), "{\"a\": {\n  \"b\": 1\n}}");
    assert_eq!(with_key(r#"{"a": [1]}"#, &key("a.b"), &json!(1)).unwrap_err().to_string(), "a");
}

#[test]
fn setting_a_key_checks_it_first_and_leaves_a_file_with_faults_alone() {
    let world = World::new();
    let file = world.path("new/config.json");
    set_key(&file, "limits.attempts_max", &json!(3)).unwrap();
    set_key(&file, "tools.\"a.b\".repeat", &json!("read")).unwrap();
    let read: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(read, json!({"limits": {"attempts_max": 3}, "tools": {"a.b": {"repeat": "read"}}}));
    match set_key(&file, "limits.attemps_max", &json!(3)) {
        Err(ConfigError::UnknownKey { nearest: Some(known), .. }) => assert_eq!(known, "limits.attempts_max"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(set_key(&file, "limits.attempts_max", &json!("3")), Err(ConfigError::Faults(_))));
    fs::write(&file, "{broken").unwrap();
    assert!(matches!(set_key(&file, "limits.attempts_max", &json!(3)), Err(ConfigError::Syntax { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), "{broken");
}

#[test]
fn the_text_that_init_writes_is_valid_and_changes_nothing() {
    let world = World::new().file("home/.ollmcp/config.json", &default_config_text());
    let (with, without) = (world.settings(), World::new().settings());
    assert!(with.warnings.is_empty() && with.notes.is_empty());
    assert_eq!(with.limits, without.limits);
}

proptest::proptest! {
    #[test]
    fn a_key_set_in_any_document_reads_back_and_nothing_else_changes(
        values in proptest::collection::btree_map("[a-d\"\\\\é]{1,3}", json_value(), 0..5),
        names in proptest::collection::vec("[a-d]{1,2}", 1..4),
        pretty: bool,
    ) {
        let before = Value::Object(values.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&before) } else { serde_json::to_string(&before) }.unwrap();
        let path = KeyPath(names.clone());
        let Ok(changed) = with_key(&text, &path, &json!({"new": [1, {"x": "}"}]})) else { return Ok(()) };
        let after: Value = serde_json::from_str(&changed).unwrap();
        let mut expected = before;
        let (last, above) = names.split_last().unwrap();
        let mut at = &mut expected;
        for name in above {
            if at.get(name).is_none_or(Value::is_null) {
                at[name] = json!({});
            }
            at = &mut at[name];
        }
        at[last] = json!({"new": [1, {"x": "}"}]});
        proptest::prop_assert_eq!(after, expected);
    }
}

fn json_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z{}\\[\\],:\"\\\\ ]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]{1,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn a_project_is_found_upwards_and_made_once() {
    let world = World::new();
    let home = world.home();
    let inner = world.path("fresh/a/b");
    fs::create_dir_all(&inner).unwrap();
    assert_eq!(project::find_project(&inner, &home).unwrap(), None);
    let id = Uuid::from_u128(7);
    let (made, is_new) = project::find_or_make_project(&world.path("fresh"), &home, id).unwrap();
    assert!(is_new);
    assert_eq!(made.id, id);
    assert_eq!(made.folder, world.path("fresh").canonicalize().unwrap());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&made.state).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(made.state.join(".gitignore")).unwrap(), "*\n");
    let text: Value = serde_json::from_str(&fs::read_to_string(made.state.join("project.json")).unwrap()).unwrap();
    assert_eq!(text, json!({"format": 1, "project_id": id}));
    let (found, is_new) = project::find_or_make_project(&inner, &home, Uuid::from_u128(8)).unwrap();
    assert_eq!((found, is_new), (made.clone(), false));
    assert_eq!(project::make_project(&made.folder, &home, Uuid::from_u128(9)).unwrap().id, id, "the id stays");
}

#[test]
fn the_search_stops_before_home_and_home_is_refused() {
    let mut world = World::new();
    let inside = world.path("home/projects/x");
    fs::create_dir_all(&inside).unwrap();
    fs::create_dir_all(world.path(".ollmcp")).unwrap();
    let home = world.home();
    assert_eq!(project::find_folder(&inside, &home).unwrap(), None, "neither home's nor what lies above it");
    let refused = project::find_or_make_project(&world.path("home"), &home, Uuid::nil()).unwrap_err();
    assert!(matches!(refused, ProjectError::HomeFolder(_)));
    assert!(refused.hint().unwrap().contains("mkdir"), "the way out is named");
    let (made, _) = project::find_or_make_project(&inside, &home, Uuid::nil()).unwrap();
    assert_eq!(made.folder, inside.canonicalize().unwrap());

    // With a user-wide folder elsewhere, that one is no state folder either.
    let other = world.path("else/.ollmcp").display().to_string();
    world = world.variable("OLLMCP_HOME", &other);
    fs::create_dir_all(world.path("else/.ollmcp")).unwrap();
    let refused = project::find_or_make_project(&world.path("else"), &world.home(), Uuid::nil());
    assert!(matches!(refused, Err(ProjectError::HomeFolder(_))));
}

#[test]
fn a_state_folder_without_an_id_is_completed_and_a_damaged_id_is_refused() {
    let world = World::new().project(json!({}));
    let home = world.home();
    let work = world.path("work");
    assert_eq!(project::find_project(&work, &home).unwrap(), None);
    assert_eq!(project::find_folder(&work, &home).unwrap(), Some(work.canonicalize().unwrap()));
    assert!(project::find_or_make_project(&work, &home, Uuid::from_u128(1)).unwrap().1);
    fs::write(work.join(".ollmcp/project.json"), "{\"format\": 2, \"project_id\": \"x\"}").unwrap();
    let refused = project::find_or_make_project(&work, &home, Uuid::from_u128(2)).unwrap_err();
    assert!(matches!(&refused, ProjectError::Damaged { .. }), "{refused}");
    fs::write(world.path("file"), "").unwrap();
    fs::create_dir(world.path("other")).unwrap();
    fs::write(world.path("other/.ollmcp"), "").unwrap();
    assert!(matches!(project::find_folder(&world.path("other"), &home), Err(ProjectError::NoFolder(_))));
}

#[test]
fn there_is_a_home_or_a_sentence_about_it() {
    assert!(matches!(Home::find(&BTreeMap::new()), Err(ConfigError::NoHome)));
    let relative = BTreeMap::from([("HOME".to_owned(), "here".to_owned())]);
    assert!(matches!(Home::find(&relative), Err(ConfigError::NoHome)));
    let own = BTreeMap::from([("OLLMCP_HOME".to_owned(), "/x/y".to_owned())]);
    assert_eq!(Home::find(&own).unwrap().config_file(), Path::new("/x/y/config.json"));
}

#[test]
fn a_plan_is_found_by_name_the_strongest_folder_first() {
    let world = World::new();
    let (user, own) = (world.path("home/plans"), world.path("work/plans"));
    fs::create_dir_all(&user).unwrap();
    fs::create_dir_all(&own).unwrap();
    let folders = [own.as_path(), user.as_path()];
    assert!(matches!(find_plan("pdf_tables", &folders).unwrap(), Some(FoundPlan::Shipped(_))));
    fs::write(user.join("pdf_tables.yaml"), "").unwrap();
    assert_eq!(find_plan("pdf_tables", &folders).unwrap(), Some(FoundPlan::File(user.join("pdf_tables.yaml"))));
    fs::write(own.join("pdf_tables.yml"), "").unwrap();
    assert_eq!(find_plan("pdf_tables", &folders).unwrap(), Some(FoundPlan::File(own.join("pdf_tables.yml"))));
    for no_name in ["../pdf_tables", "pdf_tables.yaml", "", "none", "a/b"] {
        assert_eq!(find_plan(no_name, &folders).unwrap(), None, "{no_name}");
    }
    fs::write(own.join("mine.json"), "").unwrap();
    fs::write(own.join("notes.txt"), "").unwrap();
    assert_eq!(plan_names(&folders), ["escalation_check", "invoices", "mine", "pdf_tables", "question"]);
}

#[test]
fn every_default_fits_its_own_key() {
    for key in ollmcp::config::schema::KEYS.iter().filter(|key| !key.default.is_empty()) {
        let value: Value = serde_json::from_str(key.default).unwrap();
        let findings = check::check_value(&KeyPath::parse(key.path).unwrap(), &value, "default");
        assert_eq!(findings, check::Findings::default(), "{}", key.path);
    }
}

#[test]
fn the_page_about_configuration_is_fresh() {
    crate::tidy::fresh("docs/reference/configuration.md", &docs::page());
}

#[test]
fn a_model_server_without_an_address_is_a_fault_that_says_what_to_write() {
    for entry in [json!({}), json!({ "kind": "openai", "slots": 2 }), json!({ "url": null })] {
        let world = World::new().user(json!({ "model_servers": { "box": entry } }));
        let Err(ConfigError::Faults(faults)) = world.resolve() else { panic!("{entry} passes") };
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].path.to_string(), "model_servers.box.url");
        assert!(faults[0].hint.as_ref().unwrap().contains("\"url\": \"http://"), "{faults:?}");
    }
}

#[test]
fn no_part_of_a_model_server_is_set_before_its_address() {
    let world = World::new();
    let file = world.path("home/.ollmcp/config.json");
    for (key, value) in [("model_servers.box.kind", json!("openai")), ("model_servers.box", json!({ "slots": 2 }))] {
        let Err(ConfigError::Faults(faults)) = set_key(&file, key, &value) else { panic!("{key} passes") };
        assert_eq!(faults[0].path.to_string(), "model_servers.box.url");
        assert!(!file.exists());
    }
    set_key(&file, "model_servers.box.url", &json!("http://box:1")).unwrap();
    set_key(&file, "model_servers.box.kind", &json!("openai")).unwrap();
}
