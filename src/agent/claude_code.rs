//! Words of Claude Code's sub-agent files: which of its tools have a twin here, which of its keys and models say
//! something to us. Later versions of it bring more words; those are noted, never refused.

/// Keys that say nothing to us.
pub(super) const FOREIGN_KEYS: &[&str] = &[
    "color",
    "permissionMode",
    "skills",
    "hooks",
    "mcpServers",
    "memory",
    "background",
    "isolation",
    "effort",
    "initialPrompt",
];

/// Its tools and ours that do the same; an empty text: there is none.
const TOOL_WORDS: &[(&str, &str)] = &[
    ("Read", "fs.read"),
    ("Write", "fs.write"),
    ("Edit", "fs.patch"),
    ("MultiEdit", "fs.patch"),
    ("Glob", "fs.list"),
    ("LS", "fs.list"),
    ("Grep", "fs.search"),
    ("Bash", "shell.run"),
    ("PowerShell", "shell.run"),
    ("NotebookEdit", ""),
    ("NotebookRead", ""),
    ("WebFetch", ""),
    ("WebSearch", ""),
    ("Task", ""),
    ("Agent", ""),
    ("Skill", ""),
    ("SlashCommand", ""),
    ("TodoWrite", ""),
    ("BashOutput", ""),
    ("KillBash", ""),
    ("KillShell", ""),
    ("ExitPlanMode", ""),
    ("AskUserQuestion", ""),
    ("ListMcpResourcesTool", ""),
    ("ReadMcpResourceTool", ""),
    ("LSP", ""),
];

/// What one of its words for a tool is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Twin {
    /// One of ours, or of a server.
    Is(String),
    /// One of its own that nothing here does.
    None,
    /// No word of it that we know.
    Unknown,
}

/// Our name for a tool, without what stands in brackets behind it.
pub(super) fn twin(bare: &str) -> Twin {
    if let Some(rest) = bare.strip_prefix("mcp__") {
        let (server, tool) = rest.split_once("__").unwrap_or((rest, "*"));
        return Twin::Is(format!("{server}.{tool}"));
    }
    match TOOL_WORDS.iter().find(|(theirs, _)| *theirs == bare) {
        Some((_, "")) => Twin::None,
        Some((_, ours)) => Twin::Is((*ours).to_owned()),
        None => Twin::Unknown,
    }
}

/// Whether a `model` is a paid one of Claude; `inherit` is none and says nothing.
pub(super) fn is_claude_model(model: &str) -> bool {
    let family = model.split(['[', '-', '@']).next().unwrap_or_default();
    ["sonnet", "opus", "haiku", "opusplan", "claude", "best", "default"].contains(&family)
        || model.contains("anthropic.claude")
}
