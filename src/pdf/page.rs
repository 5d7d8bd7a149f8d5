//! What either reader makes of one page, before it becomes rows: pdfni's own types stay inside this room.

use pdfni::{EdgePart, TextPage, build_text_lines};

/// One page as read.
#[derive(Debug)]
pub(super) struct RawPage {
    /// Number in the file, from 1.
    pub(super) number: u32,
    /// Tables as the detectors gave them, in reading order.
    pub(super) tables: Vec<pdfni::Table>,
    /// Rulings in the same coordinates as the tables; empty when they are not at hand.
    pub(super) edges: Vec<EdgePart>,
    /// Words with their boxes, where rulings are at hand too.
    pub(super) words: Vec<Word>,
    pub(super) text: String,
    /// Glyphs that leave ink.
    pub(super) glyphs: u64,
    /// Of these, such that no font with honest Unicode gives: controls, private use, U+FFFD.
    pub(super) odd_glyphs: u64,
}

/// One word on a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// What the glyphs of a page come to.
#[derive(Debug, Default)]
pub(super) struct PageText {
    pub(super) text: String,
    pub(super) words: Vec<Word>,
    pub(super) glyphs: u64,
    pub(super) odd_glyphs: u64,
}

/// A whole file as one reader saw it.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) reader: &'static str,
    pub(super) pages: Vec<RawPage>,
    /// Pages of the file, also those that were not asked for.
    pub(super) pages_total: u32,
}

impl Reading {
    /// Whether anything readable stands on any page.
    pub(super) fn has_text(&self) -> bool {
        self.pages.iter().any(|page| page.glyphs > 0)
    }

    /// Share of odd glyphs, in per cent.
    pub(super) fn odd_percent(&self) -> u64 {
        let glyphs: u64 = self.pages.iter().map(|page| page.glyphs).sum();
        let odd: u64 = self.pages.iter().map(|page| page.odd_glyphs).sum();
        (odd * 100).checked_div(glyphs).unwrap_or(0)
    }
}

/// The page's lines in content order, words joined by one space, with the counts of its glyphs.
pub(super) fn page_text(page: &TextPage) -> PageText {
    let (mut glyphs, mut odd_glyphs) = (0, 0);
    let mut words = Vec::new();
    for letter in page.chars.iter().flat_map(|part| part.text.chars()) {
        if letter.is_whitespace() {
            continue;
        }
        glyphs += 1;
        odd_glyphs += u64::from(letter.is_control() || matches!(letter, '\u{fffd}' | '\u{e000}'..='\u{f8ff}'));
    }
    let mut text = String::new();
    for line in build_text_lines(page) {
        let before = text.len();
        for word in line.words {
            let cleaned = clean(&word.text);
            if cleaned.is_empty() {
                continue;
            }
            if text.len() > before {
                text.push(' ');
            }
            text.push_str(&cleaned);
            if line.rot == 0 {
                let (left, right, top, bottom) = (word.left, word.right, word.top, word.bottom);
                words.push(Word { text: cleaned, left, right, top, bottom });
            }
        }
        if text.len() > before {
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    PageText { text, words, glyphs, odd_glyphs }
}

/// One line of text without control characters, white space collapsed to single spaces.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn cleaning_collapses_white_space_and_drops_controls() {
        assert_eq!(clean("  a\n b\u{0}c\t\u{a0}d "), "a b c d");
        assert_eq!(clean(" \n"), "");
    }
}
