//! Faults as text with excerpts. Excerpts are cut out first, so that a 4 MiB text costs no more than a small one.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::fault::{Fault, Faults};

/// Longest line that is shown; longer ones (JSON on one line) are named by place only.
const LINE_BYTES_MAX: usize = 400;

pub(super) fn render(faults: &Faults, file: &str, has_colour: bool) -> String {
    let renderer = if has_colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for fault in faults.as_slice() {
        out.push_str(&one(&renderer, faults.source(), fault, file));
        out.push_str("\n\n");
    }
    let total = faults.as_slice().len() + faults.untold();
    let noun = if total == 1 { "fault" } else { "faults" };
    out.push_str(&format!("{total} {noun} in {file}"));
    if faults.untold() > 0 {
        out.push_str(&format!(", the first {} are shown", faults.as_slice().len()));
    }
    out.push('\n');
    out
}

fn one(renderer: &Renderer, source: &str, fault: &Fault, file: &str) -> String {
    let title = Level::ERROR.primary_title(fault.message.as_str());
    let line_start = source[..fault.span.start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = source[fault.span.start..].find('\n').map_or(source.len(), |at| fault.span.start + at);
    let line = source[line_start..line_end].trim_end_matches('\r');
    let mut group = if line.len() > LINE_BYTES_MAX || line.trim().is_empty() {
        title.element(Origin::path(file).line(fault.line).char_column(fault.column))
    } else {
        let start = (fault.span.start - line_start).min(line.len());
        let end = fault.span.end.saturating_sub(line_start).clamp(start, line.len());
        let mark = AnnotationKind::Primary.span(start..end);
        let mark = if fault.path.is_empty() { mark } else { mark.label(fault.path.as_str()) };
        title.element(Snippet::source(line).line_start(fault.line).path(file).annotation(mark))
    };
    if let Some(advice) = fault.advice() {
        group = group.element(Level::HELP.message(advice));
    }
    renderer.render(&[group])
}
