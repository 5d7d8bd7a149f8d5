//! The story of one item: what became of it in each step that has it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text::{bounded, clean, state_text, task_name};
use crate::domain::event::TaskEnd;
use crate::domain::payload::Payload;
use crate::domain::run::{RunState, TaskPhase};

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
    /// What earlier attempts were told.
    pub complaints: Vec<String>,
    /// Why it failed or was set aside.
    pub reason: Option<String>,
    /// What to try.
    #[serde(default)]
    pub hint: Option<String>,
    /// Its output.
    pub output: Option<Value>,
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
                let (reason, hint) = match &task.phase {
                    TaskPhase::Ended(TaskEnd::Failed(failure) | TaskEnd::Quarantined(failure)) => {
                        (Some(failure.message.clone()), failure.hint.clone())
                    }
                    _ => (None, None),
                };
                Self {
                    step: state.step(id.step).id.to_string(),
                    item: task.key.clone(),
                    state: task.phase.word().to_owned(),
                    attempts: task.attempts,
                    failures: task.standing.failures,
                    identity: task.identity.map(|identity| identity.to_string()),
                    reused_from: reused.map(|run| run.to_string()),
                    evidence: verdicts.iter().flat_map(|verdict| verdict.evidence.clone()).collect(),
                    complaints: task.complaints.clone(),
                    reason,
                    hint,
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
        let lines = story.evidence.iter().map(|line| ("shown", line));
        let lines = lines.chain(story.complaints.iter().map(|line| ("complaint", line)));
        let lines = lines.chain(story.reason.iter().map(|line| ("reason", line)));
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
