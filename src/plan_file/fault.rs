//! Everything that is wrong with a plan file, with places. All faults are told at once.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};

/// Most faults that are told; the rest is counted.
pub const FAULTS_MAX: usize = 100;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the text (without its byte-order mark).
    pub span: Range<usize>,
    /// Where in the plan: `steps[2].with.root`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
    /// The known word that was probably meant.
    pub nearest: Option<String>,
}

impl Fault {
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { line: 0, column: 0, span, path: String::new(), message: message.into(), hint: None, nearest: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn nearest(mut self, nearest: Option<&str>) -> Self {
        self.nearest = nearest.map(str::to_owned);
        self
    }

    pub(super) fn path(mut self, path: impl fmt::Display) -> Self {
        self.path = path.to_string();
        self
    }

    /// The hint and the nearest word as one sentence.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let near = self.nearest.as_ref().map(|word| format!("did you mean `{word}`?"));
        match (near, &self.hint) {
            (Some(near), Some(hint)) => Some(format!("{near} {hint}")),
            (Some(near), None) => Some(near),
            (None, hint) => hint.clone(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match self.advice() {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

/// All faults of one text, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    faults: Vec<Fault>,
    untold: usize,
    source: Arc<str>,
}

impl Faults {
    /// Sorts the faults by place, drops repetitions, and works out lines and columns.
    pub(super) fn new(source: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        faults.dedup_by(|a, b| a.span.start == b.span.start && a.message == b.message);
        let untold = faults.len().saturating_sub(FAULTS_MAX);
        faults.truncate(FAULTS_MAX);
        place(source, &mut faults);
        Self { faults, untold, source: Arc::from(source) }
    }

    /// The faults that are told, at most [`FAULTS_MAX`].
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.faults
    }

    /// How many more there are.
    #[must_use]
    pub const fn untold(&self) -> usize {
        self.untold
    }

    /// The text that they stand in, without its byte-order mark.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The faults with excerpts of the text, for a terminal. `file` is the name to show.
    #[must_use]
    pub fn render(&self, file: &str, has_colour: bool) -> String {
        super::excerpt::render(self, file, has_colour)
    }

    /// The faults as JSON: `{"file", "faults": [{line, column, start, end, path, message, hint, nearest}], "untold"}`.
    #[must_use]
    pub fn to_json(&self, file: &str) -> Value {
        let faults: Vec<Value> = self
            .faults
            .iter()
            .map(|fault| {
                json!({
                    "line": fault.line,
                    "column": fault.column,
                    "start": fault.span.start,
                    "end": fault.span.end,
                    "path": fault.path,
                    "message": fault.message,
                    "hint": fault.hint,
                    "nearest": fault.nearest,
                })
            })
            .collect();
        json!({ "file": file, "faults": faults, "untold": self.untold })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        if self.untold > 0 { write!(f, "\nand {} more", self.untold) } else { Ok(()) }
    }
}

impl std::error::Error for Faults {}

/// Fills in lines and columns of faults that are sorted by place, and clamps their spans to characters.
pub(super) fn place(source: &str, faults: &mut [Fault]) {
    let (mut line, mut line_start, mut seen) = (1, 0, 0);
    for fault in faults {
        let start = floor(source, fault.span.start);
        let end = floor(source, fault.span.end.max(start));
        fault.span = start..end;
        for (offset, _) in source[seen..start].match_indices('\n') {
            line += 1;
            line_start = seen + offset + 1;
        }
        seen = start;
        fault.line = line;
        fault.column = source[line_start..start].chars().count() + 1;
    }
}

/// The byte at a line and column, both from 1, columns in characters; the end of the line or text when there is none.
pub(super) fn offset_of(text: &str, line: u64, column: u64) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match text[start..].find('\n') {
            Some(found) => start += found + 1,
            None => return text.len(),
        }
    }
    let rest = text[start..].split('\n').next().unwrap_or("");
    let column = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
