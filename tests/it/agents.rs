//! Agent files: what loads, what is refused and where, and which file wins.

use std::fs;
use std::path::Path;

use ollmcp::agent::{AgentFault, AgentMiss, AgentSpec, Agents, LadderChoice, Source, roles};
use ollmcp::config::shipped;
use ollmcp::domain::kinds::Grant;

mod claude_code;
mod import;

fn read(text: &str) -> Result<AgentSpec, Vec<AgentFault>> {
    AgentSpec::parse(text, "a.md", None)
}

#[track_caller]
fn faults(text: &str) -> Vec<String> {
    read(text).expect_err("the text has faults").iter().map(ToString::to_string).collect()
}

fn shipped_sources() -> Vec<Source<'static>> {
    shipped::AGENTS.iter().map(|agent| Source::Shipped(agent.name, agent.text)).collect()
}

#[test]
fn every_shipped_agent_loads_and_is_in_the_folder() {
    let (agents, faults) = Agents::load(&shipped_sources());
    assert!(faults.is_empty(), "{faults:?}");
    for role in roles::ROLES {
        assert!(agents.get(role).is_ok(), "{role} of the table has its file");
    }
    for agent in agents.iter() {
        assert!(agent.notes.is_empty(), "{}: {:?}", agent.name, agent.notes);
        assert_eq!(
            Some(agent.grants.as_slice()),
            roles::grants_of(&agent.role),
            "{} works in a role of the table",
            agent.name
        );
        assert!(agent.prompt.len() < 3_000, "{} stays short for small models", agent.name);
    }
    assert!(agents.get("VALIDATOR").unwrap().reserved);
    assert!(agents.get("DATABASE_WRITER").unwrap().deterministic);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents");
    let files = fs::read_dir(folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "md"));
    assert_eq!(files.count(), shipped::AGENTS.len(), "every file of `agents/` is inside the binary");
}

#[test]
fn a_full_head_is_read() {
    let text = "---\nname: mine\ndescription: d\nrole: CODER\ntools: [fs.read, fs.write]\nforbidden_tools: [fs.delete]\ngrants: [write, read]\n\
                model: qwen3:8b\nturns_max: 7\ntokens_max: 100\ntemperature: 0.5\noutput_schema: {type: object}\n\
                ladder: [ollama:a, claude]\nformat: 1\nreserved: false\ndeterministic: true\noutput_version: 2\n---\n\nDo it.\n";
    let spec = read(text).unwrap();
    assert_eq!((spec.name.as_str(), spec.role.as_str(), spec.prompt.as_str()), ("mine", "CODER", "Do it."));
    assert_eq!(spec.tools.as_deref().unwrap(), ["fs.read", "fs.write"]);
    assert_eq!(spec.grants, [Grant::Read, Grant::Write]);
    assert_eq!((spec.turns_max, spec.tokens_max, spec.temperature), (Some(7), Some(100), Some(0.5)));
    assert_eq!(spec.ladder, Some(LadderChoice::Rungs(vec!["ollama:a".into(), "claude".into()])));
    assert_eq!(spec.output_version, "2");
    assert_ne!(spec.digest, read(&text.replace("Do it.", "Do that.")).unwrap().digest);
}

#[test]
fn sub_agent_files_of_claude_code_load_as_they_are() {
    let text = "---\r\nname: code-reviewer\r\ndescription: Use this agent when: code was written. Examples:\\n<example>user: \"Look # here\"</example>\r\n\
                tools: Read, Grep, Bash(git diff:*, git log:*), mcp__files__list_all, WebFetch\r\nmodel: sonnet\r\ncolor: blue\r\n\
                permissionMode: plan\r\ndisallowedTools: Write\r\nmaxTurns: 5\r\n---\r\nYou review code.\r\n";
    let spec = read(text).unwrap();
    assert_eq!(spec.tools.as_deref().unwrap(), ["fs.read", "fs.search", "shell.run", "files.list_all"]);
    assert_eq!(spec.forbidden_tools, ["fs.write"]);
    assert_eq!(spec.model.as_deref(), Some("sonnet"));
    assert_eq!(spec.turns_max, Some(5));
    assert_eq!(spec.role, "code-reviewer");
    assert_eq!(spec.grants, [Grant::Read, Grant::Shell], "from its tools");
    assert!(
        spec.description
            .starts_with("Use this agent when: code was written. Examples:\n<example>user: \"Look # here\"")
    );
    for said in ["`color`", "`permissionMode`", "no tool like `WebFetch`", "no strict YAML", "the part in brackets"] {
        assert!(spec.notes.iter().any(|note| note.contains(said)), "{said}: {:?}", spec.notes);
    }
    let all = read("---\nname: x\ndescription: y\ntools: '*'\nmodel: inherit\n---\np").unwrap();
    assert_eq!(all.tools, None);
    assert_eq!(all.grants, [Grant::Read], "least where nothing tells");
}

