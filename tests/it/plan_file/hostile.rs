//! Text that wants to hurt: bounded, refused with a place, never a crash.

use std::time::{Duration, Instant};

use ollmcp::plan_file::{Catalog, read};

use super::{faults, good};

fn first(bytes: &[u8]) -> String {
    let start = Instant::now();
    let told = read(bytes, &Catalog::default()).expect_err("hostile text is no plan").to_string();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    told
}

#[test]
fn an_alias_bomb_is_refused_at_its_first_anchor() {
    let mut bomb = String::from("name: a\nsteps:\nx0: &a0 [lol]\n");
    for at in 1..30 {
        let refs = vec![format!("*a{}", at - 1); 10].join(",");
        bomb.push_str(&format!("x{at}: &a{at} [{refs}]\n"));
    }
    let told = first(bomb.as_bytes());
    assert!(told.starts_with("3:"), "{told}");
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    for open in ["[", "{a: ", "- "] {
        let told = first(format!("name: a\nsteps: {}", open.repeat(100_000)).as_bytes());
        assert!(told.contains("deeper than 64") || told.contains("not readable as YAML"), "{told}");
    }
    let mut block = String::new();
    for depth in 0..300 {
        block.push_str(&" ".repeat(depth));
        block.push_str("a:\n");
    }
    first(block.as_bytes());
}

#[test]
fn a_huge_file_is_refused_by_its_size() {
    let start = Instant::now();
    let told = first(&vec![b'a'; 300_000_000]);
    assert!(told.starts_with("1:1: a plan file is at most 4 MiB"), "{told}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn four_mebibytes_of_small_nodes_are_bounded() {
    let mut text = String::from("name: a\nsteps: [");
    text.push_str(&"1,".repeat(2_000_000));
    text.push(']');
    first(text.as_bytes());
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    assert_eq!(first(b"name: a\nsteps: \xff"), "2:8: the text is not UTF-8 from here on");
    assert_eq!(first(b"name: a\nsteps: \0"), "2:8: a NUL byte has no place in a plan file");
    assert_eq!(
        first(&"name: a".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
        "1:2: a NUL byte has no place in a plan file"
    );
}

#[test]
fn line_ends_and_a_byte_order_mark_of_windows_are_read() {
    let plan = "\u{feff}name: a\r\nsteps:\r\n  - id: b\r\n    value: 1\r\n";
    assert_eq!(good(plan).plan.name(), "a");
    let told = faults(&plan.replace("value", "valu"));
    assert_eq!(told.to_string(), "4:5: unknown key `valu` in a step (did you mean `value`?)");
}

#[test]
fn tabs_are_refused_with_a_hint() {
    let told = faults("name: a\nsteps:\n\t- id: b\n");
    assert_eq!(told.as_slice()[0].line, 3);
    assert_eq!(told.as_slice()[0].hint.as_deref(), Some("indent with spaces, not with tabs"));
}

#[test]
fn columns_count_characters_and_spans_bytes() {
    let told = faults("name: a\nsteps:\n  - { id: b, value: 1, \"äöü€\": 2, 日本: 3 }\n");
    let places: Vec<_> =
        told.as_slice().iter().map(|fault| (fault.column, &told.source()[fault.span.clone()])).collect();
    assert_eq!(places, [(24, "\"äöü€\""), (35, "日本")]);
}

#[test]
fn more_faults_than_can_be_told_are_counted() {
    let mut text = String::from("name: a\nsteps:\n");
    for at in 0..500 {
        text.push_str(&format!("  - {{ id: s{at}, value: 1, zzz: 2 }}\n"));
    }
    let told = faults(&text);
    assert_eq!((told.as_slice().len(), told.untold()), (100, 400));
    assert!(told.to_string().ends_with("\nand 400 more"));
    assert!(told.render("a", false).ends_with("500 faults in a, the first 100 are shown\n"));
}

#[test]
fn a_plan_on_one_line_of_megabytes_is_shown_by_place_only() {
    let text = format!(
        "{{\"name\": \"a\", \"steps\": [{{\"id\": \"b\", \"value\": \"{}\", \"zzz\": 1}}]}}",
        "x".repeat(1_000_000)
    );
    let told = faults(&text);
    assert!(told.render("a.json", false).len() < 1_000);
}

#[test]
fn nesting_up_to_the_limit_is_read_printed_and_explained_on_a_small_stack() {
    let deep = format!("{}1{}", "[".repeat(55), "]".repeat(55));
    let plan = good(&format!("name: a\nsteps:\n  - id: b\n    value: {deep}\n")).plan;
    assert!(ollmcp::plan_file::to_yaml(plan.raw()).len() > 55);
    assert!(!ollmcp::plan_file::explain(&plan, 80).is_empty());
}
