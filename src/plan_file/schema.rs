//! (being built)
/// (being built)
#[must_use]
pub fn schema() -> serde_json::Value { serde_json::Value::Null }
/// (being built)
#[must_use]
pub fn keys_markdown() -> String { String::new() }
