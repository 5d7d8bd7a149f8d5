//! Agents as a person meets them: shipped ones, their own, and broken files.

use super::*;

#[test]
fn the_shipped_agents_are_listed_and_each_can_be_read() {
    let desk = Desk::new();
    let told = desk.ollmcp(&["agents"]).exits(0);
    for name in ["CODER", "DATABASE_WRITER", "FILE_EXECUTOR", "PLANNER", "SHELL_EXECUTOR", "VALIDATOR"] {
        let line =
            told.out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{}", told.out));
        assert!(line.len() > 60, "{line}");
        desk.ollmcp(&["agents", name]).exits(0).says(name).says("shipped");
    }
    assert!(told.out.lines().any(|line| line.starts_with("VALIDATOR") && line.contains("reserved")), "{}", told.out);
    let json = desk.ollmcp(&["--json", "agents"]).exits(0).json();
    assert_eq!((json["v"].as_u64(), json["agents"].as_array().unwrap().len()), (Some(1), 8));
    assert_eq!(desk.ollmcp(&["--json", "agents", "PLANNER"]).exits(0).json()["v"], 1);
    desk.ollmcp(&["agents", "DATABASE_WRITTER"]).exits(2).notes("did you mean `DATABASE_WRITER`?");
}

const OWN: &str = "---\nname: CODER\ndescription: Our own coder.\nrole: CODER\nformat: 1\n---\n\nWrite as we write.\n";

#[test]
fn agents_of_the_project_and_of_the_user_go_over_the_shipped_ones() {
    let desk = Desk::new();
    let user = desk.root.path().join("home/.ollmcp/agents");
    fs::create_dir_all(&user).unwrap();
    fs::write(user.join("CODER.md"), OWN.replace("Our own", "The user's")).unwrap();
    desk.ollmcp(&["agents", "CODER"]).exits(0).says("The user's coder.").says(".ollmcp/agents/CODER.md");
    fs::create_dir(desk.path("agents")).unwrap();
    fs::write(desk.path("agents/CODER.md"), OWN).unwrap();
    desk.ollmcp(&["agents", "CODER"]).exits(0).says("Our own coder.").says("Write as we write.");
    fs::write(
        desk.path("agents/REVIEWER.md"),
        OWN.replace("CODER", "REVIEWER").replace("role: REVIEWER", "role: CODER"),
    )
    .unwrap();
    desk.ollmcp(&["agents"]).exits(0).says("REVIEWER");
}

#[test]
fn a_broken_agent_file_is_said_and_breaks_its_name_and_no_other() {
    let desk = Desk::new();
    fs::create_dir(desk.path("agents")).unwrap();
    fs::write(desk.path("agents/DATABASE_WRITER.md"), "---\nname: DATABASE_WRITER\nturns: many\n---\nx\n").unwrap();
    let told = desk.ollmcp(&["agents"]).exits(0).notes("DATABASE_WRITER.md");
    assert!(!told.out.contains("DATABASE_WRITER"), "the shipped one stands in for a broken one:\n{}", told.out);
    assert!(told.out.contains("CODER"), "{}", told.out);
    desk.ollmcp(&["agents", "DATABASE_WRITER"]).exits(2).notes("DATABASE_WRITER");
    fs::create_dir(desk.path("in")).unwrap();
    let told = desk.ollmcp(&["run", "pdf_tables", "-i", "folder=in"]).exits(2);
    assert!(told.err.contains("DATABASE_WRITER"), "{}", told.err);
}

#[test]
fn roles_of_later_versions_are_refused_by_name() {
    let desk = Desk::new();
    for (agent, words) in [("VALIDATOR", "reserved"), ("SHELL_EXECUTOR", "not in this version")] {
        desk.plan(&format!("name: p\nsteps:\n  - id: a\n    agent: {agent}\n    with: {{ x: 1 }}\n"));
        let told = desk.ollmcp(&["run", "job.yaml"]).exits(2).notes(agent);
        assert!(told.err.contains(words) && told.err.contains("version"), "{agent}: {}", told.err);
    }
}

#[test]
fn a_changed_agent_text_writes_its_rows_again_and_doubles_nothing() {
    let desk = Desk::with_four();
    desk.run_four(&[]).exits(0);
    desk.reads();
    let rows = desk.rows_by_file("tables.db");
    fs::create_dir(desk.path("agents")).unwrap();
    let text = fs::read_to_string(repository("agents/DATABASE_WRITER.md")).unwrap();
    fs::write(desk.path("agents/DATABASE_WRITER.md"), format!("{text}\nBe careful.\n")).unwrap();
    let again = desk.run_four(&[]).exits(0);
    assert_eq!(desk.reads(), BTreeMap::new());
    assert_eq!(again.items("save"), (0, 0, 4, vec![]));
    assert_eq!(desk.rows_by_file("tables.db"), rows);
    desk.ollmcp(&["verify"]).exits(0);
}

