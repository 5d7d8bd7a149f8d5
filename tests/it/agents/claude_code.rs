//! Sub-agent files as people bring them from Claude Code: ten in its convention, each loaded as it is.

use super::*;

/// What one file must give.
struct Expect {
    name: &'static str,
    tools: Option<&'static [&'static str]>,
    forbidden: &'static [&'static str],
    grants: &'static [Grant],
    model: Option<&'static str>,
    turns_max: Option<u32>,
    /// Parts of the description, in order.
    description: &'static [&'static str],
    /// First and last words of the prompt.
    prompt: (&'static str, &'static str),
    /// A part of each note, in any order; no note is left over.
    notes: &'static [&'static str],
}

const ALL: &[Expect] = &[
    Expect {
        name: "api-designer",
        tools: Some(&["fs.read", "fs.search", "fs.list"]),
        forbidden: &[],
        grants: &[Grant::Read],
        model: Some("opus"),
        turns_max: None,
        description: &["Designs HTTP interfaces", "still open."],
        prompt: ("You design interfaces", "one section per resource."),
        notes: &["no tool like `WebFetch`", "`color`", "`model: opus` is a paid model"],
    },
    Expect {
        name: "test-runner",
        tools: Some(&["shell.run", "fs.read", "fs.search"]),
        forbidden: &[],
        grants: &[Grant::Read, Grant::Shell],
        model: Some("haiku"),
        turns_max: None,
        description: &[
            "Use this agent when tests",
            "\n\n<example>\nContext:",
            "user: \"I rewrote the parser\"\n",
            "</example>",
        ],
        prompt: ("You run the tests", "the likely cause."),
        notes: &["`model: haiku`"],
    },
    Expect {
        name: "code-reviewer",
        tools: Some(&["fs.list", "fs.search", "fs.read"]),
        forbidden: &[],
        grants: &[Grant::Read],
        model: Some("sonnet"),
        turns_max: None,
        description: &[
            "looked at: style",
            "\n\n<example>\nContext: The user",
            "agent # for this\"\n</example>\n\n<example>",
            "</example>",
        ],
        prompt: ("You review changes.", "each with file and line."),
        notes: &[
            "no strict YAML",
            "`NotebookRead`",
            "`WebSearch`",
            "`TodoWrite`",
            "`BashOutput`",
            "`KillBash`",
            "`model: sonnet`",
            "`color`",
        ],
    },
    Expect {
        name: "doc-writer",
        tools: Some(&["fs.read", "fs.write", "fs.patch", "fs.list"]),
        forbidden: &["shell.run"],
        grants: &[Grant::Read, Grant::Write],
        model: Some("inherit"),
        turns_max: None,
        description: &["Writes and updates documentation.\nUse it after", "say the same."],
        prompt: ("You write documentation.", "about the future."),
        notes: &[],
    },
    Expect {
        name: "sql-analyst",
        tools: Some(&["warehouse.query", "warehouse.schema", "notes.*", "fs.read"]),
        forbidden: &[],
        grants: &[Grant::Read],
        model: None,
        turns_max: Some(15),
        description: &["Answers questions about data with read-only queries, and shows the query"],
        prompt: ("You answer questions", "Round nothing."),
        notes: &["`mcpServers`", "`permissionMode`"],
    },
    Expect {
        name: "debugger",
        tools: None,
        forbidden: &[],
        grants: &[Grant::Read],
        model: None,
        turns_max: None,
        description: &["Finds the cause of an error. Use PROACTIVELY"],
        prompt: ("You find causes, not symptoms.\n\n---\n\nWhen you are called:", "that mends it."),
        notes: &[],
    },
    Expect {
        name: "release-helper",
        tools: Some(&["shell.run", "fs.read", "fs.patch"]),
        forbidden: &["fs.write"],
        grants: &[Grant::Read, Grant::Write, Grant::Shell],
        model: Some("claude-sonnet-4-5"),
        turns_max: None,
        description: &["Writes the list of changes of a release: what users see"],
        prompt: ("You write the list of changes.\n\nGroup by", "cannot notice."),
        notes: &[
            "no strict YAML",
            "`Bash(git log:*, git diff:*)`",
            "`Bash(git tag:*)`",
            "no tool like `WebFetch`",
            "`model: claude-sonnet-4-5`",
        ],
    },
    Expect {
        name: "migrator",
        tools: Some(&["fs.read", "fs.patch", "fs.search", "fs.list"]),
        forbidden: &[],
        grants: &[Grant::Read, Grant::Write],
        model: Some("sonnet[1m]"),
        turns_max: None,
        description: &[
            "Use this agent to move code",
            "\nIt works file by file.\n",
            "the migrator: it knows",
            "</example>",
        ],
        prompt: ("You move code", "what you left alone."),
        notes: &[
            "no strict YAML",
            "no tool like `Task`",
            "`effort`",
            "`reasoningStyle` means nothing here",
            "`spawnDepth` means nothing here",
            "`model: sonnet[1m]`",
        ],
    },
    Expect {
        name: "security-auditor",
        tools: None,
        forbidden: &[],
        grants: &[Grant::Read],
        model: Some("opus"),
        turns_max: None,
        description: &["Looks for holes in a change. Examples:\n<example>\nContext: a new login form.\n", "</example>"],
        prompt: ("You look for holes:", "how to close it."),
        notes: &["no strict YAML", "`hooks`", "`model: opus`"],
    },
    Expect {
        name: "translator",
        tools: Some(&["fs.read", "fs.write"]),
        forbidden: &[],
        grants: &[Grant::Read, Grant::Write],
        model: None,
        turns_max: None,
        description: &[
            "Translates interface texts. Say \"translate\" and the language, e.g. \"translate to Danish\": it keeps",
        ],
        prompt: ("You translate interface texts.", "as they are."),
        notes: &[
            "no strict YAML",
            "`AskUserQuestion`",
            "`Skill`",
            "`FutureTool`",
            "`skills`",
            "`isolation`",
            "`background`",
            "`memory`",
        ],
    },
];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents/claude_code")
}

