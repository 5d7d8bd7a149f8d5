//! House rules that a reader of the sources can check: rooms and their imports, headers, prints, sizes, links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom, and why: what decides stands below, what touches the world stands beside it, and only `engine`
/// and the rooms above it know both. A room that is not listed is a fault, so that a new one states its place.
const ROOMS: &[(&str, &[&str])] = &[
    // The words and rules of runs. Pure: it names nothing of the world, so all of it can be replayed.
    ("domain", &[]),
    // What only the system can do. It knows no word of ours.
    ("os", &[]),
    // Sources of truth and text: each reads or writes one kind of file, in the words of `domain`.
    ("config", &["domain", "os"]),
    ("plan_file", &["domain"]),
    ("journal", &["domain", "os"]),
    // Folded from the journal, so it reads that and nothing else.
    ("state", &["domain", "journal", "os"]),
    // The ways out, each behind a port: models, tool servers, databases, PDF files. None knows another.
    ("model", &["domain", "os"]),
    ("tool", &["domain", "os"]),
    ("database", &["domain", "os"]),
    ("pdf", &["domain", "os"]),
    // What paid calls cost. It calls nobody: who may pay for what is asked of it.
    ("account", &["domain", "os"]),
    // Looks at what was done: expressions (`plan_file`), databases, files (`os` says where a path leads). It calls no
    // tool and decides nothing.
    ("evidence", &["domain", "plan_file", "database", "os"]),
    ("policy", &["domain", "plan_file", "tool"]),
    // One attempt from inside.
    ("agent", &["domain", "plan_file", "journal", "state", "model", "tool", "database", "evidence", "policy", "os"]),
    // Actors. They see ports, never the configuration, a screen or our own servers.
    (
        "engine",
        &[
            "domain",
            "plan_file",
            "journal",
            "state",
            "model",
            "tool",
            "database",
            "evidence",
            "policy",
            "agent",
            "os",
            "telemetry",
        ],
    ),
    // Words for people out of a run's state: pure as well, so that a report is the same wherever it is read.
    ("report", &["domain"]),
    // Our own tool servers are other processes: they know what they serve and how a result travels (`tool`), not runs.
    ("servers", &["domain", "pdf", "database", "tool", "os"]),
    // Names of spans and fields.
    ("telemetry", &["domain"]),
    // Wiring and doors: `app` names the adapters together; `cli` and `api` are two doors to it.
    ("app", ALL),
    ("cli", ALL),
    ("session", ALL),
    ("api", &["domain", "engine", "journal", "state", "report", "os"]),
    ("remote", ALL),
    ("main", ALL),
    ("lib", ALL),
];

/// Stands for every room.
const ALL: &[&str] = &["*"];

/// Words that the pure room never names.
const IMPURE: &[&str] =
    &["tokio", "ractor", "sled", "reqwest", "rmcp", "std::fs", "std::env", "SystemTime", "Instant", "std::net", "sqlx"];

const LINES_MAX: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The room of a source file: the first folder below `src`, or the file itself.
fn room_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// The source without comments and without what stands in quotes, so that only code is judged.
fn code_of(source: &str) -> String {
    let bytes: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    let starts = |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| bytes.get(at + i) == Some(&c));
    while at < bytes.len() {
        let word_before = at > 0 && (bytes[at - 1].is_alphanumeric() || bytes[at - 1] == '_');
        if starts(at, "//") {
            while at < bytes.len() && bytes[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            while at < bytes.len() {
                if starts(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if starts(at, "*/") {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        break;
                    }
                } else {
                    at += 1;
                }
            }
        } else if bytes[at] == 'r' && !word_before && matches!(bytes.get(at + 1), Some('"' | '#')) {
            let hashes = bytes[at + 1..].iter().take_while(|c| **c == '#').count();
            if bytes.get(at + 1 + hashes) != Some(&'"') {
                // A raw name such as `r#type`.
                out.push(bytes[at]);
                at += 1;
                continue;
            }
            let end = format!("\"{}", "#".repeat(hashes));
            at += 2 + hashes;
            while at < bytes.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
            out.push_str("\"\"");
        } else if bytes[at] == '"' {
            at += 1;
            while at < bytes.len() && bytes[at] != '"' {
                at += if bytes[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if bytes[at] == '\'' && (bytes.get(at + 1) == Some(&'\\') || bytes.get(at + 2) == Some(&'\'')) {
            at += if bytes.get(at + 1) == Some(&'\\') { 3 } else { 2 };
            while at < bytes.len() && bytes[at] != '\'' {
                at += 1;
            }
            at += 1;
            out.push_str("' '");
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// The code without its tests: everything from the first `#[cfg(test)]` on, which stands last in our files.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod ").next().unwrap_or(code)
}

fn sources() -> Vec<(PathBuf, String, String)> {
    files_under(&root().join("src"), "rs")
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = code_of(&text);
            (path, text, code)
        })
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a name stands in the code as a whole word.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

/// Rooms that a piece of code reaches through `crate::…`, `ollmcp::…` or enough `super::`s.
fn rooms_named(code: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let up = "super::".repeat(depth);
    for start in ["crate::", "ollmcp::", up.as_str()] {
        if start.is_empty() {
            continue;
        }
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(is_word) {
                continue;
            }
            let mut rest = &code[at + start.len()..];
            while start == up && rest.starts_with("super::") {
                rest = &rest["super::".len()..];
            }
            match rest.strip_prefix('{') {
                Some(group) => found.extend(first_names(group)),
                None => found.extend(rest.split(|c| !is_word(c)).next().map(str::to_owned)),
            }
        }
    }
    found
}

/// First names of the entries of a braced import.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    let mut name = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend((!name.is_empty()).then(|| std::mem::take(&mut name)));
                fresh = true;
                continue;
            }
            _ => {}
        }
        if depth == 0 && fresh && is_word(c) {
            name.push(c);
        } else if !name.is_empty() {
            fresh = false;
        }
    }
    names.extend((!name.is_empty()).then_some(name));
    names
}

