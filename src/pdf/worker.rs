//! The child's side: one process that reads files one after the other, under limits that it sets on itself first.
//!
//! It never decides to live on after trouble: out of memory and stack overflow end it, and the pool says why.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};

use serde::Serialize;

use super::protocol::{Answer, Operation, Request, Setup};
use super::{PdfError, PdfReader, ReadOptions, TwoReaders, check_signature, count_pages};
use crate::os::rlimit;

/// The readers recurse over nested objects; a hostile file may nest deeply.
const STACK_BYTES: usize = 128 << 20;
/// Longest request line.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// Reads requests from standard input until it ends; returns the exit code. The hidden subcommand `__pdf-worker`.
#[must_use]
pub fn worker_main() -> i32 {
    // Without this, a parent killed in mid-file leaves a worker that burns CPU for nobody.
    let _ = rlimit::die_with_parent();
    let _ = rlimit::forbid_core_files();
    // A reader's panic is caught and told as the file's fault; its text on standard error would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    let worker = std::thread::Builder::new().name("pdf-worker".to_owned()).stack_size(STACK_BYTES).spawn(serve);
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => 0,
        Ok(Ok(Err(_))) => 1,
        Ok(Err(_)) => 101,
        Err(_) => 70,
    }
}

fn serve() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let Some(setup) = read_line(&mut input)? else { return Ok(()) };
    let setup: Setup = serde_json::from_slice(&setup)?;
    rlimit::limit_address_space(setup.address_space_bytes)?;
    let cores = rlimit::Cores::now();
    while let Some(line) = read_line(&mut input)? {
        let request: Request = serde_json::from_slice(&line)?;
        if let Some(cores) = &cores {
            cores.stay_on_one();
        }
        answer(&setup, request, &mut output)?;
    }
    Ok(())
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok((!line.is_empty()).then_some(line))
}

fn answer(setup: &Setup, request: Request, output: &mut impl Write) -> io::Result<()> {
    let Request { operation, path, name, mut options } = request;
    limit_cpu(setup, 0);
    let pdf = match load(&path, setup.file_bytes_max) {
        Ok(pdf) => pdf,
        Err(error) => return send(setup, output, &Answer::<()>::Failed(error)),
    };
    if let Err(error) = check_signature(&pdf) {
        return send(setup, output, &Answer::<()>::Failed(error));
    }
    options.pages_hint = count_pages(&pdf, &options);
    if let Some(pages) = options.pages_hint {
        limit_cpu(setup, pages);
        send(setup, output, &Answer::<()>::Pages(pages))?;
    }
    let reader = TwoReaders;
    match operation {
        Operation::Tables => {
            let result = reader.tables(&pdf, &options).map(|mut extraction| {
                for table in &mut extraction.tables {
                    table.file.clone_from(&name);
                }
                extraction
            });
            drop(pdf);
            finish(setup, output, result)
        }
        Operation::Text => finish(setup, output, reader.text(&pdf, &options)),
        Operation::Info => finish(setup, output, reader.info(&pdf, &ReadOptions { pages: None, ..options })),
    }
}

/// The kernel's own limit, a backstop at twice the pool's; it counts whole seconds of the process.
fn limit_cpu(setup: &Setup, pages: u32) {
    let allowed_ms = 2 * (setup.cpu_ms + setup.cpu_ms_per_page * u64::from(pages));
    let _ = rlimit::limit_cpu_seconds(rlimit::cpu_time().as_secs() + allowed_ms.div_ceil(1_000) + 1);
}

fn load(path: &std::path::Path, bytes_max: u64) -> Result<Vec<u8>, PdfError> {
    let missing = |error: io::Error| PdfError::Missing { message: error.to_string() };
    let about = std::fs::metadata(path).map_err(missing)?;
    if !about.is_file() {
        return Err(PdfError::Missing { message: "not an ordinary file".to_owned() });
    }
    let too_large = |bytes| PdfError::TooLarge { bytes, bytes_max };
    if about.len() > bytes_max {
        return Err(too_large(about.len()));
    }
    let mut pdf = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    // The file may grow meanwhile; one byte over the limit tells.
    File::open(path).map_err(missing)?.take(bytes_max + 1).read_to_end(&mut pdf).map_err(missing)?;
    if pdf.len() as u64 > bytes_max { Err(too_large(pdf.len() as u64)) } else { Ok(pdf) }
}

fn finish<T: Serialize>(setup: &Setup, output: &mut impl Write, result: Result<T, PdfError>) -> io::Result<()> {
    match result {
        Ok(result) => send(setup, output, &Answer::Done(result)),
        Err(error) => send(setup, output, &Answer::<()>::Failed(error)),
    }
}

fn send<T: Serialize>(setup: &Setup, output: &mut impl Write, answer: &Answer<T>) -> io::Result<()> {
    let mut document = serde_json::to_vec(answer)?;
    if document.len() > setup.answer_bytes_max {
        let error = PdfError::TooLarge { bytes: document.len() as u64, bytes_max: setup.answer_bytes_max as u64 };
        document = serde_json::to_vec(&Answer::<()>::Failed(error))?;
    }
    let length = u32::try_from(document.len()).map_err(io::Error::other)?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(&document)?;
    output.flush()
}
