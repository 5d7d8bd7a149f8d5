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
    assert_eq!((json["v"].as_u64(), json["agents"].as_array().unwrap().len()), (Some(1), 6));
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
