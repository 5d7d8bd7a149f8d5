//! Whether an answer is right: by the same reading of plans, values and checks that runs use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::case::{Case, Cases, Expect};
use crate::agent::agreement;
use crate::app::databases::OpenDatabases;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::plan::{Check, RepeatClass};
use crate::evidence::{self, Facts};
use crate::plan_file::expr::Roots;
use crate::plan_file::{Catalog, read};

/// A call that was made.
pub type Made = (String, Map<String, Value>);

/// Judges the output of a case and the calls that were made for it.
///
/// # Errors
/// Why it is not right.
pub async fn judge(cases: &Cases, case: &Case, output: &Value, made: &[Made], workspace: &Path) -> Result<(), Failure> {
    let wrong = |message: String| Err(Failure::new(FailureKind::Check, message));
    match &case.expect {
        Expect::Value { value } => same(case.schema.as_ref(), value, output),
        Expect::NoCall { value } => match made.first() {
            Some((tool, _)) => wrong(format!("{tool} was called, and no tool fits")),
            None => same(case.schema.as_ref(), value, output),
        },
        Expect::Checks { checks } => {
            let checks: Vec<Check> = checks.iter().cloned().map(Check::Expression).collect();
            let databases = OpenDatabases::new(workspace.to_owned(), Vec::new());
            let facts = Facts {
                workspace,
                granted: &[],
                databases: &databases,
                overlay: None,
                changes: None,
                called: &[],
                written: None,
            };
            let inputs = Value::Object(case.inputs.clone());
            let scope = Roots::default().with("output", output.clone()).with("inputs", inputs);
            let verdict = evidence::check(&checks, &scope, &facts).await;
            match verdict.complaint {
                Some(complaint) if !verdict.accepted => wrong(complaint),
                _ => Ok(()),
            }
        }
        Expect::Calls { calls, free, text_has } => {
            let wanted: Vec<Made> = calls
                .iter()
                .map(|call| (call.tool.clone(), call.arguments.as_object().cloned().unwrap_or_default()))
                .collect();
            called(cases, case, &wanted, free, made)?;
            let text = output.to_string();
            match text_has.iter().find(|word| !text.contains(word.as_str())) {
                Some(word) => wrong(format!("the answer does not have `{word}`")),
                None => Ok(()),
            }
        }
        Expect::Plan { roles, order, apart } => plan(output, roles, order, apart),
    }
}

/// The verdict for a value, by what it means and not by how it is written.
fn same(schema: Option<&Value>, wanted: &Value, output: &Value) -> Result<(), Failure> {
    let found = agreement::differences(schema, wanted, output);
    let Some(first) = found.first() else { return Ok(()) };
    let at = if first.at.is_empty() { "the answer" } else { &first.at };
    let more = if found.len() > 1 { format!(" (and {} more)", found.len() - 1) } else { String::new() };
    Err(Failure::new(FailureKind::Check, format!("{at} is {} and not {}{more}", first.second, first.first)))
}

