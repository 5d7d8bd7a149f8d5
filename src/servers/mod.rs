//! (being built)
pub mod pdf_extract;
