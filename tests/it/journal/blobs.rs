//! Payload files: by content, checked when read, whole or not there.

use std::fs;
use std::io::Write as _;

use ollmcp::domain::payload::{BlobRef, INLINE_BYTES_MAX, Items, Payload};
use ollmcp::journal::blobs::{BlobError, Blobs};
use ollmcp::journal::lines::{Lines, LinesWriter};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::tempdir;

fn list(items: &Items) -> (u32, BlobRef) {
    match items {
        Items::List { len, blob } => (*len, *blob),
        other => panic!("{other:?} is no list"),
    }
}

#[test]
fn a_blob_stands_under_its_hash_and_reads_back() {
    let dir = tempdir().unwrap();
    let blobs = Blobs::open(&dir.path().join("deep").join("blobs")).unwrap();
    let blob = blobs.put(b"abc").unwrap();
    let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((blob.sha256.to_string().as_str(), blob.bytes), (name, 3));
    assert_eq!(blobs.path(&blob), dir.path().join("deep/blobs/ba").join(name));
    assert_eq!(blobs.read(&blob).unwrap(), b"abc");
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(blobs.path(&blob));
    assert_eq!(blobs.put(b"abc").unwrap(), blob);
    assert_eq!(inode(blobs.path(&blob)), before, "the same content is not written again");
    let mut stream = blobs.put_stream().unwrap();
    stream.write_all(b"a").unwrap();
    stream.write_all(b"bc").unwrap();
    assert_eq!(stream.finish().unwrap(), blob);
    let empty = blobs.put(b"").unwrap();
    assert_eq!(blobs.read(&empty).unwrap(), b"");
}

#[test]
fn missing_and_damaged_blobs_are_told_apart_and_mended_by_the_next_write() {
    let dir = tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let blob = blobs.put(b"some content").unwrap();
    let path = blobs.path(&blob);
    fs::write(&path, b"some kontent").unwrap();
    assert!(matches!(blobs.read(&blob), Err(BlobError::Damaged { .. })));
    fs::write(&path, b"some").unwrap();
    assert!(matches!(blobs.read(&blob), Err(BlobError::Damaged { .. })));
    assert!(matches!(Lines::open(&blobs, &blob), Err(BlobError::Damaged { .. })));
    blobs.put(b"some content").unwrap();
    assert_eq!(blobs.read(&blob).unwrap(), b"some content");
    fs::remove_file(&path).unwrap();
    assert!(matches!(blobs.read(&blob), Err(BlobError::Missing { .. })));
    let huge = BlobRef { bytes: u64::MAX, ..blob };
    assert!(matches!(blobs.read(&huge), Err(BlobError::TooLarge { .. })));
}

#[test]
fn what_was_not_finished_leaves_nothing() {
    let dir = tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let mut stream = blobs.put_stream().unwrap();
    stream.write_all(&[1; 200_000]).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(stream);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    fs::write(dir.path().join("1234-0.tmp"), b"left by a crash").unwrap();
    let reader = Blobs::reader(dir.path());
    assert!(dir.path().join("1234-0.tmp").exists());
    drop((reader, Blobs::open(dir.path()).unwrap()));
    assert!(!dir.path().join("1234-0.tmp").exists());
}

#[test]
fn many_threads_may_store_the_same_and_different_content() {
    let dir = tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let blobs = &blobs;
            scope.spawn(move || {
                for nth in 0..20_u32 {
                    let shared = blobs.put(format!("shared {nth}").as_bytes()).unwrap();
                    assert_eq!(blobs.read(&shared).unwrap(), format!("shared {nth}").as_bytes());
                    let own = blobs.put(format!("own {thread} {nth}").as_bytes()).unwrap();
                    assert_eq!(blobs.read(&own).unwrap(), format!("own {thread} {nth}").as_bytes());
                }
            });
        }
    });
    let left = fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count();
    assert_eq!(left, 0, "temporary files are left");
}

#[test]
fn a_value_stands_inline_up_to_the_limit_and_in_a_blob_above_it() {
    let dir = tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    for (length, is_inline) in [(INLINE_BYTES_MAX - 2, true), (INLINE_BYTES_MAX - 1, false)] {
        let value = Value::String("x".repeat(length));
        let payload = blobs.put_value(&value).unwrap();
        assert_eq!(matches!(payload, Payload::Inline(_)), is_inline);
        assert_eq!(blobs.read_value(&payload).unwrap(), value);
    }
    let not_json = blobs.put(b"{").unwrap();
    assert!(matches!(blobs.read_value(&Payload::Blob(not_json)), Err(BlobError::Damaged { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_item_of_a_list_is_found_by_its_position(texts in prop::collection::vec(".{0,60}", 0..60)) {
        let dir = tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let items: Vec<Value> = texts.iter().map(|text| json!({"text": text, "break": "a\nb"})).collect();
        let mut writer = LinesWriter::new(&blobs).unwrap();
        items.iter().for_each(|item| writer.push(item).unwrap());
        let (len, blob) = list(&writer.finish().unwrap());
        prop_assert_eq!(len as usize, items.len());
        let lines = Lines::open(&blobs, &blob).unwrap();
        prop_assert_eq!(lines.len(), items.len());
        for (index, item) in items.iter().enumerate().rev() {
            let found = lines.get(index).unwrap();
            prop_assert_eq!(found.as_ref(), Some(item));
        }
        prop_assert_eq!(lines.get(items.len()).unwrap(), None);
    }
}

#[test]
fn a_list_may_lack_its_last_line_break_and_bad_items_are_named() {
    let dir = tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let blob = blobs.put(b"1\n\n{\n\"end\"").unwrap();
    let lines = Lines::open(&blobs, &blob).unwrap();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines.get(0).unwrap(), Some(json!(1)));
    assert_eq!(lines.get(3).unwrap(), Some(json!("end")));
    for index in [1, 2] {
        let error = lines.get(index).unwrap_err();
        assert!(error.to_string().contains(&format!("item {index}")), "{error}");
    }
}

#[test]
fn a_list_of_many_items_crosses_the_buffer_borders() {
    let dir = tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let mut writer = LinesWriter::new(&blobs).unwrap();
    for n in 0..100_000 {
        writer.push(&json!(n)).unwrap();
    }
    let (_, blob) = list(&writer.finish().unwrap());
    let lines = Lines::open(&blobs, &blob).unwrap();
    assert_eq!(lines.len(), 100_000);
    for index in (0..100_000).step_by(997) {
        assert_eq!(lines.get(index).unwrap(), Some(json!(index)));
    }
}
