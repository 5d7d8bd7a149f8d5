//! The words of the command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, CommandFactory as _, Parser, Subcommand};

use super::error::CliError;
use crate::domain::nearest::nearest;

/// Runs multi-step jobs on free local models, under supervision, with Claude as the backstop.
#[derive(Debug, Parser)]
#[command(
    name = "ollmcp",
    version,
    before_help = "Example: ollmcp run pdf_tables -i folder=invoices -i database=sqlite:invoices.db",
    after_help = "A question in words is answered from the files of this folder, by a local model that only reads:\n  \
        ollmcp \"Which of the invoices in January are from Rosen Bakery?\"\n\
        Claude is asked after two failed answers, where it is switched on; a question that begins with `claude:` asks it \
        first.\n\
        Goals that need a plan are not in this version.",
    disable_help_subcommand = true,
    subcommand_required = false
)]
pub struct Args {
    /// Read this configuration file alone, instead of the user's and the project's
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let tool servers and addresses of the project's configuration count for this command
    #[arg(long, global = true)]
    pub trust_project_config: bool,
    /// Print JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Before a question, or with `run`: ask Claude first, not only after local models have failed
    #[arg(long)]
    pub claude: bool,
    /// Before a question, or with `run` and `resume`: what paid calls of this run may cost, in US dollars
    #[arg(long, value_name = "DOLLARS")]
    pub budget: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a plan file, or a saved plan by name
    #[command(
        before_help = "Example: ollmcp run plans/pdf_tables.yaml -i folder=January -i database=sqlite:jan.db",
        after_help = "Ends with 0 complete, 1 failed, 2 usage, 3 some items set aside, 4 waits for a person, 130 interrupted.\n\
            Ctrl-C takes no new task; again stops what runs; a third time leaves at once. `ollmcp resume` goes on."
    )]
    Run(RunArgs),
    /// Go on with a run that has not ended
    #[command(before_help = "Example: ollmcp resume last")]
    Resume(ResumeArgs),
    /// Say everything that is wrong with a plan file
    #[command(before_help = "Example: ollmcp validate plans/pdf_tables.yaml")]
    Validate(PlanName),
    /// Draw a plan's steps and what each waits for
    #[command(before_help = "Example: ollmcp explain pdf_tables")]
    Explain(PlanName),
    /// List the runs of this project
    #[command(before_help = "Example: ollmcp ls")]
    Ls(LsArgs),
    /// Show a run: its steps, what failed and why
    #[command(before_help = "Example: ollmcp show last --item invoices/may.pdf")]
    Show(ShowArgs),
    /// Show the rows that a run wrote
    #[command(before_help = "Example: ollmcp rows last --table invoice_lines_3f9a --csv")]
    Rows(RowsArgs),
    /// Stop a run for good; what is done stays
    #[command(before_help = "Example: ollmcp cancel last")]
    Cancel(RunName),
    /// List what waits for a person
    #[command(before_help = "Example: ollmcp inbox")]
    Inbox,
    /// Answer a question of the inbox
    #[command(
        before_help = "Example: ollmcp answer 0192f3c4-5a1b-7c3d happened --output '{\"id\": 7}'",
        after_help = "happened  the call took effect: the task goes on with --output, and its checks run on that\n\
            again     it did not, or may be done twice: the call is made again\n\
            skip      leave the task out\n\
            fail      count the task as failed\n\
            go        of a step that is held because its items fail alike: go on with it\n\
            stop      of such a step: set aside or fail what is left of it"
    )]
    Answer(AnswerArgs),
    /// Show what paid calls to Claude cost
    #[command(
        before_help = "Example: ollmcp claude-usage --since 2026-01-20 --by model",
        after_help = "Every call is also one record of `~/.ollmcp/claude_usage.json`. Days are those of your local calendar."
    )]
    ClaudeUsage(ClaudeUsageArgs),
    /// Show how many paid calls and how much money are left
    #[command(before_help = "Example: ollmcp budget")]
    Budget(BudgetArgs),
    /// Count a run's rows again, on the database itself
    #[command(
        before_help = "Example: ollmcp verify last",
        after_help = "Ends with 0 when everything holds, and with 5 when a row is missing, doubled, altered or extra."
    )]
    Verify(RunName),
    /// Call one tool
    #[command(before_help = "Example: ollmcp call pdf_extract.extract_tables path=invoice.pdf --json")]
    Call(CallArgs),
    /// List tool servers and their tools, with what may be repeated
    #[command(before_help = "Example: ollmcp tools fs")]
    Tools(ToolsArgs),
    /// List model servers and their models, fetch models, find out what they can do
    #[command(before_help = "Example: ollmcp models")]
    Models(ModelsArgs),
    /// List agents, print one, show its prompt, check files, import definitions
    #[command(before_help = "Example: ollmcp agents DATABASE_WRITER")]
    Agents(AgentsArgs),
    /// Check that everything that is needed is here
    #[command(before_help = "Example: ollmcp doctor")]
    Doctor,
    /// Make a project in this folder
    #[command(before_help = "Example: ollmcp init")]
    Init,
    /// Show, check or set the configuration
    #[command(before_help = "Example: ollmcp config show --origin")]
    Config(ConfigArgs),
    /// Print the completion script of a shell
    #[command(before_help = "Example: ollmcp completion bash > ~/.local/share/bash-completion/completions/ollmcp")]
    Completion(CompletionArgs),
    /// Serve one of the built-in tool servers on standard input and output
    #[command(before_help = "Example: ollmcp tool-server pdf_extract")]
    ToolServer(ToolServerArgs),
    /// Look into parts of the program, for tests and for reports of faults
    #[command(hide = true, before_help = "Example: ollmcp debug parse-calls < replies.jsonl")]
    Debug(DebugArgs),
    /// A question in words
    #[command(external_subcommand)]
    Question(Vec<String>),
}

