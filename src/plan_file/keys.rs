//! The words of a plan file: one table for the walker, the JSON Schema and the reference page.

use serde_json::{Value, json};

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At the top.
    Plan,
    /// In a step.
    Step,
    /// In `defaults`.
    Defaults,
    /// In an entry of `inputs`.
    Input,
    /// In `for_each`.
    ForEach,
    /// In `retry`.
    Retry,
    /// In `output`.
    Output,
    /// In an entry of `done_when` or `all_done_when`.
    Check,
    /// In a `file` check.
    FileCheck,
    /// In an `sql` check.
    SqlCheck,
    /// In `agree`.
    Agree,
    /// In an entry of `model_servers`.
    ModelServer,
}

impl Place {
    /// All places, in reading order.
    pub const ALL: [Self; 12] = [
        Self::Plan,
        Self::Input,
        Self::Step,
        Self::ForEach,
        Self::Retry,
        Self::Output,
        Self::Check,
        Self::FileCheck,
        Self::SqlCheck,
        Self::Agree,
        Self::Defaults,
        Self::ModelServer,
    ];

    /// The place in words, as messages use it: "unknown key `x` in …".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Plan => "a plan",
            Self::Step => "a step",
            Self::Defaults => "`defaults`",
            Self::Input => "an input",
            Self::ForEach => "`for_each`",
            Self::Retry => "`retry`",
            Self::Output => "`output`",
            Self::Check => "a check",
            Self::FileCheck => "a `file` check",
            Self::SqlCheck => "an `sql` check",
            Self::Agree => "`agree`",
            Self::ModelServer => "a model server",
        }
    }
}

/// What a key holds, for the JSON Schema and the reference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text on one line.
    Text,
    /// A bare or wrapped expression.
    Expression,
    /// Text with `${{ }}` in it.
    Template,
    /// Any value, with `${{ }}` in its strings.
    AnyTemplate,
    /// A map, with `${{ }}` in its strings.
    MapTemplate,
    /// Any plain value.
    Any,
    /// `true` or `false`.
    Flag,
    /// A whole number between two bounds.
    Whole(u64, u64),
    /// A number of items or a share like `10%`.
    Tolerance,
    /// `500ms`, `30s`, `5m`, `1h`.
    Duration,
    /// `1s..1m`, or one duration.
    DurationRange,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A list of some words (one may stand alone).
    Words(&'static [&'static str]),
    /// A list of names (one may stand alone).
    Names,
    /// A map of lists of names.
    NamedLists,
    /// A JSON Schema.
    Schema,
    /// A map of inputs.
    Inputs,
    /// A map of model servers.
    ModelServers,
    /// `true`, `false`, or a map with the keys of [`Place::Agree`].
    Agree,
    /// A list of steps.
    Steps,
    /// Checks (one may stand alone).
    Checks,
    /// A map with the keys of a place.
    Map(Place),
    /// An expression, a literal list, or a map with the keys of [`Place::ForEach`].
    ForEach,
    /// A number, or an expression that gives one.
    Count,
}

/// One word.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// Where it may stand.
    pub place: Place,
    /// The word.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// One line for people.
    pub doc: &'static str,
    /// Whether this version builds it; other words are refused, never ignored.
    pub is_built: bool,
    /// A value that is right, as JSON.
    pub example: &'static str,
}

/// The kinds of steps; exactly one stands in a step.
pub const KINDS: &[&str] = &["tool", "value", "agent", "run", "plan", "gate"];

/// Types of inputs.
pub const INPUT_TYPES: &[&str] = &["string", "path", "integer", "number", "boolean", "list", "object"];

/// What a failed item does.
pub const ON_ERROR: &[&str] = &["stop", "continue", "quarantine"];

/// Kinds of tasks, as `critical_tasks` names them.
pub const TASK_KINDS: &[&str] =
    &["file_read", "file_write", "code_generation", "shell_command", "database_write", "batch_process", "planning"];

/// What a task does at a limit of paid calls.
pub const WHEN_LIMITED: &[&str] = &["fail", "park"];

/// Repeat classes.
pub const REPEAT: &[&str] = &["read", "idempotent", "unsafe"];

