//! Where the next end tag is, remembered: a reply that opens ten thousand tags and closes none is read once, not ten
//! thousand times.

use std::cell::RefCell;
use std::collections::HashMap;

use super::marks::next_mark;

/// What was looked for in one text. The text must be the same on each call.
#[derive(Debug, Default)]
pub(super) struct Seen {
    words: RefCell<HashMap<String, Known>>,
    closings: RefCell<HashMap<String, Known>>,
}

/// From `from` on, the next place (start and end) is this one.
#[derive(Clone, Copy, Debug)]
struct Known {
    from: usize,
    next: Option<(usize, usize)>,
}

impl Known {
    /// The answer for `from`, if this holds it.
    fn answer(self, from: usize) -> Option<Option<(usize, usize)>> {
        let is_behind = from >= self.from;
        (is_behind && self.next.is_none_or(|(start, _)| start >= from)).then_some(self.next)
    }
}

impl Seen {
    /// Where `word` stands next, from `from` on.
    pub(super) fn find(&self, text: &str, word: &str, from: usize) -> Option<usize> {
        let mut words = self.words.borrow_mut();
        if let Some(answer) = words.get(word).and_then(|known| known.answer(from)) {
            return answer.map(|(start, _)| start);
        }
        let next = text.get(from..)?.find(word).map(|found| (from + found, from + found + word.len()));
        words.insert(word.to_owned(), Known { from, next });
        next.map(|(start, _)| start)
    }

    /// Start and end of the next closing mark of that name, from `from` on.
    pub(super) fn closing(&self, text: &str, name: &str, from: usize) -> Option<(usize, usize)> {
        let mut closings = self.closings.borrow_mut();
        if let Some(answer) = closings.get(name).and_then(|known| known.answer(from)) {
            return answer;
        }
        let mut at = from;
        let next = loop {
            match next_mark(text, at) {
                Some((start, mark)) if mark.is_closing && mark.name == name => break Some((start, mark.end)),
                Some((_, mark)) => at = mark.end,
                None => break None,
            }
        };
        closings.insert(name.to_owned(), Known { from, next });
        next
    }
}
