//! The story of one item: what became of it in each step that has it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text::{bounded, clean, state_text, task_name};
use crate::domain::event::TaskEnd;
use crate::domain::failure::FailureClass;
use crate::domain::ladder::Rung;
use crate::domain::money::dollars;
use crate::domain::payload::Payload;
use crate::domain::run::{RunState, TaskPhase, Tried};

/// One task of the item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemStory {
    /// The step.
    pub step: String,
    /// The item's key.
    pub item: String,
    /// The task's state.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Counted failures so far.
    pub failures: u32,
    /// Identity of the item, when it was worked out.
    pub identity: Option<String>,
    /// The earlier run whose output was taken over.
    pub reused_from: Option<String>,
    /// What the checks saw.
    pub evidence: Vec<String>,
    /// Its attempts, oldest first: of a task that asks models all, of any other those that failed.
    #[serde(default)]
    pub tried: Vec<TriedLine>,
    /// What earlier attempts were told.
    pub complaints: Vec<String>,
    /// Why it failed or was set aside.
    pub reason: Option<String>,
    /// What to try.
    #[serde(default)]
    pub hint: Option<String>,
    /// Why Claude was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unasked: Option<String>,
    /// Its output.
    pub output: Option<Value>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriedLine {
    /// Its number.
    pub attempt: u32,
    /// `SERVER:MODEL`, or empty where no model was asked.
    pub rung: String,
    /// `accepted`, `running`, `interrupted`, or the kind of its failure.
    pub outcome: String,
    /// Whether it counts as a failure.
    pub counted: bool,
    /// What was seen: why it failed, or what its acceptance rests on.
    pub evidence: String,
    /// What the model said that it did, or said last where its answer counts for nothing.
    pub claimed: Option<String>,
    /// From its start to its end, or to the end of its judging.
    pub seconds: f64,
    /// Replies of models.
    pub turns: u32,
    /// Tokens read by models.
    pub input_tokens: u64,
    /// Tokens written by models.
    pub output_tokens: u64,
    /// What its answers cost, in millionths of a dollar.
    #[serde(default)]
    pub cost_microdollars: u64,
    /// Files that it changed; in place only if it was accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileLine>,
}

/// One file that an attempt changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    /// Its path, from the project folder.
    pub path: String,
    /// `created`, `changed`, `deleted` or `moved`.
    pub kind: String,
    /// Where it stood before, if it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How many bytes it has.
    #[serde(default)]
    pub bytes: u64,
}

impl FileLine {
    fn text(&self) -> String {
        let path = clean(&self.path);
        match (&self.from, self.kind.as_str()) {
            (Some(from), kind) => format!("{kind} {} to {path} ({} bytes)", clean(from), self.bytes),
            (None, "deleted") => format!("deleted {path}"),
            (None, kind) => format!("{kind} {path} ({} bytes)", self.bytes),
        }
    }
}

/// Files of an attempt that are named in text.
const FILES_SHOWN_MAX: usize = 20;

impl TriedLine {
    fn of(tried: &Tried, evidence: &[String], last_ms: u64, read: &dyn Fn(&Payload) -> Option<Value>) -> Self {
        let (outcome, counted, seen) = match &tried.failure {
            Some(failure) => {
                let counted = failure.class() == FailureClass::Wrong;
                (failure.kind.word().to_owned(), counted, failure.message.clone())
            }
            None if tried.interrupted => ("interrupted".to_owned(), false, String::new()),
            None if tried.ended_ms == 0 => ("running".to_owned(), false, String::new()),
            None => ("accepted".to_owned(), false, evidence.join("; ")),
        };
        let end_ms = if tried.ended_ms == 0 { last_ms } else { tried.ended_ms };
        Self {
            attempt: tried.attempt,
            rung: match &tried.rung {
                Rung::None => String::new(),
                Rung::Local(rung) | Rung::Paid(rung) => rung.clone(),
            },
            outcome,
            counted,
            evidence: seen,
            claimed: {
                let said = tried.failure.as_ref().and_then(|failure| failure.said.clone());
                tried.claimed.clone().or(said)
            },
            seconds: end_ms.saturating_sub(tried.started_ms) as f64 / 1_000.0,
            turns: tried.turns,
            input_tokens: tried.input_tokens,
            output_tokens: tried.output_tokens,
            cost_microdollars: tried.cost_microdollars,
            files: {
                let listed = tried
                    .staged
                    .as_ref()
                    .and_then(read)
                    .and_then(|mut listed| listed.get_mut("files").map(Value::take));
                listed.and_then(|files| serde_json::from_value(files).ok()).unwrap_or_default()
            },
        }
    }

    /// What became of its files, in one line; `None`: it changed none.
    fn files_text(&self) -> Option<String> {
        let told: Vec<String> = self.files.iter().take(FILES_SHOWN_MAX).map(FileLine::text).collect();
        let word = match self.outcome.as_str() {
            _ if told.is_empty() => return None,
            "accepted" => "files",
            "running" => "files that wait for acceptance",
            _ => "files that were not kept",
        };
        let more = self.files.len() - told.len();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        Some(format!("{word}: {}{more}", told.join(", ")))
    }

