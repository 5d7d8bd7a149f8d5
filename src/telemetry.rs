//! Every span and field name, in one place, and the subscriber that writes log lines.

/// Span of a run.
pub const RUN: &str = "run";
/// Span of a step.
pub const STEP: &str = "step";
/// Span of an attempt: the GenAI name, so that traces read alike with and without a model.
pub const ATTEMPT: &str = "invoke_agent";

/// Span of a tool call.
pub const TOOL: &str = "execute_tool";
/// Goes over every filter: below these levels the libraries write whole messages, with secrets that are masked only
/// after them.
const SILENCED: &str = ",rmcp=warn,hyper=info,hyper_util=info,sqlx=warn";

/// Starts writing log lines to standard error when `filter` (the content of `RUST_LOG`) asks for any.
pub fn start(filter: Option<&str>) {
    let Some(filter) = filter.filter(|filter| !filter.is_empty()) else { return };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(format!("{filter}{SILENCED}")))
        .with_writer(std::io::stderr)
        .with_target(false)
        // It would print them, and a print to a closed terminal panics.
        .log_internal_errors(false)
        .finish();
    // A second subscriber in one process (tests) changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The span of a run.
#[must_use]
pub fn run_span(run: &crate::domain::ids::RunId, plan: &str) -> tracing::Span {
    tracing::info_span!(RUN, "ollmcp.run.id" = %run, "ollmcp.plan" = plan)
}

/// The span of a step, inside its run's.
#[must_use]
pub fn step_span(run: &tracing::Span, step: &str) -> tracing::Span {
    tracing::info_span!(parent: run, STEP, "ollmcp.step.id" = step)
}

/// The span of an attempt, inside its step's.
#[must_use]
pub fn attempt_span(step: &tracing::Span, role: &str, item: u32) -> tracing::Span {
    tracing::info_span!(
        parent: step,
        ATTEMPT,
        "gen_ai.operation.name" = "invoke_agent",
        "gen_ai.agent.name" = role,
        "ollmcp.item" = item
    )
}

/// Span of a request to a model.
pub const CHAT: &str = "chat";

/// The span of a request to a model, inside the attempt that makes it.
#[must_use]
pub fn chat_span(rung: &str, model: &str) -> tracing::Span {
    tracing::info_span!(
        CHAT,
        "gen_ai.operation.name" = "chat",
        "gen_ai.request.model" = model,
        "ollmcp.rung" = rung,
        "gen_ai.usage.input_tokens" = tracing::field::Empty,
        "gen_ai.usage.output_tokens" = tracing::field::Empty
    )
}

/// Notes what a request took.
pub fn chat_usage(span: &tracing::Span, input_tokens: u64, output_tokens: u64) {
    span.record("gen_ai.usage.input_tokens", input_tokens);
    span.record("gen_ai.usage.output_tokens", output_tokens);
}

/// The span of a tool call, inside the attempt that makes it.
#[must_use]
pub fn tool_span(server: &str, tool: &str, call_key: &str) -> tracing::Span {
    tracing::info_span!(
        TOOL,
        "gen_ai.operation.name" = "execute_tool",
        "gen_ai.tool.name" = tool,
        "ollmcp.server" = server,
        "ollmcp.call_key" = call_key
    )
}