/// What a `file` check can parse.
pub const PARSES: &[&str] = &["json", "yaml", "csv", "pdf"];

/// What a step, agent or tool may do.
pub const GRANTS: &[&str] = &["read", "write", "database", "shell", "network", "destructive"];

/// Words of a step that say something only where a model is asked.
pub const NEED_PROMPT: &[&str] = &["agree", "tools", "grants", "idle_timeout"];

/// Protocols of model servers.
pub const SERVER_KINDS: &[&str] = &["ollama", "openai", STAND_IN];

/// The kind without a protocol: a stand-in inside the program.
pub const STAND_IN: &str = "stand_in";

/// How a model server is told of a schema.
pub const SERVER_SCHEMA: &[&str] = &["bind", "prompt"];

/// Our tool servers that come with a later version.
pub const LATER_SERVERS: &[&str] = &["shell"];

/// The model server that is there by itself.
pub const OLLAMA: &str = "ollama";

/// The rung that costs money; no model server has its name.
pub const CLAUDE: &str = "claude";

/// Most tools that a step names.
pub const TOOLS_MAX: usize = 64;

/// Most requests that a model server takes at once.
pub const SLOTS_MAX: u64 = 256;

/// Longest rung, in characters.
pub const RUNG_CHARS_MAX: usize = 300;

/// Most attempts of one step at once.
pub const PARALLEL_MAX: u64 = 1_024;

/// Attempts of a `for_each` step at once when the plan does not say.
pub const PARALLEL_DEFAULT: u32 = 4;

/// Limit of one attempt when the plan does not say: 10 minutes.
pub const TIMEOUT_DEFAULT_MS: u64 = 600_000;

/// Longest limit of one attempt: 7 days.
pub const TIMEOUT_MAX_MS: u64 = 7 * 24 * 3_600_000;

/// Most retries of transient failures.
pub const TRANSIENT_MAX: u64 = 100;

/// Longest wait between retries: a day.
pub const BACKOFF_MAX_MS: u64 = 24 * 3_600_000;

/// Most items of `{range: N}`.
pub const RANGE_MAX: u64 = 10_000_000;

const fn built(place: Place, name: &'static str, shape: Shape, example: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc { place, name, shape, doc, is_built: true, example }
}

const fn later(place: Place, name: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc { place, name, shape: Shape::Any, doc, is_built: false, example: "null" }
}

use Place::{Agree, Check, Defaults, FileCheck, ForEach, Input, ModelServer, Output, Plan, Retry, SqlCheck, Step};

