//! Pages of `docs/reference/` that are made from the program: a stale page fails, `UPDATE_DOCS=1` writes it.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use ollmcp::api::ROUTES;
use ollmcp::cli::{Args, Exit};
use ollmcp::domain::event::Event;
use ollmcp::engine::roles::ROLES;
use ollmcp::engine::tree::{RESTART_WINDOW_MS, TREE};
use ollmcp::model::Tokens;
use ollmcp::model::claude::catalogue::{Catalogue, ModelCard};
use ollmcp::model::claude::prices::Prices;

use crate::tidy::fresh;

/// The sources of what is described, read for their doc comments.
const EVENT_SOURCE: &str = include_str!("../../src/domain/event.rs");
const RUN_SOURCE: &str = include_str!("../../src/domain/run/mod.rs");

/// The line under the title of each page.
fn made_from(what: &str) -> String {
    format!("This page is made from {what}; change that and run the tests with `UPDATE_DOCS=1`.\n")
}

/// Text as the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn the_page_about_the_command_line_is_fresh() {
    let mut command = Args::command();
    command.build();
    let mut out = format!("# Command line\n\n{}\n", made_from("`src/cli/args.rs`"));
    out.push_str(
        "`RUN` is a full id, a unique beginning of one, a name that you gave with `--name`, or `last`, which is also what\n\
         counts when you name none. Results go to standard output, everything else to standard error, so a pipe sees\n\
         results alone. Exit codes are on [a page of their own](exit_codes.md).\n\n\
         ## Options of every verb\n\n",
    );
    options(&mut out, command.get_arguments());
    for verb in command.get_subcommands() {
        page_of(&mut out, verb, 2);
    }
    fresh("docs/reference/cli.md", &ended(&out));
}

/// With one newline at its end.
fn ended(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn page_of(out: &mut String, verb: &clap::Command, depth: usize) {
    let path = verb.get_bin_name().unwrap_or_else(|| verb.get_name());
    let _ = writeln!(out, "{} `{path}`\n", "#".repeat(depth));
    let _ = writeln!(out, "{}.\n", verb.get_about().map(ToString::to_string).unwrap_or_default());
    if let Some(example) = verb.get_before_help().map(ToString::to_string) {
        let _ = writeln!(out, "```text\n{}\n```\n", example.trim_start_matches("Example: "));
    }
    let usage = verb.clone().render_usage().to_string();
    let _ = writeln!(out, "`{}`\n", usage.trim_start_matches("Usage: "));
    options(out, verb.get_arguments().filter(|argument| !argument.is_global_set()));
    if let Some(more) = verb.get_after_help() {
        let _ = writeln!(out, "```text\n{more}\n```\n");
    }
    for inner in verb.get_subcommands() {
        page_of(out, inner, depth + 1);
    }
}

fn options<'a>(out: &mut String, arguments: impl Iterator<Item = &'a clap::Arg>) {
    let mut rows = String::new();
    for argument in arguments.filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version")) {
        let takes = argument.get_num_args().is_some_and(|count| count.takes_values());
        let value = argument.get_value_names().into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
        let value = if takes { value.join(" ") } else { String::new() };
        let mut words = Vec::new();
        words.extend(argument.get_short().map(|short| format!("-{short}")));
        words.extend(argument.get_long().map(|long| format!("--{long}")));
        let word = if words.is_empty() { value } else { format!("{} {value}", words.join(", ")) };
        let default: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if default.is_empty() || !takes { String::new() } else { format!("`{}`", default.join(" ")) };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(rows, "| `{}` | {} | {default} |", word.trim(), cell(&help));
    }
    if !rows.is_empty() {
        let _ = writeln!(out, "| word | meaning | default |\n| --- | --- | --- |\n{rows}");
    }
}

#[test]
fn every_help_page_opens_with_an_example_of_its_own_verb() {
    let command = Args::command();
    let opens = |command: &clap::Command, path: &str| {
        let before = command.get_before_help().map(ToString::to_string).unwrap_or_default();
        assert!(before.starts_with(&format!("Example: {path}")), "`{path} --help` opens with `{before}`");
    };
    opens(&command, "ollmcp");
    for verb in command.get_subcommands() {
        let path = format!("ollmcp {}", verb.get_name());
        opens(verb, &path);
        for inner in verb.get_subcommands() {
            opens(inner, &format!("{path} {}", inner.get_name()));
        }
    }
}

