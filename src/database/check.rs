//! `sql` checks: asked inside the writing transaction, before the commit, unable to write.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::SqliteConnection;

use super::DatabaseError;
use super::cell::Stored;
use super::connection::{each, fault, plain};
use super::schema::same;

/// How long one check may run, in milliseconds: nobody else can write meanwhile.
const CHECK_MS_MAX: u64 = 30_000;

/// One `sql` check, inside the transaction, unable to write.
pub(super) async fn hold(connection: &mut SqliteConnection, query: &str, equals: &Value) -> Result<(), DatabaseError> {
    let shown: String = query.chars().take(200).collect();
    super::statement::one_reading(query).map_err(|why| DatabaseError::Check(format!("check `{shown}`: {why}")))?;
    plain(connection, "pragma query_only = on").await?;
    let deadline = Instant::now() + Duration::from_millis(CHECK_MS_MAX);
    connection
        .lock_handle()
        .await
        .map_err(|error| fault(&error))?
        .set_progress_handler(10_000, move || Instant::now() < deadline);
    let mut found = None;
    let asked = each(connection, query.to_owned(), [], |line| {
        found = line.into_iter().next();
        false
    })
    .await;
    connection.lock_handle().await.map_err(|error| fault(&error))?.remove_progress_handler();
    plain(connection, "pragma query_only = off").await?;
    match asked {
        Err(DatabaseError::Busy(why)) => return Err(DatabaseError::Busy(why)),
        Err(error) => return Err(DatabaseError::Check(format!("check `{shown}` cannot be asked: {error}"))),
        Ok(()) => {}
    }
    let Some(found) = found else {
        return Err(DatabaseError::Check(format!("check `{shown}` gave no row, expected {equals}")));
    };
    if matches_json(&found, equals) {
        return Ok(());
    }
    Err(DatabaseError::Check(format!("check `{shown}` gave {}, expected {equals}", found.shown())))
}

/// Numbers by value, booleans as SQLite has them, text as text.
fn matches_json(found: &Stored, equals: &Value) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "whole numbers are compared as such first")]
    match (found, equals) {
        (Stored::Null, Value::Null) => true,
        (Stored::Integer(number), Value::Bool(flag)) => *number == i64::from(*flag),
        (Stored::Integer(number), Value::Number(wanted)) => {
            wanted.as_i64().map_or_else(|| wanted.as_f64() == Some(*number as f64), |wanted| wanted == *number)
        }
        (Stored::Real(number), Value::Number(wanted)) => wanted.as_f64() == Some(*number),
        (Stored::Text(text), Value::String(wanted)) => text == wanted,
        // A template that is not bare gives text.
        (Stored::Integer(_) | Stored::Real(_), Value::String(wanted)) => {
            wanted.parse::<f64>().is_ok_and(|wanted| same(&Stored::Real(wanted), found))
        }
        _ => false,
    }
}
