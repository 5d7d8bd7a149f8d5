//! What goes over the pipes between the pool and a worker: requests as one JSON line each, answers as JSON documents
//! with their length before them. Private to this build: both ends are the same binary.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{PdfError, ReadOptions};

/// The first line to a worker.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Limit of its address space.
    pub address_space_bytes: u64,
    /// Largest file it opens.
    pub file_bytes_max: u64,
    /// CPU time a file may take, without its pages.
    pub cpu_ms: u64,
    /// CPU time that each page adds.
    pub cpu_ms_per_page: u64,
    /// Largest answer it sends.
    pub answer_bytes_max: usize,
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// [`super::PdfReader::tables`].
    Tables,
    /// [`super::PdfReader::text`].
    Text,
    /// [`super::PdfReader::info`].
    Info,
}

/// One file to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// What is wanted.
    pub operation: Operation,
    /// The file, canonical.
    pub path: PathBuf,
    /// The file as the caller named it; each table carries it.
    pub name: String,
    /// How to read it.
    #[serde(flatten)]
    pub options: ReadOptions,
}

/// What a worker sends. Any number of `Pages`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// The file has so many pages: its CPU limit grows.
    Pages(u32),
    /// The result.
    Done(T),
    /// Why there is none.
    Failed(PdfError),
}
