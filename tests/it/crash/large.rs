//! Large lists: start quickly, keep memory bounded, and say how fast they were.
//!
//! `CRASH_FULL=1` takes a million numbers and 100,000 files; figures are printed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::place::{Place, Running, is_full, until};

/// Largest resident size of a process so far; 0 when it has ended.
fn peak_mib(process: u32) -> u64 {
    let Ok(status) = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")) else { return 0 };
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

fn until_said(running: &mut Running, words: &str) {
    until(words, || {
        assert!(!running.has_ended() || running.err().contains(words), "{}", running.err());
        running.err().contains(words).then_some(())
    });
}

#[test]
fn a_million_numbers_start_at_once_in_bounded_memory() {
    let place = Place::new();
    place.write(
        "plan.yaml",
        "name: million\nsteps:\n  - id: count\n    for_each: { range: 1000000 }\n    value: { n: \"${{ item }}\" }\n",
    );
    let start = Instant::now();
    let mut running = place.start(&["run", "plan.yaml"]);
    until_said(&mut running, "count: value, 1,000,000 items");
    let (started, peak) = (start.elapsed(), peak_mib(running.id()));
    println!("range of 1,000,000: open after {started:?}, peak {peak} MiB");
    assert!(started < Duration::from_secs(2), "{started:?}");
    assert!(peak < 100, "{peak} MiB");
    until("a first item", || (place.run(&["show", "--json"]).exits(0).json()["steps"][0]["done"] != 0).then_some(()));
    place.run(&["cancel"]).exits(0);
    running.wait().exits(1);
}

const FOLDER: &str = r#"
name: folder
steps:
  - { id: find, tool: fs.list, with: { root: files, pattern: "**/*.txt" } }
  - id: name
    for_each: "${{ steps.find.output.files }}"
    key: "${{ item.path }}"
    max_parallel: 64
    value: { path: "${{ item.path }}" }
  - id: count
    value: "${{ steps.name.done }}"
"#;

#[test]
fn a_folder_of_many_files_is_worked_through_in_bounded_memory() {
    let files: u32 = if is_full() { 100_000 } else { 10_000 };
    let place = Place::new();
    place.write("plan.yaml", FOLDER);
    let folder = place.project().join("files");
    fs::create_dir(&folder).unwrap();
    // A file has at most 65,000 names on some file systems.
    let source = |number: u32| place.project().join(format!("source{}", number / 20_000));
    for number in 0..files {
        if number % 20_000 == 0 {
            fs::write(source(number), "text").unwrap();
        }
        fs::hard_link(source(number), folder.join(format!("{number:06}.txt"))).unwrap();
    }
    let start = Instant::now();
    let mut running = place.start(&["run", "plan.yaml"]);
    until_said(&mut running, "name: value");
    let opened = start.elapsed();
    let (mut peak, mut slowest) = (0, Duration::ZERO);
    while !running.has_ended() {
        peak = peak.max(peak_mib(running.id()));
        if start.elapsed().as_secs().is_multiple_of(4) {
            let asked = Instant::now();
            place.run(&["show", "last", "--json"]).exits(0);
            slowest = slowest.max(asked.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let total = start.elapsed();
    let said = running.wait().exits(0);
    let rate = f64::from(files) / (total - opened).as_secs_f64();
    println!("{files} files: open after {opened:?}, ended after {total:?}, {rate:.0} items/s, peak {peak} MiB");
    println!("the slowest `show` beside it took {slowest:?}");
    assert!(said.out.contains("complete"), "{said:#?}");
    assert!(opened < Duration::from_secs(u64::from(files / 5_000).max(2)), "{opened:?}");
    // Each item costs about 3 KiB: its record, in the run and in the state store's copy of it.
    assert!(peak < 150 + u64::from(files) * 5 / 1024, "{peak} MiB");
    let listed = Instant::now();
    let shown = place.run(&["show", "--json"]).exits(0).json();
    println!("`show` afterwards took {:?}", listed.elapsed());
    assert_eq!(shown["steps"][1]["done"], files);
}
