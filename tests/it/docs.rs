//! Examples of the README and the guide, run as a reader would run them: in a copy of the project, with the built
//! program on the path and a home folder of its own.
//!
//! What a page may hold is written down in `docs/README.md`, under "Examples are run".

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Blocks that are shown and not run, over all pages. Each names its reason; raise this only with a good one.
const NO_RUN_MAX: usize = 12;

const FIRST_COMMANDS: &str = "cargo run --locked -- run plans/pdf_tables.yaml\n./tests/run.sh\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One fenced block of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    /// First word after the fence.
    language: String,
    /// The rest of that line: `no-run: REASON`, or for a plan options of the `validate` that checks it.
    info: String,
    /// Where `<!-- file: PATH -->` above the fence says that it is to be written.
    file: Option<String>,
    text: String,
    line: usize,
}

impl Block {
    /// Why it is shown and not run.
    fn no_run(&self) -> Option<&str> {
        self.info.strip_prefix("no-run:").map(str::trim)
    }
}

fn blocks_of(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut file = None;
    for (at, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(head)) => {
                let (language, info) = head.split_once(' ').unwrap_or((head, ""));
                let (language, info) = (language.to_owned(), info.to_owned());
                open = Some(Block { language, info, file: file.take(), text: String::new(), line: at + 1 });
            }
            (None, None) => {
                if let Some(path) = line.strip_prefix("<!-- file: ").and_then(|rest| rest.strip_suffix(" -->")) {
                    file = Some(path.to_owned());
                } else if !line.trim().is_empty() {
                    file = None;
                }
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

/// A command of a `console` block, with the exit code and the lines that must come.
#[derive(Debug, PartialEq, Eq)]
struct Typed {
    command: String,
    exit: i32,
    lines: Vec<String>,
}

fn typed(text: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let exit = command.rsplit_once("# exit ").map_or(0, |(_, code)| code.trim().parse().unwrap());
            all.push(Typed { command: command.to_owned(), exit, lines: Vec::new() });
        } else {
            let last = all.last_mut().expect("a `console` block begins with `$ `");
            last.lines.push(line.to_owned());
        }
    }
    all
}

/// Whether `pattern`, in which `…` stands for anything, is the whole line. Runs of blanks count as one.
fn is_line(pattern: &str, line: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (plain(pattern), plain(line));
    let mut parts = pattern.split('…');
    let mut rest = match line.strip_prefix(parts.next().unwrap_or_default()) {
        Some(rest) => rest,
        None => return false,
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Where the examples of one page are run.
struct Place {
    _folder: TempDir,
    project: PathBuf,
    home: PathBuf,
    cwd: PathBuf,
    path: OsString,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (project, home) = (folder.path().join("ollmcp"), folder.path().join("home"));
        fs::create_dir_all(&home).unwrap();
        copy(&root().join("plans"), &project.join("plans"));
        let program = Path::new(env!("CARGO_BIN_EXE_ollmcp"));
        let mut path = program.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        Self { cwd: project.clone(), project, home, path, _folder: folder }
    }

    /// The same home and path.
    fn twin(&self) -> Self {
        Self {
            _folder: tempfile::tempdir().unwrap(),
            project: self.project.clone(),
            home: self.home.clone(),
            cwd: self.cwd.clone(),
            path: self.path.clone(),
        }
    }

    /// Runs words of a shell; the folder that they end in is where the next ones start.
    fn shell(&mut self, words: &str) -> (i32, String) {
        let left_in = self.home.with_file_name("left-in");
        let script = format!("{words}\ncode=$?\npwd > '{}'\nexit $code\n", left_in.display());
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(&self.cwd)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("LANG", "C.UTF-8")
            .output()
            .unwrap();
        if let Ok(folder) = fs::read_to_string(&left_in) {
            self.cwd = PathBuf::from(folder.trim_end());
        }
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code().unwrap_or(-1), text.join("\n"))
    }

    fn run(&mut self, page: &str, block: &Block) {
        let at = format!("{page}:{}", block.line);
        if let Some(file) = &block.file {
            let path = self.cwd.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &block.text).unwrap();
        }
        match (block.language.as_str(), block.no_run()) {
            (_, Some(reason)) => assert!(!reason.is_empty(), "{at}: `no-run:` needs a reason"),
            ("console", None) => {
                for typed in typed(&block.text) {
                    let (code, text) = self.shell(&typed.command);
                    assert_eq!(code, typed.exit, "{at}: `{}` ended otherwise; it said:\n{text}", typed.command);
                    assert_lines(&at, &typed, &text);
                }
            }
            ("sh", None) => {
                let (code, text) = self.shell(&format!("set -e\n{}", block.text));
                assert_eq!(code, 0, "{at}: the script failed; it said:\n{text}");
            }
            ("yaml", None) => {
                let name = block.file.clone().unwrap_or_else(|| "example.yaml".to_owned());
                fs::write(self.cwd.join(&name), &block.text).unwrap();
                let (code, text) = self.shell(&format!("ollmcp {} validate {name}", block.info));
                assert_eq!(code, 0, "{at}: this plan is not valid:\n{text}");
            }
            ("text" | "json" | "python", None) => {}
            (other, None) => panic!("{at}: a block of language `{other}` is neither run nor known as text"),
        }
    }
}

