//! What a model is told of its step's checks before it starts: the deeds that they ask for, in words.
//!
//! Expressions and SQL are not told. Small models take them for a part of the task: with four expressions in its prompt,
//! a model of 135 million parameters put one of them into its answer as an invoice line, and read none of ten short
//! invoices right; without them it read two, and no answer ran to its limit. An expression that fails is told as the
//! complaint of the next attempt, with the values that it saw. And what is not told cannot be played to.

use crate::domain::plan::Check;

/// A check in words, with its path put in by `rendered`; `None` for one that is not told.
pub fn check_in_words(check: &Check, mut rendered: impl FnMut(&str) -> String) -> Option<String> {
    match check {
        Check::Expression(_) | Check::Sql { .. } => None,
        Check::File { path, exists, parses, changed } => {
            let path = rendered(path);
            let mut words: Vec<String> = Vec::new();
            match (exists, parses) {
                (Some(false), _) => words.push("does not exist".to_owned()),
                (_, Some(form)) => words.push(format!("exists and parses as {form}")),
                (Some(true), None) => words.push("exists".to_owned()),
                (None, None) => {}
            }
            match changed {
                Some(true) => words.push("was changed".to_owned()),
                Some(false) => words.push("was not changed".to_owned()),
                None => {}
            }
            Some(format!("file {path} {}", words.join(" and ")))
        }
        Check::Called { tool } => Some(format!("tool {tool} was called and succeeded")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deeds_are_told_and_expressions_are_not() {
        let told = |check: &Check| check_in_words(check, |path| path.replace("TODAY", "monday"));
        let file = |exists, parses: Option<&str>, changed| Check::File {
            path: "TODAY.json".into(),
            exists,
            parses: parses.map(str::to_owned),
            changed,
        };
        assert_eq!(told(&Check::Expression("output.n > 0".into())), None);
        assert_eq!(told(&Check::Sql { database: "d".into(), query: "select 1".into(), equals: json!(1) }), None);
        assert_eq!(told(&file(Some(true), None, None)).unwrap(), "file monday.json exists");
        assert_eq!(told(&file(Some(false), None, None)).unwrap(), "file monday.json does not exist");
        assert_eq!(
            told(&file(None, Some("json"), Some(true))).unwrap(),
            "file monday.json exists and parses as json and was changed"
        );
        assert_eq!(told(&file(None, None, Some(false))).unwrap(), "file monday.json was not changed");
        assert_eq!(told(&Check::Called { tool: "box.keep".into() }).unwrap(), "tool box.keep was called and succeeded");
    }
}
