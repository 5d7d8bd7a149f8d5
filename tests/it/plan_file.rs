//! Plan files: what is read, what is refused with which words, and what expressions give.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ollmcp::plan_file::{Catalog, Faults, KnownAgent, KnownTool, Read, ServerTools, read};
use serde_json::{Value, json};

mod evaluation;
mod hostile;
mod reading;
mod round_trip;

/// A small world: two servers that are known, one that was not asked, six agents.
pub(crate) fn catalog() -> Catalog {
    let tool = |name: &str, input_schema: Value| KnownTool { name: name.to_owned(), input_schema };
    let fs = vec![
        tool(
            "list",
            json!({
                "type": "object",
                "properties": {
                    "root": { "type": "string", "format": "path" },
                    "pattern": { "type": "string" },
                    "depth": { "type": "integer" },
                    "sort": { "type": "string", "enum": ["name", "size", "time"] },
                },
                "required": ["root"],
                "additionalProperties": false,
            }),
        ),
        tool("read", json!({ "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] })),
        tool("write", Value::Null),
    ];
    let pdf = vec![tool(
        "extract_tables",
        json!({ "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] }),
    )];
    let servers = BTreeMap::from([
        ("fs".to_owned(), ServerTools::Known(fs)),
        ("pdf_extract".to_owned(), ServerTools::Known(pdf)),
        ("web".to_owned(), ServerTools::Unknown),
    ]);
    let agent = |name: &str, is_deterministic, is_reserved, tools: &[&str]| KnownAgent {
        name: name.to_owned(),
        is_deterministic,
        is_reserved,
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        input_schema: Value::Null,
    };
    Catalog {
        servers: Some(servers),
        agents: Some(vec![
            agent("DATABASE_WRITER", true, false, &["db.query"]),
            agent("CODER", false, false, &["fs.read", "fs.write"]),
            agent("VALIDATOR", false, true, &["fs.read"]),
            agent("FILE_EXECUTOR", false, false, &["fs.read", "fs.list"]),
            agent("SHELL_EXECUTOR", false, false, &["shell.run", "fs.read"]),
            agent("RUNNER", false, false, &["shell.run"]),
        ]),
        ladders: Some(vec!["default".to_owned()]),
        model_servers: Some(vec!["box".to_owned()]),
    }
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plans")
}

#[track_caller]
pub(crate) fn good(text: &str) -> Read {
    read(text.as_bytes(), &catalog()).unwrap_or_else(|faults| panic!("{}", faults.render("plan.yaml", false)))
}

#[track_caller]
pub(crate) fn faults(text: &str) -> Faults {
    match read(text.as_bytes(), &catalog()) {
        Ok(_) => panic!("read without faults:\n{text}"),
        Err(faults) => faults,
    }
}

/// Whether fixtures and generated pages are to be written instead of compared.
#[expect(clippy::disallowed_methods, reason = "the person who runs the tests asks for new expectations")]
pub(crate) fn is_updating() -> bool {
    std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1")
}

/// Compares text with a file of the repository, or writes it.
#[track_caller]
pub(crate) fn same_as_file(path: &Path, text: &str) {
    if is_updating() {
        std::fs::write(path, text).expect("the repository can be written");
        return;
    }
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(stands, text, "{} is stale; run the tests with UPDATE_DOCS=1 and look at the change", path.display());
}
