//! Values cut into parts of at most 4 KiB, each with a checksum: larger values go to files that sled does not sync.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{StateError, keys};

/// Content of one part; with its header it stays under 4 KiB.
const PART_BYTES: usize = 4_000;

/// Puts `value` under `key` into the batch.
pub(super) fn put<T: Serialize>(batch: &mut sled::Batch, key: &[u8], value: &T) {
    let bytes = serde_json::to_vec(value).expect("stored types have string keys and finite numbers");
    let count = u16::try_from(bytes.len().div_ceil(PART_BYTES).max(1)).expect("a stored value is under 256 MB");
    let mut chunks = bytes.chunks(PART_BYTES);
    for at in 0..count {
        let chunk = chunks.next().unwrap_or_default();
        let mut part = Vec::with_capacity(chunk.len() + 6);
        part.extend_from_slice(&count.to_be_bytes());
        part.extend_from_slice(&crc32fast::hash(chunk).to_be_bytes());
        part.extend_from_slice(chunk);
        batch.insert(part_key(key, at), part);
    }
}

/// Reads what [`put`] wrote.
pub(super) fn get<T: DeserializeOwned>(db: &sled::Db, key: &[u8]) -> Result<Option<T>, StateError> {
    let Some(first) = db.get(part_key(key, 0))? else { return Ok(None) };
    decode(db, key, &first).map(Some)
}

/// Decodes a value whose first part was found by a scan.
pub(super) fn decode<T: DeserializeOwned>(db: &sled::Db, key: &[u8], first: &[u8]) -> Result<T, StateError> {
    let damaged = |what: &str| StateError::Damaged { key: keys::hex(key), what: what.to_owned() };
    let (count, chunk) = checked(first).ok_or_else(|| damaged("wrong checksum"))?;
    let mut bytes = chunk.to_vec();
    for at in 1..count {
        let part = db.get(part_key(key, at))?.ok_or_else(|| damaged("a part is missing"))?;
        let (_, chunk) = checked(&part).ok_or_else(|| damaged("wrong checksum"))?;
        bytes.extend_from_slice(chunk);
    }
    serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))
}

/// The key proper of a first part's key; `None` for later parts.
pub(super) fn first_part_key(key: &[u8]) -> Option<&[u8]> {
    match key.split_last_chunk::<2>() {
        Some((own, [0, 0])) => Some(own),
        _ => None,
    }
}

fn part_key(key: &[u8], part: u16) -> Vec<u8> {
    let mut out = key.to_vec();
    out.extend_from_slice(&part.to_be_bytes());
    out
}

fn checked(part: &[u8]) -> Option<(u16, &[u8])> {
    let (count, rest) = part.split_first_chunk::<2>()?;
    let (crc, chunk) = rest.split_first_chunk::<4>()?;
    (crc32fast::hash(chunk) == u32::from_be_bytes(*crc)).then(|| (u16::from_be_bytes(*count), chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size_come_back_and_shrink() {
        let db = sled::Config::new().temporary(true).open().expect("sled opens in a temporary folder");
        for size in [0, 1, PART_BYTES - 3, PART_BYTES - 2, PART_BYTES, 3 * PART_BYTES, 10] {
            let text = "x".repeat(size);
            let mut batch = sled::Batch::default();
            put(&mut batch, b"k", &text);
            db.apply_batch(batch).expect("a batch applies");
            assert_eq!(get::<String>(&db, b"k").expect("a value reads"), Some(text));
        }
        assert!(db.iter().all(|entry| entry.expect("a scan reads").1.len() <= 4096));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let db = sled::Config::new().temporary(true).open().expect("sled opens in a temporary folder");
        let mut batch = sled::Batch::default();
        put(&mut batch, b"k", &"hello");
        db.apply_batch(batch).expect("a batch applies");
        let (key, value) = db.iter().next().expect("one entry").expect("a scan reads");
        let mut bytes = value.to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        db.insert(key, bytes).expect("an insert works");
        assert!(matches!(get::<String>(&db, b"k"), Err(StateError::Damaged { .. })));
    }
}