    /// The attempt in one line: rung, class, evidence, seconds, tokens.
    #[must_use]
    pub fn text(&self) -> String {
        let rung = if self.rung.is_empty() { String::new() } else { format!(" {}", self.rung) };
        let counted =
            if self.outcome == "accepted" || self.outcome == "running" || self.counted { "" } else { ", not counted" };
        let evidence = match self.evidence.as_str() {
            "" => String::new(),
            seen => format!(": {}", bounded(&clean(seen), 240)),
        };
        let claimed = self.claimed.as_deref().map_or_else(String::new, |claim| format!(" · said {}", quoted(claim)));
        let tokens = if self.turns == 0 {
            String::new()
        } else {
            let turns = super::text::plural(self.turns.into(), "reply").replace("replys", "replies");
            let cost = match self.cost_microdollars {
                0 => String::new(),
                cost => format!(", ${}", dollars(cost)),
            };
            format!(" · {turns}, {} + {} tokens{cost}", self.input_tokens, self.output_tokens)
        };
        let seconds = super::text::seconds(self.seconds);
        format!("#{}{rung} · {}{counted}{evidence}{claimed} · {seconds}{tokens}", self.attempt, self.outcome)
    }
}

fn quoted(claim: &str) -> String {
    format!("\"{}\"", bounded(&clean(claim), 80))
}

impl ItemStory {
    /// The tasks with this key, in the order of the steps. A step without `for_each` is found by its own id.
    #[must_use]
    pub fn of(state: &RunState, key: &str, read: &dyn Fn(&Payload) -> Option<Value>) -> Vec<Self> {
        let with_key = state.tasks.iter().filter(|(_, task)| task.key == key);
        with_key
            .map(|(id, task)| {
                let (output, verdicts, reused) = match &task.phase {
                    TaskPhase::Done { output, verdicts, reused } => (Some(output), verdicts.as_slice(), *reused),
                    TaskPhase::Judging { output, verdicts, .. } | TaskPhase::Placing { output, verdicts, .. } => {
                        (Some(output), verdicts.as_slice(), None)
                    }
                    _ => (None, [].as_slice(), None),
                };
                let (reason, hint, unasked) = match &task.phase {
                    TaskPhase::Ended(TaskEnd::Failed(failure) | TaskEnd::Quarantined(failure)) => {
                        (Some(failure.message.clone()), failure.hint.clone(), failure.unasked.clone())
                    }
                    _ => (None, None, None),
                };
                Self {
                    step: state.step(id.step).id.to_string(),
                    item: task.key.clone(),
                    state: task.phase.word().to_owned(),
                    attempts: task.attempts,
                    failures: task.standing.failures,
                    identity: task.identity.map(|identity| identity.to_string()),
                    reused_from: reused.map(|run| run.to_string()),
                    tried: {
                        let seen: Vec<String> = verdicts.iter().flat_map(|verdict| verdict.evidence.clone()).collect();
                        let seen = if seen.is_empty() { vec!["unchecked".to_owned()] } else { seen };
                        task.tried.iter().map(|tried| TriedLine::of(tried, &seen, state.head.last_ms, read)).collect()
                    },
                    evidence: verdicts.iter().flat_map(|verdict| verdict.evidence.clone()).collect(),
                    complaints: task.complaints.clone(),
                    reason,
                    hint,
                    unasked,
                    output: output.and_then(read),
                }
            })
            .collect()
    }
}

/// The story as text for people.
#[must_use]
pub fn text(stories: &[ItemStory]) -> String {
    let mut out = String::new();
    for story in stories {
        out.push_str(&format!("{} {}, ", task_name(&story.step, &story.item), state_text(&story.state)));
        out.push_str(&super::text::plural(story.attempts.into(), "attempt"));
        if story.failures > 0 {
            out.push_str(&format!(", {} counted", super::text::plural(story.failures.into(), "failure")));
        }
        if let Some(run) = &story.reused_from {
            out.push_str(&format!(", output taken over from run {}", &run[..18.min(run.len())]));
        }
        out.push('\n');
        for tried in &story.tried {
            out.push_str(&format!("  {}\n", tried.text()));
            if let Some(files) = tried.files_text() {
                out.push_str(&format!("     {files}\n"));
            }
        }
        let lines = story.evidence.iter().map(|line| ("shown", line));
        // Each complaint stands in the line of its attempt already.
        let told = if story.tried.is_empty() { story.complaints.as_slice() } else { &[] };
        let lines = lines.chain(told.iter().map(|line| ("complaint", line)));
        let lines = lines.chain(story.reason.iter().map(|line| ("reason", line)));
        let lines = lines.chain(story.unasked.iter().map(|line| ("Claude was not asked", line)));
        for (word, line) in lines.chain(story.hint.iter().map(|line| ("hint", line))) {
            out.push_str(&format!("  {word}: {}\n", clean(line)));
        }
        if let Some(identity) = &story.identity {
            out.push_str(&format!("  identity {}\n", &identity[..12.min(identity.len())]));
        }
        if let Some(output) = &story.output {
            out.push_str(&format!("  output {}\n", clean(&bounded(&output.to_string(), 300))));
        }
    }
    out
}
