//! Reads, searches and measures files. Texts are cut at borders of characters and say which encoding they had.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use serde::Deserialize;
use serde_json::{Value, json};

use super::fs_list::{matcher, walk};
use super::fs_paths::Place;
use super::fs_view::View;
use super::host::Refusal;
use crate::domain::failure::FailureKind;

/// Bytes of text that `read` gives when no limit is said, and at most.
const READ_BYTES_DEFAULT: usize = 128 * 1024;
const READ_BYTES_MAX: usize = 768 * 1024;

/// Bytes that decide whether a file is text.
const SNIFF_BYTES: usize = 8 * 1024;

const MATCHES_DEFAULT: usize = 200;
const MATCHES_MAX: usize = 5_000;
const MATCH_LINE_BYTES_MAX: usize = 300;

/// Files larger than that are not searched; longer lines are searched only in their beginning.
const SEARCHED_BYTES_MAX: u64 = 64 * 1024 * 1024;
const SEARCHED_LINE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadArguments {
    path: String,
    #[serde(default)]
    offset: u64,
    limit: Option<usize>,
}

pub(super) fn read(view: &View<'_>, said: &ReadArguments) -> Result<Value, Refusal> {
    let (place, mut file, bytes) = view.open_file(&said.path)?;
    let failed = |error: io::Error| place.refusal("read", &error);
    let mut start = vec![0; SNIFF_BYTES.min(usize::try_from(bytes).unwrap_or(SNIFF_BYTES))];
    file.read_exact(&mut start).map_err(failed)?;
    let encoding = Encoding::of(&start);
    if encoding == Encoding::Binary {
        let refusal = Refusal::new(FailureKind::BadInput, format!("`{}` is not a text file", place.shown));
        return Err(refusal.hint("use `hash` for its digest, or a tool made for its format"));
    }
    if said.offset > bytes {
        let message = format!("offset {} is behind the end of `{}` ({bytes} bytes)", said.offset, place.shown);
        return Err(Refusal::new(FailureKind::BadInput, message));
    }
    let limit = said.limit.unwrap_or(READ_BYTES_DEFAULT).clamp(4, READ_BYTES_MAX);
    let offset = said.offset.max(encoding.mark_bytes());
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut raw = Vec::new();
    // Up to three bytes more than asked may belong to the last character.
    file.take(limit as u64).read_to_end(&mut raw).map_err(failed)?;
    let is_end = offset + raw.len() as u64 >= bytes;
    let (text, used) = encoding.decode(&raw, is_end);
    let next = offset + used as u64;
    let mut out = json!({ "path": place.shown, "text": text, "bytes": bytes, "offset": offset,
        "encoding": encoding.name(), "truncated": next < bytes });
    if next < bytes {
        out["next_offset"] = next.into();
    }
    Ok(out)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PathArguments {
    path: String,
}

pub(super) fn stat(view: &View<'_>, said: &PathArguments) -> Result<Value, Refusal> {
    let (place, found) = view.stat(&said.path)?;
    Ok(match found {
        None => json!({ "path": place.shown, "exists": false }),
        Some((kind, bytes)) => json!({ "path": place.shown, "exists": true, "kind": kind, "bytes": bytes }),
    })
}

pub(super) fn hash(view: &View<'_>, said: &PathArguments) -> Result<Value, Refusal> {
    let (place, mut file, _) = view.open_file(&said.path)?;
    let (sha256, bytes) = digest(&mut file).map_err(|error| place.refusal("read", &error))?;
    Ok(json!({ "path": place.shown, "bytes": bytes, "sha256": sha256 }))
}

pub(super) use crate::os::staging::sha256_of as digest;

/// An opened file, if it is an ordinary one; folders and pipes are refused.
pub(super) fn ordinary(place: Place, file: File) -> Result<(Place, File, u64), Refusal> {
    let metadata = file.metadata().map_err(|error| place.refusal("look up", &error))?;
    if !metadata.is_file() {
        return Err(not_ordinary(&place, metadata.is_dir()));
    }
    Ok((place, file, metadata.len()))
}

pub(super) fn not_ordinary(place: &Place, is_folder: bool) -> Refusal {
    let what = if is_folder { "a folder" } else { "not an ordinary file" };
    let refusal = Refusal::new(FailureKind::BadInput, format!("`{}` is {what}", place.shown));
    if is_folder { refusal.hint("use `list`") } else { refusal }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchArguments {
    root: String,
    text: String,
    pattern: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    ignore_case: bool,
}

pub(super) fn search(view: &View<'_>, said: &SearchArguments) -> Result<Value, Refusal> {
    if said.text.is_empty() || said.text.contains('\n') {
        return Err(Refusal::new(FailureKind::BadInput, "the text to search for is empty or has more than one line"));
    }
    let matcher = said.pattern.as_deref().map(|pattern| matcher(pattern, false)).transpose()?;
    let (root, found) = walk(view, &said.root, matcher.as_ref(), false)?;
    let limit = said.limit.unwrap_or(MATCHES_DEFAULT).clamp(1, MATCHES_MAX);
    let needle = if said.ignore_case { said.text.to_lowercase() } else { said.text.clone() };
    let mut matches = Vec::new();
    let mut skipped = Vec::new();
    let mut files = 0_u64;
    for listed in &found.files {
        if matches.len() > limit {
            break;
        }
        if listed.bytes > SEARCHED_BYTES_MAX {
            skipped.push(json!({ "path": listed.path, "reason": "too large to search" }));
            continue;
        }
        // A file that went away since is no match.
        let Ok((_, file, _)) = view.glance(&listed.path) else { continue };
        let before = matches.len();
        files += u64::from(search_file(file, &listed.path, &needle, said.ignore_case, limit, &mut matches).is_some());
        if matches.len() > before {
            view.remember(&listed.path);
        }
    }
    let is_truncated = matches.len() > limit;
    matches.truncate(limit);
    let mut out = json!({ "root": root, "count": matches.len(), "files_searched": files, "truncated": is_truncated,
        "matches": matches });
    if !skipped.is_empty() {
        skipped.truncate(100);
        out["skipped"] = skipped.into();
    }
    Ok(out)
}

/// `None`: not a text file, or not readable.
fn search_file(
    file: File,
    path: &str,
    needle: &str,
    ignore_case: bool,
    limit: usize,
    matches: &mut Vec<Value>,
) -> Option<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let start = reader.fill_buf().ok()?;
    if Encoding::of(&start[..start.len().min(SNIFF_BYTES)]) == Encoding::Binary {
        return None;
    }
    let mut raw = Vec::new();
    for number in 1_u64.. {
        raw.clear();
        if (&mut reader).take(SEARCHED_LINE_BYTES_MAX).read_until(b'\n', &mut raw).ok()? == 0 {
            break;
        }
        let is_cut = raw.len() as u64 == SEARCHED_LINE_BYTES_MAX && !raw.ends_with(b"\n");
        if is_cut {
            reader.skip_until(b'\n').ok()?;
        }
        let line = String::from_utf8_lossy(&raw);
        let line = line.trim_end_matches(['\n', '\r']);
        let is_match = if ignore_case { line.to_lowercase().contains(needle) } else { line.contains(needle) };
        if is_match {
            matches.push(json!({ "path": path, "line": number, "text": cut(line) }));
            if matches.len() > limit {
                break;
            }
        }
    }
    Some(())
}

fn cut(line: &str) -> String {
    if line.len() <= MATCH_LINE_BYTES_MAX {
        return line.to_owned();
    }
    let end = (0..=MATCH_LINE_BYTES_MAX).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
    format!("{} …", &line[..end])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8 {
        has_mark: bool,
    },
    Utf16Le,
    Utf16Be,
    /// Bytes above 127 that are not UTF-8: read as Windows-1252, which also covers Latin-1 texts.
    Windows1252,
    Binary,
}

impl Encoding {
    fn of(start: &[u8]) -> Self {
        match start {
            [0xEF, 0xBB, 0xBF, ..] => return Self::Utf8 { has_mark: true },
            [0xFF, 0xFE, ..] => return Self::Utf16Le,
            [0xFE, 0xFF, ..] => return Self::Utf16Be,
            _ => {}
        }
        if start.contains(&0) {
            return Self::Binary;
        }
        match std::str::from_utf8(start) {
            Ok(_) => Self::Utf8 { has_mark: false },
            // A character cut by the end of the sample is no fault.
            Err(error) if error.error_len().is_none() => Self::Utf8 { has_mark: false },
            Err(_) => {
                let odd =
                    start.iter().filter(|&&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C)).count();
                if odd * 50 > start.len() { Self::Binary } else { Self::Windows1252 }
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "utf-8",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Windows1252 => "windows-1252 (guessed)",
            Self::Binary => "binary",
        }
    }

    const fn mark_bytes(self) -> u64 {
        match self {
            Self::Utf8 { has_mark: true } => 3,
            Self::Utf16Le | Self::Utf16Be => 2,
            Self::Utf8 { has_mark: false } | Self::Windows1252 | Self::Binary => 0,
        }
    }

    /// Text and the number of bytes that went into it: a character cut at the end is left for the next call.
    fn decode(self, raw: &[u8], is_end: bool) -> (String, usize) {
        match self {
            Self::Utf8 { .. } | Self::Binary => {
                let used = match std::str::from_utf8(raw) {
                    Err(error) if error.error_len().is_none() && !is_end => error.valid_up_to(),
                    _ => raw.len(),
                };
                (String::from_utf8_lossy(&raw[..used]).into_owned(), used)
            }
            Self::Utf16Le => utf16(raw, is_end, u16::from_le_bytes),
            Self::Utf16Be => utf16(raw, is_end, u16::from_be_bytes),
            Self::Windows1252 => (raw.iter().map(|&byte| windows_1252(byte)).collect(), raw.len()),
        }
    }
}

fn utf16(raw: &[u8], is_end: bool, unit: fn([u8; 2]) -> u16) -> (String, usize) {
    let mut units: Vec<u16> = raw.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    if !is_end && units.last().is_some_and(|last| (0xD800..0xDC00).contains(last)) {
        units.pop();
    }
    let used = if is_end { raw.len() } else { units.len() * 2 };
    (String::from_utf16_lossy(&units), used)
}

fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..0xA0 => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_text_never_cut_a_character() {
        let text = "aä€𝄞".repeat(50);
        for (encoding, raw) in [
            (Encoding::Utf8 { has_mark: false }, text.as_bytes().to_vec()),
            (Encoding::Utf16Le, text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            (Encoding::Utf16Be, text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ] {
            for size in 4..12 {
                let (mut at, mut out) = (0, String::new());
                while at < raw.len() {
                    let end = (at + size).min(raw.len());
                    let (part, used) = encoding.decode(&raw[at..end], end == raw.len());
                    assert!(used > 0);
                    out.push_str(&part);
                    at += used;
                }
                assert_eq!(out, text, "{encoding:?} {size}");
            }
        }
    }

    #[test]
    fn encodings_are_told_apart() {
        assert_eq!(Encoding::of("grün".as_bytes()), Encoding::Utf8 { has_mark: false });
        assert_eq!(Encoding::of(b"gr\xfcn \x80 5"), Encoding::Windows1252);
        assert_eq!(Encoding::of(b"\xff\xfea\0"), Encoding::Utf16Le);
        assert_eq!(Encoding::of(b"%PDF\0\x01"), Encoding::Binary);
        assert_eq!(Encoding::of(b"\x89PNG\x1a\x01\x02\x03\x04\xff"), Encoding::Binary);
        assert_eq!(Encoding::of(b""), Encoding::Utf8 { has_mark: false });
        assert_eq!(Encoding::Windows1252.decode(b"gr\xfcn \x80", true).0, "grün €");
    }
}
