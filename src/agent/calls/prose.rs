//! Calls without any mark: bare JSON, lists and lines of code, in fences or between sentences. Here a call must name a
//! tool on offer, stand by itself and be meant; an answer that only looks like a call stays an answer.

use super::Wanted;
use super::meant;
use super::names::Offers;
use super::reader::{Node, Words, literal};
use super::shape::{Arguments, Raw, Standing};
use super::statements::{self, Block};
use super::words::callee;

/// What unmarked text holds.
#[derive(Debug)]
pub(super) enum Prose {
    /// No call.
    Nothing,
    /// Calls, and where the first starts.
    Calls { raws: Vec<Raw>, start: usize },
    /// Nothing but a call, of a tool that is not on offer.
    Unknown(Raw),
    /// Calls that are shown and not made: the reply is an answer.
    Shown,
    /// A fence that says that it holds a call, and holds none that can be read.
    Unreadable(&'static str),
}

/// A stretch of calls.
struct Found {
    raws: Vec<Raw>,
    start: usize,
    end: usize,
}

/// Most bytes that fruitless readings may look at, for each byte of the text.
const COST_FACTOR: usize = 8;

struct Scan<'t> {
    text: &'t str,
    offers: Offers<'t>,
    found: Vec<Found>,
    cost: usize,
    forged: Vec<usize>,
    bad: Option<&'static str>,
}

pub(super) fn read(text: &str, offers: Offers<'_>) -> Prose {
    let mut scan = Scan { text, offers, found: Vec::new(), cost: 0, forged: meant::forged_lines(text), bad: None };
    if let Some(raw) = scan.whole_unknown() {
        return Prose::Unknown(raw);
    }
    scan.lines();
    scan.end()
}

/// The first call of a text that is calls in JSON and nothing else, whatever is on offer.
pub(super) fn bare_call(text: &str) -> Option<Raw> {
    let inner = whole(text)?;
    if !inner.starts_with(['{', '[']) {
        return None;
    }
    let block = statements::block(inner, 0, Offers(&[], Wanted::Words), Standing::Plain).ok()?;
    block.raws.into_iter().next().filter(|_| block.end == inner.len())
}

/// The text without a fence around all of it; none where the fence holds commands of a shell.
fn whole(text: &str) -> Option<&str> {
    let trimmed = text.trim();
    let Some(fence) = trimmed.strip_prefix("```") else { return Some(trimmed) };
    let (language, body) = fence.split_once('\n')?;
    let body = body.trim_end().strip_suffix("```")?;
    (!is_shell_language(language.trim())).then(|| body.trim())
}

/// Languages of fences that hold calls and nothing else.
fn is_call_language(language: &str) -> bool {
    matches!(
        super::names::folded(language).as_str(),
        "toolcode" | "toolcall" | "toolcalls" | "toolrequest" | "tooluse" | "functioncall" | "functioncalls" | "tool"
    )
}

/// Languages whose words are commands of their own.
fn is_shell_language(language: &str) -> bool {
    matches!(
        language.to_ascii_lowercase().as_str(),
        "bash"
            | "sh"
            | "zsh"
            | "fish"
            | "shell"
            | "console"
            | "powershell"
            | "ps1"
            | "cmd"
            | "bat"
            | "sql"
            | "diff"
            | "html"
            | "css"
    )
}

