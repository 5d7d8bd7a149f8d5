//! The order of attempts: pdfni first, hayro where pdfni gives nothing; which one won is on record.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::page::Reading;
use super::with_hayro::{self, Facts};
use super::with_pdfni::{self, Fault};
use super::{Extraction, FileInfo, PageSet, PdfError, PdfReader, ReadOptions, TextLayer, tables};

/// `%PDF-` must stand within these first bytes.
const SIGNATURE_BYTES: usize = 1024;
/// Smaller files are taken to have few pages without counting them first.
const SMALL_FILE_BYTES: usize = 64 << 10;
/// Unmapped glyphs above this share make a text unreadable.
const UNMAPPED_PERCENT_MAX: u64 = 20;
/// Odd glyphs above this share make it worth asking hayro, which knows better.
const ODD_PERCENT_SUSPICIOUS: u64 = 5;
/// Pages that are looked at for `info` and for the count of unmapped glyphs.
const SAMPLE_PAGES: u32 = 50;

/// Both readers behind one port.
#[derive(Clone, Copy, Debug, Default)]
pub struct TwoReaders;

/// Refuses what is no PDF without running a reader.
///
/// # Errors
/// [`PdfError::NotAPdf`].
pub fn check_signature(pdf: &[u8]) -> Result<(), PdfError> {
    let start = &pdf[..pdf.len().min(SIGNATURE_BYTES)];
    if start.windows(5).any(|window| window == b"%PDF-") { Ok(()) } else { Err(PdfError::NotAPdf) }
}

impl PdfReader for TwoReaders {
    fn tables(&self, pdf: &[u8], options: &ReadOptions) -> Result<Extraction, PdfError> {
        let reading = read(pdf, options, true)?;
        Ok(tables::assemble(reading, &options.limits))
    }

    fn text(&self, pdf: &[u8], options: &ReadOptions) -> Result<TextLayer, PdfError> {
        let reading = read(pdf, options, false)?;
        let numbers = reading.pages.iter().map(|page| page.number).collect();
        let extraction = tables::assemble(reading, &options.limits);
        Ok(TextLayer {
            text: extraction.text,
            numbers,
            pages: extraction.pages,
            reader: extraction.reader,
            truncated: extraction.truncated,
        })
    }

    fn info(&self, pdf: &[u8], options: &ReadOptions) -> Result<FileInfo, PdfError> {
        check_signature(pdf)?;
        let password_given = options.password.is_some();
        // A dictionary named /Encrypt in clear text tells encryption also where the file opens with an empty password.
        let encrypted = pdf.windows(9).any(|window| window == b"/Encrypt ")
            || pdf.windows(9).any(|w| w == b"/Encrypt\n" || w == b"/Encrypt<");
        let sample = PageSet::parse(&format!("1-{SAMPLE_PAGES}")).expect("a plain range");
        let by_hayro = guarded(|| {
            let file = with_hayro::open(pdf, options.password.as_deref())?;
            let facts = with_hayro::facts(&file, &sample);
            let producer = file.metadata().producer.as_deref().map(metadata_text).filter(|text| !text.is_empty());
            let title = file.metadata().title.as_deref().map(metadata_text).filter(|text| !text.is_empty());
            Ok(FileInfo {
                pages: u32::try_from(file.pages().len()).unwrap_or(u32::MAX),
                encrypted,
                has_text: facts.glyphs > 0,
                pictures: facts.images,
                hidden_text: facts.hidden > 0,
                unmapped_percent: u32::try_from(facts.unmapped_percent()).unwrap_or(100),
                producer,
                title,
                reader: "hayro".to_owned(),
            })
        });
        match by_hayro {
            Ok(info) if info.pages > 0 => Ok(info),
            Err(Fault::Password) => Ok(FileInfo { encrypted: true, reader: "hayro".to_owned(), ..FileInfo::default() }),
            hayro => match guarded(|| with_pdfni::read(pdf, options, None, false, false)) {
                Ok(reading) if reading.pages_total > 0 => Ok(FileInfo {
                    pages: reading.pages_total,
                    encrypted,
                    has_text: reading.has_text(),
                    reader: "pdfni".to_owned(),
                    ..FileInfo::default()
                }),
                Ok(_) => {
                    hayro.map_err(|fault| with_pdfni::refusal(&fault, password_given)).and_then(|_| Err(no_pages()))
                }
                Err(fault) => Err(with_pdfni::refusal(&fault, password_given)),
            },
        }
    }
}

fn no_pages() -> PdfError {
    PdfError::Damaged { message: "it has no pages".to_owned() }
}

/// Text of a metadata string: UTF-16 with its mark, else bytes as Latin-1.
fn metadata_text(bytes: &[u8]) -> String {
    let text: String = if let Some(wide) = bytes.strip_prefix(&[0xfe, 0xff]) {
        let units = wide.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        char::decode_utf16(units).map(|letter| letter.unwrap_or('\u{fffd}')).collect()
    } else {
        bytes.iter().map(|&byte| char::from(byte)).collect()
    };
    super::page::clean(&text).chars().take(200).collect()
}