#[test]
fn the_page_about_exit_codes_is_fresh() {
    let mut out = format!("# Exit codes\n\n{}\n", made_from("`src/cli/exit.rs`"));
    out.push_str("| code | means |\n| --- | --- |\n");
    let mut all: Vec<_> = Exit::ALL.iter().collect();
    all.sort_by_key(|(_, code, _)| *code);
    for (_, code, means) in all {
        let _ = writeln!(out, "| {code} | {means} |");
    }
    out.push_str(
        "\nWhere more than one applies, the first of these counts: 130, 2, 1, 4, 3, 0. `run` and `resume` end with the code\n\
         of their run; `resume` of a run that has ended gives the code that it ended with. `call`, `tools` and `doctor` end\n\
         with 1 when the tool, a server or a finding is bad.\n",
    );
    fresh("docs/reference/exit_codes.md", &out);
}

/// A variant of `Event` as its source describes it.
#[derive(Debug)]
struct Described {
    name: String,
    about: String,
    fields: Vec<(String, String, String)>,
}

/// Variants of the enum `Event` with their doc comments. The source is formatted by rustfmt, which makes lines enough.
fn described() -> Vec<Described> {
    let body = EVENT_SOURCE.split_once("pub enum Event {\n").expect("the enum is there").1;
    let body = body.split_once("\n}\n").expect("and ends").0;
    let mut variants: Vec<Described> = Vec::new();
    let mut docs = String::new();
    for line in body.lines() {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(words) = text.strip_prefix("/// ") {
            docs.push_str(if docs.is_empty() { "" } else { " " });
            docs.push_str(words);
        } else if indent == 4 && text.ends_with('{') {
            let name = snake(text.trim_end_matches(" {"));
            variants.push(Described { name, about: std::mem::take(&mut docs), fields: Vec::new() });
        } else if let (8, Some((field, kind))) = (indent, text.split_once(": ")) {
            let variant = variants.last_mut().expect("fields stand in a variant");
            let kind = kind.trim_end_matches(',').to_owned();
            variant.fields.push((field.to_owned(), kind, std::mem::take(&mut docs)));
        }
    }
    variants
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Names of all variants as the encoding knows them: it lists them when it is given an unknown one.
fn encoded_names() -> Vec<String> {
    let error = serde_json::from_str::<Event>(r#"{"event":"no such event"}"#).unwrap_err().to_string();
    let list = error.split_once("expected one of ").expect("the names are listed").1;
    let list = list.split(" at line").next().unwrap_or(list);
    list.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_page_about_events_is_fresh() {
    let all = described();
    let names: Vec<&str> = all.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, encoded_names(), "the page must name every event of the encoding");
    let mut out = format!("# Events\n\n{}\n", made_from("the doc comments of `src/domain/event.rs`"));
    out.push_str(
        "A run is the list of its events. Each is one record of the journal: JSON with `v` (version of the encoding), `at_ms`\n\
         (milliseconds since the Unix epoch), `event` (its name) and its fields. An event is durable before anything outside\n\
         sees its effect, and is never changed or removed. A version that the program does not know is refused by name.\n\n",
    );
    for event in &all {
        assert!(!event.about.is_empty(), "{} has no doc sentence", event.name);
        let _ = writeln!(out, "## `{}`\n\n{}\n", event.name, event.about);
        if !event.fields.is_empty() {
            out.push_str("| field | type | meaning |\n| --- | --- | --- |\n");
            for (field, kind, about) in &event.fields {
                let _ = writeln!(out, "| `{field}` | `{kind}` | {} |", cell(about));
            }
            out.push('\n');
        }
    }
    fresh("docs/reference/events.md", &ended(&out));
}

#[test]
fn the_page_about_states_is_fresh() {
    let table: Vec<&str> = RUN_SOURCE.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    let table: Vec<&str> = table.into_iter().filter(|line| line.starts_with('|')).collect();
    assert!(table.len() > 10, "the table of task states stands at the head of src/domain/run/mod.rs");
    let of = |what: &str| {
        let mut rows = String::from("| change | event |\n| --- | --- |\n");
        for event in described() {
            if let Some(change) = event.about.strip_prefix(what).map(|change| change.trim_end_matches('.')) {
                let _ = writeln!(rows, "| {} | `{}` |", cell(change.trim()), event.name);
            }
        }
        rows
    };
    let mut out = format!("# States\n\n{}\n", made_from("`src/domain/run/mod.rs` and `src/domain/event.rs`"));
    out.push_str("## Task\n\n");
    out.push_str(
        "A task is a step, or one item of a `for_each` step. The words that you see are `pending`, `running` (also while its\n\
         output is judged), `waiting` (for a person, or for the time of a retry), `done`, `failed`, `skipped`, `quarantined`\n\
         (reports say *set aside*) and `cancelled`. Once it is done, failed, skipped, quarantined or cancelled, nothing\n\
         moves it.\n\n",
    );
    for line in table {
        let _ = writeln!(out, "{line}");
    }
    let _ = write!(
        out,
        "\n## Step\n\n`pending`, `running` (open), then `done`, `failed`, `skipped` or `cancelled`.\n\n{}",
        of("Step: ")
    );
    let _ = write!(
        out,
        "\n## Run\n\n`running`; `waiting` when a question is open; `interrupted` when it has not ended and no process is at\n\
         work on it (`ollmcp resume` goes on). It ends `complete`, `partial` (complete, with items set aside), `failed` or\n\
         `cancelled`.\n\n{}",
        of("Run: ")
    );
    fresh("docs/reference/states.md", &out);
}

#[test]
fn the_page_about_the_tree_is_fresh() {
    let mut out =
        format!("# Supervision tree and roles\n\n{}\n", made_from("`src/engine/tree.rs` and `src/engine/roles.rs`"));
    let _ = writeln!(
        out,
        "Actors are started from the top down and stopped from the bottom up. When one of the root's children dies, those\n\
         after it are stopped and started again with it. *Restarts* is how often that may happen within {} s before its\n\
         parent gives up; *stop* is how long it may take to stop. `ollmcp show --tree` prints the living tree.\n",
        RESTART_WINDOW_MS / 1000
    );
    out.push_str("| actor | parent | kind | restarts | stop | this version | what for |\n");
    out.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for row in TREE {
        let parent = if row.parent.is_empty() { "root" } else { row.parent };
        let built = if row.is_built { "yes" } else { "a place that is kept" };
        let (kind, stop) = (row.restart.word(), row.shutdown_ms);
        let _ = writeln!(
            out,
            "| `{}` | {parent} | {kind} | {} | {stop} ms | {built} | {} |",
            row.name, row.restarts_max, row.purpose
        );
    }
    out.push_str(
        "\n## Roles\n\nEvery task is carried out by an attempt actor in a role. The role is part of the actor's name.\n\n\
         | role | this version |\n| --- | --- |\n",
    );
    for row in ROLES {
        let _ = writeln!(out, "| {} | {} |", row.name, if row.is_built { "yes" } else { "a place that is kept" });
    }
    out.push_str("\nWhat a role may do at most is on the page about [task kinds](task_kinds.md).\n");
    fresh("docs/reference/tree.md", &out);
}

#[test]
fn the_page_about_the_socket_is_fresh() {
    let mut out = format!("# Control socket, version 1\n\n{}\n", made_from("`src/api/mod.rs`"));
    out.push_str(
        "While a process works in a project, it answers over HTTP on the Unix socket `.ollmcp/control.sock`, which only the\n\
         owner of the folder can open. `ollmcp ls`, `show`, `inbox`, `answer` and `cancel` use it when another process is at\n\
         work; when none is, there is no socket and they read the state folder themselves.\n\n\
         ```text\ncurl --unix-socket .ollmcp/control.sock http://ollmcp/v1/runs\n```\n\n\
         | call | takes | gives |\n| --- | --- | --- |\n",
    );
    for route in ROUTES {
        let _ = writeln!(out, "| `{} {}` | {} | {} |", route.method, route.path, cell(route.takes), cell(route.gives));
    }
    out.push_str(
        "\n`{id}` is a full id. Bodies and answers are JSON. An error is `{\"error\": TEXT}`: 400 for a body that says nothing\n\
         usable, 404 for an id that is not there, 409 for what the run refuses, 5xx for trouble of the process.\n",
    );
    fresh("docs/reference/api.md", &out);
}

#[test]
fn the_page_about_notices_is_fresh() {
    fresh("docs/reference/notices.md", &ollmcp::report::notice::page());
}

#[test]
fn the_page_about_claudes_models_is_fresh() {
    let as_of = Catalogue::on("2026-11-25".parse().unwrap()).as_of();
    let catalogue = Catalogue::on(as_of);
    let mut out = format!("# Claude: models and prices\n\n{}\n", made_from("`src/model/claude/models.json`"));
    let _ = writeln!(
        out,
        "As of {as_of}. From: {}.\n\n\
         US dollars for a million tokens. `5m` and `1h` are tokens that are kept in a cache for so long, `read` those that come\n\
         from one. Where a model has two prices, the length of the whole prompt decides for all tokens of the request.\n\n\
         | model | prompt | input | output | 5m | 1h | read | window | longest answer | best for |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        catalogue.source()
    );
    let is_there = |card: &&ModelCard| card.retired.is_none_or(|day| day > as_of);
    for card in catalogue.cards().iter().filter(is_there) {
        for (at, step) in card.prices.steps().iter().enumerate() {
            let id = if at == 0 { format!("`{}`", card.id) } else { String::new() };
            let prompt = match step.prompt_tokens_max {
                Some(max) => format!("up to {max}"),
                None if at > 0 => "longer".to_owned(),
                None => "any".to_owned(),
            };
            let Prices { input, output, cache_write_5m, cache_write_1h, cache_read } = step.prices;
            let _ = writeln!(
                out,
                "| {id} | {prompt} | {input} | {output} | {cache_write_5m} | {cache_write_1h} | {cache_read} | {} | {} | {} |",
                card.context_tokens,
                card.reply_tokens_max,
                cell(&card.best_for)
            );
        }
    }
    out.push_str(
        "\n## Ids that are replaced\n\n\
         An id of a model that is retired, or that never was, is not sent: the model beside it is, and this is said. An id that\n\
         is in neither table is sent as it is, and priced as the dearest model that is known, class by class.\n\n\
         | id | from | is sent |\n| --- | --- | --- |\n",
    );
    let replaced = catalogue.cards().iter().filter(|card| card.replacement.is_some());
    for card in replaced {
        let ids: Vec<String> = std::iter::once(&card.id).chain(&card.aliases).map(|id| format!("`{id}`")).collect();
        let (day, other) = (card.retired.unwrap(), card.replacement.as_ref().unwrap());
        let _ = writeln!(out, "| {} | {day} | `{other}` |", ids.join(", "));
    }
    for (id, other) in catalogue.never_existed() {
        let _ = writeln!(out, "| `{id}` | never was | `{other}` |");
    }
    out.push_str(
        "\n## What an escalation costs\n\n\
         2,000 tokens read and 1,000 written: by the prices in the specification of the prior program, and by today's prices of\n\
         what is sent. Its prices can be set as prices of your own; all money is counted with them then, and\n\
         `ollmcp models claude` prints them beside the table's:\n\n\
         ```json\n\
         {\"claude_integration\": {\"prices\": {\"claude-3-5-sonnet-20241022\": {\"input\": 3, \"output\": 15}}}}\n\
         ```\n\n\
         | id in the specification | its price | one | ten in 100 tasks | is sent | one today | ten today |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let dollars = |microdollars: u64| format!("{}.{:04}", microdollars / 1_000_000, microdollars % 1_000_000 / 100);
    let escalation = Tokens::new(2_000, 1_000);
    for (id, input, output) in [
        ("claude-3-5-haiku-20241022", "1", "5"),
        ("claude-3-5-sonnet-20241022", "3", "15"),
        ("claude-opus-4-20250514", "5", "25"),
        ("claude-opus-4-5-20250514", "15", "75"),
    ] {
        let prices = Prices::usual(input.parse().unwrap(), output.parse().unwrap());
        let then = catalogue.clone().with_prices(id, prices).cost(id, &escalation).microdollars;
        let now = catalogue.cost(id, &escalation).microdollars;
        let _ = writeln!(
            out,
            "| `{id}` | {input} / {output} | {} | {} | `{}` | {} | {} |",
            dollars(then),
            dollars(10 * then),
            catalogue.resolve(id).sent,
            dollars(now),
            dollars(10 * now)
        );
    }
    let sonnet = "claude-3-5-sonnet-20241022";
    let then = catalogue.clone().with_prices(sonnet, Prices::usual("3".parse().unwrap(), "15".parse().unwrap()));
    let _ = writeln!(
        out,
        "\nAll 100 tasks on Sonnet: {} then, {} today.",
        dollars(100 * then.cost(sonnet, &escalation).microdollars),
        dollars(100 * catalogue.cost(sonnet, &escalation).microdollars)
    );
    fresh("docs/reference/claude_models.md", &ended(&out));
}
