//! S29: whoever writes configuration leaves every byte that is not asked for: unknown keys, order, spaces, escapes, odd
//! numbers, marks and line ends, rights, links. And the file is the old one or the new one, whatever kills the writer.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use ollmcp::config::edit::{set_key, typed, with_key};
use ollmcp::config::{KeyPath, document};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::key;
use crate::crash::place::{At, Place};

/// A file that a person has written by hand, with everything that JSON allows and programs lose.
const ODD: &str = "\u{feff}{\r\n\t\"future\" : { \"Z\":1e400 , \"a\":1.0, \"a\":-0.0,\"big\":123456789012345678901234567890 },\r\n\r\n\t\"caf\\u00e9\":\"\\u00e9\\/\\ud83d\\ude00 é\",\r\n\t\"claude_integration\":{ \"comment\":[ \"ours\" , \"keep\" ],\"enabled\" :true,\r\n\t  \"api_key\":\"sk-ant-zzsecretzz\",   \"new_phase\":{\"x\":[1,2 , 3]}, \"max_calls_per_hour\":5.0e1 }\r\n}";

fn write(place: &Place, name: &str, text: &str, mode: u32) -> PathBuf {
    place.write(name, text);
    let file = place.project().join(name);
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn mode(file: &PathBuf) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o7777
}

#[test]
fn s29_every_verb_that_writes_configuration_leaves_the_rest_byte_for_byte() {
    let place = Place::new();
    let file = write(&place, ".ollmcp/config.json", ODD, 0o600);
    let said = place.run(&["init"]).exits(0);
    assert!(said.err.contains("is there already and stays as it is"), "{said:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), ODD, "init changes nothing");

    place.run(&["config", "set", "claude_integration.max_calls_per_hour", "7"]).exits(0);
    let expected = ODD.replace("5.0e1", "7");
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    place.run(&["config", "set", "claude_integration.model", "claude-opus-5-5"]).exits(0);
    let expected =
        expected.replace("\"max_calls_per_hour\":7 }", "\"max_calls_per_hour\":7, \"model\": \"claude-opus-5-5\" }");
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    place.run(&["config", "set", "limits.attempts_max", "4"]).exits(0);
    let end = "7, \"model\": \"claude-opus-5-5\" }\r\n}";
    let with = "7, \"model\": \"claude-opus-5-5\" },\r\n\t\"limits\": {\r\n\t\t\"attempts_max\": 4\r\n\t}\r\n}";
    let expected = expected.replace(end, with);
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    place.run(&["config", "set", "limits.attempts_max", "null"]).exits(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), expected.replace("\"attempts_max\": 4", "\"attempts_max\": null"));
    assert_eq!(mode(&file), 0o600, "a key stays private");
    // And it is read: what is odd in it is somebody else's.
    let said = place.run(&["config", "show"]).exits(0);
    assert!(
        said.out.contains("claude_integration.max_calls_per_hour = 7") && !said.out.contains("zzsecretzz"),
        "{said:?}"
    );
    assert!(said.err.contains("`future.a` stands twice") && !said.err.contains("zzsecretzz"), "{said:?}");
}

#[test]
fn rights_links_and_files_without_an_end_of_line_stay_as_they_are() {
    for (text, to) in [
        ("{}", "{\n  \"limits\": {\n    \"attempts_max\": 4\n  }\n}"),
        ("{\"limits\":{\"attempts_max\":1}}", "{\"limits\":{\"attempts_max\":4}}"),
        ("", "{\n  \"limits\": {\n    \"attempts_max\": 4\n  }\n}\n"),
        ("\u{feff}", "\u{feff}{\n  \"limits\": {\n    \"attempts_max\": 4\n  }\n}\n"),
        ("\u{feff} \r\n", "\u{feff}{\n  \"limits\": {\n    \"attempts_max\": 4\n  }\n}\n"),
    ] {
        let place = Place::new();
        let real = write(&place, "elsewhere/my.json", text, 0o640);
        fs::create_dir(place.project().join(".ollmcp")).unwrap();
        let link = place.project().join(".ollmcp/config.json");
        symlink("../elsewhere/my.json", &link).unwrap();
        let before = fs::metadata(&real).unwrap();
        place.run(&["config", "set", "limits.attempts_max", "4"]).exits(0);
        assert_eq!(fs::read_to_string(&real).unwrap(), to, "{text:?}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is a link");
        assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("../elsewhere/my.json"));
        let after = fs::metadata(&real).unwrap();
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    }
}