/// How many `super::` lead from a file to the crate's root.
fn depth_of(path: &Path) -> usize {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let parts = inside.components().count();
    if path.file_name().is_some_and(|name| name == "mod.rs") { parts - 1 } else { parts }
}

#[test]
fn rooms_import_only_what_their_place_allows() {
    let table: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut faults = Vec::new();
    for (path, _, code) in sources() {
        let room = room_of(&path);
        let Some(allowed) = table.get(room.as_str()) else {
            faults.push(format!("{}: room `{room}` has no place in the table of rooms", short(&path)));
            continue;
        };
        if *allowed == ALL {
            continue;
        }
        for named in rooms_named(without_tests(&code), depth_of(&path)) {
            if named != room && table.contains_key(named.as_str()) && !allowed.contains(&named.as_str()) {
                faults.push(format!("{}: `{room}` may not import `{named}`", short(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_pure_room_names_nothing_of_the_world() {
    let mut faults = Vec::new();
    for (path, _, code) in sources() {
        if room_of(&path) == "domain" {
            for word in IMPURE.iter().filter(|word| names(without_tests(&code), word)) {
                faults.push(format!("{} names `{word}`", short(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let all = ["src", "tests", "benches"].iter().flat_map(|folder| files_under(&root().join(folder), "rs"));
    let without: Vec<String> = all
        .filter(|path| !path.components().any(|part| part.as_os_str() == "fixtures"))
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            let first = text.lines().next().unwrap_or_default().to_owned();
            first.strip_prefix("//!").is_none_or(|words| words.trim().len() < 10)
        })
        .map(|path| short(&path))
        .collect();
    assert!(without.is_empty(), "no `//!` sentence on the first line of: {without:?}");
}

#[test]
fn only_the_command_line_prints() {
    let mut faults = Vec::new();
    for (path, _, code) in sources() {
        let room = room_of(&path);
        if matches!(room.as_str(), "cli" | "main") {
            continue;
        }
        for word in ["println", "eprintln", "print", "eprint", "dbg"] {
            if names(without_tests(&code), &format!("{word}!")) || without_tests(&code).contains(&format!("{word}!(")) {
                faults.push(format!("{}: {word}!", short(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_room() {
    let faults: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _, code)| room_of(path) != "os" && names(code, "unsafe"))
        .map(|(path, ..)| short(&path))
        .collect();
    assert!(faults.is_empty(), "`unsafe` outside `os/`: {faults:?}");
}

#[test]
fn no_file_grew_a_second_noun() {
    let all = ["src", "tests"].iter().flat_map(|folder| files_under(&root().join(folder), "rs"));
    // Stories are a table: one case after the other, read from top to bottom.
    let lines_max = |path: &Path| if path.ends_with("core/stories.rs") { 900 } else { LINES_MAX };
    let long: Vec<String> = all
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, path)| *lines > lines_max(path))
        .map(|(lines, path)| format!("{} ({lines} lines)", short(&path)))
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = files_under(&root().join("docs"), "md");
    pages.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)).into_iter().filter(|path| path.exists()));
    let mut faults = Vec::new();
    for page in pages {
        for link in links_of(&fs::read_to_string(&page).unwrap()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, place) = link.split_once('#').unwrap_or((&link, ""));
            let file = if target.is_empty() { page.clone() } else { page.parent().unwrap().join(target) };
            if !file.exists() {
                faults.push(format!("{}: `{link}` is not there", short(&page)));
            } else if !place.is_empty() && file.extension().is_some_and(|ending| ending == "md") {
                let text = fs::read_to_string(&file).unwrap();
                if !text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == place) {
                    faults.push(format!("{}: `{link}` names no heading", short(&page)));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn links_of(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            links.extend(part.split(')').next().map(|link| link.split(' ').next().unwrap_or(link).to_owned()));
        }
    }
    links
}

/// The name that a heading gets on the usual pages.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if is_word(c) || c == '-' => Some(c),
            _ => None,
        })
        .collect()
}

/// Compares a generated page with the one in the repository; `UPDATE_DOCS=1` writes it.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test's switch, read where it is used")]
pub(crate) fn fresh(page: &str, text: &str) {
    let path = root().join(page);
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{page} is stale: run the tests once with UPDATE_DOCS=1 and look at the change");
}

#[test]
fn the_rules_see_what_they_are_meant_to_see() {
    let code = code_of(
        "use crate::{domain::plan::{A, B}, engine};\n// crate::pdf\nlet a = \"crate::tool\"; let q = '\"'; crate::os::x();",
    );
    let found: Vec<String> = rooms_named(&code, 2).into_iter().collect();
    assert_eq!(found, ["domain", "engine", "os"]);
    let up: Vec<String> = rooms_named("use super::super::journal::X; use super::sibling;", 2).into_iter().collect();
    assert_eq!(up, ["journal"]);
    assert!(names("let x = Instant::now()", "Instant") && !names("let x = Instantly", "Instant"));
    assert!(!names(&code_of("let s = r#\"unsafe \"quoted\"\"#; let l: &'static str = s;"), "unsafe"));
    assert_eq!(anchor("## What this is: `it`"), "what-this-is-it");
    assert_eq!(links_of("[a](b.md#c) ![d](e.png \"t\")\n```\n[x](y)\n```"), ["b.md#c", "e.png"]);
}
