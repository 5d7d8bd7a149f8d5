//! Checks to verdicts: the engine looks, nobody is believed.
//!
//! What it does not do: decide what follows from a verdict; that is the core's.

mod csv;
mod file;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::database::Databases;
use crate::domain::plan::Check;
use crate::domain::verdict::{Judge, Verdict};
use crate::os::staging::{Manifest, Overlay};
use crate::plan_file::expr::{self, ExprError, Lookup};

/// What the engine knows beside the names of an expression.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The project folder.
    pub workspace: &'a Path,
    /// Paths outside of it that may be looked at.
    pub granted: &'a [PathBuf],
    /// Databases by address.
    pub databases: &'a dyn Databases,
    /// The workspace as the attempt sees it, with its files that wait for acceptance.
    pub overlay: Option<&'a Overlay>,
    /// What the attempt changed; `None`: nothing.
    pub changes: Option<&'a Manifest>,
    /// Tools that were called in the attempt and succeeded.
    pub called: &'a [String],
    /// The database whose `sql` checks ran inside the writing transaction already.
    pub written: Option<&'a str>,
}

/// Evaluates checks in order and stops at the first that does not hold.
pub async fn check(checks: &[Check], scope: &(dyn Lookup + Sync), facts: &Facts<'_>) -> Verdict {
    let mut evidence = Vec::with_capacity(checks.len());
    for check in checks {
        match one(check, scope, facts).await {
            Ok(Seen { holds: true, line }) => evidence.push(line),
            Ok(Seen { holds: false, line }) => return rejected(check, evidence, line),
            Err(error) => return rejected(check, evidence, error.to_string()),
        }
    }
    Verdict::accepting(Judge::Checks, evidence)
}

fn rejected(check: &Check, evidence: Vec<String>, complaint: String) -> Verdict {
    Verdict { evidence, check: Some(check.to_string()), ..Verdict::rejecting(Judge::Checks, complaint) }
}

/// What one check saw.
struct Seen {
    holds: bool,
    line: String,
}

async fn one(check: &Check, scope: &(dyn Lookup + Sync), facts: &Facts<'_>) -> Result<Seen, ExprError> {
    match check {
        Check::Expression(text) => {
            let judged = expr::judge(text, scope)?;
            Ok(Seen { holds: judged.holds, line: judged.evidence })
        }
        Check::File { path, exists, parses, changed } => {
            let path = text_of(path, scope)?;
            Ok(file::look(
                facts,
                &path,
                &file::Wanted { exists: *exists, parses: parses.as_deref(), changed: *changed },
            ))
        }
        Check::Sql { database, query, equals } => {
            let database = text_of(database, scope)?;
            let wanted = expr::render(equals, scope)?;
            if facts.written == Some(database.as_str()) {
                // It ran inside the transaction, with its rows; had it not held, nothing would have been written.
                return Ok(Seen { holds: true, line: format!("`{query}` = {wanted}, before the commit") });
            }
            Ok(sql(facts, &database, query, &wanted).await)
        }
        Check::Called { tool } => {
            let holds = facts.called.contains(tool);
            let line =
                if holds { format!("{tool} was called and succeeded") } else { format!("{tool} was not called") };
            Ok(Seen { holds, line })
        }
    }
}

fn text_of(template: &str, scope: &(dyn Lookup + Sync)) -> Result<String, ExprError> {
    Ok(match expr::render(&Value::String(template.to_owned()), scope)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

async fn sql(facts: &Facts<'_>, database: &str, query: &str, wanted: &Value) -> Seen {
    let rows = match facts.databases.open(database) {
        Ok(database) => database.query(query, &[], 1).await,
        Err(error) => Err(error),
    };
    match rows {
        Ok(rows) => {
            let found = rows.first().and_then(|row| row.values().next().cloned()).unwrap_or(Value::Null);
            let holds = same_value(&found, wanted);
            let line =
                if holds { format!("`{query}` = {found}") } else { format!("`{query}` gives {found}, not {wanted}") };
            Seen { holds, line }
        }
        Err(error) => Seen { holds: false, line: format!("`{query}`: {error}") },
    }
}

/// Numbers by value, everything else as JSON.
fn same_value(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// Whether a value fits a JSON Schema; all faults in one bounded line.
///
/// # Errors
/// The faults.
pub fn fits_schema(schema: &Value, value: &Value) -> Result<(), String> {
    const FAULTS_MAX: usize = 10;
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .offline()
        .build(schema)
        .map_err(|error| format!("the output schema does not hold: {}", error.masked()))?;
    let faults: Vec<String> = validator
        .iter_errors(value)
        .take(FAULTS_MAX)
        .map(|error| {
            let at = error.instance_path().to_string();
            let place = if at.is_empty() { "the output".to_owned() } else { format!("`{at}`") };
            format!("{place}: {}", error.masked())
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(format!("the output does not fit its schema: {}", faults.join("; "))) }
}
