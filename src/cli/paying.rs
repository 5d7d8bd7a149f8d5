//! Where a run's paid calls are counted: in the person's account, or, with `--fake`, in one of the run's own.

use std::path::PathBuf;

use super::context::{OwnStore, project_of};
use super::error::CliError;
use super::output;
use crate::account::{Account, Limits};
use crate::app::place::Standing;
use crate::app::{fake, money, running};
use crate::domain::event::Origin;
use crate::domain::ids::RunId;
use crate::domain::plan::Plan;
use crate::domain::run::RunState;
use crate::report::escalation::{Escalation, is_trial};

/// An account with the limits that a run keeps to.
#[derive(Clone, Debug)]
pub(super) struct Paying {
    /// Folder of the account.
    pub(super) account: PathBuf,
    /// The limits.
    pub(super) limits: Limits,
}

impl Paying {
    /// That of a run with this origin.
    pub(super) fn of(
        standing: &Standing,
        own: &OwnStore,
        run: RunId,
        plan: &Plan,
        origin: &Origin,
    ) -> Result<Self, CliError> {
        let mut limits = money::limits(&standing.settings, origin.budget_microdollars);
        if !origin.fake {
            return Ok(Self { account: standing.home.ollmcp.clone(), limits });
        }
        let heads = own.store.state.reader().heads()?;
        let account = fake::make_account_folder(&project_of(standing)?.state, run, &heads)?;
        let steps = fake::steps_on_stand_ins(plan, &running::cards(standing)) as u64;
        if steps > 1 {
            // One call too few, so that the limit is seen at work.
            limits.calls_per_hour_max = steps - 1;
        }
        Ok(Self { account, limits })
    }

    /// Paid calls of a run on record, and what they cost. No report is held up by an account that cannot be read, but it
    /// is said that its money is missing.
    pub(super) async fn spent(&self, run: RunId) -> (u64, u64) {
        if !Account::is_there(&self.account) {
            return (0, 0);
        }
        let run = run.to_string();
        let read = async { Account::open(&self.account).await?.standing(Some(&run)).await };
        match read.await {
            Ok(now) => {
                let of_run = now.runs.iter().find(|(id, ..)| *id == run);
                of_run.map_or((0, 0), |(_, calls, microdollars)| (*calls, *microdollars))
            }
            Err(error) => {
                output::note(&format!(
                    "the usage account cannot be read ({error}): what was paid is not in the report"
                ));
                (0, 0)
            }
        }
    }

    /// What a run that only tries the escalation left in the account; `None` for every other run, and before its end.
    pub(super) fn seen(&self, state: &RunState) -> Result<Option<Escalation>, CliError> {
        if state.head.end.is_none() || !is_trial(state) {
            return Ok(None);
        }
        let runtime = super::watch::runtime()?;
        let found = runtime.block_on(fake::look::accounted(&self.account, state.head.run, &self.limits));
        let found = found.map_err(|error| CliError::failed(error.to_string()).hint_opt(error.hint()))?;
        Ok(Some(Escalation::new(state, found)))
    }
}