/// Every word, in the order of the reference page.
pub const KEYS: &[KeyDoc] = &[
    built(Plan, "format", Shape::Whole(1, 1), "1", "Number of the file format; 1 is the only one."),
    built(
        Plan,
        "name",
        Shape::Text,
        "\"pdf_tables\"",
        "Name of the plan. With the project it ties runs of the same plan together.",
    ),
    built(Plan, "description", Shape::Text, "\"what it does\"", "One sentence for people."),
    built(
        Plan,
        "inputs",
        Shape::Inputs,
        "{\"folder\": {\"type\": \"path\"}}",
        "What a run may be given: `NAME: {type, default, description}`, or `NAME: DEFAULT`.",
    ),
    built(
        Plan,
        "defaults",
        Shape::Map(Defaults),
        "{\"on_error\": \"continue\"}",
        "Options for all steps that do not set them.",
    ),
    built(
        Plan,
        "ladders",
        Shape::NamedLists,
        "{\"default\": [\"ollama:qwen3:8b\", \"claude\"]}",
        "Named ladders: `SERVER:MODEL`, `claude` or `claude:MODEL`, cheapest first. Steps that ask no model ignore them; paid rungs are left out while Claude is off, and `claude` is put last where a ladder names none.",
    ),
    built(
        Plan,
        "model_servers",
        Shape::ModelServers,
        "{\"box\": {\"kind\": \"openai\", \"url\": \"http://box:8080/v1\"}}",
        "Model servers of this plan, by the name that stands before the colon of a rung. They go over configured ones; `ollama` is there by itself.",
    ),
    built(Plan, "steps", Shape::Steps, "[]", "The steps, in any order; needs and references decide what runs first."),
    later(Plan, "finally", "Steps that run at the end, whatever happened."),
    later(Plan, "report", "What the final report shows."),
    built(
        Input,
        "type",
        Shape::Word(INPUT_TYPES),
        "\"string\"",
        "What it may hold. Without it the type of the default counts.",
    ),
    built(
        Input,
        "default",
        Shape::Any,
        "\"x\"",
        "The value when none is given; an input without default must be given.",
    ),
    built(Input, "description", Shape::Text, "\"for people\"", "One sentence for people."),
    built(
        Input,
        "local_only",
        Shape::Flag,
        "true",
        "No paid model is asked by a step that uses it, nor by any step that uses what such a step makes.",
    ),
    built(
        Step,
        "id",
        Shape::Text,
        "\"a\"",
        "Unique name: a letter or `_`, then letters, digits, `_` and `-`. Expressions use it as `steps.ID`.",
    ),
    built(Step, "tool", Shape::Text, "\"fs.list\"", "Kind: a direct call of `server.tool`, no model."),
    built(
        Step,
        "value",
        Shape::AnyTemplate,
        "{\"n\": 1}",
        "Kind: the output is this template. Reshapes, counts, compares; calls nothing.",
    ),
    built(
        Step,
        "agent",
        Shape::Text,
        "\"DATABASE_WRITER\"",
        "Kind: an attempt in the role of an agent. With `prompt` a model is asked; without it an agent that works from `with` alone.",
    ),
    later(Step, "run", "Kind: a command, sandboxed."),
    later(Step, "plan", "Kind: another plan with inputs."),
    later(Step, "gate", "Kind: waits for a person."),
    built(Step, "with", Shape::MapTemplate, "{\"root\": \"x\"}", "Arguments of the tool or agent."),
    built(
        Step,
        "prompt",
        Shape::Template,
        "\"Summarise ${{ inputs.x }}\"",
        "Task of an agent in words; it may span lines. A model is asked, on the step's ladder.",
    ),
    built(Step, "needs", Shape::Names, "[\"b\"]", "Steps that must be done first. References imply it."),
    built(
        Step,
        "if",
        Shape::Expression,
        "\"inputs.x\"",
        "False skips the step. Decided once for the whole step, before its items.",
    ),
    built(
        Step,
        "for_each",
        Shape::ForEach,
        "[1, 2]",
        "One task for each item: an expression that gives a list, a literal list, or `{range: N}`. `${{ steps.X.items }}` alone follows step X item by item.",
    ),
    built(
        Step,
        "key",
        Shape::Template,
        "\"${{ item }}\"",
        "Names an item for people. Default: the key of the item mapped over, else the value itself, else its digest.",
    ),
    built(Step, "max_parallel", Shape::Whole(1, PARALLEL_MAX), "8", "Items worked on at once. Default 4."),
    built(Step, "timeout", Shape::Duration, "\"5m\"", "Limit of one attempt. Default 10m, at most 7 days."),
    built(
        Step,
        "idle_timeout",
        Shape::Duration,
        "\"30s\"",
        "With `prompt`: limit of silence in the middle of an answer. Default 1m, at most the timeout.",
    ),
    built(
        Step,
        "retry",
        Shape::Map(Retry),
        "{\"transient\": 5}",
        "How failures that may pass by themselves are retried. They never count against the task.",
    ),
    built(
        Step,
        "on_error",
        Shape::Word(ON_ERROR),
        "\"quarantine\"",
        "What a failed item does: `stop` (default) fails the step, `continue` lets the others go on and then fails it, `quarantine` sets the item aside.",
    ),
    built(
        Step,
        "tolerate",
        Shape::Tolerance,
        "\"10%\"",
        "With `on_error: quarantine`: how many items may be set aside before the step fails. A share is of the whole list, rounded up, at least 1.",
    ),
    built(
        Step,
        "critical",
        Shape::Flag,
        "true",
        "Escalates to Claude after one counted failure. Default: what the table of task kinds says.",
    ),
    built(Step, "threshold", Shape::Whole(1, 100), "2", "Counted failures before a task escalates."),
    built(
        Step,
        "ladder",
        Shape::Text,
        "\"default\"",
        "Name of a ladder: the models that are asked, cheapest first. Default: that of the agent, else `default`.",
    ),
    built(
        Step,
        "task_kind",
        Shape::Word(TASK_KINDS),
        "\"batch_process\"",
        "The kind of task, where the table of task kinds cannot tell it: it decides whether the step is critical.",
    ),
    built(
        Step,
        "claude",
        Shape::Flag,
        "true",
        "`true`: Claude is asked first, not only after failures. `false`: never. Only what stands here counts, never what an item says.",
    ),
    built(
        Step,
        "local_only",
        Shape::Flag,
        "true",
        "No paid model is asked by this step, nor by any step that uses what it makes.",
    ),
    built(
        Step,
        "when_limited",
        Shape::Word(WHEN_LIMITED),
        "\"park\"",
        "At a limit of paid calls: `fail` tries the local rungs that are left, then fails; `park` waits until the limit frees. Default: items of `for_each` wait, other steps fail.",
    ),
    built(
        Step,
        "agree",
        Shape::Agree,
        "true",
        "With `prompt`: a second model must give the same answer. `true`: one of the ladder, of another family; `{with: SERVER:MODEL}`: this one.",
    ),
    built(
        Step,
        "tools",
        Shape::Names,
        "[\"fs.read\"]",
        "With `prompt`: tools that the model is offered, as `server.tool` or `server.*`, instead of those of the agent. `[]`: none.",
    ),
    built(
        Step,
        "grants",
        Shape::Words(GRANTS),
        "[\"read\"]",
        "With `prompt`: what the step may do at most; never more than its agent.",
    ),
    built(
        Step,
        "repeat",
        Shape::Word(REPEAT),
        "\"read\"",
        "Whether the tool may be called again when nobody knows if it was; overrides what the tool says of itself.",
    ),
    built(
        Step,
        "reuse",
        Shape::Flag,
        "false",
        "Whether done items of earlier runs are taken over. Default: yes for `for_each` and `agent` steps.",
    ),
    built(
        Step,
        "files",
        Shape::Names,
        "[\"path\"]",
        "Arguments of a foreign tool, or of a step with `prompt`, that are files: their content counts for the identity of the item.",
    ),
    built(
        Step,
        "output",
        Shape::Map(Output),
        "{\"schema\": {\"type\": \"object\"}}",
        "What the output must look like.",
    ),
    built(
        Step,
        "done_when",
        Shape::Checks,
        "[\"output.count > 0\"]",
        "Checks on each task's output, before it counts as done.",
    ),
    built(
        Step,
        "all_done_when",
        Shape::Checks,
        "[\"count > 0\"]",
        "Checks once, when all items of a `for_each` step have ended.",
    ),
    later(Step, "on_duplicate", "What two items with one key mean."),
    later(Step, "approval", "A person must agree first."),
    built(ForEach, "range", Shape::Count, "3", "The numbers 0 to N-1. N is a number or an expression."),
    later(ForEach, "glob", "The files that match a pattern."),
    later(ForEach, "lines", "The lines of a file."),
    later(ForEach, "query", "The rows of a query."),
    built(
        Retry,
        "transient",
        Shape::Whole(0, TRANSIENT_MAX),
        "5",
        "Tries after the first, for transient failures in a row. Default 5.",
    ),
    built(
        Retry,
        "backoff",
        Shape::DurationRange,
        "\"1s..1m\"",
        "First and longest wait; doubled in between. Default 1s..1m.",
    ),
    built(Output, "schema", Shape::Schema, "{\"type\": \"object\"}", "JSON Schema of the output, draft 2020-12."),
    built(
        Check,
        "file",
        Shape::Map(FileCheck),
        "{\"path\": \"out.csv\", \"exists\": true}",
        "A file of the workspace.",
    ),
    built(
        Check,
        "sql",
        Shape::Map(SqlCheck),
        "{\"database\": \"sqlite:x.db\", \"query\": \"select 1\", \"equals\": 1}",
        "One read-only query. On the database that the task writes it runs before the commit.",
    ),
    built(Check, "called", Shape::Text, "\"fs.list\"", "This tool was called in the attempt and succeeded."),
    built(Check, "count", Shape::Count, "3", "In `all_done_when`: the step has this many items."),
    later(Check, "command", "A command that must exit with 0."),
    built(FileCheck, "path", Shape::Template, "\"out.csv\"", "The file."),
    built(FileCheck, "exists", Shape::Flag, "true", "It must exist, or must not."),
    built(FileCheck, "parses", Shape::Word(PARSES), "\"json\"", "It must be readable as this."),
    built(
        FileCheck,
        "changed",
        Shape::Flag,
        "true",
        "In `done_when` of a step with `prompt`: the attempt must have changed it, or must not.",
    ),
    built(SqlCheck, "database", Shape::Template, "\"sqlite:x.db\"", "Address of the database."),
    built(SqlCheck, "query", Shape::Text, "\"select 1\"", "One statement that reads."),
    built(SqlCheck, "equals", Shape::AnyTemplate, "1", "What the first column of its first row must equal."),
    built(Agree, "with", Shape::Text, "\"box:qwen3:8b\"", "The second model: `SERVER:MODEL`."),
    built(
        ModelServer,
        "kind",
        Shape::Word(SERVER_KINDS),
        "\"openai\"",
        "The protocol that it speaks. Must be given. `stand_in` is none: models `declines` and `guesses` inside the program, whose answers never count; for trying the escalation.",
    ),
    built(
        ModelServer,
        "url",
        Shape::Text,
        "\"http://box:8080/v1\"",
        "Its address, `http://` or `https://`, without user and password. Must be given, but for a stand-in.",
    ),
    built(
        ModelServer,
        "key_env",
        Shape::Text,
        "\"BOX_KEY\"",
        "Name of the environment variable that holds its key; the key itself never stands in a plan.",
    ),
    built(ModelServer, "slots", Shape::Whole(1, SLOTS_MAX), "2", "Requests that it takes at once."),
    built(
        ModelServer,
        "schema",
        Shape::Word(SERVER_SCHEMA),
        "\"prompt\"",
        "`bind` (default): it is asked to bind its answer to the step's schema; `prompt`: it is told of the schema in the prompt only.",
    ),
    built(Defaults, "max_parallel", Shape::Whole(1, PARALLEL_MAX), "8", "See the step."),
    built(Defaults, "timeout", Shape::Duration, "\"5m\"", "See the step."),
    built(Defaults, "retry", Shape::Map(Retry), "{\"transient\": 2}", "See the step."),
    built(Defaults, "on_error", Shape::Word(ON_ERROR), "\"continue\"", "See the step."),
    built(Defaults, "tolerate", Shape::Tolerance, "3", "See the step; counts where `on_error` is `quarantine`."),
    built(Defaults, "critical", Shape::Flag, "true", "See the step."),
    built(Defaults, "threshold", Shape::Whole(1, 100), "2", "See the step."),
    built(Defaults, "ladder", Shape::Text, "\"default\"", "See the step."),
    built(Defaults, "claude", Shape::Flag, "false", "See the step."),
    built(Defaults, "local_only", Shape::Flag, "true", "See the step."),
    built(Defaults, "when_limited", Shape::Word(WHEN_LIMITED), "\"park\"", "See the step."),
    built(Defaults, "reuse", Shape::Flag, "true", "See the step."),
];

/// The words of one place.
pub fn keys_of(place: Place) -> impl Iterator<Item = &'static KeyDoc> {
    KEYS.iter().filter(move |key| key.place == place)
}

/// One word of one place.
#[must_use]
pub fn find(place: Place, name: &str) -> Option<&'static KeyDoc> {
    keys_of(place).find(|key| key.name == name)
}

/// The example of a key as JSON.
///
/// # Panics
/// When the table holds an example that is no JSON; a test looks at all of them.
#[must_use]
pub fn example(key: &KeyDoc) -> Value {
    serde_json::from_str(key.example).unwrap_or_else(|_| json!(null))
}