/// Words of `run`.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// A plan file, or the name of a saved plan (in `plans/`, in `~/.ollmcp/plans/`, or shipped: `pdf_tables`)
    pub plan: String,
    /// A value for an input of the plan; may be given more than once
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub input: Vec<String>,
    /// Start anew though an unfinished run of the same plan and inputs is there
    #[arg(long)]
    pub new: bool,
    /// Take nothing over from earlier runs: do every item again
    #[arg(long)]
    pub fresh: bool,
    /// A name for the run, to be used in place of its id
    #[arg(long)]
    pub name: Option<String>,
    /// Ask Claude first, not only after local models have failed
    #[arg(long)]
    pub claude: bool,
    /// What paid calls of this run may cost, in US dollars
    #[arg(long, value_name = "DOLLARS")]
    pub budget: Option<String>,
    /// Have every paid call answered by a scripted Claude inside the program: nothing is sent, nothing is paid
    #[arg(long)]
    pub fake: bool,
}

/// Words of `resume`.
#[derive(Debug, ClapArgs)]
pub struct ResumeArgs {
    /// Id, unique beginning of an id, name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// What paid calls of this run may cost from now on in all, in US dollars
    #[arg(long, value_name = "DOLLARS")]
    pub budget: Option<String>,
}

/// A run.
#[derive(Debug, ClapArgs)]
pub struct RunName {
    /// Id, unique beginning of an id, name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
}

/// A plan.
#[derive(Debug, ClapArgs)]
pub struct PlanName {
    /// A plan file, or the name of a saved plan
    pub plan: String,
}

/// Words of `ls`.
#[derive(Debug, ClapArgs)]
pub struct LsArgs {
    /// How many, the newest first
    #[arg(long, value_name = "RUNS", default_value_t = 50)]
    pub limit: usize,
}

/// Words of `show`.
#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// Id, unique beginning of an id, name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// Tell the story of one item, by its key (for a PDF: its path as it was listed)
    #[arg(long, value_name = "KEY")]
    pub item: Option<String>,
    /// Print the supervision tree of the process that is at work
    #[arg(long)]
    pub tree: bool,
}

/// Words of `rows`.
#[derive(Debug, ClapArgs)]
pub struct RowsArgs {
    /// Id, unique beginning of an id, name, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// One data table only, by the name that the report shows
    #[arg(long)]
    pub table: Option<String>,
    /// All rows as comma-separated values with a header line; needs one table
    #[arg(long)]
    pub csv: bool,
    /// At most so many rows of each table
    #[arg(long, value_name = "ROWS", default_value_t = 20)]
    pub limit: u64,
}

/// Words of `answer`.
#[derive(Debug, ClapArgs)]
pub struct AnswerArgs {
    /// The question's id, or a unique beginning of it
    pub id: String,
    /// `happened`, `again`, `skip` or `fail`; of a held step `go` or `stop`
    pub answer: String,
    /// What the call gave, when it `happened`
    #[arg(long, value_name = "JSON")]
    pub output: Option<String>,
}