#[test]
fn what_cannot_be_read_whole_is_not_written() {
    let place = Place::new();
    let latin: &[u8] = b"{\"comment\": \"caf\xe9\"}";
    for text in [latin, b"{\"a\": 1,}", b"{\"a\": 1} x", b"[]", b"\xff\xfe{\0}\0", b"{\"limits\": 3}"] {
        fs::create_dir_all(place.project().join(".ollmcp")).unwrap();
        let file = place.project().join(".ollmcp/config.json");
        fs::write(&file, text).unwrap();
        place.run(&["config", "set", "limits.attempts_max", "4"]).exits(2);
        assert_eq!(fs::read(&file).unwrap(), text);
    }
    let left: Vec<_> =
        fs::read_dir(place.project().join(".ollmcp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config.json"], "nothing lies about");
}

#[test]
fn a_kill_at_any_sync_leaves_the_old_file_or_the_new_one() {
    let new = ODD.replace("5.0e1", "7");
    let (mut old_seen, mut new_seen) = (0, 0);
    for number in 1..=3 {
        for at in [At::Before(number), At::After(number)] {
            let place = Place::new();
            // Syncs below a folder of this name are counted.
            let file = write(&place, "journal/config.json", ODD, 0o600);
            let set =
                ["config", "set", "claude_integration.max_calls_per_hour", "7", "--config", "journal/config.json"];
            place.killed_at_sync(&set, at);
            let text = fs::read_to_string(&file).unwrap();
            assert!(text == ODD || text == new, "{at:?}: {text}");
            old_seen += u32::from(text == ODD);
            new_seen += u32::from(text == new);
            assert_eq!(mode(&file), 0o600);
        }
    }
    assert!(old_seen > 0 && new_seen > 0, "{old_seen} {new_seen}");
}

#[test]
fn commands_at_once_do_not_undo_each_other() {
    let place = Place::new();
    let file = write(&place, ".ollmcp/config.json", "{}\n", 0o644);
    let keys = [
        "attempts_max",
        "tool_timeout_s",
        "tool_start_timeout_s",
        "pdf_timeout_s",
        "pdf_workers_max",
        "notify_timeout_s",
    ];
    let running: Vec<_> =
        keys.iter().map(|key| place.start(&["config", "set", &format!("limits.{key}"), "9"])).collect();
    for one in running {
        one.wait().exits(0);
    }
    let read: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(read["limits"].as_object().unwrap().len(), keys.len(), "{read}");
}

/// Setting a key beside the prior program's file would take all of that file out of use.
#[test]
fn the_file_that_counts_is_the_one_that_is_written() {
    let place = Place::new();
    let prior = write(&place, ".config/config.json", "{\"limits\": {\"attempts_max\": 3}}\n", 0o600);
    place.run(&["config", "set", "limits.tool_timeout_s", "9"]).exits(0);
    assert_eq!(fs::read_to_string(&prior).unwrap(), "{\"limits\": {\"attempts_max\": 3, \"tool_timeout_s\": 9}}\n");
    let said = place.run(&["init"]).exits(0);
    assert!(said.err.contains(".config/config.json` is there already"), "{said:?}");
    assert!(!place.project().join(".ollmcp/config.json").exists());
    assert!(place.run(&["config", "show"]).exits(0).out.contains("limits.attempts_max = 3"));
}

#[test]
fn a_fault_is_mended_by_the_same_verb() {
    let place = Place::new();
    let file = write(&place, ".ollmcp/config.json", "{\"claude_integration\": {\"enabled\": \"false\"}}", 0o600);
    let said = place.run(&["config", "check"]).exits(2);
    assert!(
        said.err.contains("`claude_integration.enabled` must be true or false, and is the text \"false\""),
        "{said:?}"
    );
    assert!(said.err.contains("write false without quotes"), "{said:?}");
    place.run(&["config", "set", "claude_integration.enabled", "false"]).exits(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"claude_integration\": {\"enabled\": false}}");
    place.run(&["config", "check"]).exits(0);
}

