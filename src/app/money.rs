//! The usage account of the person, and the limits that the configuration sets.

use super::place::Standing;
use crate::account::{Account, AccountError, Limits};
use crate::config::Settings;

/// The limits of paid calls; `run_microdollars_max` is what `--budget` gave this run.
#[must_use]
pub fn limits(settings: &Settings, run_microdollars_max: Option<u64>) -> Limits {
    Limits {
        calls_per_hour_max: settings.claude.calls_per_hour_max.into(),
        run_microdollars_max: run_microdollars_max.or(settings.budget.run_microdollars_max),
        day_microdollars_max: Some(settings.budget.day_microdollars_max),
        warn_at_microdollars: settings.budget.warn_at_microdollars,
    }
}

/// Opens the account in the user-wide folder; makes it where there is none.
///
/// # Errors
/// [`AccountError`].
pub async fn open(standing: &Standing) -> Result<Account, AccountError> {
    Account::open(&standing.home.ollmcp).await
}

/// The same, but where nothing was ever paid for, nothing is made.
///
/// # Errors
/// [`AccountError`].
pub async fn open_existing(standing: &Standing) -> Result<Option<Account>, AccountError> {
    if Account::is_there(&standing.home.ollmcp) { open(standing).await.map(Some) } else { Ok(None) }
}