#[test]
fn the_prompt_of_a_step_is_shown_with_the_size_of_each_part() {
    let desk = Desk::new();
    desk.plan(
        "name: p\ninputs:\n  who: { type: string }\nsteps:\n  - id: a\n    agent: DATABASE_WRITER\n    for_each: [x, y]\n    \
         with: { database: \"sqlite:${{ inputs.who }}.db\", rows: \"${{ item }}\", table: t }\n    done_when: [ \"output.rows > 0\", { file: { path: \"${{ inputs.who }}.db\", exists: true } } ]\n",
    );
    let show = ["agents", "show", "DATABASE_WRITER", "--prompt", "--plan", "job.yaml"];
    let told = desk.ollmcp(&[&show[..], &["--item", "2", "-i", "who=me"]].concat()).exits(0);
    let told = told.says("<data name=\"database\">\nsqlite:me.db\n</data>").says("<data name=\"rows\">\ny\n</data>");
    let told =
        told.says("It counts as done when all of this holds:\n- file me.db exists\n").says("db_schema, db_query");
    let told = told.notes("has no `prompt`");
    for part in ["role", "rules", "place", "inputs", "task", "checks", "reminder"] {
        let line =
            told.out.lines().find(|line| line.starts_with(part)).unwrap_or_else(|| panic!("{part}\n{}", told.out));
        let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(matches!(numbers[..], [chars, most] if chars > 0 && chars <= most), "{line}");
    }
    let json = desk.ollmcp(&[&["--json"], &show[..], &["-i", "who=me", "--step", "a"]].concat()).exits(0).json();
    assert_eq!(
        (json["messages"][0]["speaker"].as_str(), json["tools"][0]["name"].as_str()),
        (Some("system"), Some("db_schema"))
    );
    desk.ollmcp(&[&show[..], &["--item", "3", "-i", "who=me"]].concat()).exits(2).notes("the list has 2");
    desk.ollmcp(&[&show[..], &["--step", "b", "-i", "who=me"]].concat()).exits(2).notes("no step `b`");
    desk.ollmcp(&[&show[..], &[]].concat()).exits(2).notes("`who`");
    desk.ollmcp(&["agents", "show", "CODER", "--prompt", "--plan", "job.yaml"])
        .exits(2)
        .notes("no step of the plan names");
    let text = desk.ollmcp(&["agents", "show", "CODER", "--prompt", "--tools-in-text"]).exits(0).notes("placeholder");
    let text = text.says("- fs_patch: ").says("\"path\": string").says("Change a file with `fs_patch`");
    assert!(!text.out.contains("fs.patch"), "one name for one tool:\n{}", text.out);
}

#[test]
fn definitions_of_the_prior_program_are_imported_and_overwrite_nothing() {
    let desk = Desk::new();
    let from = repository("tests/fixtures/agents/prior").display().to_string();
    let told = desk.ollmcp(&["agents", "import", &from, "--to", "agents"]).exits(0);
    told.says("SUMMARY_WRITER imported: ").says("goes over the shipped agent `PLANNER`");
    desk.ollmcp(&["agents"]).exits(0).says("GRADER").says("SUMMARY_WRITER");
    desk.ollmcp(&["agents", "SUMMARY_WRITER"]).exits(0).says("of servers that are not declared: reports.fetch");
    desk.ollmcp(&["agents", "import", &from, "--to", "agents"]).exits(0).says("GRADER stands there already");
    let mine = "---\nname: GRADER\ndescription: Mine.\nformat: 1\n---\nMine.\n";
    fs::write(desk.path("agents/GRADER.md"), mine).unwrap();
    desk.ollmcp(&["agents", "import", &from, "--to", "agents"])
        .exits(2)
        .notes("GRADER.md` is there already")
        .notes("--force");
    assert_eq!(fs::read_to_string(desk.path("agents/GRADER.md")).unwrap(), mine);
    desk.ollmcp(&["agents", "import", &from, "--to", "agents", "--force"]).exits(0).says("GRADER replaced");
    desk.ollmcp(&["agents", "GRADER"]).exits(0).says("Grades one answer");
    fs::write(desk.path("bad.json"), "{\n  \"agent_type\" \"A\"\n}").unwrap();
    desk.ollmcp(&["agents", "import", "bad.json", "--to", "agents"]).exits(2).notes("bad.json:2:16: is no JSON");
    desk.ollmcp(&["agents", "import", "none.json"]).exits(2).notes("none.json");
    fs::create_dir(desk.path("empty")).unwrap();
    desk.ollmcp(&["agents", "import", "empty"]).exits(2).notes("no `*.json`");
}

#[test]
fn agent_files_can_be_checked_before_they_count() {
    let desk = Desk::new();
    desk.ollmcp(&["agents", "check"]).exits(0).says("CODER: holds (shipped)");
    fs::write(desk.path("new.md"), "---\nname: new\ndescription: d\nmodel: opus\n---\np\n").unwrap();
    desk.ollmcp(&["agents", "check", "new.md"]).exits(0).says("note: `model: opus` is a paid model");
    fs::write(desk.path("new.md"), "---\nname: new\ndescription: d\ngrant: read\n---\np\n").unwrap();
    desk.ollmcp(&["agents", "check", "new.md"]).exits(2).notes("new.md:4:1: unknown key `grant`").notes("`grants`");
    fs::create_dir(desk.path("agents")).unwrap();
    fs::rename(desk.path("new.md"), desk.path("agents/new.md")).unwrap();
    desk.ollmcp(&["agents", "check"]).exits(2).notes("unknown key `grant`");
}
