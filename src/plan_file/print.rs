//! A plan back to the text of a plan file: reading it again gives the same plan.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::domain::plan::{
    Agree, Check, ForEach, Input, ModelServerSpec, OnError, RawPlan, RepeatClass, Step, StepKind, Tolerate,
};

use super::walk::shown_ms;

/// A plan in the shape of a plan file. Defaults stand written out.
#[must_use]
pub fn to_json(plan: &RawPlan) -> Value {
    let mut out = Map::new();
    out.insert("name".to_owned(), json!(plan.name));
    if !plan.description.is_empty() {
        out.insert("description".to_owned(), json!(plan.description));
    }
    if !plan.inputs.is_empty() {
        let inputs: Map<String, Value> =
            plan.inputs.iter().map(|input| (input.name.clone(), of_input(input))).collect();
        out.insert("inputs".to_owned(), Value::Object(inputs));
    }
    if !plan.ladders.is_empty() {
        out.insert("ladders".to_owned(), json!(plan.ladders));
    }
    if !plan.model_servers.is_empty() {
        let servers: Map<String, Value> =
            plan.model_servers.iter().map(|(name, server)| (name.clone(), of_server(server))).collect();
        out.insert("model_servers".to_owned(), Value::Object(servers));
    }
    out.insert("steps".to_owned(), plan.steps.iter().map(of_step).collect());
    Value::Object(out)
}

/// A plan as YAML in block style.
#[must_use]
pub fn to_yaml(plan: &RawPlan) -> String {
    let mut out = String::new();
    block(&to_json(plan), 0, &mut out);
    out
}

fn of_input(input: &Input) -> Value {
    let mut out = Map::new();
    out.insert("type".to_owned(), json!(input.kind));
    if let Some(default) = &input.default {
        out.insert("default".to_owned(), default.clone());
    }
    if !input.description.is_empty() {
        out.insert("description".to_owned(), json!(input.description));
    }
    if input.local_only {
        out.insert("local_only".to_owned(), json!(true));
    }
    Value::Object(out)
}

fn of_server(server: &ModelServerSpec) -> Value {
    let mut out = Map::new();
    out.insert("kind".to_owned(), json!(server.kind));
    if !server.url.is_empty() {
        out.insert("url".to_owned(), json!(server.url));
    }
    for (key, value) in [
        ("key_env", server.key_env.clone().map(Value::from)),
        ("slots", server.slots.map(Value::from)),
        ("schema", server.schema_bound.map(|is_bound| json!(if is_bound { "bind" } else { "prompt" }))),
    ] {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    }
    Value::Object(out)
}

fn of_agree(agree: &Agree) -> Value {
    agree.with.as_ref().map_or(Value::Bool(true), |with| json!({ "with": with }))
}

fn of_step(step: &Step) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("id", json!(step.id));
    match &step.for_each {
        Some(ForEach::Items(source)) => _ = put("for_each", json!(format!("${{{{ steps.{source}.items }}}}"))),
        Some(ForEach::List(list)) => _ = put("for_each", list.clone()),
        Some(ForEach::Range(count)) => _ = put("for_each", json!({ "range": count })),
        None => {}
    }
    match &step.kind {
        StepKind::Tool { name, with } => {
            put("tool", json!(name));
            put("with", json!(with));
        }
        StepKind::Value { template } => _ = put("value", template.clone()),
        StepKind::Agent { name, prompt, with } => {
            put("agent", json!(name));
            if let Some(prompt) = prompt {
                put("prompt", json!(prompt));
            }
            put("with", json!(with));
        }
    }
    if !step.needs.is_empty() {
        put("needs", json!(step.needs));
    }
    if let Some(condition) = &step.condition {
        put("if", json!(condition));
    }
    if let Some(key) = &step.key {
        put("key", json!(key));
    }
    if step.for_each.is_some() {
        put("max_parallel", json!(step.max_parallel));
    }
    put("timeout", json!(shown_ms(step.timeout_ms)));
    let (first, max) = (shown_ms(step.retry.backoff_first_ms), shown_ms(step.retry.backoff_max_ms));
    put("retry", json!({ "transient": step.retry.transient_max, "backoff": format!("{first}..{max}") }));
    put("on_error", json!(step.on_error));
    if let (Some(tolerate), OnError::Quarantine) = (step.tolerate, step.on_error) {
        put("tolerate", of_tolerate(tolerate));
    }
    for (key, value) in [
        ("critical", step.critical.map(Value::from)),
        ("threshold", step.threshold.map(Value::from)),
        ("ladder", step.ladder.clone().map(Value::from)),
        ("task_kind", step.task_kind.map(|kind| json!(kind))),
        ("claude", step.claude.map(Value::from)),
        ("local_only", step.local_only.map(Value::from)),
        ("when_limited", step.when_limited.map(|word| json!(word))),
        ("agree", step.agree.as_ref().map(of_agree)),
        ("tools", step.tools.clone().map(Value::from)),
        ("grants", step.grants.as_ref().map(|grants| json!(grants))),
        ("idle_timeout", step.idle_timeout_ms.map(|ms| json!(shown_ms(ms)))),
        ("repeat", step.repeat.map(|class: RepeatClass| json!(class))),
        ("reuse", step.reuse.map(Value::from)),
        ("output", step.output_schema.clone().map(|schema| json!({ "schema": schema }))),
    ] {
        if let Some(value) = value {
            put(key, value);
        }
    }
    if !step.files.is_empty() {
        put("files", json!(step.files));
    }
    for (key, checks) in [("done_when", &step.done_when), ("all_done_when", &step.all_done_when)] {
        if !checks.is_empty() {
            put(key, checks.iter().map(of_check).collect());
        }
    }
    Value::Object(out)
}