/// Words of `claude-usage`.
#[derive(Debug, ClapArgs)]
pub struct ClaudeUsageArgs {
    /// One day: a date (`2026-01-27`), `today` or `yesterday`
    #[arg(long, value_name = "DATE", conflicts_with = "since")]
    pub day: Option<String>,
    /// A day and all since
    #[arg(long, value_name = "DATE")]
    pub since: Option<String>,
    /// What the breakdown is by: `day`, `model`, `run` or `reason`
    #[arg(long, value_enum, value_name = "WORD", default_value_t = UsageBy::Reason)]
    pub by: UsageBy,
}

/// What usage is broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum UsageBy {
    /// Local calendar day.
    Day,
    /// Model as sent.
    Model,
    /// Run.
    Run,
    /// Why Claude was asked.
    Reason,
}

/// Words of `budget`.
#[derive(Debug, ClapArgs)]
pub struct BudgetArgs {
    /// Id of a run that paid, or its beginning; else the last one that did
    pub run: Option<String>,
}

/// Words of `call`.
#[derive(Debug, ClapArgs)]
pub struct CallArgs {
    /// `SERVER.TOOL`
    pub tool: String,
    /// Arguments; JSON where the tool wants a number, a list, an object, true or false
    #[arg(value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// Limit of the call in seconds; else `limits.tool_timeout_s`
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// Words of `tools`.
#[derive(Debug, ClapArgs)]
pub struct ToolsArgs {
    /// One server only
    pub server: Option<String>,
}

/// Words of `models`.
#[derive(Debug, ClapArgs)]
pub struct ModelsArgs {
    /// What else to do
    #[command(subcommand)]
    pub action: Option<ModelsAction>,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelsAction {
    /// Fetch a model with Ollama; one that was cut goes on from where it was
    #[command(before_help = "Example: ollmcp models pull qwen3:8b")]
    Pull {
        /// `SERVER:MODEL`, or `MODEL` for Ollama
        model: String,
    },
    /// Ask models some twenty small tasks with known answers, and say which ladder follows
    #[command(
        before_help = "Example: ollmcp models probe qwen3:8b",
        after_help = "Asked as in a run: the same prompts, tools, schemas and checks. Results are kept and shown by `ollmcp models`.\n\
            Ends with 0 when all was asked, 3 when a server went away in the middle, 1 when nothing could be asked, 130 when stopped."
    )]
    Probe {
        /// `SERVER:MODEL`, or `MODEL` on every server that has it; without any, all local models
        models: Vec<String>,
    },
    /// Claude's models: what each costs and is best for, what is sent for an id, which one is configured
    #[command(
        before_help = "Example: ollmcp models claude",
        after_help = "Nobody is asked: this is the dated table that money is counted with, and your own prices over it\n\
            (claude_integration.prices.MODEL)."
    )]
    Claude,
}

/// Words of `agents`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AgentsArgs {
    /// Print this agent in full
    pub name: Option<String>,
    /// What else to do
    #[command(subcommand)]
    pub action: Option<AgentsAction>,
}

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub enum AgentsAction {
    /// Print one agent, or the prompt that a model would get from it
    #[command(before_help = "Example: ollmcp agents show FILE_EXECUTOR --prompt --tools-in-text")]
    Show(AgentShowArgs),
    /// Say what is wrong with agent files, and what in them does nothing
    #[command(before_help = "Example: ollmcp agents check agents/REVIEWER.md")]
    Check {
        /// Files to check, wherever they are; else every agent that counts here
        files: Vec<PathBuf>,
    },
    /// Write agent files from the prior program's JSON definitions
    #[command(
        before_help = "Example: ollmcp agents import definitions/ --to agents",
        after_help = "What has no place in an agent file stays in it as a comment, and is said. A file that is there \
            already is left alone without --force."
    )]
    Import(ImportArgs),
}

