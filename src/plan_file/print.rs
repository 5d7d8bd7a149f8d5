//! (being built)
use crate::domain::plan::RawPlan;
/// (being built)
#[must_use]
pub fn to_json(_plan: &RawPlan) -> serde_json::Value { serde_json::Value::Null }
/// (being built)
#[must_use]
pub fn to_yaml(_plan: &RawPlan) -> String { String::new() }
