//! `--fake`: the scripted Claude inside the program. It speaks the Messages API on a socket of this machine, so that the
//! real adapter, door and account are at work; what is made up is the answer alone, and what it costs.
//!
//! It has a key of its own and an account of its own for each run, below the project's state. Nothing of the person's
//! key, hour, day or usage file is touched, and nothing leaves this machine.

mod answer;
mod forms;
mod instance;
pub mod look;
mod pattern;
mod server;

use std::path::{Path, PathBuf};

use crate::domain::ids::RunId;
use crate::domain::plan::Plan;
use crate::domain::run::Head;
use crate::engine::AgentCard;
use crate::os::files::make_private_folder;

pub use forms::Forms;
pub use instance::instance;
pub use server::FakeClaude;

pub use crate::report::escalation::FAKE_SAID;

/// Folder of the accounts, in the state folder.
const FOLDER: &str = "fake";

/// Where the account of a run with `--fake` is kept.
#[must_use]
pub fn account_folder(state_folder: &Path, run: RunId) -> PathBuf {
    state_folder.join(FOLDER).join(run.to_string())
}

/// Makes the folder of a run's account; those of runs that are over are removed.
///
/// # Errors
/// What the system says.
pub fn make_account_folder(state_folder: &Path, run: RunId, heads: &[Head]) -> std::io::Result<PathBuf> {
    let all = state_folder.join(FOLDER);
    make_private_folder(&all)?;
    for entry in std::fs::read_dir(&all)?.flatten() {
        let is_of = |head: &&Head| entry.file_name().to_str() == Some(head.run.to_string().as_str());
        if heads.iter().find(is_of).is_some_and(|head| head.end.is_some() && head.run != run)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, "an old account of a fake Claude stays");
        }
    }
    let folder = account_folder(state_folder, run);
    make_private_folder(&folder)?;
    Ok(folder)
}

/// Steps that ask models on a ladder of stand-ins alone; none in a plan for work.
#[must_use]
pub fn steps_on_stand_ins(plan: &Plan, cards: &std::collections::BTreeMap<String, AgentCard>) -> usize {
    let ladders = crate::engine::Ladders::default();
    let is_on_stand_ins = |step: &&crate::domain::plan::Step| {
        let card = match &step.kind {
            crate::domain::plan::StepKind::Agent { name, prompt: Some(_), .. } => cards.get(name),
            _ => return false,
        };
        let rungs = ladders.rungs(plan, step, card).unwrap_or_default();
        let mut local = rungs.iter().filter(|rung| !crate::engine::ladders::is_paid(rung)).peekable();
        local.peek().is_some() && local.all(|rung| plan.raw().is_stand_in(rung))
    };
    plan.steps().iter().filter(is_on_stand_ins).count()
}
