//! Work put together from the state of a run: what a task's expressions may see, and its item.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::values::{ItemSource, Scope, StepView};
use super::work::{Complaint, Job, Trial};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::{ItemIndex, StepIndex, TaskId};
use crate::domain::payload::Items;
use crate::domain::run::{RunState, StepPhase, Task, TaskPhase};
use crate::journal::blobs::Blobs;

/// Makes jobs of one run, and keeps what many of them share.
#[derive(Debug)]
pub struct Jobs {
    blobs: Arc<Blobs>,
    views: HashMap<StepIndex, Arc<StepView>>,
    scopes: HashMap<StepIndex, Scope>,
    sources: HashMap<StepIndex, Arc<ItemSource>>,
}

impl Jobs {
    /// For one run.
    #[must_use]
    pub fn new(blobs: Arc<Blobs>) -> Self {
        Self { blobs, views: HashMap::new(), scopes: HashMap::new(), sources: HashMap::new() }
    }

    /// Opening a step. What it reads is not kept: a list of 100,000 entries is needed once, its items come from the
    /// stored list.
    pub fn opening(&self, run: &RunState, step: StepIndex) -> Job {
        let mut opening = Self::new(self.blobs.clone());
        let scope = opening.scope(run, step);
        job(run, step, 0, scope)
    }

    /// A task, or judging its output.
    pub fn task(&mut self, run: &RunState, task: TaskId) -> Job {
        let scope = self.scope(run, task.step);
        let source = self.source(run, task.step);
        let upstream = match run.steps[task.step as usize].phase.items() {
            Some(Items::Flow { from }) => {
                run.tasks.get(&TaskId::new(*from, task.item)).and_then(|task| match &task.phase {
                    TaskPhase::Done { output, .. } => Some((task.key.clone(), output.clone())),
                    _ => None,
                })
            }
            _ => None,
        };
        Job { source, upstream, trial: trial(run, task).map(Box::new), ..job(run, task.step, task.item, scope) }
    }

    /// Judging a whole step: its own results are among the names.
    pub fn judging_step(&mut self, run: &RunState, step: StepIndex) -> Job {
        let scope = self.scope(run, step).with_own(Arc::new(StepView::of(run, step)));
        job(run, step, 0, scope)
    }

    /// Lets go of what was kept for a step that has ended.
    pub fn forget(&mut self, step: StepIndex) {
        self.scopes.remove(&step);
        self.sources.remove(&step);
    }

    /// Inputs and the ended steps that a step refers to; the same for all its tasks.
    fn scope(&mut self, run: &RunState, step: StepIndex) -> Scope {
        if let Some(scope) = self.scopes.get(&step) {
            return scope.clone();
        }
        let mut steps = BTreeMap::new();
        for reference in &run.step(step).refs {
            let Some(at) = run.plan.index_of(&reference.step) else { continue };
            if matches!(run.steps[at as usize].phase, StepPhase::Ended { .. }) {
                let view = self.views.entry(at).or_insert_with(|| Arc::new(StepView::of(run, at)));
                steps.insert(reference.step.to_string(), view.clone());
            }
        }
        let scope = Scope::new(self.blobs.clone(), &run.head.inputs, steps);
        self.scopes.insert(step, scope.clone());
        scope
    }

    fn source(&mut self, run: &RunState, step: StepIndex) -> Option<Arc<ItemSource>> {
        if let Some(source) = self.sources.get(&step) {
            return Some(source.clone());
        }
        let source = Arc::new(ItemSource::of(run, step)?);
        self.sources.insert(step, source.clone());
        Some(source)
    }
}

fn job(run: &RunState, step: StepIndex, item: ItemIndex, scope: Scope) -> Job {
    Job {
        run: run.head.run,
        plan: run.plan.clone(),
        step,
        item,
        scope,
        source: None,
        upstream: None,
        fresh: run.head.origin.fresh || run.head.origin.fake,
        fake: run.head.origin.fake,
        trial: None,
    }
}

/// The attempt that a task begins next, or has open or judged.
fn trial(run: &RunState, id: TaskId) -> Option<Trial> {
    let ladder = run.ladder(id.step)?.clone();
    let Some(task) = run.tasks.get(&id) else {
        let rung = ladder.first();
        return Some(Trial { attempt: 1, rung, ladder, ..Trial::default() });
    };
    let is_begun =
        matches!(task.phase, TaskPhase::Running { .. } | TaskPhase::Judging { .. } | TaskPhase::Placing { .. });
    Some(Trial {
        attempt: if is_begun { task.attempts } else { task.attempts + 1 },
        rung: task.rung.clone(),
        ladder,
        complaints: task.complaints.iter().map(|text| complaint(task, text)).collect(),
        turns: task.turns.clone(),
        calls: task.calls.clone(),
        tried: task.tried.iter().filter_map(|tried| tried.rung.local().map(str::to_owned)).collect(),
        answers: {
            let differ = task.tried.iter().rev().find(|tried| !tried.answers.is_empty());
            differ.map(|tried| tried.answers.clone()).unwrap_or_default()
        },
        effects: task.tried.last().map(|tried| tried.effects.clone()).unwrap_or_default(),
    })
}

fn complaint(task: &Task, text: &str) -> Complaint {
    let is_it = |failure: &Failure| failure.kind == FailureKind::Schema && failure.message == text;
    let formless = task.tried.iter().rev().find(|tried| tried.failure.as_ref().is_some_and(is_it));
    Complaint { text: text.to_owned(), formless: formless.and_then(|tried| tried.rung.local().map(str::to_owned)) }
}
