//! What `verify` expects: the rows of a run's done items, worked out again from the stored outputs.

use std::collections::BTreeMap;

use crate::database::{DatabaseError, Difference, Expectation, Verification};
use crate::domain::ids::TaskId;
use crate::domain::run::{RunState, TaskPhase};
use crate::engine::Ports;
use crate::engine::jobs::Jobs;
use crate::engine::work;

/// What was found on one database.
#[derive(Debug, serde::Serialize)]
pub struct OnDatabase {
    /// Its address.
    pub database: String,
    /// What was counted.
    #[serde(flatten)]
    pub found: Verification,
}

/// Why a run cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A database cannot be read.
    #[error("cannot read `{database}`: {source}")]
    Database {
        /// Its address.
        database: String,
        /// Why.
        source: DatabaseError,
    },
}

/// Counts the rows of all done items of a run again, on the databases themselves.
///
/// # Errors
/// [`VerifyError`]; a difference is no error.
pub async fn verify(ports: &Ports, run: &RunState) -> Result<Vec<OnDatabase>, VerifyError> {
    let mut expected: BTreeMap<String, Vec<Expectation>> = BTreeMap::new();
    let mut lost: BTreeMap<String, Vec<Difference>> = BTreeMap::new();
    let mut jobs = Jobs::new(ports.blobs.clone());
    for (id, task) in &run.tasks {
        let writes = run.step(id.step).kind.writes_rows();
        let (true, TaskPhase::Done { output, .. }) = (writes, &task.phase) else { continue };
        match work::expectation(ports, &jobs.task(run, *id), task.identity).await {
            Ok((address, expectation)) => expected.entry(address).or_default().push(expectation),
            Err(why) => {
                let address = address_of(ports, output);
                lost.entry(address).or_default().push(unreadable(run, *id, why));
            }
        }
    }
    let mut all = Vec::new();
    for (address, expectations) in expected {
        let failed = |source| VerifyError::Database { database: address.clone(), source };
        let database = ports.databases.open(&address).map_err(failed)?;
        let mut found = database.verify(expectations).await.map_err(failed)?;
        found.differences.extend(lost.remove(&address).unwrap_or_default());
        all.push(OnDatabase { database: address, found });
    }
    all.extend(lost.into_iter().map(|(database, differences)| OnDatabase {
        database,
        found: Verification { differences, ..Verification::default() },
    }));
    Ok(all)
}

fn address_of(ports: &Ports, output: &crate::domain::payload::Payload) -> String {
    let output = ports.blobs.read_value(output).unwrap_or_default();
    output.get("database").and_then(|address| address.as_str()).unwrap_or("unknown database").to_owned()
}

fn unreadable(run: &RunState, id: TaskId, why: String) -> Difference {
    let item = run.tasks[&id].key.clone();
    Difference { item, table: None, rowid: None, what: format!("cannot be counted: {why}") }
}