fn skipped(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

impl<'t> Scan<'t> {
    fn may_try(&self) -> bool {
        self.cost <= self.text.len() * COST_FACTOR + 65_536
    }

    /// The whole reply is one call, but its tool is not on offer.
    fn whole_unknown(&self) -> Option<Raw> {
        let inner = whole(self.text)?;
        if !inner.starts_with(['{', '[']) && !inner.ends_with(')') {
            return None;
        }
        let block = statements::block(inner, 0, self.offers, Standing::Plain).ok()?;
        if block.end != inner.len() || self.offers.0.is_empty() {
            return None;
        }
        block.raws.into_iter().find(|raw| self.offers.find(&raw.name).is_none())
    }

    fn lines(&mut self) {
        let mut at = 0;
        while at < self.text.len() {
            if let Some(last) = self.found.last()
                && meant::has_between(&self.forged, last.end, at)
            {
                break;
            }
            let line_end = self.text[at..].find('\n').map_or(self.text.len(), |found| at + found);
            let line = &self.text[at..line_end];
            let start = at + line.len() - line.trim_start().len();
            let next = if is_fence(&self.text[start..line_end]) {
                self.fence(start, line_end)
            } else if line.trim_start().starts_with("> ") {
                None
            } else {
                self.line(start, line_end)
            };
            at = next.filter(|next| *next > at).unwrap_or(line_end + 1);
            if self.found.iter().map(|found| found.raws.len()).sum::<usize>() > statements::CALLS_MAX {
                break;
            }
        }
    }

    /// A fence: all of its content is calls, or none of it. Gives where to go on.
    fn fence(&mut self, start: usize, line_end: usize) -> Option<usize> {
        let mark = if self.text[start..].starts_with('~') { "~~~" } else { "```" };
        let opening = self.text[start..line_end].trim_start_matches(['`', '~']);
        let word = opening
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.')))
            .unwrap_or(opening.len());
        // ```` ```{"name": …}``` ```` has no language.
        let language = &opening[..word];
        let body = line_end - opening.len() + word;
        let close = self.text[body..].find(mark).map(|found| body + found);
        if !is_shell_language(language) && self.may_try() {
            if let Some(block) = self.block(body) {
                let end = block.end;
                let end = if self.text[end..].starts_with(mark) { end + mark.len() } else { end };
                self.found.push(Found { raws: block.raws, start, end });
                return Some(end);
            }
            if is_call_language(language) {
                self.bad = Some("the fence holds no call of a tool with plain values");
            }
        }
        match close {
            Some(close) => Some(close + mark.len()),
            // A mark without a partner opens nothing: go on behind it as if it were not there.
            None => Some(line_end + 1),
        }
    }

    /// A block of calls, all of tools on offer.
    fn block(&mut self, at: usize) -> Option<Block> {
        let at = skipped(self.text, at);
        let block = match statements::block(self.text, at, self.offers, Standing::Plain) {
            Ok(block) => block,
            Err(looked) => {
                self.cost += looked.saturating_sub(at);
                self.name_and_object(at)?
            }
        };
        block.raws.iter().all(|raw| self.offers.find(&raw.name).is_some()).then_some(block)
    }

    /// `read_file` and an object behind it, in a fence of their own.
    fn name_and_object(&self, at: usize) -> Option<Block> {
        let name = callee(&self.text[at..]);
        let (tool, _) = self.offers.find(name)?;
        let behind = skipped(self.text, at + name.len());
        let (raw, end) = self.object_of(&tool.name, behind)?;
        let end = skipped(self.text, end);
        (self.text[end..].is_empty() || self.text[end..].starts_with("```")).then(|| Block { raws: vec![raw], end })
    }

    fn object_of(&self, name: &str, at: usize) -> Option<(Raw, usize)> {
        if !self.text[at..].starts_with('{') {
            return None;
        }
        let read = literal(self.text, at, Words::Refused).ok()?;
        let Node::Map { members, is_closed } = read.node else { return None };
        let mut raw = Raw::new(name, Arguments::Members { members, is_closed });
        raw.notes.extend(read.repairs.iter().map(|repair| format!("repaired: {repair}")));
        Some((raw, read.end))
    }

    /// A line outside of fences. Gives where to go on when something was found.
    fn line(&mut self, start: usize, line_end: usize) -> Option<usize> {
        let bare = past_bullet(self.text, start, line_end);
        if let Some(end) = self.at_line_start(bare, line_end) {
            return Some(end);
        }
        if let Some(end) = self.name_ends_line(start, line_end) {
            return Some(end);
        }
        self.within_line(bare, line_end)
    }

    fn at_line_start(&mut self, at: usize, line_end: usize) -> Option<usize> {
        let rest = &self.text[at..];
        if !rest.starts_with(|c: char| matches!(c, '{' | '[' | '(') || c.is_alphabetic() || c == '_') || !self.may_try()
        {
            return None;
        }
        let is_code = !rest.starts_with(['{', '[', '(']);
        if is_code && !self.text[at..line_end].contains('(') {
            return self.name_then_object(at, line_end);
        }
        match self.statement(at) {
            Some(block) => self.accept(block, at, is_code).or_else(|| self.past_literal(at)),
            None if is_code => self.name_then_object(at, line_end),
            None => self.past_literal(at),
        }
    }

    /// Behind a literal that is no call: what stands inside of it belongs to it. One that cannot be read hides all of
    /// its paragraph.
    fn past_literal(&mut self, at: usize) -> Option<usize> {
        let rest = &self.text[at..];
        let is_data =
            rest.starts_with(['{', '[', '(']) && rest[1..].trim_start().starts_with(['"', '\'', '{', '[', '(', '“']);
        match literal(self.text, at, Words::Refused) {
            Ok(read) if is_data => Some(read.end),
            Err((_, looked)) if is_data => {
                self.cost += looked.saturating_sub(at);
                Some(rest.find("\n\n").map_or(self.text.len(), |end| at + end))
            }
            _ => None,
        }
    }

    fn statement(&mut self, at: usize) -> Option<Block> {
        match statements::statement(self.text, at, self.offers, Standing::Plain) {
            Ok(block) => Some(block),
            Err(looked) => {
                self.cost += looked.saturating_sub(at);
                None
            }
        }
    }

    /// Takes a block that stands by itself.
    fn accept(&mut self, block: Block, at: usize, is_code: bool) -> Option<usize> {
        if block.raws.iter().any(|raw| self.offers.find(&raw.name).is_none()) {
            return None;
        }
        let line = self.text[block.end..].split('\n').next().unwrap_or_default().trim();
        let goes_on = line
            .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '=' | '.' | '-' | '*' | '(' | '"' | '\''))
            && line != ".";
        if is_code && goes_on {
            return None;
        }
        let end = block.end;
        self.found.push(Found { raws: block.raws, start: at, end });
        Some(end)
    }

    /// `read_file {"path": …}` from the start of a line.
    fn name_then_object(&mut self, at: usize, line_end: usize) -> Option<usize> {
        let name = callee(&self.text[at..line_end]);
        let behind = at + name.len();
        let gap = self.text[behind..line_end].trim_start_matches([' ', ':', '\t']);
        if name.is_empty() || !gap.starts_with('{') {
            return None;
        }
        let (tool, _) = self.offers.find(name)?;
        let (raw, end) = self.object_of(&tool.name, line_end - gap.len())?;
        self.found.push(Found { raws: vec![raw], start: at, end });
        Some(end)
    }

    /// The name ends the line, the object starts the next one.
    fn name_ends_line(&mut self, start: usize, line_end: usize) -> Option<usize> {
        let behind = skipped(self.text, line_end);
        if !self.text[behind..].starts_with('{') || self.text[line_end..behind].matches('\n').count() > 1 {
            return None;
        }
        let line = self.text[start..line_end].trim_end().trim_end_matches([':', '`', '*']);
        let (tool, name_at) = self.offers.ending(line)?;
        let (raw, end) = self.object_of(&tool.name, behind)?;
        let (Arguments::Members { members, .. }, true) = (&raw.arguments, !is_shown_name(line, name_at)) else {
            return None;
        };
        if !tool.is_open() && !members.iter().all(|(key, _)| tool.declares(key)) {
            return None;
        }
        self.found.push(Found { raws: vec![raw], start: start + name_at, end });
        Some(end)
    }

    /// A call behind words on the same line: JSON anywhere outside of quotes, code behind a colon.
    fn within_line(&mut self, start: usize, line_end: usize) -> Option<usize> {
        let mut from = start;
        while let Some(found) = self.text[from..line_end].find(['{', '[', ':', '`']) {
            let at = from + found;
            from = at + 1;
            if !self.may_try() {
                return None;
            }
            match self.text.as_bytes()[at] {
                b'`' => {
                    // Inline code is shown. A line that is nothing else was looked at before.
                    match self.text[from..line_end].find('`') {
                        Some(close) => from += close + 1,
                        None => return None,
                    }
                }
                b':' => {
                    let behind =
                        at + 1 + (self.text[at + 1..line_end].len() - self.text[at + 1..line_end].trim_start().len());
                    let is_code = self.text[behind..line_end].starts_with(|c: char| c.is_alphabetic() || c == '_');
                    if is_code
                        && self.text[behind..line_end].contains('(')
                        && behind > at + 1
                        && let Some(block) = self.statement(behind)
                        && let Some(end) = self.accept(block, behind, true)
                    {
                        return Some(end);
                    }
                }
                _ => {
                    let before = self.text[start..at].chars().next_back();
                    if matches!(before, Some('"' | '\'' | '`' | '“' | '(')) || !has_call_inside(&self.text[at..]) {
                        continue;
                    }
                    if let Some(block) = self.statement(at)
                        && let Some(end) = self.accept(block, at, false)
                    {
                        return Some(end);
                    }
                    if let Some(end) = self.past_literal(at) {
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    fn end(self) -> Prose {
        let Some(first) = self.found.first() else {
            return self.bad.map_or(Prose::Nothing, Prose::Unreadable);
        };
        let start = first.start;
        let last_end = self.found.last().map_or(start, |last| last.end);
        let mut before = 0;
        let mut others = String::new();
        for found in &self.found {
            others.push_str(&self.text[before..found.start]);
            before = found.end;
        }
        let behind = &self.text[last_end..];
        let is_alone =
            (others.chars().all(is_quiet) && behind.chars().all(is_quiet)) || others.is_empty() && behind.is_empty();
        if !is_alone && !meant::has_between(&self.forged, last_end, self.text.len()) && meant::asks_back(behind) {
            return Prose::Shown;
        }
        let mut before = 0;
        for (nth, found) in self.found.iter().enumerate() {
            let next = self.found.get(nth + 1).map_or(self.text.len(), |next| next.start);
            if !meant::is_meant(&self.text[before..found.start], &self.text[found.end..next]) {
                return Prose::Shown;
            }
            before = found.end;
        }
        Prose::Calls { raws: self.found.into_iter().flat_map(|found| found.raws).collect(), start }
    }
}

/// Signs that say nothing between calls.
const fn is_quiet(c: char) -> bool {
    c.is_ascii_whitespace() || matches!(c, '`' | '~' | ',' | ';' | '}' | ']')
}

fn is_fence(line: &str) -> bool {
    line.starts_with("```") || line.starts_with("~~~")
}

/// Whether what starts with a bracket can be a call: `{"`, `{name`, `[{`, `[f(`, `['`.
fn has_call_inside(rest: &str) -> bool {
    rest[1..]
        .trim_start()
        .starts_with(|c: char| matches!(c, '"' | '\'' | '{' | '(' | '[') || c.is_alphabetic() || c == '_')
}

/// Past `- `, `* `, `1. ` and a backtick.
fn past_bullet(text: &str, start: usize, line_end: usize) -> usize {
    let line = &text[start..line_end];
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let behind = if line.starts_with("- ") || line.starts_with("* ") || line.starts_with("+ ") {
        &line[2..]
    } else if digits > 0 && (line[digits..].starts_with(". ") || line[digits..].starts_with(") ")) {
        &line[digits + 2..]
    } else {
        line
    };
    let behind = behind.trim_start();
    // A line that is inline code and nothing else.
    let is_code = behind.len() > 2
        && behind.starts_with('`')
        && behind.trim_end().ends_with('`')
        && behind.matches('`').count() == 2;
    line_end - behind.len() + usize::from(is_code)
}

/// The name is talked about (`the tool read_file`) in a line that ends a sentence of another kind.
fn is_shown_name(line: &str, name_at: usize) -> bool {
    line[..name_at].trim_end().ends_with(['"', '\'', '`', '“'])
}