fn of_tolerate(tolerate: Tolerate) -> Value {
    match tolerate {
        Tolerate::Count(count) => json!(count),
        Tolerate::BasisPoints(points) => json!(format!("{}%", shown_share(points))),
    }
}

/// Hundredths of a per cent as a person writes them: `10`, `2.5`, `0.01`.
pub(super) fn shown_share(points: u32) -> String {
    match (points / 100, points % 100) {
        (whole, 0) => whole.to_string(),
        (whole, part) if part % 10 == 0 => format!("{whole}.{}", part / 10),
        (whole, part) => format!("{whole}.{part:02}"),
    }
}

fn of_check(check: &Check) -> Value {
    match check {
        Check::Expression(text) => json!(text),
        Check::File { path, exists, parses, changed } => {
            let mut file = Map::new();
            file.insert("path".to_owned(), json!(path));
            if let Some(exists) = exists {
                file.insert("exists".to_owned(), json!(exists));
            }
            if let Some(parses) = parses {
                file.insert("parses".to_owned(), json!(parses));
            }
            if let Some(changed) = changed {
                file.insert("changed".to_owned(), json!(changed));
            }
            json!({ "file": file })
        }
        Check::Sql { database, query, equals } => {
            json!({ "sql": { "database": database, "query": query, "equals": equals } })
        }
        Check::Called { tool } => json!({ "called": tool }),
    }
}

/// A value in block style, indented by `indent` spaces; begins at the start of a line and ends with a line end.
fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                _ = write!(out, "{pad}{}:", scalar_text(key));
                beside(value, indent + 2, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                let start = out.len();
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        // The first key stands beside the dash.
                        block(value, indent + 2, out);
                        out.replace_range(start..start + indent + 2, &format!("{pad}- "));
                    }
                    _ => {
                        _ = write!(out, "{pad}-");
                        beside(value, indent + 2, out);
                    }
                }
            }
        }
        scalar => _ = writeln!(out, "{pad}{}", flow(scalar)),
    }
}

/// A value after `key:` or `-`: on the same line, or as a block below.
fn beside(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        scalar => _ = writeln!(out, " {}", flow(scalar)),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar_text(text),
        Value::Number(number) => {
            // A float that is whole must keep its point.
            let text = number.to_string();
            if number.is_f64() && !text.contains(['.', 'e', 'E']) { format!("{text}.0") } else { text }
        }
        other => other.to_string(),
    }
}

/// Text as it can stand in YAML: plain where nothing can be mistaken, else in double quotes.
fn scalar_text(text: &str) -> String {
    let is_plain = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_plain {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if needs_escape(c) => _ = write!(out, "\\U{:08X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Characters that YAML does not allow as they are, or that readers fold.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c), 0x2028 | 0x2029 | 0xFEFF | 0xFFFE | 0xFFFF)
        || (u32::from(c) & 0xFFFE) == 0xFFFE
}