#[test]
fn values_are_typed_as_a_person_types_them() {
    for (key, text, value) in [
        ("model", "7", json!("7")),
        ("model", "qwen3:8b", json!("qwen3:8b")),
        ("model", "\"qwen3:8b\"", json!("qwen3:8b")),
        ("model", "null", Value::Null),
        ("claude_integration.enabled", "yes", json!(true)),
        ("claude_integration.enabled", "Off", json!(false)),
        ("claude_integration.enabled", "maybe", json!("maybe")),
        ("claude_integration.critical_tasks", "file_write, database_write", json!(["file_write", "database_write"])),
        ("claude_integration.critical_tasks", "[\"file_write\"]", json!(["file_write"])),
        ("disabledTools", "fs.write", json!(["fs.write"])),
        ("disabledTools", "[]", json!([])),
        ("notify", "echo 1", json!("echo 1")),
        ("notify", "[\"/bin/true\"]", json!(["/bin/true"])),
        ("budget.usd_per_day_max", "2.5", json!(2.5)),
        ("limits.attempts_max", "4", json!(4)),
        ("limits.attempts_max", "four", json!("four")),
        ("ladders.default", "ollama:a,claude", json!(["ollama:a", "claude"])),
        ("claude_integration.prices.m", "{\"input\": 1, \"output\": 2}", json!({ "input": 1, "output": 2 })),
    ] {
        assert_eq!(typed(key, text), value, "{key} {text}");
    }
}

#[test]
fn setting_a_key_says_what_keeps_it_from_counting() {
    let place = Place::new();
    write(&place, ".ollmcp/config.json", "{\"limits\": {\"attempts_max\": 3}}", 0o600);
    let said = place.run(&["config", "set", "--user", "limits.attempts_max", "5"]).exits(0);
    assert!(
        said.err.contains("`limits.attempts_max` does not count here: `") && said.err.contains("project/.ollmcp"),
        "{said:?}"
    );
    let mut command = place.command(&["config", "set", "claude_integration.model", "claude-haiku-5-5"]);
    command.env("OLLMCP_CLAUDE_MODEL", "claude-opus-5-5");
    let said = place.spawn(command).wait().exits(0);
    assert!(said.err.contains("does not count now: $OLLMCP_CLAUDE_MODEL goes over it"), "{said:?}");
    let said = place.run(&["config", "set", "memory.enabled", "yes"]).exits(0);
    assert!(said.err.contains("note: not in this version: memory (`memory.enabled`)"), "{said:?}");
    let said = place.run(&["config", "set", "vscode", "{\"a\": 1}"]).exits(0);
    assert!(said.err.contains("`vscode` is kept without effect"), "{said:?}");
    let said = place.run(&["config", "set", "limits.attemps_max", "5"]).exits(2);
    assert!(
        said.err.contains("no key is called `limits.attemps_max`")
            && said.err.contains("did you mean `limits.attempts_max`?")
    );
    let said = place.run(&["config", "set", "limits.attempts_max", "3"]).exits(0);
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
}

/// Who types it agrees to it; what somebody else wrote into the file before is not agreed to with it.
#[test]
fn what_a_person_sets_in_the_project_counts_unless_it_stands_beside_a_strangers() {
    let place = Place::new();
    write(&place, ".ollmcp/config.json", "{}", 0o600);
    let said = place.run(&["config", "set", "budget.usd_per_day_max", "3"]).exits(0);
    assert!(!said.err.contains("consent"), "{said:?}");
    assert!(place.run(&["config", "show"]).exits(0).out.contains("budget.usd_per_day_max = 3"));
    let stranger = Place::new();
    write(&stranger, ".ollmcp/config.json", "{\"mcpServers\": {\"x\": {\"command\": \"evil\"}}}", 0o600);
    let said = stranger.run(&["config", "set", "budget.usd_per_day_max", "3"]).exits(0);
    assert!(said.err.contains("`budget.usd_per_day_max` counts only after your consent"), "{said:?}");
    let said = stranger.run(&["config", "show"]).exits(0);
    assert!(said.out.contains("budget.usd_per_day_max = 10") && !said.out.contains("evil"), "{said:?}");
}

// ── any text that is JSON ───────────────────────────────────────────────────────────────────────────────────────────

fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A string as somebody may write it: plain, with escapes, with what looks like structure.
fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-z{}\\[\\],:#é ]{0,4}",
        Just("\\\"".to_owned()),
        Just("\\\\".to_owned()),
        Just("\\u0041".to_owned()),
        Just("\\ud83d\\ude00".to_owned()),
        Just("\\/".to_owned()),
        Just("\\n".to_owned()),
    ];
    proptest::collection::vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn raw_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        "(0|[1-9][0-9]{0,24})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,4})?",
        "-(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?",
        Just("1e400".to_owned()),
        Just("-1E+999".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list =
            (space(), proptest::collection::vec((space(), inner.clone(), space()), 0..4)).prop_map(|(only, all)| {
                let all: Vec<String> =
                    all.into_iter().map(|(left, value, right)| format!("{left}{value}{right}")).collect();
                if all.is_empty() { format!("[{only}]") } else { format!("[{}]", all.join(",")) }
            });
        prop_oneof![list, members(inner).prop_map(|(only, all)| braces(&only, &all))]
    })
}

