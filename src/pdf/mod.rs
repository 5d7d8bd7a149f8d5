//! Pages to text and tables. The port is [`PdfReader`]; `workers` runs one in child processes with limits.

use serde::{Deserialize, Serialize};

/// What a reader found in one file. The shape of `extract_tables`' structured result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extraction {
    /// Tables, by page and place.
    pub tables: Vec<Table>,
    /// Text of each page.
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
    /// Column names derived from the first row(s); unique, never empty.
    pub headers: Vec<String>,
    /// How many of `rows` are header rows.
    pub header_rows: u32,
    /// How sure the reader is, 0 to 1.
    pub confidence: f64,
    /// Text that stood as a title above the columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}
