//! The first reader: pdfni. Its types and its warnings about breaking changes end here.

use pdfni::{ExtractOptions, ExtractQuery, ReaderSettings};

use super::page::{PageText, RawPage, Reading, page_text};
use super::{PageSet, PdfError, ReadOptions};

/// What a stream may unpack to; ordinary pages stay under 4 MiB.
const DECODED_BYTES_MAX: usize = 96 << 20;
/// Up to this many pages are held in memory at once (about 2 MiB a full page: 600 bytes a glyph, measured).
const PAGES_AT_ONCE_MAX: u32 = 100;
/// Pages of one piece when a file is read piecewise; each piece costs one parse of the cross-reference table.
const PIECE_PAGES_MAX: u32 = 64;

/// Why pdfni gave nothing.
#[derive(Debug)]
pub(super) enum Fault {
    Password,
    Structure(String),
}

impl From<pdfni::Error> for Fault {
    fn from(error: pdfni::Error) -> Self {
        match error {
            pdfni::Error::BadPassword => Self::Password,
            pdfni::Error::Reader(message) | pdfni::Error::PageRead(message) => Self::Structure(message),
            other => Self::Structure(other.to_string()),
        }
    }
}

fn settings() -> ReaderSettings {
    ReaderSettings { max_decoded_bytes: DECODED_BYTES_MAX, ..ReaderSettings::default() }
}

/// The options for the detectors, the same for both readers.
pub(super) fn detect_options() -> ExtractOptions {
    ExtractOptions { reader: settings(), ..ExtractOptions::default() }
}

/// Reads text and, if wanted, tables. `pages_known` is the page count where it is already known; a small file is
/// otherwise taken to have few.
pub(super) fn read(
    pdf: &[u8],
    options: &ReadOptions,
    pages_known: Option<u32>,
    is_small: bool,
    with_tables: bool,
) -> Result<Reading, Fault> {
    let password = options.password.as_deref();
    let few_pages = pages_known.map_or(is_small, |pages| pages <= PAGES_AT_ONCE_MAX);
    if few_pages && options.pages.is_none() {
        return read_at_once(pdf, password, with_tables);
    }
    read_in_pieces(pdf, password, options.pages.as_ref(), pages_known, with_tables)
}

fn read_at_once(pdf: &[u8], password: Option<&str>, with_tables: bool) -> Result<Reading, Fault> {
    let dump = pdfni::read_pages_full_with(pdf, password, &settings())?;
    let (mut parts, mut pages) = (Vec::new(), Vec::new());
    for (index, page) in dump.pages.into_iter().enumerate() {
        let text =
            pdfni::TextPage { width: page.width, height: page.height, fonts: page.text.fonts, chars: page.text.chars };
        let PageText { text, words, glyphs, odd_glyphs } = page_text(&text);
        // Tables come back in the page's own coordinates, rulings of a turned page do not.
        let edges = if with_tables && page.norm_rotate == 0 { page.parts.edges.clone() } else { Vec::new() };
        pages.push(RawPage {
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            tables: Vec::new(),
            words: if edges.is_empty() { Vec::new() } else { words },
            edges,
            text,
            glyphs,
            odd_glyphs,
        });
        if with_tables {
            parts.push(pdfni::PagePart {
                width: page.width,
                height: page.height,
                glyphs: page.parts.glyphs,
                edges: page.parts.edges,
                norm_rotate: page.norm_rotate,
                graphics: page.parts.graphics,
            });
        }
    }
    let found = pdfni::extract_from_parts(parts, &detect_options());
    for (page, tables) in pages.iter_mut().zip(found.pages) {
        page.tables = tables.tables;
    }
    let pages_total = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    Ok(Reading { reader: "pdfni", pages, pages_total })
}

fn read_in_pieces(
    pdf: &[u8],
    password: Option<&str>,
    selection: Option<&PageSet>,
    pages_known: Option<u32>,
    with_tables: bool,
) -> Result<Reading, Fault> {
    let all = PageSet::all();
    let detect = detect_options();
    let mut pages = Vec::new();
    for (first, last) in selection.unwrap_or(&all).pieces(PIECE_PAGES_MAX) {
        let piece = format!("{first}-{last}");
        let query = ExtractQuery {
            pages: Some(piece.parse().expect("two numbers and a dash are a page selection")),
            region: None,
        };
        let texts = pdfni::extract_text_from_bytes_with_query(pdf, password, &settings(), &query)?;
        let mut tables = if with_tables {
            pdfni::extract_from_bytes_with_query(pdf, password, &detect, &query)?.pages
        } else {
            Vec::new()
        };
        let is_last = texts.pages.len() < (last - first + 1) as usize;
        for (index, page) in texts.pages.iter().enumerate() {
            let PageText { text, glyphs, odd_glyphs, .. } = page_text(page);
            pages.push(RawPage {
                number: first + u32::try_from(index).unwrap_or(0),
                tables: tables.get_mut(index).map(|found| std::mem::take(&mut found.tables)).unwrap_or_default(),
                edges: Vec::new(),
                words: Vec::new(),
                text,
                glyphs,
                odd_glyphs,
            });
        }
        if is_last {
            break;
        }
    }
    let seen = pages.last().map_or(0, |page| page.number);
    Ok(Reading { reader: "pdfni", pages_total: pages_known.unwrap_or(0).max(seen), pages })
}

/// The error of a file that pdfni refused.
pub(super) fn refusal(fault: &Fault, password_given: bool) -> PdfError {
    match fault {
        Fault::Password => PdfError::Encrypted { password_given },
        Fault::Structure(message) => PdfError::Damaged { message: message.clone() },
    }
}
