//! Every key of `config.json`, once: what it may hold, its default, where else it can be set, and what it is for.
//! Checking, the documentation page and the search for the nearest key all read this table.
//!
//! A `*` in a path stands for a name that the person chooses.

/// What a key may hold. `null` stands for "not set" everywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds.
    Integer(i64, i64),
    /// A number between two bounds.
    Number(f64, f64),
    /// Any text.
    Text,
    /// An `http` or `https` address.
    Url,
    /// Text that is never shown.
    Secret,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    TextList,
    /// A text or a list of texts.
    TextOrList,
    /// A list of words; other words than these are kept with a warning.
    WordList(&'static [&'static str]),
    /// A list of these words only.
    ChoiceList(&'static [&'static str]),
    /// An object whose values are texts.
    TextMap,
    /// An object whose values are texts, numbers, `true` or `false`.
    ScalarMap,
    /// An object whose values are `true` or `false`.
    BoolMap,
    /// An object that is handed on as a whole: a later file replaces it, it is never mixed from two.
    Whole,
    /// Anything.
    Any,
}

/// What this version does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It works.
    Built,
    /// Checked, and said when it is set to something else than its default: the named phase is not in this version.
    Later(&'static str),
    /// Checked and kept; belongs to the prior program and has nothing to act on here. Said when it is switched on.
    Kept,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted path; `*` is any name.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Default as JSON text; empty: none.
    pub default: &'static str,
    /// Environment variable that goes over the files; empty: none.
    pub variable: &'static str,
    /// Whether a project's file needs a person's consent for it.
    pub consent: bool,
    /// What this version does with it.
    pub used: Use,
    /// One sentence for people.
    pub doc: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, variable: "", consent: false, used: Use::Built, doc }
}

impl Key {
    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = name;
        self
    }

    const fn consent(mut self) -> Self {
        self.consent = true;
        self
    }

    const fn later(mut self, phase: &'static str) -> Self {
        self.used = Use::Later(phase);
        self
    }

    const fn kept(mut self) -> Self {
        self.used = Use::Kept;
        self
    }
}

const WHOLE_MAX: i64 = i64::MAX;
const DAYS_S: i64 = 30 * 24 * 3600;
/// A price above this is a slip: tokens are counted by the million.
const PRICE_USD_MAX: f64 = 100_000.0;

/// Kinds of tasks, as `critical_tasks` and `require_approval_for` name them.
const TASK_KINDS: &[&str] =
    &["file_read", "file_write", "code_generation", "shell_command", "database_write", "batch_process", "planning"];

/// Agent types, as `validate_tasks` names them.
const AGENT_TYPES: &[&str] = &["PLANNER", "SHELL_EXECUTOR", "CODER", "DATABASE_WRITER", "FILE_EXECUTOR", "VALIDATOR"];

const GRANTS: &[&str] = &["read", "write", "database", "shell", "network", "destructive"];

const OLLAMA_ONLY: &str = "Option of Ollama, sent as it is to servers of its kind.";
const TO_ALL: &str = "Option of Ollama, sent to other local servers too.";
const VALIDATION: &str = "validation by Claude";
const PLANNING: &str = "planning by Claude";
const REMOTE: &str = "remote access";
const POLICY: &str = "permission modes";
const STATISTICS: &str = "choice of models by statistics";
const SESSION: &str = "the interactive session";

use Kind::{
    Any, Bool, BoolMap, Choice, ChoiceList, Integer, Number, ScalarMap, Secret, Text, TextList, TextMap, TextOrList,
    Url, Whole, WordList,
};