/// Each expected line comes, in order within a stream; other lines may stand between.
#[track_caller]
fn assert_lines(at: &str, typed: &Typed, text: &str) {
    let mut found = text.lines();
    for line in typed.lines.iter().filter(|line| !matches!(line.trim(), "" | "…")) {
        // Standard output and standard error come one after the other here, so a line may stand before the last one.
        if !found.by_ref().any(|other| is_line(line, other)) {
            found = text.lines();
            assert!(
                found.by_ref().any(|other| is_line(line, other)),
                "{at}: `{}` did not print\n  {line}\nbut\n{text}",
                typed.command
            );
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A plan with stand-ins, whose one task goes to Claude.
fn paid_plan(option: &str) -> String {
    format!(
        "name: paid\nmodel_servers: {{ stand_in: {{ kind: stand_in }} }}\nladders: {{ check: [\"stand_in:declines\", claude] }}\n\
         steps:\n  - id: a\n    agent: FORM_FILLER\n    ladder: check\n    reuse: false\n    on_error: quarantine\n{option}    \
         prompt: Give back yes as `word`.\n    \
         output: {{ schema: {{ type: object, required: [word], properties: {{ word: {{ type: string, const: \"yes\" }} }} }} }}\n"
    )
}

/// Has the home folder of a reader who has paid: a usage file that the program itself wrote, with three reasons and a call
/// that was cut.
fn has_paid(place: &Place) {
    use crate::anthropic_server::{Answer, AnthropicServer};
    let claude = AnthropicServer::start();
    let word = Answer::text(r#"{"word": "yes"}"#);
    claude.script([word.clone(), word.clone().then_cut(), word.clone(), word]);
    let folder = place.home.with_file_name("paid");
    fs::create_dir_all(&folder).unwrap();
    let section = serde_json::json!({ "enabled": true, "api_key": "sk-ant-of-a-test", "base_url": claude.url() });
    fs::write(folder.join("config.json"), serde_json::json!({ "claude_integration": section }).to_string()).unwrap();
    fs::write(folder.join("plain.yaml"), paid_plan("")).unwrap();
    fs::write(folder.join("cut.yaml"), paid_plan("    retry: { transient: 0 }\n")).unwrap();
    fs::write(folder.join("critical.yaml"), paid_plan("    critical: true\n")).unwrap();
    for (words, code) in [("plain.yaml", 0), ("cut.yaml", 1), ("critical.yaml", 0), ("plain.yaml --claude", 1)] {
        let mut at = Place { cwd: folder.clone(), _folder: tempfile::tempdir().unwrap(), ..place.twin() };
        let (ended, said) = at.shell(&format!("ollmcp --config config.json run {words}"));
        assert_eq!(ended, code, "{words}: {said}");
    }
    assert_eq!(claude.chats().len(), 4);
}

#[track_caller]
fn run_page(name: &str) {
    let mut place = Place::new();
    if name.contains("08-troubleshooting") {
        has_paid(&place);
    }
    let blocks = blocks_of(&page(name));
    assert!(!blocks.is_empty(), "{name} shows nothing");
    for block in &blocks {
        place.run(name, block);
    }
}

#[test]
fn the_readme_begins_with_its_two_commands_and_its_examples_run() {
    let text = page("README.md");
    let blocks = blocks_of(&text);
    assert_eq!(blocks[0].text, FIRST_COMMANDS, "the first block holds exactly the two commands");
    let mut place = Place::new();
    let first = Block {
        text: blocks[0].text.lines().next().unwrap().replace("cargo run --locked --", "ollmcp"),
        ..blocks[0].clone()
    };
    place.run("README.md", &first);
    for block in &blocks[1..] {
        place.run("README.md", block);
    }
    assert!(text.lines().count() <= 130, "the README is one page");
    assert!(place.project.join("tables.db").exists());
}

macro_rules! pages {
    ($($test:ident => $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                run_page(concat!("docs/guide/", $name, ".md"));
            }
        )*

        const GUIDE: &[&str] = &[$(concat!($name, ".md")),*];
    };
}

pages! {
    examples_about_installing_run => "01-install",
    examples_about_the_first_batch_run => "02-first-batch",
    examples_about_your_own_documents_run => "03-your-own-documents",
    examples_about_writing_plans_run => "04-writing-plans",
    examples_about_stops_run => "05-when-it-stops",
    examples_about_the_database_run => "06-trust-the-database",
    examples_about_tools_run => "07-tools-and-servers",
    examples_about_trouble_run => "08-troubleshooting",
    examples_about_documents_read_by_a_model_run => "09-your-own-documents",
    examples_about_agents_run => "10-agents",
    examples_about_models_run => "11-choosing-models",
    examples_about_configuration_run => "12-configuration",
    examples_about_claude_and_money_run => "13-claude-and-money",
}

#[test]
fn every_page_of_the_guide_is_run_and_few_blocks_are_not() {
    let found = fs::read_dir(root().join("docs/guide")).unwrap().flatten();
    let mut names: Vec<String> = found.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, GUIDE);
    let mut not_run = BTreeMap::new();
    for name in GUIDE.iter().map(|name| format!("docs/guide/{name}")).chain(["README.md".to_owned()]) {
        for block in blocks_of(&page(&name)) {
            if let Some(reason) = block.no_run() {
                not_run.insert(format!("{name}:{}", block.line), reason.to_owned());
            }
        }
    }
    assert!(not_run.len() <= NO_RUN_MAX, "too many blocks are not run: {not_run:#?}");
}

/// Each symptom ends in something that can be typed.
#[test]
fn every_symptom_ends_in_a_command() {
    let text = page("docs/guide/08-troubleshooting.md");
    for section in text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let last = section.trim_end().lines().last().unwrap_or_default();
        assert_eq!(last, "```", "`{title}` does not end in a command");
    }
}

/// What the account says of the paid calls, beside what a `jq` line of the page makes of the usage file.
#[test]
fn every_jq_line_of_the_page_about_trouble_says_what_the_account_says() {
    let mut place = Place::new();
    has_paid(&place);
    let mut usage = |by: &str| -> serde_json::Value {
        let (code, said) = place.shell(&format!("ollmcp claude-usage --since 2026-01-20 --by {by} --json 2>/dev/null"));
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(said.trim()).unwrap()
    };
    let (by_reason, by_day) = (usage("reason"), usage("day"));
    let groups = |all: &serde_json::Value, by: &str, figure: &str| -> Vec<String> {
        let line = |group: &serde_json::Value| format!("[{},{}]", group[by], group[figure]);
        let mut lines: Vec<String> = all["groups"].as_array().unwrap().iter().map(line).collect();
        lines.sort();
        lines
    };
    let total = by_reason["cost_usd"].as_f64().unwrap();
    let numbers = |said: &str| -> Vec<f64> { said.split_whitespace().map(|word| word.parse().unwrap()).collect() };
    let is_near = |found: f64, wanted: f64| (found - wanted).abs() < 1e-9;
    let text = page("docs/guide/08-troubleshooting.md");
    let blocks = blocks_of(&text);
    let shown: Vec<Typed> =
        blocks.iter().filter(|block| block.language == "console").flat_map(|block| typed(&block.text)).collect();
    let mut compared = 0;
    for line in shown.iter().filter(|typed| typed.command.starts_with("jq ")) {
        let (code, said) = place.shell(&line.command);
        assert_eq!(code, 0, "{}: {said}", line.command);
        let said = said.trim();
        let command = line.command.as_str();
        let holds = if command.contains("'.[] | select(.timestamp > \"2026-01-20\") | .cost_estimate'") {
            let each = numbers(said);
            each.len() as u64 == by_reason["calls"].as_u64().unwrap() && is_near(each.iter().sum(), total)
        } else if command.contains("'[.[] | select(.timestamp >") {
            is_near(numbers(said)[0], total)
        } else if command.contains("group_by(.timestamp") {
            let days: Vec<(String, f64)> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let known = by_day["groups"].as_array().unwrap();
            days.len() == known.len()
                && days.iter().zip(known).all(|((day, usd), group)| {
                    group["day"] == serde_json::json!(day) && is_near(*usd, group["cost_usd"].as_f64().unwrap())
                })
        } else if command.contains("group_by(.reason)") {
            said.lines().map(str::to_owned).collect::<Vec<_>>() == groups(&by_reason, "reason", "calls")
        } else if command.contains("group_by(.task_type)") {
            said == "FORM_FILLER"
        } else if command.contains("not)] | length") {
            said == "1" && by_reason["failed"] == 1
        } else if command.contains("not) | .cost_estimate] | add // 0") {
            let cut = numbers(said)[0];
            cut > 0.0 && cut < total
        } else {
            panic!("nothing compares `{command}` with the account");
        };
        assert!(holds, "{command} says\n{said}\nand the account\n{by_reason}\n{by_day}");
        compared += 1;
    }
    let written = ["jq '", "jq -"].map(|word| text.matches(word).count());
    assert_eq!(compared, written.iter().sum::<usize>(), "every line is a command that is run");
    assert_eq!((by_reason["calls"].as_u64(), by_reason["failed"].as_u64()), (Some(4), Some(1)), "{by_reason}");
}

#[test]
fn the_reader_of_pages_sees_what_it_is_meant_to_see() {
    let blocks = blocks_of("a\n<!-- file: x.yaml -->\n```yaml\nb\n```\n```sh no-run: needs a key\nc\n```\n");
    assert_eq!(blocks[0].file.as_deref(), Some("x.yaml"));
    assert_eq!((blocks[1].no_run(), blocks[1].text.as_str()), (Some("needs a key"), "c\n"));
    let typed = typed("$ false # exit 1\n$ echo a\na\n…\n");
    assert_eq!((typed[0].exit, typed[1].lines.len()), (1, 2));
    assert!(is_line("run … of  …", "run 01 of 2") && is_line("a", "a ") && is_line("…", "x"));
    assert!(!is_line("a", "ab") && !is_line("a … b", "a c") && !is_line("…b", "bc"));
}
