//! The forms that the steps of a plan ask for. A request does not always carry its form whole: the interface takes a part
//! of JSON Schema only, and beside tools the form stands in the prompt in short. So the scripted Claude knows them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::agent::prompt::{FORM_CHARS_MAX, schema_in_words, tame};
use crate::domain::plan::{Plan, StepKind};
use crate::engine::AgentCard;

/// Forms by what stands for them in a prompt.
#[derive(Clone, Debug, Default)]
pub struct Forms(Vec<(String, Value)>);

impl Forms {
    /// Those of a plan's steps and their agents.
    #[must_use]
    pub fn of(plan: &Plan, cards: &BTreeMap<String, AgentCard>) -> Self {
        let mut forms = Self::default();
        for step in plan.steps() {
            let StepKind::Agent { name, prompt: Some(_), .. } = &step.kind else { continue };
            let of_agent = || cards.get(name).and_then(|card| card.spec.output_schema.clone());
            if let Some(schema) = step.output_schema.clone().or_else(of_agent) {
                forms.add(schema);
            }
        }
        forms
    }

    /// One more.
    pub fn add(&mut self, schema: Value) {
        // Whatever heading stands before it takes less than this.
        let (words, _) = schema_in_words(&schema, FORM_CHARS_MAX - 200);
        self.0.push((tame(&words).into_owned(), schema));
    }

    /// The form that a prompt asks for: of several the longest, for a short one may stand inside it.
    #[must_use]
    pub fn asked_in(&self, prompt: &str) -> Option<&Value> {
        let found = self.0.iter().filter(|(words, _)| prompt.contains(words.as_str()));
        found.max_by_key(|(words, _)| words.len()).map(|(_, schema)| schema)
    }
}