/// Each wanted call once, and nothing else that changes something.
fn called(cases: &Cases, case: &Case, wanted: &[Made], free: &[String], made: &[Made]) -> Result<(), Failure> {
    let tools = cases.tools_of(case);
    let parameters = |name: &str| tools.iter().find(|tool| tool.tool == name).map(|tool| &tool.offer.parameters);
    let is_read = |name: &str| tools.iter().any(|tool| tool.tool == name && tool.repeat == RepeatClass::Read);
    let bare = |arguments: &Map<String, Value>| {
        let kept = arguments.iter().filter(|(name, _)| !free.contains(name));
        Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let mut left: Vec<&Made> = made.iter().collect();
    for (tool, arguments) in wanted {
        let is_it = |made: &&Made| {
            made.0 == *tool && agreement::differences(parameters(tool), &bare(arguments), &bare(&made.1)).is_empty()
        };
        match left.iter().position(is_it) {
            Some(at) => drop(left.remove(at)),
            None => {
                let instead =
                    made.iter().filter(|(name, _)| name == tool).map(|(_, arguments)| shown(arguments)).next();
                let instead = instead.map_or_else(String::new, |other| format!("; it was called with {other}"));
                let message = format!("{tool} was not called with {}{instead}", shown(arguments));
                return Err(Failure::new(FailureKind::Check, message));
            }
        }
    }
    match left.iter().find(|(name, _)| !is_read(name)) {
        Some((name, arguments)) => {
            let message = format!("{name} was called with {}, which nobody asked for", shown(arguments));
            Err(Failure::new(FailureKind::Check, message))
        }
        None => Ok(()),
    }
}

fn shown(arguments: &Map<String, Value>) -> String {
    crate::report::text::bounded(&Value::Object(arguments.clone()).to_string(), 120)
}

/// A plan is read as plan files are: names, references and cycles are judged there.
fn plan(output: &Value, roles: &[String], order: &[(String, String)], apart: &[String]) -> Result<(), Failure> {
    let wrong = |message: String| Failure::new(FailureKind::Check, message);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = output.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let file = steps.iter().map(
        |step| json!({ "id": step["id"], "agent": "FILE_EXECUTOR", "prompt": step["prompt"], "needs": step["needs"] }),
    );
    let file = json!({ "name": "probe", "steps": file.collect::<Vec<_>>() }).to_string();
    if let Err(faults) = read(file.as_bytes(), &Catalog::default()) {
        let first = faults.as_slice().first().map(|fault| fault.message.clone()).unwrap_or_default();
        return Err(wrong(format!("it is no plan: {first}")));
    }
    let role_of: BTreeMap<String, String> = steps.iter().map(|step| (text(&step["id"]), text(&step["role"]))).collect();
    let mut found: Vec<&String> = role_of.values().collect();
    found.sort();
    if found != roles.iter().collect::<Vec<_>>() {
        let found: Vec<&str> = found.iter().map(|role| role.as_str()).collect();
        return Err(wrong(format!("its steps are {} and not {}", found.join(", "), roles.join(", "))));
    }
    let needs: BTreeMap<String, Vec<String>> = steps
        .iter()
        .map(|step| (text(&step["id"]), step["needs"].as_array().into_iter().flatten().map(text).collect()))
        .collect();
    let before = |id: &String| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&String> = needs.get(id).into_iter().flatten().collect();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(needs.get(id).into_iter().flatten());
            }
        }
        seen
    };
    let with = |role: &String| {
        let role = role.clone();
        role_of.iter().filter(move |(_, found)| **found == role).map(|(id, _)| id)
    };
    for (first, then) in order {
        for late in with(then) {
            let done = before(late);
            if let Some(early) = with(first).find(|early| !done.contains(early)) {
                return Err(wrong(format!("step `{late}` ({then}) does not wait for `{early}` ({first})")));
            }
        }
    }
    for role in apart {
        for id in with(role) {
            let done = before(id);
            if let Some(other) = with(role).find(|other| done.contains(other)) {
                return Err(wrong(format!("step `{id}` waits for `{other}` without need")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case<'a>(cases: &'a Cases, id: &str) -> &'a Case {
        cases.cases.iter().find(|case| case.id == id).expect("there is such a case")
    }

    #[track_caller]
    fn check(id: &str, output: Value, made: &[(&str, Value)], expect: Result<(), &str>) {
        let cases = Cases::shipped();
        let made: Vec<Made> = made
            .iter()
            .map(|(tool, arguments)| ((*tool).to_owned(), arguments.as_object().expect("an object").clone()))
            .collect();
        let judged =
            futures::executor::block_on(judge(&cases, case(&cases, id), &output, &made, Path::new("/nowhere")));
        match (judged, expect) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Err(part)) => assert!(failure.message.contains(part), "{id}: {}", failure.message),
            (judged, expect) => panic!("{id} {output}: {judged:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn values_count_by_what_they_mean() {
        let right = json!({ "number": "2024-117", "date": "2024-03-14", "total": 194.80 });
        check("extract-total", right, &[], Ok(()));
        let wrong = json!({ "number": "194.80", "date": "2024-03-14", "total": 194.8 });
        check("extract-total", wrong, &[], Err("number is"));
        check("extract-absent", json!({ "name": "IDA BERG", "telephone": null }), &[], Ok(()));
        let lines = json!({ "lines": [{ "item": "chairs", "count": 4 }, { "item": "tables", "count": 2 }, { "item": "Lamp", "count": 1 }] });
        check("extract-lines", lines, &[], Ok(()));
        check("extract-lines", json!({ "lines": [] }), &[], Err("output.lines"));
    }

    #[test]
    fn calls_count_by_tool_and_arguments_and_nothing_else_may_change() {
        let row = |table: &str, amount: Value| ("add_row", json!({ "table": table, "amount": amount }));
        check("call-row", json!("done"), &[row("sales", json!(12.5))], Ok(()));
        check("call-row", json!("done"), &[], Err("was not called"));
        check("call-row", json!("done"), &[row("table_sales", json!(12.5))], Err("it was called with"));
        let list = ("list_files", json!({ "folder": "sales" }));
        check("call-row", json!("done"), &[list, row("sales", json!(12.5))], Ok(()));
        let both = [row("sales", json!(12.5)), row("sales", json!(1))];
        check("call-row", json!("done"), &both, Err("nobody asked"));
        check("call-two", json!("ok"), &[row("food", json!(15)), row("rent", json!(40.0))], Ok(()));
        check("call-then-answer", json!("4471"), &[("read_file", json!({ "path": "notes.txt" }))], Ok(()));
        check("call-then-answer", json!("?"), &[("read_file", json!({ "path": "notes.txt" }))], Err("4471"));
        check("call-choose", json!("ok"), &[("send_message", json!({ "to": "jonas", "text": "At noon." }))], Ok(()));
        check("no-tool-known", json!({ "sum": 42 }), &[], Ok(()));
        let weather = ("get_weather", json!({ "city": "x", "unit": "celsius" }));
        check("no-tool-known", json!({ "sum": 42 }), &[weather], Err("no tool fits"));
        check("no-tool-known", json!({ "sum": 41 }), &[], Err("sum is"));
    }

    #[test]
    fn plans_are_read_as_plan_files() {
        let step =
            |id: &str, role: &str, needs: &[&str]| json!({ "id": id, "role": role, "prompt": "do it", "needs": needs });
        let plan = |steps: &[Value]| json!({ "steps": steps });
        check("plan-two", plan(&[step("a", "READ", &[]), step("b", "WRITE", &["a"])]), &[], Ok(()));
        check("plan-two", plan(&[step("a", "READ", &[]), step("b", "WRITE", &[])]), &[], Err("does not wait"));
        check("plan-two", plan(&[step("a", "READ", &["b"]), step("b", "WRITE", &["a"])]), &[], Err("no plan"));
        check("plan-two", plan(&[step("a", "READ", &["a"]), step("b", "WRITE", &["a"])]), &[], Err("no plan"));
        check("plan-two", plan(&[step("a", "READ", &[]), step("a", "WRITE", &[])]), &[], Err("no plan"));
        check("plan-two", plan(&[step("a", "READ", &[]), step("b", "WRITE", &["c"])]), &[], Err("no plan"));
        check("plan-two", plan(&[step("a", "READ", &[])]), &[], Err("its steps are"));
        let three = [step("a", "LIST", &[]), step("b", "EXTRACT", &["a"]), step("c", "SAVE", &["b"])];
        check("plan-three", plan(&three), &[], Ok(()));
        let two = [step("a", "READ", &[]), step("b", "READ", &["a"]), step("c", "COMPARE", &["a", "b"])];
        check("plan-apart", plan(&two), &[], Err("without need"));
        let apart = [step("a", "READ", &[]), step("b", "READ", &[]), step("c", "COMPARE", &["a", "b"])];
        check("plan-apart", plan(&apart), &[], Ok(()));
    }
}
