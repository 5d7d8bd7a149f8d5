//! The page `docs/reference/configuration.md`, written from the table of keys. A test fails when it is stale.

use std::fmt::Write as _;

use super::check::expected;
use super::schema::{KEYS, Key, OTHER_VARIABLES, Use};

const HEAD: &str = "\
# Configuration

This page is written from the table in `src/config/schema.rs`; change that and run the tests with `UPDATE_DOCS=1`.

## Where values come from

Each line goes over the ones below it:

1. flags of the command line;
2. environment variables (an empty one counts as not set);
3. the project's file: `.ollmcp/config.json`, or `.config/config.json` when that is not there (if both are, the first
   counts, with a warning);
4. the user's file: `~/.ollmcp/config.json`;
5. the defaults of the tables below.

`--config FILE` takes the place of both files: only it is read, and naming it is the consent to what it holds.
`OLLMCP_HOME` takes the place of `~/.ollmcp`. `ollmcp config show --origin` lists every value with its origin.

Files are laid over each other key by key. An entry of `mcpServers` or `model_servers` is taken from one file as a
whole, so that the command of one file never meets the variables of another. `null` stands for *not set*.

- Wrong types stop the start (exit code 2) and all of them are named at once, each with its key and its file.
- Unknown keys are kept and warned about, with the nearest known key. Keys that begin with `comment` hold remarks.
- A key of a phase that is not in this version is read and checked. When it is switched on, the start and the run's
  header say `not in this version: …`.
- Values marked *consent* do not count from a **project's** file by themselves: a repository that you cloned must not
  start programs on your machine. The start says that they are left out and goes on without them;
  `--trust-project-config` lets them count for one command. From your own file and from `--config FILE` they count. A
  consent that is kept (`~/.ollmcp/consents.json`, bound to the digest of just these values) is honoured; nothing in
  this version writes one.
- Nothing writes to a person's file but `ollmcp init` and `ollmcp config set`, and they keep every other byte.

";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    let mut sections: Vec<&str> = Vec::new();
    for key in KEYS {
        let name = section_of(key);
        if !sections.contains(&name) {
            sections.push(name);
        }
    }
    for name in sections {
        let title = if name.is_empty() { "Other keys".to_owned() } else { format!("`{name}`") };
        let _ = writeln!(out, "## {title}\n\n| key | holds | default | variable | this version | what for |");
        let _ = writeln!(out, "| --- | --- | --- | --- | --- | --- |");
        for key in KEYS.iter().filter(|key| section_of(key) == name) {
            let _ = writeln!(out, "{}", row(key));
        }
        out.push('\n');
    }
    let others: Vec<String> = OTHER_VARIABLES.iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(out, "Variables that are no settings: {}.", others.join(", "));
    out
}

/// Keys with a section of their own name it; single keys share one.
fn section_of(key: &Key) -> &'static str {
    match key.path.split_once('.') {
        Some((section, _)) => section,
        None => "",
    }
}

fn row(key: &Key) -> String {
    let or_dash = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{text}`") };
    let used = match key.used {
        Use::Built => "works".to_owned(),
        Use::Later(phase) => format!("later: {phase}"),
        Use::Kept => "kept without effect".to_owned(),
    };
    let consent = if key.consent { " *consent*" } else { "" };
    format!(
        "| `{}` | {} | {} | {} | {used}{consent} | {} |",
        key.path,
        expected(key.kind).replace('|', "\\|"),
        or_dash(key.default),
        or_dash(key.variable),
        key.doc
    )
}