#[test]
fn faults_are_all_named_with_line_and_column() {
    let text = "---\nname: x\ndescription: y\nturns_maxx: 3\ngrants: [read,\n  wirte]\ntemperature: 9\nreserved: \"yes\"\nformat: 2\n\
                output_schema: {type: objekt}\nladder: 3\n---\nprompt\n";
    let found = faults(text);
    let expected = [
        "a.md:4:1: unknown key `turns_maxx`",
        "a.md:6:3: `wirte` is no grant",
        "a.md:7:14: must be a number from 0 to 2",
        "a.md:8:11: must be true or false",
        "a.md:9:9: format 2 is not the 1 that this version reads",
        "a.md:10:16: is no JSON Schema",
        "a.md:11:9: must be the name of a ladder, or a list of rungs",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (fault, start) in found.iter().zip(expected) {
        assert!(fault.starts_with(start), "{fault}\n should start with {start}");
    }
    let hints: Vec<_> = read(text).unwrap_err().into_iter().filter_map(|fault| fault.hint).collect();
    assert_eq!(hints, ["did you mean `turns_max`?", "did you mean `write`?"]);
}

#[test]
fn what_is_no_agent_file_is_refused() {
    for (text, start) in [
        ("no head", "a.md:1:1: the file must begin with a line `---`"),
        ("---\nname: x\n", "a.md:2:1: the YAML head has no second line `---`"),
        ("---\n- a\n---\np", "a.md:2:1: the head must be a map"),
        ("---\ndescription: d\n---\np", "a.md:2:1: `name` is missing"),
        ("---\nname: x\n---\np", "a.md:2:1: `description` is missing"),
        ("---\nname: a/b\ndescription: d\n---\np", "a.md:2:1: `a/b` is no name"),
        ("---\nname: x\ndescription: d\n---\n\n", "a.md:5:1: there is no prompt"),
        ("---\nname: x\nname: y\n---\np", "a.md:3:1: "),
        ("---\nname: x\ntools: [a\n---\np", "a.md:"),
        ("---\nname: &a x\ndescription: *a\n---\np", "a.md:"),
        ("---\nname: 12\ndescription: d\n---\np", "a.md:2:7: must be text"),
    ] {
        let found = faults(text);
        assert!(found[0].starts_with(start), "{text:?} gives {found:?}");
    }
    let huge = format!("---\nname: x\ndescription: d\n---\n{}", "p".repeat(300_000));
    assert!(faults(&huge)[0].contains("larger than"));
}

#[test]
fn a_nearly_known_role_is_remarked_on_and_a_new_one_is_not() {
    let with = |role: &str| read(&format!("---\nname: x\ndescription: d\nrole: {role}\n---\np")).unwrap().notes;
    assert!(with("CODR")[0].contains("did you mean `CODER`?"));
    assert!(with("SUMMARISER").is_empty());
}

#[test]
fn later_folders_go_over_earlier_ones_by_name() {
    let root = tempfile::tempdir().unwrap();
    let (user, project) = (root.path().join("user"), root.path().join("project"));
    fs::create_dir_all(&user).unwrap();
    fs::create_dir_all(&project).unwrap();
    let agent = |name: &str, prompt: &str| format!("---\nname: {name}\ndescription: d\n---\n{prompt}\n");
    fs::write(user.join("coder.md"), agent("CODER", "user's")).unwrap();
    fs::write(user.join("own.md"), agent("own", "user's")).unwrap();
    fs::write(user.join("README.md"), "no agent").unwrap();
    fs::write(project.join("z.md"), agent("own", "project's")).unwrap();
    let mut sources = shipped_sources();
    sources.push(Source::Folder(&user));
    sources.push(Source::Folder(&project));
    let none = root.path().join("none");
    sources.push(Source::Folder(&none));
    let (agents, faults) = Agents::load(&sources);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(agents.get("CODER").unwrap().prompt, "user's");
    assert_eq!(agents.get("own").unwrap().file.as_deref(), Some(project.join("z.md").as_path()));
    assert_eq!(agents.get("PLANNER").unwrap().file, None);
    match agents.get("PLANER") {
        Err(AgentMiss::Unknown { nearest: Some(known), .. }) => assert_eq!(known, "PLANNER"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_faulty_file_breaks_its_name_and_never_falls_back_in_silence() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("mine.md"), "---\nname: CODER\ndescription: d\nturns_maxx: 3\n---\np").unwrap();
    fs::write(root.path().join("a.md"), "---\nname: twin\ndescription: d\n---\nfirst").unwrap();
    fs::write(root.path().join("b.md"), "---\nname: twin\ndescription: d\n---\nsecond").unwrap();
    let mut sources = shipped_sources();
    sources.push(Source::Folder(root.path()));
    let (agents, faults) = Agents::load(&sources);
    assert!(matches!(agents.get("CODER"), Err(AgentMiss::Broken { .. })));
    assert_eq!(agents.get("twin").unwrap().prompt, "first");
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(agents.get("PLANNER").is_ok());
}

#[test]
fn the_page_about_kinds_of_tasks_is_fresh() {
    crate::tidy::fresh("docs/reference/task_kinds.md", &roles::page());
}