/// The table.
pub const KEYS: &[Key] = &[
    // Tools.
    key("mcpServers.*", Whole, "", "One MCP server, in the shape of Claude Desktop and Claude Code.").consent(),
    key(
        "mcpServers.*.type",
        Text,
        "",
        "`stdio`, the default with `command`; `http` is refused in this version, and the bridge to use is named.",
    ),
    key("mcpServers.*.transport", Text, "", "The prior program's word for `type`."),
    key("mcpServers.*.command", Text, "", "Program to start."),
    key("mcpServers.*.args", TextList, "", "Its arguments."),
    key("mcpServers.*.env", ScalarMap, "", "Variables that the server is given, beside a short list of harmless ones."),
    key("mcpServers.*.cwd", Text, "", "Folder to start it in; the project folder when there is none."),
    key("mcpServers.*.url", Text, "", "Address of a server that runs elsewhere: refused in this version, see `type`.")
        .kept(),
    key("mcpServers.*.headers", TextMap, "", "Headers sent to that address.").kept(),
    key("mcpServers.*.headersHelper", Text, "", "Claude Code's command that prints headers.").kept(),
    key("mcpServers.*.timeout", Integer(1, WHOLE_MAX), "", "Another word for `idle_timeout_ms`, which goes over it."),
    key("mcpServers.*.start_timeout_ms", Integer(1, WHOLE_MAX), "", "Wait for the server to start and answer."),
    key("mcpServers.*.idle_timeout_ms", Integer(1, WHOLE_MAX), "", "Longest silence within one call."),
    key("mcpServers.*.env_passed", TextList, "", "Names of variables that are handed on from the environment."),
    key("mcpServers.*.tools", Any, "", "Corrections as in `tools`, for tools of this server.").consent(),
    key("mcpServers.*.alwaysLoad", Bool, "", "Claude Code's.").kept(),
    key("mcpServers.*.oauth", Any, "", "Claude Code's.").kept(),
    key("mcpServers.*.description", Text, "", "For people.").kept(),
    key("mcpServers.*.enabled", Bool, "", "`false` switches the server off; wins over `disabled`."),
    key("mcpServers.*.disabled", Bool, "", "`true` switches the server off."),
    key(
        "tools.*.repeat",
        Choice(&["read", "idempotent", "unsafe"]),
        "",
        "Corrects the repeat class that a server's annotations give.",
    )
    .consent(),
    key("tools.*.grants", ChoiceList(GRANTS), "", "Corrects the grants that the tool needs.").consent(),
    key("tools.*.files", TextList, "", "Arguments that are files: their content counts for an item's identity."),
    key("disabledServers", TextList, "[]", "Servers that are not started."),
    key("disabledTools", TextList, "[]", "Tools (`server.tool`) that are not offered."),
    key("enabledTools", BoolMap, "{}", "`{\"server.tool\": false}` takes a tool away; `disabledTools` goes over it."),
    // Limits.
    key("limits.attempts_max", Integer(1, 512), "64", "Attempts that run at once, over all steps of all runs.")
        .variable("OLLMCP_ATTEMPTS_MAX"),
    key("limits.tool_start_timeout_s", Integer(1, 3600), "20", "Wait for a tool server to start and answer.")
        .variable("OLLMCP_TOOL_START_TIMEOUT_S"),
    key(
        "limits.tool_timeout_s",
        Integer(1, DAYS_S),
        "300",
        "One call by `ollmcp call`; in a plan the step's `timeout` counts.",
    )
    .variable("OLLMCP_TOOL_TIMEOUT_S"),
    key(
        "limits.pdf_workers_max",
        Integer(1, 256),
        "",
        "Processes that read PDF files at once; else one for each processor, at most 4.",
    ),
    key("limits.pdf_memory_mib_max", Integer(64, 65_536), "1024", "Memory of one of these processes."),
    key("limits.pdf_timeout_s", Integer(1, 86_400), "120", "Time for one PDF file."),
    key(
        "limits.park_wait_s",
        Integer(0, DAYS_S),
        "7200",
        "How long a run in the foreground waits for what time alone frees, as a limit of paid calls; then it ends with exit code 4.",
    )
    .variable("OLLMCP_PARK_WAIT_S"),
    // Models.
    key("ollama.url", Url, "\"http://127.0.0.1:11434\"", "Address of Ollama.").variable("OLLAMA_HOST").consent(),
    key("model_servers.*", Whole, "", "Another model server; its name stands before the colon of a rung.").consent(),
    key("model_servers.*.kind", Choice(&["ollama", "openai"]), "", "Which API it speaks."),
    key("model_servers.*.url", Url, "", "Its address."),
    key("model_servers.*.key_env", Text, "", "Name of the variable that holds its key."),
    key("model_servers.*.slots", Integer(1, 64), "", "Requests that it takes at once; 1 where nothing is said."),
    key(
        "model_servers.*.schema",
        Choice(&["bind", "prompt"]),
        "",
        "Whether it binds answers to the schema (`bind`) or is told of it in the prompt only (`prompt`).",
    ),
    key(
        "find_model_servers",
        Bool,
        "true",
        "Whether servers at the usual ports of this machine (8080, 1234, 8000) are looked for while none is declared.",
    )
    .variable("OLLMCP_FIND_MODEL_SERVERS"),
    key("ladders.*", TextList, "", "Rungs (`SERVER:MODEL`, `claude`, `claude:MODEL`), cheapest first."),
    key(
        "limits.model_server_wait_s",
        Integer(0, DAYS_S),
        "1800",
        "How long a task waits for a model server that is away.",
    ),
    key(
        "model",
        Text,
        "",
        "Local model (`SERVER:MODEL`, or one of Ollama's) that stands first on the ladder that is built while none is called `default`.",
    ),
    key("systemPrompt", Text, "", "Put before an agent's own prompt, for every model."),
    key("modelConfig.system_prompt", Text, "", "Another spelling of `systemPrompt`, which goes over it."),
    key("modelConfig.num_keep", Integer(-1, WHOLE_MAX), "", OLLAMA_ONLY),
    key(
        "modelConfig.seed",
        Integer(i64::MIN, WHOLE_MAX),
        "",
        "Seed of every first attempt; each failed one moves it on by one. Below zero: chance. Sent to all local servers.",
    ),
    key(
        "modelConfig.num_predict",
        Integer(-2, WHOLE_MAX),
        "",
        "Longest reply in tokens where the agent's file names no `tokens_max`; below one: the built-in bound. At most half of the window.",
    ),
    key("modelConfig.top_k", Integer(0, WHOLE_MAX), "", OLLAMA_ONLY),
    key("modelConfig.top_p", Number(0.0, 1.0), "", TO_ALL),
    key("modelConfig.min_p", Number(0.0, 1.0), "", OLLAMA_ONLY),
    key("modelConfig.typical_p", Number(0.0, 1.0), "", OLLAMA_ONLY),
    key("modelConfig.repeat_last_n", Integer(-1, WHOLE_MAX), "", OLLAMA_ONLY),
    key(
        "modelConfig.temperature",
        Number(0.0, 10.0),
        "",
        "Sent to all local servers; an agent's own temperature goes over it.",
    ),
    key("modelConfig.repeat_penalty", Number(0.0, 100.0), "", OLLAMA_ONLY),
    key("modelConfig.presence_penalty", Number(-100.0, 100.0), "", TO_ALL),
    key("modelConfig.frequency_penalty", Number(-100.0, 100.0), "", TO_ALL),
    key("modelConfig.stop", TextOrList, "", "Texts that end an answer. Sent to all local servers."),
    key(
        "modelConfig.num_ctx",
        Integer(1, WHOLE_MAX),
        "",
        "Context window in tokens: what is asked for and the most that is used, where the model's own is no smaller. Else it follows the prompt, up to 32768.",
    ),
    key("modelConfig.num_batch", Integer(1, WHOLE_MAX), "", OLLAMA_ONLY),
    key(
        "modelSettings.thinkingMode",
        Bool,
        "",
        "Whether local models that can reason do so; where nothing is said, only after a failure.",
    ),
    key("modelSettings.showThinking", Bool, "", "Shows their reasoning.").later(SESSION),
    key(
        "agentSettings.loopLimit",
        Integer(1, 10_000),
        "",
        "Turns of one attempt where the agent file names no `turns_max`; 12 where nothing is said.",
    ),
    // Claude.
    key("claude_integration.enabled", Bool, "false", "Lets tasks escalate to Claude after counted failures.")
        .variable("OLLMCP_CLAUDE_ENABLED"),
    key("claude_integration.api_key", Secret, "", "Key of the Anthropic API; better in the variable.")
        .variable("ANTHROPIC_API_KEY"),
    key("claude_integration.base_url", Url, "\"https://api.anthropic.com\"", "Address of the API.")
        .variable("ANTHROPIC_BASE_URL")
        .consent(),
    key(
        "claude_integration.model",
        Text,
        "\"claude-3-5-sonnet-20241022\"",
        "Model asked; a retired id is sent as its replacement.",
    )
    .variable("OLLMCP_CLAUDE_MODEL"),
    key(
        "claude_integration.escalation_threshold",
        Integer(1, 1000),
        "2",
        "Counted failures of one task before it escalates.",
    )
    .variable("OLLMCP_CLAUDE_ESCALATION_THRESHOLD"),
    key("claude_integration.max_calls_per_hour", Integer(0, 1_000_000), "50", "Paid calls in any 60 minutes.")
        .variable("OLLMCP_CLAUDE_MAX_CALLS_PER_HOUR"),
    key(
        "claude_integration.critical_tasks",
        WordList(TASK_KINDS),
        "",
        "Task kinds that escalate after one failure; replaces the last column of the table of task kinds.",
    ),
    key(
        "claude_integration.escalate_when_unreachable",
        Bool,
        "false",
        "Lets a task escalate when its model server is away.",
    ),
    key("claude_integration.when_limited", Choice(&["fail", "park"]), "", "What a task does at a limit."),
    key(
        "claude_integration.prices.*",
        Whole,
        "",
        "Prices of your own for a model id, in place of the built-in table's; `ollmcp models claude` prints both.",
    )
    .consent(),
    key("claude_integration.prices.*.input", Number(0.0, PRICE_USD_MAX), "", "US dollars for a million tokens read."),
    key("claude_integration.prices.*.output", Number(0.0, PRICE_USD_MAX), "", "The same for tokens written."),
    key(
        "claude_integration.prices.*.cache_write_5m",
        Number(0.0, PRICE_USD_MAX),
        "",
        "For tokens kept in a cache for five minutes; 1.25 times `input` where nothing is said.",
    ),
    key(
        "claude_integration.prices.*.cache_write_1h",
        Number(0.0, PRICE_USD_MAX),
        "",
        "For tokens kept for an hour; twice `input` where nothing is said.",
    ),
    key(
        "claude_integration.prices.*.cache_read",
        Number(0.0, PRICE_USD_MAX),
        "",
        "For tokens read from a cache; a tenth of `input` where nothing is said.",
    ),
    key("claude_integration.validation.enabled", Bool, "false", "Lets Claude judge outputs.").later(VALIDATION),
    key(
        "claude_integration.validation.validate_tasks",
        WordList(AGENT_TYPES),
        "[]",
        "Agent types whose outputs are judged.",
    ),
    key("claude_integration.validation.max_retries", Integer(0, 1000), "3", "Attempts with the validator's complaint."),
    key("claude_integration.validation.validation_model", Text, "", "Model that judges."),
    key("claude_integration.validation.feedback_model", Text, "", "Model that writes the complaint."),
    key("claude_integration.validation.validation_prompt", Text, "", "Text put before what is judged."),
    key("claude_integration.planning.enabled", Bool, "false", "Lets Claude write plans.").later(PLANNING),
    key("claude_integration.planning.use_claude_for_planner", Bool, "false", "Asks Claude first.").later(PLANNING),
    key("claude_integration.planning.planner_model", Text, "", "Model that plans."),
    key("claude_integration.remote_access.enabled", Bool, "false", "Opens the door for Nextcloud Talk.").later(REMOTE),
    key("claude_integration.remote_access.nextcloud_talk_webhook", Url, "", "Address that messages are sent to.")
        .consent(),
    key(
        "claude_integration.remote_access.require_approval_for",
        WordList(TASK_KINDS),
        "[]",
        "Task kinds that a person approves first.",
    ),
    key("claude_integration.remote_access.allowed_users", TextList, "[]", "Who may give commands."),
    key("budget.usd_per_day_max", Number(0.0, 1e9), "10", "Paid calls of one local day, in US dollars.").consent(),
    key("budget.usd_per_run_max", Number(0.0, 1e9), "", "Paid calls of one run, in US dollars.").consent(),
    key("budget.warn_at_usd", Number(0.0, 1e9), "", "Says so, once, when the day's cost passes this."),
    // Safety and seeing.
    key("permission_mode", Choice(&["ask", "workspace", "full"]), "", "What runs without asking.")
        .variable("OLLMCP_PERMISSION_MODE")
        .consent()
        .later(POLICY),
    key("hilSettings.enabled", Bool, "false", "Asks before each tool call.")
        .consent()
        .later("asking before each tool call"),
    key(
        "notify",
        TextOrList,
        "",
        "Command that gets a JSON line when a run ends, waits for a person, or the day's cost passes `budget.warn_at_usd`.",
    )
    .consent(),
    key("notify_env_passed", TextList, "[]", "Names of variables that this command is given beside the harmless ones.")
        .consent(),
    key("limits.notify_timeout_s", Integer(1, 600), "10", "Time that it has for one notice."),
    key("displaySettings.showToolExecution", Bool, "", "The prior program's screen; `show RUN` lists every call.")
        .kept(),
    key("displaySettings.showMetrics", Bool, "", "The prior program's screen; `show RUN` has the counts.").kept(),
    // The prior program's further sections.
    key("model_selection.intelligence_enabled", Bool, "false", "Lets statistics choose the first rung.")
        .later(STATISTICS),
    key("model_selection.intelligence_data_dir", Text, "", "Where the prior program kept them."),
    key("model_intelligence.enabled", Bool, "false", "Another spelling of `model_selection.intelligence_enabled`.")
        .later(STATISTICS),
    key("model_intelligence.test_suite_path", Text, "", "Where the prior program kept its tests."),
    key("contextSettings.retainContext", Bool, "", "Keeps earlier answers in a session.").later(SESSION),
    key("sessionSaveDirectory", Text, "", "Where sessions are kept.").later(SESSION),
    key("memory.enabled", Bool, "false", "Notes that models keep between sessions.").later("memory"),
    key("memory.storage_dir", Text, "\"~/.mcp-memory\"", "Where they are kept."),
    key("memory.auto_persist", Bool, "", "Saves them by itself."),
    key("memory.max_sessions", Integer(0, WHOLE_MAX), "", "Sessions kept."),
    key("memory.session_ttl_days", Number(0.0, 1e9), "", "Days that one is kept."),
    key("memory.auto_cleanup", Bool, "", "Removes old ones by itself."),
    key("memory.default_domain", Text, "", "Where a note without a place goes."),
    key("delegation.enabled", Bool, "", "Plans and tasks; here they are how every run works, so `true` holds by itself."),
    key("delegation.execution_mode", Text, "", "Order of tasks; here the plan decides.").kept(),
    key(
        "delegation.max_parallel_tasks",
        Integer(1, 512),
        "",
        "The prior program's word for `limits.attempts_max`, which goes over it.",
    ),
    key("delegation.collapsible_output.auto_collapse", Bool, "", "The prior program's screen.").kept(),
    key("delegation.collapsible_output.line_threshold", Integer(0, WHOLE_MAX), "20", "The prior program's screen.")
        .kept(),
    key("delegation.collapsible_output.char_threshold", Integer(0, WHOLE_MAX), "1000", "The prior program's screen.")
        .kept(),
    key("delegation.trace_enabled", Bool, "", "Trace files; here every run is journalled and `show RUN` tells it.")
        .kept(),
    key("delegation.trace_level", Choice(&["off", "summary", "basic", "full", "debug"]), "", "How much they hold.")
        .kept(),
    key("delegation.trace_dir", Text, "\".trace\"", "Where they are.").kept(),
    key("delegation.trace_console", Bool, "", "Shows them.").kept(),
    key("delegation.trace_truncate", Any, "", "Cuts them.").kept(),
    key("delegation.context_depth", Integer(0, WHOLE_MAX), "", "Results of earlier tasks that a task is shown.").kept(),
    key("vscode", Any, "", "Settings of an editor; kept as they are.").kept(),
];

/// Variables beginning with `OLLMCP_` that are no settings.
pub const OTHER_VARIABLES: &[&str] = &["OLLMCP_HOME", "OLLMCP_LOG", "OLLMCP_SPILL_DIR"];

/// Beginnings of variables that only tests and our own child processes use.
pub const INTERNAL_VARIABLES: &[&str] = &["OLLMCP_INTERNAL_", "OLLMCP_TEST_"];