/// Words of `agents show`.
#[derive(Debug, ClapArgs)]
pub struct AgentShowArgs {
    /// The agent
    pub name: String,
    /// Print the messages of a first request, and the size of each of their parts
    #[arg(long)]
    pub prompt: bool,
    /// Take the task from this plan: a file, or the name of a saved one
    #[arg(long, value_name = "PLAN", requires = "prompt")]
    pub plan: Option<String>,
    /// And from this step of it; not needed where only one step names the agent
    #[arg(long, value_name = "ID", requires = "plan")]
    pub step: Option<String>,
    /// Item of the step, counted from 1
    #[arg(long, value_name = "NUMBER", requires = "plan")]
    pub item: Option<usize>,
    /// A value for one of the plan's inputs
    #[arg(short, long, value_name = "NAME=VALUE", requires = "plan")]
    pub input: Vec<String>,
    /// As for a model that reads no tools by itself: they are described in the system message
    #[arg(long, requires = "prompt")]
    pub tools_in_text: bool,
}

/// Words of `agents import`.
#[derive(Debug, ClapArgs)]
pub struct ImportArgs {
    /// A definition, or a folder of them
    #[arg(value_name = "FILE|FOLDER")]
    pub from: PathBuf,
    /// Folder for the agent files; else `agents/` of the project
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    /// Replace agent files that are there already
    #[arg(long)]
    pub force: bool,
}

/// Words of `config`.
#[derive(Debug, ClapArgs)]
pub struct ConfigArgs {
    /// What to do
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Print every value; secrets are left out
    #[command(before_help = "Example: ollmcp config show --origin")]
    Show {
        /// And where each came from
        #[arg(long)]
        origin: bool,
    },
    /// Say what is wrong with it
    #[command(before_help = "Example: ollmcp config check")]
    Check,
    /// Set one key in the project's file, keeping everything else
    #[command(before_help = "Example: ollmcp config set limits.attempts_max 4")]
    Set {
        /// The key, as `limits.attempts_max`
        key: String,
        /// The value as JSON; anything else is text, `a,b` a list where the key holds one, `null` takes it away
        value: String,
        /// In the user's file instead
        #[arg(long)]
        user: bool,
    },
}

/// Words of `completion`.
#[derive(Debug, ClapArgs)]
pub struct CompletionArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Words of `debug`.
#[derive(Debug, ClapArgs)]
pub struct DebugArgs {
    /// What to look into
    #[command(subcommand)]
    pub action: DebugAction,
}

/// What to look into.
#[derive(Debug, Subcommand)]
pub enum DebugAction {
    /// Read model replies from standard input and print the calls that would run
    #[command(
        name = "parse-calls",
        before_help = "Example: ollmcp debug parse-calls < replies.jsonl",
        after_help = "One JSON object a line: {\"id\", \"raw_text\", \"available_tools\": [{\"name\", \"parameters\": {ARGUMENT: TYPE}, \"required\": [ARGUMENT]}]}.\n\
            Prints {\"id\", \"calls\": [{\"name\", \"args\"}]}, or {\"id\", \"unparseable\": true} where nothing would run.\n\
            A line that is none of these is named on standard error, and the command ends with 2."
    )]
    ParseCalls,
}

/// Words of `tool-server`.
#[derive(Debug, ClapArgs)]
pub struct ToolServerArgs {
    /// `fs`, `pdf_extract` or `db`
    pub name: String,
    /// Paths outside this folder that `fs` may read
    pub paths: Vec<PathBuf>,
}

/// The question that words which are no verb ask.
///
/// # Errors
/// They look like a verb that was misspelt, or hold options.
pub(super) fn asked(words: &[String]) -> Result<String, CliError> {
    let command = Args::command();
    let near = |word: &str| nearest(word, command.get_subcommands().map(clap::Command::get_name)).map(str::to_owned);
    let question = words.join(" ").trim().to_owned();
    match words {
        _ if question.is_empty() => Err(CliError::usage("the question is empty")),
        [first, ..] if !first.contains(char::is_whitespace) && near(first).is_some() => {
            let verb = near(first).unwrap_or_default();
            Err(CliError::usage(format!("`{first}` is no verb of ollmcp"))
                .hint(format!("did you mean `ollmcp {verb}`?"))
                .hint("a question stands in quotes: ollmcp \"Which files are here?\""))
        }
        [word] if !word.contains(char::is_whitespace) => Err(CliError::usage(format!("`{word}` is no verb of ollmcp"))
            .hint("`ollmcp --help` lists the verbs; a question has more than one word")),
        [_, rest @ ..] if rest.iter().any(|word| word.starts_with("--")) => {
            Err(CliError::usage("options stand before the question").hint("ollmcp --json \"Which files are here?\""))
        }
        _ => Ok(question),
    }
}
