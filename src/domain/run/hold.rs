//! The hold: items that fail alike say that the step is wrong, not the items. Pure; looked at before anything is paid.
//!
//! Of the first ten items that end, 5 of the first 5 or 8 of the first 10 must have used up their local attempts and
//! failed alike in the last one. Until that is decided, or can no longer come about, no item escalates, and no more
//! than ten items are begun.

use serde::{Deserialize, Serialize};

use super::{RunState, TaskPhase};
use crate::domain::failure::Failure;
use crate::domain::ids::{AskId, ItemIndex, StepIndex};
use crate::domain::payload::Items;

/// Ends that are looked at.
const ENDS_MAX: usize = 10;
/// So many of the first [`FIRST`] ends hold a step.
const ALIKE_OF_FIRST: usize = 5;
/// See [`ALIKE_OF_FIRST`].
const FIRST: usize = 5;
/// So many of [`ENDS_MAX`] ends hold a step.
const ALIKE_OF_ALL: usize = 8;

/// Whether the items of a step fail alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// How the first items ended, in that order.
    pub ends: Vec<HoldEnd>,
    /// The open question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<AskId>,
    /// A person said to go on: the step is not held again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

/// How one item ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldEnd {
    /// Done.
    Done,
    /// It used up its local attempts; the last failure.
    Failed(ItemIndex, Failure),
}

/// What follows from the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Not decided.
    Open,
    /// The step is to be held.
    Alike,
    /// It cannot come about any more, or a person said to go on.
    Never,
    /// It is held, and a person is asked.
    Asked,
}

impl Hold {
    pub(super) fn push(&mut self, end: HoldEnd) {
        if self.ends.len() < ENDS_MAX {
            self.ends.push(end);
        }
    }

    /// `left`: items that may still end; `held`: items that wait for the decision.
    fn outlook(&self, left: u64, held: usize) -> Outlook {
        if self.ask.is_some() {
            return Outlook::Asked;
        }
        if self.over {
            return Outlook::Never;
        }
        let ended = self.ends.len();
        let alike = most_alike(&self.ends).map_or(0, |(_, count)| count);
        let alike_of_first = most_alike(&self.ends[..ended.min(FIRST)]).map_or(0, |(_, count)| count);
        if alike_of_first >= ALIKE_OF_FIRST || alike >= ALIKE_OF_ALL {
            // Where nothing is left to begin and nothing waits, an answer would change nothing.
            return if left > 0 || held > 0 { Outlook::Alike } else { Outlook::Never };
        }
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let of_first = ended < FIRST && alike == ended && ended.saturating_add(left) >= FIRST;
        let of_all = ended < ENDS_MAX && alike + left.min(ENDS_MAX - ended) >= ALIKE_OF_ALL;
        if of_first || of_all { Outlook::Open } else { Outlook::Never }
    }
}

/// The failure that most ends have in common, and how many have it.
fn most_alike(ends: &[HoldEnd]) -> Option<(&Failure, usize)> {
    let failures = ends.iter().filter_map(|end| match end {
        HoldEnd::Failed(_, failure) => Some(failure),
        HoldEnd::Done => None,
    });
    let alike = |failure: &Failure| {
        ends.iter().filter(|end| matches!(end, HoldEnd::Failed(_, other) if other.is_like(failure))).count()
    };
    failures.map(|failure| (failure, alike(failure))).max_by_key(|(_, count)| *count)
}

impl RunState {
    /// What the ends of a step's items say so far; [`Outlook::Never`] for a step that is never held.
    pub(super) fn outlook(&self, step: StepIndex) -> Outlook {
        match &self.steps[step as usize].hold {
            Some(hold) => hold.outlook(self.left(step), self.live[step as usize].held.len()),
            None => Outlook::Never,
        }
    }

    /// Items of an open step that may still end.
    fn left(&self, step: StepIndex) -> u64 {
        let counts = self.steps[step as usize].counts;
        let held = self.live[step as usize].held.len() as u64;
        let known = match self.steps[step as usize].phase.items() {
            Some(Items::Flow { from }) if !Self::is_ended(&self.steps[*from as usize].phase) => return u64::MAX,
            Some(Items::Flow { from }) => u64::from(self.steps[*from as usize].counts.done),
            _ => u64::from(self.list_len(step).unwrap_or(0)),
        };
        known.saturating_sub(u64::from(counts.ended()) + held)
    }

    /// How many items without a record may be begun while it is not decided whether the step is held.
    pub(super) fn hold_room(&self, step: StepIndex) -> usize {
        match self.outlook(step) {
            Outlook::Never => usize::MAX,
            Outlook::Alike | Outlook::Asked => 0,
            Outlook::Open => {
                let counts = self.steps[step as usize].counts;
                let held = self.live[step as usize].held.len();
                let begun = (counts.pending + counts.running + counts.waiting) as usize - held;
                let ended = self.steps[step as usize].hold.as_ref().map_or(0, |hold| hold.ends.len());
                ENDS_MAX.saturating_sub(begun + ended)
            }
        }
    }

    /// Nothing of the step is begun until a person has answered.
    #[must_use]
    pub fn is_held(&self, step: StepIndex) -> bool {
        matches!(self.outlook(step), Outlook::Alike | Outlook::Asked)
    }

    /// What is asked of a person, with what the items have in common.
    pub(super) fn hold_question(&self, step: StepIndex) -> String {
        const EXAMPLES_MAX: usize = 3;
        let id = &self.step(step).id;
        let Some(hold) = &self.steps[step as usize].hold else { return format!("step `{id}` is held") };
        let Some((failure, count)) = most_alike(&hold.ends) else { return format!("step `{id}` is held") };
        let mut items: Vec<ItemIndex> = Vec::new();
        for end in &hold.ends {
            if let HoldEnd::Failed(item, other) = end
                && other.is_like(failure)
            {
                items.push(*item);
            }
        }
        let key = |item: &ItemIndex| {
            let task = self.tasks.get(&crate::domain::ids::TaskId::new(step, *item));
            task.map_or_else(|| format!("item {}", item + 1), |task| format!("`{}`", task.key))
        };
        let last = items.last().map(key).unwrap_or_default();
        items.sort_unstable();
        let keys: Vec<String> = items.iter().take(EXAMPLES_MAX).map(key).collect();
        let more = items.len().saturating_sub(EXAMPLES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let check = failure.check.as_ref().map_or_else(String::new, |check| format!(", `{check}`"));
        format!(
            "{count} of the first {} items of `{id}` failed alike, with all their local attempts ({}{check}): {}{more}; \
             the last one, {last}: {}. Something is wrong with the step, not with the items: go on all the same, or \
             stop it and mend its prompt, schema or checks?",
            hold.ends.len(),
            failure.kind.word(),
            keys.join(", "),
            failure.message.trim_end().trim_end_matches('.'),
        )
    }

    /// The items that wait for the decision, with the rung that each would climb to.
    pub(super) fn held(&self, step: StepIndex) -> Vec<(ItemIndex, crate::domain::ladder::Rung, Failure)> {
        let held = self.live[step as usize].held.iter();
        held.filter_map(|item| match &self.tasks[&crate::domain::ids::TaskId::new(step, *item)].phase {
            TaskPhase::Held { to, failure } => Some((*item, to.clone(), failure.clone())),
            _ => None,
        })
        .collect()
    }
}
