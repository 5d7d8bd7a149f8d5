//! `verify`: counts a run's rows again, on the database itself, against the stored outputs.

use std::collections::BTreeMap;

use super::access::Looking;
use super::args::RunName;
use super::context::{Access, Context};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::app::running;
use crate::app::verify::{OnDatabase, verify as count};
use crate::database::Difference;
use crate::domain::failure::{Failure, FailureKind};
use crate::report::{SHAPE_VERSION, text};

/// Items that are named for one difference that they share.
const ITEMS_NAMED_MAX: usize = 20;

pub(super) fn verify(context: &Context, args: &RunName) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let looking = Looking::open(context, &standing)?;
    let own = match &looking.access {
        Access::Own(own) => own,
        Access::StateOnly(_) => return Err(looking.nothing_runs("verified")),
        Access::Other(_) => {
            return Err(CliError::usage("another process is at work in this project")
                .hint("`ollmcp verify` counts when it has ended"));
        }
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
    let found = found.map_err(|error| {
        let told = Failure::told(FailureKind::ToolError, &error.to_string());
        CliError::failed(told.message)
            .hint("the rows that this run wrote can be counted only there: put the file back from a copy")
    })?;
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

/// Differences that are not of one table, by what they are: a database that is gone is told once, not once an item.
fn whole_items(differences: &[Difference]) -> BTreeMap<&str, Vec<&str>> {
    let mut whole: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for difference in differences.iter().filter(|difference| difference.table.is_none()) {
        whole.entry(&difference.what).or_default().push(&difference.item);
    }
    whole
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
        let whole = whole_items(&on.found.differences);
        for (what, items) in &whole {
            let named: Vec<String> = items.iter().take(ITEMS_NAMED_MAX).map(|item| text::clean(item)).collect();
            let more = items.len().saturating_sub(ITEMS_NAMED_MAX);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            let count = text::plural(items.len() as u64, "item");
            output::out(&format!("  {}\n    {count}: {}{more}\n", text::clean(what), named.join(", ")));
        }
        for difference in on.found.differences.iter().filter(|difference| difference.table.is_some()) {
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
