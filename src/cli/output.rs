//! Writing to the person: results on standard output, the rest on standard error. A closed pipe or terminal is no
//! fault: what nobody reads is not written. Results that somebody waits for and that cannot be written are one.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use rustix::fs::FileType;

/// Why the results could not be written, the first time.
static LOST: OnceLock<String> = OnceLock::new();

/// Results.
pub(super) fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        not_written(&error);
    }
}

/// Takes note of results that could not be written.
pub(super) fn not_written(error: &io::Error) {
    // A reader that has gone away wants no more, and neither does a terminal that was closed.
    let is_hung_up = || error.raw_os_error() == Some(libc::EIO) && is_device();
    if error.kind() != ErrorKind::BrokenPipe && !is_hung_up() {
        LOST.get_or_init(|| error.to_string());
    }
}

fn is_device() -> bool {
    let found = rustix::fs::fstat(io::stdout());
    found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice)
}

/// Why results did not reach whoever waits for them, if they did not.
pub(super) fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

/// Everything else.
pub(super) fn err(text: &str) {
    // A closed terminal does not end a run.
    let _ = io::stderr().lock().write_all(text.as_bytes());
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
    io::stderr().is_terminal()
}