/// Blanks of an empty object, and members.
fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = (String, Vec<String>)> {
    let member = (space(), string(), space(), space(), value, space());
    let member = member.prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}"));
    (space(), proptest::collection::vec(member, 0..4))
}

fn braces(only: &str, members: &[String]) -> String {
    if members.is_empty() { format!("{{{only}}}") } else { format!("{{{}}}", members.join(",")) }
}

/// What stands in `after` and not in `before`, with everything else the same.
fn inserted<'a>(before: &str, after: &'a str) -> Option<&'a str> {
    let more = after.len().checked_sub(before.len())?;
    let places = before.char_indices().map(|(at, _)| at).chain([before.len()]);
    places.filter(|at| after.get(*at..*at + more).is_some()).find_map(|at| {
        (before[..at] == after[..at] && before[at..] == after[at + more..]).then(|| &after[at..at + more])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A value that is there is replaced, and not one byte beside it.
    #[test]
    fn only_the_bytes_of_the_value_change(
        mark: bool, left in space(), right in space(), outer in members(raw_value()), inner in members(raw_value()),
        old in raw_value(), place in 0..4_usize, depth in 0..2_usize, gaps in (space(), space(), space(), space()),
    ) {
        let text = |value: &str| {
            let target = |name: &str, value: &str| format!("{}\"{name}\"{}:{}{value}{}", gaps.0, gaps.1, gaps.2, gaps.3);
            let with = |all: &[String], member: String| {
                let mut all = all.to_vec();
                all.insert(place.min(all.len()), member);
                braces("", &all)
            };
            let value = if depth == 1 { with(&inner.1, target("inside", value)) } else { value.to_owned() };
            format!("{}{left}{}{right}", if mark { "\u{feff}" } else { "" }, with(&outer.1, target("the key", &value)))
        };
        let before = text(&old);
        document::parse(&before, "c".as_ref()).unwrap();
        let names = if depth == 1 { vec!["the key".to_owned(), "inside".to_owned()] } else { vec!["the key".to_owned()] };
        let changed = with_key(&before, &KeyPath(names), &json!("new")).unwrap();
        prop_assert_eq!(changed, text("\"new\""));
    }

    /// A key that is not there is put in at one place, and everything else stays.
    #[test]
    fn a_new_key_is_one_insertion(
        mark: bool, left in space(), right in space(), outer in members(raw_value()),
        value in prop_oneof![Just(json!(4)), Just(json!(["a", "b"])), Just(json!({ "a": { "b": [] } }))],
    ) {
        let before = format!("{}{left}{}{right}", if mark { "\u{feff}" } else { "" }, braces(&outer.0, &outer.1));
        let after = with_key(&before, &key("limits.attempts_max"), &value).unwrap();
        // An empty object keeps no blanks of its own.
        if outer.1.is_empty() {
            let head = before.find('{').unwrap();
            let is_kept = after.starts_with(&before[..head]) && after.ends_with(&right);
            prop_assert!(is_kept);
        } else {
            prop_assert!(inserted(&before, &after).is_some(), "{before:?}\n{after:?}");
        }
        let read = document::parse(&after, "c".as_ref()).unwrap();
        prop_assert_eq!(&read.keys["limits"]["attempts_max"], &value);
    }

    /// Through a real file, with its rights.
    #[test]
    fn a_real_file_keeps_its_bytes_and_its_rights(outer in members(raw_value()), rights in prop_oneof![Just(0o600_u32), Just(0o644), Just(0o660)]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let mut all = outer.1.clone();
        all.push("\"disabledTools\" : [ ]".to_owned());
        let before = braces("", &all);
        fs::write(&file, &before).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(rights)).unwrap();
        set_key(&file, "disabledTools", &json!(["a.b"])).unwrap();
        prop_assert_eq!(fs::read_to_string(&file).unwrap(), before.replace("\"disabledTools\" : [ ]", "\"disabledTools\" : [\"a.b\"]"));
        prop_assert_eq!(mode(&file), rights);
        prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