#[test]
fn ten_files_of_claude_code_load_as_they_are() {
    assert_eq!(fs::read_dir(folder()).unwrap().count(), ALL.len());
    for expect in ALL {
        let name = expect.name;
        let text = fs::read_to_string(folder().join(format!("{name}.md"))).unwrap();
        let spec = read(&text).unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        assert_eq!((spec.name.as_str(), spec.role.as_str()), (name, name));
        let tools = spec.tools.as_ref().map(|tools| tools.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(tools.as_deref(), expect.tools, "{name}");
        assert_eq!(spec.forbidden_tools, expect.forbidden, "{name}");
        assert_eq!(spec.grants, expect.grants, "{name}");
        assert_eq!((spec.model.as_deref(), spec.turns_max), (expect.model, expect.turns_max), "{name}");
        let mut rest = spec.description.as_str();
        for part in expect.description {
            let at = rest.find(part).unwrap_or_else(|| panic!("{name}: no {part:?} in {rest:?}"));
            rest = &rest[at + part.len()..];
        }
        assert!(!spec.description.contains("\\n"), "{name}: {}", spec.description);
        assert!(
            spec.prompt.starts_with(expect.prompt.0) && spec.prompt.ends_with(expect.prompt.1),
            "{name}: {}",
            spec.prompt
        );
        for part in expect.notes {
            assert!(spec.notes.iter().any(|note| note.contains(part)), "{name}: no {part:?} in {:#?}", spec.notes);
        }
        assert_eq!(spec.notes.len(), expect.notes.len(), "{name}: {:#?}", spec.notes);
        // The same with line ends of Windows and a mark in front: nothing of them reaches a model.
        let windows = read(&format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
        assert_eq!((&windows.prompt, &windows.description), (&spec.prompt, &spec.description), "{name}");
        assert_eq!((&windows.tools, &windows.notes), (&spec.tools, &spec.notes), "{name}");
    }
}

#[test]
fn a_key_of_a_later_version_is_a_note_and_a_slip_is_a_fault() {
    let with = |key: &str| read(&format!("---\nname: x\ndescription: d\n{key}: 1\n---\np"));
    assert_eq!(with("telepathy").unwrap().notes, ["`telepathy` means nothing here"]);
    let slip = with("forbiden_tools").unwrap_err();
    assert_eq!((slip[0].line, slip[0].hint.as_deref()), (4, Some("did you mean `forbidden_tools`?")));
    let ours = read("---\nname: x\ndescription: d\ntelepathy: 1\nformat: 1\n---\np").unwrap_err();
    assert_eq!(ours[0].to_string(), "a.md:4:1: unknown key `telepathy`");
}

#[test]
fn faults_behind_a_lenient_description_keep_their_lines() {
    let text = "---\nname: x\ndescription: a: b\n<example>\nuser: \"c\"\n</example>\nturns_max: many\n---\np";
    assert_eq!(faults(text), ["a.md:7:12: must be a whole number from 1 to 1000"]);
    // What is broken elsewhere is told as the strict reader saw it.
    assert!(faults("---\nname: x\ndescription: a: b\ntools: [a\n---\np")[0].starts_with("a.md:"));
}

#[test]
fn a_prompt_that_no_model_gets_whole_is_said() {
    let spec = read(&format!("---\nname: x\ndescription: d\n---\n{}", "word ".repeat(6_000))).unwrap();
    assert!(spec.notes[0].contains("29999 characters") && spec.notes[0].contains("24000"), "{:?}", spec.notes);
}

#[test]
fn usable_tools_are_those_that_are_here_and_not_forbidden() {
    let known: Vec<String> =
        ["fs.list", "fs.read", "fs.write", "db.query", "files.look"].iter().map(|name| (*name).to_owned()).collect();
    let with = |head: &str| read(&format!("---\nname: x\ndescription: d\n{head}\n---\np")).unwrap();
    let both = |head: &str| (with(head).usable_tools(&known).join(" "), with(head).missing_tools(&known).join(" "));
    let of = |usable: &str, missing: &str| (usable.to_owned(), missing.to_owned());
    assert_eq!(both("tools: Read, Bash, Grep"), of("fs.read", "shell.run fs.search"));
    assert_eq!(both("tools: [files.*, fs.read, fs.*]"), of("files.look fs.read fs.list fs.write", ""));
    assert_eq!(both("tools: [fs.*]\nforbidden_tools: [fs.write]"), of("fs.list fs.read", ""));
    assert_eq!(both("forbidden_tools: [fs.*]"), of("db.query files.look", ""));
    assert_eq!(both("tools: [f.*, file.*, gone.away]"), of("", "f.* file.* gone.away"));
    assert_eq!(both("tools: WebFetch"), of("", ""), "an agent whose tools are all foreign has none, not all");
    let (agents, _) = Agents::load(&shipped_sources());
    let own: Vec<String> = ollmcp::servers::own_tools()
        .into_iter()
        .flat_map(|(server, tools)| tools.into_iter().map(move |(tool, _)| format!("{server}.{tool}")))
        .collect();
    for agent in agents.iter() {
        let later: &[&str] = if agent.name == "SHELL_EXECUTOR" { &["shell.run"] } else { &[] };
        assert_eq!(agent.missing_tools(&own), later, "{}", agent.name);
    }
}
