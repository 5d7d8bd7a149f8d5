//! Pages to text and tables. The port is [`PdfReader`]; [`workers`] runs one in child processes with limits.
//!
//! Text of a PDF is data from a stranger: nothing here interprets it. What this room does not do: OCR, drawing
//! pages, typed values (the database room reads numbers from the text of cells).

use serde::{Deserialize, Serialize};

mod error;
mod headers;
mod options;
mod page;
pub mod protocol;
mod readers;
mod tables;
mod values;
mod with_hayro;
mod with_pdfni;
pub mod worker;
pub mod workers;
mod wrapped;

pub use error::PdfError;
pub use options::{OutputLimits, PageSet, ReadOptions};
pub use readers::{TwoReaders, check_signature, count_pages};
pub use workers::{WorkerLimits, Workers};

/// Someone who reads PDFs. The libraries behind it never show.
pub trait PdfReader: Send + Sync + std::fmt::Debug {
    /// Finds the tables, with the text of each page.
    ///
    /// # Errors
    /// A file without any text is [`PdfError::NoText`], not an empty result.
    fn tables(&self, pdf: &[u8], options: &ReadOptions) -> Result<Extraction, PdfError>;

    /// Reads the text of each page.
    ///
    /// # Errors
    /// As [`PdfReader::tables`].
    fn text(&self, pdf: &[u8], options: &ReadOptions) -> Result<TextLayer, PdfError>;

    /// Says what the file is without reading all of it. A file that needs a password is a result, not an error.
    ///
    /// # Errors
    /// When it is no PDF, or too damaged to open.
    fn info(&self, pdf: &[u8], options: &ReadOptions) -> Result<FileInfo, PdfError>;
}

/// What a reader found in one file. The shape of `extract_tables`' structured result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extraction {
    /// Tables, by page and place.
    pub tables: Vec<Table>,
    /// Text of each page that was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
    /// Pages of the file.
    pub pages: u32,
    /// Which reader won: `pdfni` or `hayro`.
    pub reader: String,
    /// Something was cut at a limit.
    pub truncated: bool,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Page, from 1.
    pub page: u32,
    /// Number of the table in its file, from 1.
    pub table: u32,
    /// The file, as the path was given.
    pub file: String,
    /// Cells as text, every row equally long.
    pub rows: Vec<Vec<String>>,
    /// Column names derived from the first row(s); unique (also without regard to case), never empty. A table that
    /// goes on from the page before without names of its own has the names of that one.
    pub headers: Vec<String>,
    /// How many of `rows` at the top are no data: titles and names. 0 where there are none.
    pub header_rows: u32,
    /// How sure the reader is, 0 to 1: by how the table was found (rulings, text columns), how evenly its rows are
    /// filled, and whether names were found.
    pub confidence: f64,
    /// Text that stood as a title above the columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// The text of one file. The shape of `extract_text`'s structured result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextLayer {
    /// Text of each page that was read, lines in content order.
    pub text: Vec<String>,
    /// The numbers of these pages, from 1.
    pub numbers: Vec<u32>,
    /// Pages of the file.
    pub pages: u32,
    /// Which reader won: `pdfni` or `hayro`.
    pub reader: String,
    /// Something was cut at a limit.
    pub truncated: bool,
}

/// What a file is. The shape of `info`'s structured result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Pages; 0 when the file cannot be opened without its password.
    pub pages: u32,
    /// It is encrypted.
    pub encrypted: bool,
    /// Its first 50 pages hold text.
    pub has_text: bool,
    /// Pictures drawn on its first 50 pages.
    pub pictures: u64,
    /// Some of its text is drawn invisibly, as OCR programs do, and as those do who hide text from readers.
    pub hidden_text: bool,
    /// Share of the glyphs without Unicode, in per cent.
    pub unmapped_percent: u32,
    /// The program that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// The title in its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Which reader opened it.
    pub reader: String,
}
