//! (being built)
use crate::domain::plan::Plan;
/// (being built)
#[must_use]
pub fn explain(_plan: &Plan, _width: usize) -> String { String::new() }
