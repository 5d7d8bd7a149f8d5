//! `rows`: the rows that a run wrote, as they stand in the database now.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::access::Looking;
use super::args::RowsArgs;
use super::context::{Access, Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::app::databases::OpenDatabases;
use crate::app::store::blobs_dir;
use crate::database::{Databases as _, RowsPage};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::Digest;
use crate::domain::run::{RunState, TaskPhase};
use crate::journal::blobs::Blobs;
use crate::report::{SHAPE_VERSION, text};

pub(super) fn rows(context: &Context, args: &RowsArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let project = project_of(&standing)?;
    let looking = Looking::open(context, &standing)?;
    if let Access::Other(_) = looking.access {
        return Err(CliError::usage("another process is at work in this project")
            .hint("`ollmcp rows` reads when it has ended; the database itself can be read at any time"));
    }
    let run = looking.find(&args.run)?;
    let state = looking.state(run)?;
    let by_database = identities(&state, &Blobs::reader(&blobs_dir(&project.state)));
    if by_database.is_empty() {
        return Err(
            CliError::usage(format!("run {} wrote no rows", run.short())).hint(format!("ollmcp show {}", run.short()))
        );
    }
    let databases = Arc::new(OpenDatabases::new(project.folder.clone(), state.head.origin.granted_paths()));
    let mut pages: Vec<(String, RowsPage)> = Vec::new();
    let mut tables: Vec<String> = Vec::new();
    let addresses: Vec<String> = by_database.keys().cloned().collect();
    for (address, identities) in by_database {
        let failed = |error: crate::database::DatabaseError| {
            let told = Failure::told(FailureKind::ToolError, &error.to_string());
            CliError::failed(format!("cannot read `{address}`: {}", told.message)).hint_opt(told.hint)
        };
        let database = databases.open(&address).map_err(failed)?;
        let limit = if args.csv { u64::MAX } else { args.limit };
        let found = looking.runtime().block_on(database.rows(&identities, args.table.as_deref(), limit));
        pages.extend(found.map_err(failed)?.into_iter().map(|page| (address.clone(), page)));
        if pages.is_empty() && args.table.is_some() {
            let all = looking.runtime().block_on(database.rows(&identities, None, 1));
            tables.extend(all.map_err(failed)?.into_iter().map(|page| page.table));
        }
        looking.runtime().block_on(databases.close_all());
    }
    match &args.table {
        Some(table) if pages.is_empty() && !tables.is_empty() => {
            Err(CliError::usage(format!("run {} has no rows in a table `{table}`", run.short()))
                .hint(format!("there are: {}", tables.join(", "))))
        }
        // Empty output would look like a run that wrote nothing.
        _ if pages.is_empty() => Err(CliError::failed(format!(
            "no row of run {} stands in {} now",
            run.short(),
            addresses.iter().map(|address| format!("`{address}`")).collect::<Vec<_>>().join(", ")
        ))
        .hint(format!("ollmcp verify {} says what is missing", run.short()))),
        _ => print(context, args, &pages),
    }
}

/// Identities of the items that a run wrote or found written, by database.
fn identities(state: &RunState, blobs: &Blobs) -> BTreeMap<String, Vec<Digest>> {
    let mut by_database: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
    for (id, task) in &state.tasks {
        let writes = state.step(id.step).kind.writes_rows();
        if let (true, TaskPhase::Done { output, .. }, Some(identity)) = (writes, &task.phase, task.identity)
            && let Ok(output) = blobs.read_value(output)
            && let Some(address) = output.get("database").and_then(Value::as_str)
            && output.get("rows").and_then(Value::as_u64).is_some_and(|rows| rows > 0)
        {
            by_database.entry(address.to_owned()).or_default().push(identity);
        }
    }
    by_database
}

fn print(context: &Context, args: &RowsArgs, pages: &[(String, RowsPage)]) -> Result<Exit, CliError> {
    if context.is_json {
        let tables: Vec<_> =
            pages.iter().map(|(database, page)| serde_json::json!({ "database": database, "table": page })).collect();
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "tables": tables }));
        return Ok(Exit::Complete);
    }
    if args.csv {
        let [(_, page)] = pages else {
            let names: Vec<_> = pages.iter().map(|(_, page)| page.table.clone()).collect();
            return Err(
                CliError::usage("--csv prints one table").hint(format!("--table with one of: {}", names.join(", ")))
            );
        };
        output::out(&csv(page));
        return Ok(Exit::Complete);
    }
    for (database, page) in pages {
        output::out(&format!("{} in {}\n", text::clean(&page.table), text::clean(database)));
        output::out(&text::grid(&page.columns, &page.rows));
    }
    if pages.iter().any(|(_, page)| page.rows.len() as u64 >= args.limit) {
        output::err(&format!("at most {} rows of a table are shown: --limit N, --csv for all\n", args.limit));
    }
    Ok(Exit::Complete)
}

fn csv(page: &RowsPage) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.map(|cell| quoted(&cell)).collect();
        format!("{}\r\n", cells.join(","))
    };
    let mut out = line(&mut page.columns.iter().cloned());
    for row in &page.rows {
        out.push_str(&line(&mut row.iter().map(text::cell)));
    }
    out
}

/// RFC 4180.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
