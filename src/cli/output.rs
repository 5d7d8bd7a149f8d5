//! Writing to the person: results on standard output, the rest on standard error. A closed pipe or terminal is no
//! fault: what cannot be written is not written.

use std::io::{IsTerminal as _, Write as _};

/// Results.
pub(super) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone away wants no more.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Everything else.
pub(super) fn err(text: &str) {
    // A closed terminal does not end a run.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// One JSON value on one line.
pub(super) fn json<T: serde::Serialize>(value: &T) {
    let text = serde_json::to_string(value).expect("shapes of the command line are plain data");
    out(&text);
    out("\n");
}

/// One JSON object on one line, with the version of the shapes in front.
pub(super) fn json_with_version(mut value: serde_json::Value) {
    let mut all = serde_json::Map::from_iter([("v".to_owned(), crate::report::SHAPE_VERSION.into())]);
    all.extend(std::mem::take(value.as_object_mut().expect("shapes of the command line are objects")));
    json(&all);
}

/// A note beside the results.
pub(super) fn note(text: &str) {
    err(&format!("note: {text}\n"));
}

/// Whether a person watches.
pub(super) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}
