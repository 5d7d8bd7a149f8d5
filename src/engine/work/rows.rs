//! DATABASE_WRITER's deterministic way: tables among the arguments into a write, and what the database must hold then.

use serde_json::{Map, Value, json};

use super::prepare::prepared_act;
use super::{Act, Job, expression_failure, key_text, shown};
use crate::database;
use crate::database::{LedgerKey, Target, WriteJob};
use crate::domain::command::AttemptEnd;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::Digest;
use crate::domain::nearest::nearest;
use crate::domain::plan::Check;
use crate::engine::Ports;
use crate::engine::values::Scope;
use crate::plan_file::expr::{self, ExprError};

/// JSON Schema of DATABASE_WRITER's arguments.
#[must_use]
pub fn write_arguments() -> Value {
    json!({
        "type": "object",
        "properties": {
            "database": { "type": "string" },
            "rows": { "type": ["array", "object"] },
            "headers": { "type": "array" },
            "table": { "type": "string" },
        },
        "required": ["database", "rows"],
        "additionalProperties": false,
    })
}

/// Whether DATABASE_WRITER knows all its arguments. A plan is read with its schema; this holds for plans that were
/// accepted without it.
pub(super) fn known_arguments(with: &Map<String, Value>) -> Result<(), Failure> {
    let schema = write_arguments();
    let known: Vec<&str> =
        schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let Some(unknown) = with.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let failure = Failure::new(FailureKind::BadInput, format!("DATABASE_WRITER has no argument `{unknown}`"));
    Err(match nearest(unknown, known.iter().copied().filter(|name| !with.contains_key(*name))) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("it takes {}", known.join(", "))),
    })
}

/// What DATABASE_WRITER is asked to do.
pub(super) fn write_job(
    ports: &Ports,
    job: &Job,
    scope: &Scope,
    key: &str,
    identity: Digest,
    with: &Map<String, Value>,
) -> Result<Act, Failure> {
    let bad = |message: String| Failure::told(FailureKind::BadInput, &message);
    let address = with
        .get("database")
        .and_then(Value::as_str)
        .ok_or_else(|| bad("DATABASE_WRITER needs `database`, an address such as `sqlite:tables.db`".to_owned()))?;
    let target = match with.get("table") {
        None => Target::Auto,
        Some(Value::String(name)) if name == "auto" => Target::Auto,
        Some(Value::String(name)) => Target::Named(name.clone()),
        Some(other) => return Err(bad(format!("`table` must be `auto` or a name, found {}", shown(other)))),
    };
    let tables = source_tables(with).map_err(bad)?;
    let mut checks = Vec::new();
    for check in &job.definition().done_when {
        if let Some(check) = inside_transaction(check, address, scope).map_err(|error| expression_failure(&error))? {
            checks.push(check);
        }
    }
    let source_tables = tables.len();
    let key = LedgerKey {
        project: ports.project.clone(),
        plan: job.plan.name().to_owned(),
        step: job.definition().id.to_string(),
        item: key.to_owned(),
        identity,
        run: job.run,
    };
    let job = Box::new(WriteJob { key, target, tables, checks });
    Ok(Act::Write { address: address.to_owned(), job, source_tables })
}

/// The tables among DATABASE_WRITER's arguments.
///
/// # Errors
/// What is wrong with `rows`, in words.
pub fn source_tables(with: &Map<String, Value>) -> Result<Vec<database::SourceTable>, String> {
    let rows =
        with.get("rows").ok_or_else(|| "DATABASE_WRITER needs `rows`: tables, or a list of records".to_owned())?;
    match with.get("headers") {
        None => database::tables_from_rows(rows),
        Some(Value::Array(headers)) => {
            let headers: Vec<String> = headers.iter().map(key_text).collect();
            Ok(vec![database::table_from_lists(&headers, rows)?])
        }
        Some(other) => Err(format!("`headers` must be a list of names, found {}", shown(other))),
    }
}

/// A `sql` check on the database that the task writes runs inside its transaction.
fn inside_transaction(check: &Check, address: &str, scope: &Scope) -> Result<Option<Check>, ExprError> {
    let Check::Sql { database, query, equals } = check else { return Ok(None) };
    let evaluated = expr::render(&Value::String(database.clone()), scope)?;
    if evaluated.as_str() != Some(address) {
        return Ok(None);
    }
    let equals = expr::render(equals, scope)?;
    Ok(Some(Check::Sql { database: address.to_owned(), query: query.clone(), equals }))
}

pub(super) async fn write(
    ports: &Ports,
    address: &str,
    job: &WriteJob,
    source_tables: usize,
) -> Result<Value, AttemptEnd> {
    let written = match ports.databases.open(address) {
        Ok(database) => database.write(job).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(written) => {
            let mut output = serde_json::to_value(&written).expect("counts serialise");
            output["database"] = Value::from(address);
            output["tables_found"] = Value::from(source_tables);
            Ok(output)
        }
        Err(error) => Err(AttemptEnd::Failed(database_failure(&error))),
    }
}

/// What the database must hold for a done task of DATABASE_WRITER, worked out again from the stored outputs.
///
/// # Errors
/// Why it cannot be worked out, in words.
pub async fn expectation(
    ports: &Ports,
    job: &Job,
    identity: Option<Digest>,
) -> Result<(String, database::Expectation), String> {
    let (scope, key) = job.item_scope(ports).map_err(|error| error.to_string())?;
    let ready = prepared_act(ports, job, scope, &key).await.map_err(|failure| failure.message)?;
    let Act::Write { address, job: write, .. } = ready.act else { return Err("the task writes no rows".to_owned()) };
    let WriteJob { mut key, target, tables, .. } = *write;
    // The agent's text may have changed since: the rows were written under the identity of then.
    key.identity = identity.unwrap_or(key.identity);
    Ok((address, database::Expectation { key, target, tables }))
}

pub(super) fn database_failure(error: &crate::database::DatabaseError) -> Failure {
    use crate::database::DatabaseError as E;
    let kind = match error {
        E::Address(_) | E::Target(_) => FailureKind::BadInput,
        E::Busy(_) => FailureKind::Busy,
        E::Check(_) => FailureKind::Check,
        E::Denied(_) => FailureKind::Denied,
        E::Failed(_) => FailureKind::ToolError,
    };
    Failure::told(kind, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_nobody_knows_is_refused_also_where_the_plan_was_accepted_with_it() {
        let known = |with: Value| known_arguments(with.as_object().unwrap());
        known(json!({ "database": "d", "rows": [], "headers": [], "table": "auto" })).unwrap();
        let failure = known(json!({ "database": "d", "rows": [], "tabel": "t" })).unwrap_err();
        assert_eq!(failure.message, "DATABASE_WRITER has no argument `tabel`");
        assert_eq!(failure.hint.as_deref(), Some("did you mean `table`?"));
        let failure = known(json!({ "database": "d", "rows": [], "on_conflict": "skip" })).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("it takes database, rows, headers, table"));
    }
}