/// Turns a panic of a reader into a fault of the file.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let said: String = said.chars().take(200).collect();
        Err(Fault::Structure(format!("the reader panicked: {said}")))
    })
}

/// Counts the pages of a file that may have many; `None` for a small or unreadable one.
#[must_use]
pub fn count_pages(pdf: &[u8], options: &ReadOptions) -> Option<u32> {
    if pdf.len() <= SMALL_FILE_BYTES && options.pages.is_none() {
        return None;
    }
    let count = guarded(|| Ok(with_hayro::open(pdf, options.password.as_deref())?.pages().len()));
    count.ok().and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0)
}

fn read(pdf: &[u8], options: &ReadOptions, with_tables: bool) -> Result<Reading, PdfError> {
    check_signature(pdf)?;
    let counted = options.pages_hint.or_else(|| count_pages(pdf, options));
    let is_small = pdf.len() <= SMALL_FILE_BYTES;
    let first = guarded(|| with_pdfni::read(pdf, options, counted, is_small, with_tables));
    let first = match first {
        Ok(reading) if reading.has_text() => return readable(pdf, options, reading),
        other => other,
    };
    let second = guarded(|| with_hayro::read(pdf, options, with_tables));
    match (first, second) {
        (_, Ok((reading, facts))) if reading.has_text() => {
            if facts.unmapped_percent() > UNMAPPED_PERCENT_MAX {
                return Err(unreadable(facts.unmapped_percent()));
            }
            Ok(reading)
        }
        (Err(Fault::Password), _) | (_, Err(Fault::Password)) => {
            Err(PdfError::Encrypted { password_given: options.password.is_some() })
        }
        (Ok(reading), second) => Err(without_text(pdf, options, &reading, second.ok())),
        (Err(fault), Ok((reading, facts))) if facts.images > 0 && is_whole(pdf) => {
            let _ = fault;
            Err(without_text(
                pdf,
                options,
                &reading,
                Some((Reading { reader: "hayro", pages: Vec::new(), pages_total: 0 }, facts)),
            ))
        }
        (Err(Fault::Structure(message)), _) => Err(PdfError::Damaged { message }),
    }
}

/// Lets a reading pass unless its text is rubbish, by hayro's count where it looks so.
fn readable(pdf: &[u8], options: &ReadOptions, reading: Reading) -> Result<Reading, PdfError> {
    let odd = reading.odd_percent();
    if odd <= ODD_PERCENT_SUSPICIOUS {
        return Ok(reading);
    }
    let counted = guarded(|| {
        let file = with_hayro::open(pdf, options.password.as_deref())?;
        let sample = PageSet::parse(&format!("1-{SAMPLE_PAGES}")).expect("a plain range");
        Ok(with_hayro::facts(&file, options.pages.as_ref().unwrap_or(&sample)))
    });
    let unmapped = counted.map_or(0, Facts::unmapped_percent).max(if odd > 50 { odd } else { 0 });
    if unmapped > UNMAPPED_PERCENT_MAX { Err(unreadable(unmapped)) } else { Ok(reading) }
}

fn unreadable(percent: u64) -> PdfError {
    PdfError::UnreadableText { percent: u32::try_from(percent).unwrap_or(100) }
}

/// Whether the file ends as a PDF ends; one that was cut short does not.
fn is_whole(pdf: &[u8]) -> bool {
    let tail = &pdf[pdf.len().saturating_sub(2048)..];
    tail.windows(9).any(|window| window == b"startxref")
}

/// Both readers opened the file and found no text: why?
fn without_text(pdf: &[u8], options: &ReadOptions, first: &Reading, second: Option<(Reading, Facts)>) -> PdfError {
    let (second, facts) = second.map_or((None, Facts::default()), |(reading, facts)| (Some(reading), facts));
    let seen = first.pages.len().max(second.as_ref().map_or(0, |reading| reading.pages.len()));
    let total = first.pages_total.max(second.as_ref().map_or(0, |reading| reading.pages_total));
    if seen == 0 {
        return match &options.pages {
            Some(pages) if total > 0 => PdfError::BadPages {
                pages: pages.to_string(),
                message: format!("the file has {total} page{}", if total == 1 { "" } else { "s" }),
            },
            _ => no_pages(),
        };
    }
    if !is_whole(pdf) && facts.images == 0 {
        return PdfError::Damaged { message: "its end is missing and no text could be recovered".to_owned() };
    }
    PdfError::NoText { pages: u32::try_from(seen).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_must_stand_in_the_first_kibibyte() {
        assert_eq!(check_signature(b"%PDF-1.7"), Ok(()));
        let mut late = vec![b' '; 1_020];
        late.extend_from_slice(b"%PDF-1.7");
        assert_eq!(check_signature(&late), Err(PdfError::NotAPdf));
        assert_eq!(check_signature(b""), Err(PdfError::NotAPdf));
        assert_eq!(check_signature(b"<html>"), Err(PdfError::NotAPdf));
    }

    #[test]
    fn metadata_is_read_as_utf_16_or_latin_1() {
        assert_eq!(metadata_text(b"\xfe\xff\x00G\x20\xac"), "G€");
        assert_eq!(metadata_text(b"M\xfcller"), "Müller");
    }
}
