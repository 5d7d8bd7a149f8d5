//! `verify`: counts a run's rows again, on the database itself, against the stored outputs.

use super::access::Looking;
use super::args::RunName;
use super::context::{Access, Context};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::app::running;
use crate::app::verify::{OnDatabase, verify as count};
use crate::report::{SHAPE_VERSION, text};

pub(super) fn verify(context: &Context, args: &RunName) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let looking = Looking::open(context, &standing)?;
    let Access::Own(own) = &looking.access else {
        return Err(CliError::usage("another process is at work in this project")
            .hint("`ollmcp verify` counts when it has ended"));
    };
    let run = looking.find(&args.run)?;
    let state = looking.state(run)?;
    let ports = running::ports(&standing, &own.store, &state.head.origin.granted_paths(), Vec::new());
    let (ports, _) = ports.map_err(|faults| CliError::usage(faults.join("; ")))?;
    let found = looking.runtime().block_on(async {
        let found = count(&ports, &state).await;
        ports.servers.close_all().await;
        ports.databases.close_all().await;
        found
    });
    let found = found.map_err(|error| CliError::failed(error.to_string()))?;
    let holds = found.iter().all(|on| on.found.differences.is_empty());
    if context.is_json {
        output::json(&serde_json::json!({
            "v": SHAPE_VERSION, "run": run.to_string(), "holds": holds, "databases": found
        }));
    } else {
        print(&found, run.short().as_str());
    }
    Ok(if holds { Exit::Complete } else { Exit::DoesNotHold })
}

fn print(found: &[OnDatabase], run: &str) {
    if found.is_empty() {
        output::out(&format!("run {run} wrote no rows: nothing to count\n"));
    }
    for on in found {
        let items = text::plural(on.found.items, "item");
        let rows = text::plural(on.found.rows, "row");
        output::out(&format!("{}: {items}, {rows} counted\n", text::clean(&on.database)));
        for (item, by) in &on.found.superseded {
            output::out(&format!("  {}: superseded by run {}\n", text::clean(item), by.short()));
        }
        for difference in &on.found.differences {
            let table = difference.table.as_deref().unwrap_or("?");
            let rowid = difference.rowid.map_or_else(String::new, |rowid| format!(" row {rowid}"));
            output::out(&format!(
                "  {}: {}{rowid}: {}\n",
                text::clean(&difference.item),
                text::clean(table),
                text::clean(&difference.what)
            ));
        }
        let word = if on.found.differences.is_empty() { "holds" } else { "does not hold" };
        output::out(&format!("{word}\n"));
    }
}
