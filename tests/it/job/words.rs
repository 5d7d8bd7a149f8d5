//! The words that people read: end reports, stories, tables and help pages.

use super::*;

/// Times, ids and temporary paths made equal.
fn settings(desk: &Desk) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&regex_of(&desk.root.path().canonicalize().unwrap().display().to_string()), "[ROOT]");
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[RUN-ID]");
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}", "[RUN]");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "[TIME]");
    settings.add_filter(r"\b\d+\.\d s\b", "[TOOK]");
    settings.add_filter(r"identity [0-9a-f]{12}", "identity [DIGEST]");
    settings.add_filter(r"\d+ MiB free", "[SPACE] free");
    settings
}

fn regex_of(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] }).collect()
}

#[test]
fn the_end_report_and_what_follows_it_read_well() {
    let desk = Desk::with_four();
    fs::copy(repository("plans/samples/february/invoice_0221.pdf"), desk.path("in/scan.pdf")).unwrap();
    fs::write(desk.path("in/torn.pdf"), "%PDF-1.4\nnothing\n").unwrap();
    let run = ["run", "job.yaml", "--config", "servers.json", "-i", "folder=in"];
    let settings = settings(&desk);
    let _guard = settings.bind_to_scope();
    let first = desk.ollmcp(&run).exits(3);
    insta::assert_snapshot!("first_report", first.out);
    // Steps that run beside each other end in any order; a slow machine prints counts in between.
    let mut progress: Vec<&str> = first.err.lines().filter(|line| !line.contains(" at work")).collect();
    progress[5..].sort_unstable();
    insta::assert_snapshot!("first_progress", progress.join("\n"));
    fs::remove_file(desk.path("in/statement_0107.pdf")).unwrap();
    fs::copy(repository("plans/samples/january/invoice_0102.pdf"), desk.path("in/invoice_0101.pdf")).unwrap();
    insta::assert_snapshot!("second_report", desk.ollmcp(&run).exits(3).out);
    insta::assert_snapshot!("show", desk.ollmcp(&["show"]).exits(0).out);
    insta::assert_snapshot!("show_item", desk.ollmcp(&["show", "last", "--item", "in/scan.pdf"]).exits(0).out);
    insta::assert_snapshot!("rows", desk.ollmcp(&["rows", "--limit", "3"]).exits(0).out);
    insta::assert_snapshot!("ls", desk.ollmcp(&["ls"]).exits(0).out);
    let all = desk.ollmcp(&["--json", "ls"]).json();
    insta::assert_snapshot!("verify", desk.ollmcp(&["verify", all["runs"][1]["run"].as_str().unwrap()]).exits(0).out);
}

#[test]
fn a_failed_run_reads_well() {
    let desk = Desk::new();
    let settings = settings(&desk);
    let _guard = settings.bind_to_scope();
    insta::assert_snapshot!("failed_report", desk.ollmcp(&["run", "pdf_tables", "-i", "folder=nowhere"]).exits(1).out);
}

#[test]
fn lists_of_agents_tools_and_findings_read_well() {
    let desk = Desk::new();
    let settings = settings(&desk);
    let _guard = settings.bind_to_scope();
    insta::assert_snapshot!("agents", desk.ollmcp(&["agents"]).exits(0).out);
    insta::assert_snapshot!("tools", desk.ollmcp(&["tools"]).exits(0).out);
    let doctor = desk.ollmcp(&["doctor"]).exits(0).out;
    // Who runs it and which models there are differs from machine to machine.
    let differs = |line: &&str| ["user", "model", "ladder"].iter().any(|word| line.contains(word));
    let doctor: String = doctor.lines().filter(|line| !differs(line)).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!("doctor", doctor);
}

#[test]
fn help_pages_begin_with_an_example_and_are_as_written() {
    let desk = Desk::new();
    let top = desk.ollmcp(&["--help"]).exits(0).out;
    insta::assert_snapshot!("help", top);
    let verbs: Vec<String> = top
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(verbs.len() >= 17, "{verbs:?}");
    let mut pages = String::new();
    for verb in &verbs {
        let page = desk.ollmcp(&[verb, "--help"]).exits(0).out;
        assert!(page.starts_with(&format!("Example: ollmcp {verb}")), "{page}");
        pages.push_str(&format!("=== {verb}\n{page}\n"));
    }
    insta::assert_snapshot!("help_pages", pages);
}
