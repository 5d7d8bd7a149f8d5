//! The tools of one server as it listed them: bounded, with repeat classes, and with schemas compiled once.
//! What a schema names outside itself is never fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value};

use super::masking::bounded;
use super::spec::ServerSpec;
use super::{OUTPUT_VERSION, ToolError, ToolSpec};
use crate::domain::plan::RepeatClass;

/// Most tools that one server may have.
pub(super) const TOOLS_MAX: usize = 1_000;

/// Most pages that its list may have.
pub(super) const PAGES_MAX: usize = 100;

/// Largest schema of one tool; a tool with a larger one is not offered.
const SCHEMA_BYTES_MAX: usize = 256 * 1024;

const DESCRIPTION_BYTES_MAX: usize = 8 * 1024;
const NAME_BYTES_MAX: usize = 128;

/// How many faults of arguments are named, and how long the line may get.
const FAULTS_MAX: usize = 8;
const FAULT_LINE_BYTES_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) specs: Arc<Vec<ToolSpec>>,
    /// `None`: the schema could not be compiled; the server checks for itself.
    validators: BTreeMap<String, Option<Validator>>,
}

impl Table {
    pub(super) fn build(server: &ServerSpec, tools: Vec<Tool>) -> Self {
        let mut table = Self::default();
        let mut specs = Vec::new();
        for tool in tools {
            let name = tool.name.to_string();
            let is_named = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
            if server.disabled_tools.contains(&name) {
                continue;
            }
            if !is_named || table.validators.contains_key(&name) {
                tracing::warn!(server = server.name, "a tool without a usable name of its own is not offered");
                continue;
            }
            let Some(spec) = tool_spec(server, &tool) else {
                tracing::warn!(server = server.name, tool = name, "a tool with an oversized schema is not offered");
                continue;
            };
            let validator = jsonschema::validator_for(&spec.input_schema)
                .inspect_err(|error| {
                    let error = bounded(&error.to_string(), FAULT_LINE_BYTES_MAX).into_owned();
                    tracing::warn!(server = server.name, tool = name, error, "arguments cannot be checked here");
                })
                .ok();
            table.validators.insert(name, validator);
            specs.push(spec);
        }
        table.specs = Arc::new(specs);
        table
    }

    /// Checks a call before anything is sent.
    pub(super) fn check(&self, server: &str, tool: &str, arguments: &Map<String, Value>) -> Result<(), ToolError> {
        let Some(validator) = self.validators.get(tool) else {
            let known = self.specs.iter().map(|spec| spec.name.clone()).collect();
            return Err(ToolError::UnknownTool { server: server.to_owned(), tool: tool.to_owned(), known });
        };
        let Some(validator) = validator else { return Ok(()) };
        let arguments = Value::Object(arguments.clone());
        let faults: Vec<String> = validator.iter_errors(&arguments).take(FAULTS_MAX + 1).map(|e| fault(&e)).collect();
        if faults.is_empty() {
            return Ok(());
        }
        let more = if faults.len() > FAULTS_MAX { "; and more" } else { "" };
        let line = faults[..faults.len().min(FAULTS_MAX)].join("; ").replace(['\n', '\r'], " ");
        let message = format!("{}{more}", bounded(&line, FAULT_LINE_BYTES_MAX));
        Err(ToolError::BadArguments { tool: format!("{server}.{tool}"), message })
    }
}

/// One fault without the value itself, which may be long or secret.
fn fault(error: &jsonschema::ValidationError<'_>) -> String {
    let at = error.instance_path().to_string();
    let text = error.masked().to_string();
    if at.is_empty() { text } else { format!("`{}`: {text}", at.trim_start_matches('/')) }
}

