//! Definitions of the prior program as agent files.

use ollmcp::agent::import::{ImportError, Imported, import};

use super::*;

fn fixture(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents/prior").join(name)).unwrap()
}

#[track_caller]
fn imported(text: &str) -> (Imported, AgentSpec) {
    let imported = import(text).unwrap();
    let spec = read(&imported.text).unwrap_or_else(|faults| panic!("{faults:#?}\n{}", imported.text));
    (imported, spec)
}

#[track_caller]
fn notes_have(imported: &Imported, parts: &[&str]) {
    for part in parts {
        assert!(imported.notes.iter().any(|note| note.contains(part)), "no {part:?} in {:#?}", imported.notes);
    }
}

#[test]
fn a_definition_becomes_an_agent_file_and_loses_nothing() {
    let (imported, spec) = imported(&fixture("summary_writer.json"));
    assert_eq!((imported.file_name.as_str(), spec.name.as_str()), ("SUMMARY_WRITER.md", "SUMMARY_WRITER"));
    assert_eq!(
        spec.description,
        "Reads reports and writes short summaries beside them. Assign SUMMARY_WRITER when reports must be shortened."
    );
    assert_eq!(spec.tools.as_deref().unwrap(), ["fs.read", "fs.list", "fs.stat", "fs.write", "reports.fetch"]);
    assert_eq!(spec.forbidden_tools, ["shell.run", "fs.delete"]);
    assert_eq!(spec.grants, [Grant::Read, Grant::Write]);
    assert_eq!((spec.turns_max, spec.temperature), (Some(7), Some(0.3)));
    let original: serde_json::Value = serde_json::from_str(&fixture("summary_writer.json")).unwrap();
    assert_eq!(spec.prompt, original["system_prompt"].as_str().unwrap(), "as written, its own dashes too");
    notes_have(
        &imported,
        &[
            "offered, and nothing here does the same: builtin.create_directory, builtin.log_progress",
            "forbidden, and nothing here does the same: builtin.read_image",
            "categories without a grant here: memory",
            "`max_context_tokens` has no place",
            "`priority` has no place",
            "builtin.read_file (here fs.read), builtin.write_file (here fs.write), builtin.file_exists (here fs.stat)",
            "tools of MCP servers were offered to every agent",
        ],
    );
    let head = imported.text.split("\n---\n").next().unwrap();
    for left in [
        "#   \"display_name\": \"📝 Summary Writer\"",
        "#   \"emoji\": \"📝\"",
        "#   \"max_context_tokens\": 32768",
        "#   \"priority\": {\"level\":2}",
        "#   \"default_tools\": [\"builtin.create_directory\",\"builtin.log_progress\"]",
        "#   \"forbidden_tools\": [\"builtin.read_image\"]",
        "#   \"allowed_tool_categories\": [\"memory\"]",
    ] {
        assert!(head.lines().any(|line| line == left), "no {left} in\n{head}");
    }
}

#[test]
fn shipped_names_models_and_forms_are_told_apart() {
    let (planner, spec) = imported(&fixture("planner.json"));
    assert_eq!(spec.model.as_deref(), Some("qwen2.5-coder:14b"));
    assert_eq!(spec.output_schema, None, "an example is no schema");
    notes_have(&planner, &["goes over the shipped agent `PLANNER`", "`output_format` is no JSON Schema"]);
    let (grader, spec) = imported(&fixture("grader.json"));
    assert_eq!(spec.output_schema.unwrap()["properties"]["grade"]["type"], "integer");
    assert_eq!(spec.tools.as_deref(), Some(&[][..]), "no tools there, none here");
    assert!(!grader.notes.iter().any(|note| note.contains("output_format")), "{:?}", grader.notes);
}

#[test]
fn odd_values_are_kept_and_said() {
    let base = |more: &str| {
        format!(
            r#"{{"agent_type": "MY AGENT", "description": "d: \"x\" # y", "system_prompt": "p\r\nq\u0007\u2028r"{more}}}"#
        )
    };
    let (import_of, spec) = imported(&base(
        r#", "loop_limit": 0, "temperature": "hot", "emoji": "a\nb---", "loop_limit": 5000, "model": null, "default_tools": ["builtin.run_pytest", "x y.z"], "forbidden_tools": ["builtin.execute_python_code"]"#,
    ));
    assert_eq!(spec.name, "MY_AGENT");
    assert_eq!(spec.description, "d: \"x\" # y");
    assert_eq!(spec.prompt, "p\nq\u{7}\u{2028}r");
    assert_eq!((spec.turns_max, spec.temperature, spec.model), (None, None, None));
    assert_eq!(spec.tools.as_deref().unwrap(), ["x y.z"]);
    notes_have(
        &import_of,
        &[
            "`loop_limit` stands there twice",
            "`loop_limit` is left out",
            "`temperature` is left out",
            "became the name `MY_AGENT`",
            "forbidden here: shell.run",
        ],
    );
    assert!(import_of.text.contains("#   \"loop_limit (the first one)\": 0\n"), "{}", import_of.text);
    assert!(import_of.text.contains("#   \"emoji\": \"a\\nb---\"\n"), "{}", import_of.text);
}

#[test]
fn what_is_no_definition_is_refused_with_its_place() {
    match import("{\n  \"agent_type\": \"A\",\n  \"description\" \"d\"\n}").unwrap_err() {
        ImportError::Json { line: 3, column: 17, message } => assert!(message.contains("expected `:`"), "{message}"),
        other => panic!("{other:?}"),
    }
    for (text, part) in [
        ("[]", "must be one object"),
        ("3", "must be one object"),
        ("{}", "`agent_type`, `description`, `system_prompt` is missing"),
        (r#"{"agent_type": 3}"#, "`agent_type` must be text, not a number"),
        (r#"{"agent_type": "A", "description": "d", "system_prompt": " "}"#, "`system_prompt` is missing or empty"),
        (r#"{"agent_type": "a/b", "description": "d", "system_prompt": "p"}"#, "`a/b` is no name"),
        (
            r#"{"agent_type": "A", "description": "d", "system_prompt": "p", "default_tools": "x"}"#,
            "must be a list of names, and it has text",
        ),
        (r#"{"agent_type": "A", "description": "d", "system_prompt": "p", "forbidden_tools": [1]}"#, "a number"),
    ] {
        let error = import(text).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(error.place().is_none() && error.hint().is_some(), "{text}");
    }
    for text in ["", "{", "{\"agent_type\": \"A\"} x", "nonsense"] {
        assert!(import(text).unwrap_err().place().is_some(), "{text:?}");
    }
    assert_eq!(import(&" ".repeat(300_000)).unwrap_err(), ImportError::TooLarge);
}

proptest::proptest! {
    #[test]
    fn any_text_comes_through_whole(description in "\\PC{1,60}", prompt in "(?s).{0,80}x", hints in "(?s).{0,40}") {
        let definition = serde_json::json!({ "agent_type": "A", "description": format!("d{description}"), "system_prompt": format!("p{prompt}"), "planning_hints": hints });
        let made = import(&definition.to_string()).unwrap();
        let spec = read(&made.text).unwrap();
        proptest::prop_assert_eq!(spec.prompt, format!("p{prompt}").replace("\r\n", "\n"));
        let about = format!("d{description}");
        proptest::prop_assert!(spec.description.starts_with(about.trim()));
        proptest::prop_assert!(spec.description.ends_with(hints.trim()));
    }
}
