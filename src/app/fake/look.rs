//! What a run's paid calls left in the account, for the report of a run that tries the escalation.

use std::path::Path;

use crate::account::usage_file::{self, FILE_BYTES_MAX, Record};
use crate::account::{Account, AccountError, Limits, USAGE_FILE};
use crate::domain::ids::RunId;
use crate::os::files::read_text;
use crate::report::escalation::{Accounted, UsageRecord};

/// Reads the account in a folder, where there is one, and the usage file beside it.
///
/// # Errors
/// [`AccountError`].
pub async fn accounted(folder: &Path, run: RunId, limits: &Limits) -> Result<Accounted, AccountError> {
    let usage_file = folder.join(USAGE_FILE);
    let mut found = Accounted {
        usage_file: usage_file.display().to_string(),
        hour_calls_max: limits.calls_per_hour_max,
        day_microdollars_max: limits.day_microdollars_max,
        ..Accounted::default()
    };
    if !Account::is_there(folder) {
        return Ok(found);
    }
    let account = Account::open(folder).await?;
    account.flush().await?;
    let standing = account.standing(None).await?;
    found.hour_calls = standing.hour_calls;
    found.day_microdollars = standing.day_microdollars;
    let mut in_file = match read_text(&usage_file, FILE_BYTES_MAX) {
        Ok(Some(text)) => usage_file::parse(&text).records,
        Ok(None) | Err(_) => Vec::new(),
    };
    for record in account.records(run).await? {
        let at = in_file.iter().position(|other| *other == record);
        let is_in_file = at.is_some();
        if let Some(at) = at {
            in_file.swap_remove(at);
        }
        let Record { timestamp, task_type, reason, input_tokens, output_tokens, cost_estimate, success } = record;
        found.records.push(UsageRecord {
            timestamp,
            task_type,
            reason,
            input_tokens,
            output_tokens,
            cost_estimate,
            success,
            is_in_file,
        });
    }
    Ok(found)
}