fn tool_spec(server: &ServerSpec, tool: &Tool) -> Option<ToolSpec> {
    let mut input_schema = Value::Object(tool.input_schema.as_ref().clone());
    let output_schema = tool.output_schema.as_ref().map(|schema| Value::Object(schema.as_ref().clone()));
    let bytes = input_schema.to_string().len() + output_schema.as_ref().map_or(0, |schema| schema.to_string().len());
    if bytes > SCHEMA_BYTES_MAX {
        return None;
    }
    let correction = server.overrides.get(tool.name.as_ref());
    for argument in correction.map(|one| one.files.as_slice()).unwrap_or_default() {
        mark_as_path(&mut input_schema, argument);
    }
    let meta = tool.meta.as_ref().and_then(|meta| meta.0.get(OUTPUT_VERSION));
    let output_version = match meta {
        Some(Value::String(text)) => bounded(text, NAME_BYTES_MAX).into_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    Some(ToolSpec {
        name: tool.name.to_string(),
        description: bounded(tool.description.as_deref().unwrap_or_default(), DESCRIPTION_BYTES_MAX).into_owned(),
        input_schema,
        output_schema,
        repeat: correction.and_then(|one| one.repeat).unwrap_or_else(|| repeat_class(tool.annotations.as_ref())),
        output_version,
    })
}

/// Notes in a schema that an argument is a file, also where the server says nothing about its arguments.
fn mark_as_path(input_schema: &mut Value, argument: &str) {
    let Value::Object(schema) = input_schema else { return };
    let properties = schema.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(properties) = properties else { return };
    let property = properties.entry(argument).or_insert(Value::Bool(true));
    if !property.is_object() {
        *property = Value::Object(Map::new());
    }
    let property = property.as_object_mut().expect("it was made an object just now");
    property.insert("format".to_owned(), "path".into());
}

/// The class that annotations give; what is not said is the worst.
fn repeat_class(annotations: Option<&ToolAnnotations>) -> RepeatClass {
    let is_read = annotations.and_then(|one| one.read_only_hint).unwrap_or(false);
    let is_idempotent = annotations.and_then(|one| one.idempotent_hint).unwrap_or(false);
    match (is_read, is_idempotent) {
        (true, _) => RepeatClass::Read,
        (false, true) => RepeatClass::Idempotent,
        (false, false) => RepeatClass::Unsafe,
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::ToolOverride;
    use super::*;
    use serde_json::json;

    fn tool(value: Value) -> Tool {
        serde_json::from_value(value).unwrap()
    }

    fn table(server: &ServerSpec, tools: &[Value]) -> Table {
        Table::build(server, tools.iter().cloned().map(tool).collect())
    }

    #[test]
    fn missing_annotations_mean_unsafe_and_configuration_corrects_them() {
        let mut server = ServerSpec::new("s", "c", &[]);
        server
            .overrides
            .insert("fixed".into(), ToolOverride { repeat: Some(RepeatClass::Read), files: vec!["p".into()] });
        server.disabled_tools.insert("off".into());
        let schema = json!({ "type": "object", "properties": { "p": { "type": "string" } } });
        let table = table(
            &server,
            &[
                json!({ "name": "bare", "inputSchema": schema }),
                json!({ "name": "empty", "inputSchema": schema, "annotations": {} }),
                json!({ "name": "read", "inputSchema": schema, "annotations": { "readOnlyHint": true } }),
                json!({ "name": "idem", "inputSchema": schema, "annotations": { "idempotentHint": true },
                        "_meta": { OUTPUT_VERSION: "3" } }),
                json!({ "name": "fixed", "inputSchema": schema }),
                json!({ "name": "off", "inputSchema": schema }),
                json!({ "name": "bare", "inputSchema": schema, "annotations": { "readOnlyHint": true } }),
            ],
        );
        let got: Vec<_> = table.specs.iter().map(|spec| (spec.name.as_str(), spec.repeat)).collect();
        use RepeatClass::{Idempotent, Read, Unsafe};
        assert_eq!(
            got,
            [("bare", Unsafe), ("empty", Unsafe), ("read", Read), ("idem", Idempotent), ("fixed", Read)],
            "a second tool of the same name cannot replace the first"
        );
        assert_eq!(table.specs[3].output_version, "3");
        assert_eq!(table.specs[4].path_arguments(), ["p"]);
    }

    #[test]
    fn an_argument_that_the_server_does_not_describe_can_be_a_file_too() {
        let mut server = ServerSpec::new("s", "c", &[]);
        for name in ["any", "odd"] {
            server.overrides.insert(name.into(), ToolOverride { repeat: None, files: vec!["p".into()] });
        }
        let odd = json!({ "type": "object", "properties": { "p": true } });
        let tools = [
            json!({ "name": "any", "inputSchema": { "type": "object" } }),
            json!({ "name": "odd", "inputSchema": odd }),
        ];
        let table = table(&server, &tools);
        assert_eq!(table.specs[0].path_arguments(), ["p"]);
        assert_eq!(table.specs[1].path_arguments(), ["p"]);
        assert_eq!(table.check("s", "any", json!({ "p": "x", "q": 1 }).as_object().unwrap()), Ok(()));
    }

    #[test]
    fn all_faults_of_arguments_stand_in_one_line_without_the_values() {
        let schema = json!({ "type": "object", "required": ["n"], "additionalProperties": false,
            "properties": { "n": { "type": "integer" }, "s": { "type": "string", "maxLength": 3 } } });
        let table = table(&ServerSpec::new("s", "c", &[]), &[json!({ "name": "t", "inputSchema": schema })]);
        let arguments = json!({ "s": "very secret\nvalue", "x": 1 });
        let error = table.check("s", "t", arguments.as_object().unwrap()).unwrap_err();
        let ToolError::BadArguments { tool, message } = &error else { panic!("{error}") };
        assert_eq!(tool, "s.t");
        assert!(message.contains("\"n\" is a required property"), "{message}");
        assert!(message.contains("`s`"), "{message}");
        assert!(message.contains("'x' was unexpected"), "{message}");
        assert!(!message.contains("secret") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn a_schema_that_points_elsewhere_is_not_fetched_and_the_tool_stays_usable() {
        let schema = json!({ "type": "object", "properties": { "a": { "$ref": "http://127.0.0.1:1/x.json" } } });
        let table = table(&ServerSpec::new("s", "c", &[]), &[json!({ "name": "t", "inputSchema": schema })]);
        assert_eq!(table.check("s", "t", &Map::new()), Ok(()));
    }

    #[test]
    fn an_unknown_tool_is_told_with_the_known_ones() {
        let table = table(&ServerSpec::new("s", "c", &[]), &[json!({ "name": "t", "inputSchema": {} })]);
        let error = table.check("s", "u", &Map::new()).unwrap_err();
        assert_eq!(error, ToolError::UnknownTool { server: "s".into(), tool: "u".into(), known: vec!["t".into()] });
    }
}
