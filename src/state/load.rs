//! Reading the store, and folding events into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::keys::{self, Place};
use super::{ChainHead, Meta, Reusable, Seen, StateError, parts};
use crate::domain::event::{Event, Stamped, decode};
use crate::domain::ids::{Digest, RunId, StepIndex, TaskId};
use crate::domain::plan::{Plan, RawPlan};
use crate::domain::run::{Head, RunState, StepState, Task, TaskPhase, fold};
use crate::journal::{Frame, Heads, Link, Position};

/// The store, opened. Cheap to clone; reads from any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    db: sled::Db,
}

impl Reader {
    pub(super) const fn new(db: sled::Db) -> Self {
        Self { db }
    }

    /// The journal position that everything here was folded to.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn position(&self) -> Result<Position, StateError> {
        Ok(parts::get::<Meta>(&self.db, keys::META)?.unwrap_or_default().position())
    }

    /// Heads of all runs, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn heads(&self) -> Result<Vec<Head>, StateError> {
        let mut heads = Vec::new();
        for entry in self.db.scan_prefix([keys::HEADS]) {
            let (key, first) = entry?;
            if let Some(own) = parts::first_part_key(&key) {
                heads.push(parts::decode(&self.db, own, &first)?);
            }
        }
        Ok(heads)
    }

    /// Heads and steps of all runs, oldest first: what a list of runs needs.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn outlines(&self) -> Result<Vec<(Head, Vec<StepState>)>, StateError> {
        self.heads()?.into_iter().map(|head| self.steps(head.run).map(|steps| (head, steps))).collect()
    }

    /// Runs that wait for a person, oldest first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn asking(&self) -> Result<Vec<RunState>, StateError> {
        let asking = self.heads()?.into_iter().filter(|head| !head.asks.is_empty());
        asking.filter_map(|head| self.run_to_show(head.run).transpose()).collect()
    }

    /// Chain heads of all runs that have not ended.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn chains(&self) -> Result<Heads, StateError> {
        let mut chains = Heads::new();
        for head in self.heads()?.into_iter().filter(|head| head.end.is_none()) {
            if let Some(chain) = parts::get::<ChainHead>(&self.db, &keys::chain(head.run))? {
                chains.insert(head.run, crate::journal::Head { seq: chain.seq, link: Link(chain.link) });
            }
        }
        Ok(chains)
    }

    /// A run's plan.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn plan(&self, run: RunId) -> Result<Option<Arc<Plan>>, StateError> {
        let key = keys::plan(run);
        let Some(raw) = parts::get::<RawPlan>(&self.db, &key)? else { return Ok(None) };
        let plan = Plan::try_from(raw)
            .map_err(|faults| StateError::Damaged { key: keys::hex(&key), what: format!("{faults:?}") })?;
        Ok(Some(Arc::new(plan)))
    }

    /// The steps of one run, without its tasks: what a list of runs needs.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn steps(&self, run: RunId) -> Result<Vec<StepState>, StateError> {
        let mut steps = Vec::new();
        for entry in self.db.scan_prefix(keys::steps(run)) {
            let (key, first) = entry?;
            if let Some(own) = parts::first_part_key(&key) {
                steps.push(parts::decode(&self.db, own, &first)?);
            }
        }
        Ok(steps)
    }

    /// The whole state of one run.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn run(&self, run: RunId) -> Result<Option<RunState>, StateError> {
        self.run_where(run, &|_, _, _| true)
    }

    /// A run with what is told of it one by one: tasks that are not done, and those of steps without a list. A run of
    /// a million done items takes little memory so. Counts are those of the whole run; nothing may work on it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn run_to_show(&self, run: RunId) -> Result<Option<RunState>, StateError> {
        self.run_where(run, &|plan, id, task| {
            plan.step(id.step).for_each.is_none() || !matches!(task.phase, TaskPhase::Done { .. })
        })
    }

    fn run_where(
        &self,
        run: RunId,
        keep: &dyn Fn(&Plan, TaskId, &Task) -> bool,
    ) -> Result<Option<RunState>, StateError> {
        let Some(head) = parts::get::<Head>(&self.db, &keys::head(run))? else { return Ok(None) };
        let Some(plan) = self.plan(run)? else {
            return Err(StateError::Damaged {
                key: keys::hex(&keys::plan(run)),
                what: "the plan is missing".to_owned(),
            });
        };
        let mut steps = Vec::with_capacity(plan.steps().len());
        for step in 0..plan.steps().len() as StepIndex {
            steps.push(parts::get::<StepState>(&self.db, &keys::step(run, step))?.unwrap_or_default());
        }
        let mut tasks = BTreeMap::new();
        for entry in self.db.scan_prefix(keys::tasks(run)) {
            let (key, first) = entry?;
            if let Some(own) = parts::first_part_key(&key)
                && let Some(task) = keys::task_of(own)
            {
                let record = parts::decode::<Task>(&self.db, own, &first)?;
                if keep(&plan, task, &record) {
                    tasks.insert(task, record);
                }
            }
        }
        Ok(Some(RunState::assemble(head, plan, steps, tasks)))
    }

    /// The done output with this identity.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn reusable(&self, identity: &Digest) -> Result<Option<Reusable>, StateError> {
        parts::get(&self.db, &keys::identity(identity))
    }

    /// What stood at this place last.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn seen(&self, place: &Place) -> Result<Option<Seen>, StateError> {
        parts::get(&self.db, &keys::place(place))
    }

    /// Takes everything out: what was folded from a journal that broke off is not the state of anything.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn clear(&self) -> Result<(), StateError> {
        self.db.clear()?;
        self.flush()
    }

    /// Blocks until everything written so far is on disk as far as sled can tell.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn flush(&self) -> Result<(), StateError> {
        self.db.flush()?;
        Ok(())
    }

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn bytes_on_disk(&self) -> Result<u64, StateError> {
        Ok(self.db.size_on_disk()?)
    }
}

/// Folds events into the store: the only writer.
#[derive(Debug)]
pub(super) struct Folder {
    reader: Reader,
    /// States of runs that have not ended, as folded so far.
    live: BTreeMap<RunId, RunState>,
}

impl Folder {
    pub(super) const fn new(reader: Reader) -> Self {
        Self { reader, live: BTreeMap::new() }
    }

    /// Folds one frame of the journal; records that the store has already are passed over.
    pub(super) fn frame(&mut self, frame: &Frame) -> Result<(), StateError> {
        let mut batch = sled::Batch::default();
        let mut by_run: BTreeMap<RunId, Vec<(u64, Link, Stamped)>> = BTreeMap::new();
        for record in &frame.records {
            let event = decode(&record.payload).map_err(|source| StateError::Decode {
                run: record.run,
                seq: record.seq,
                source,
            })?;
            by_run.entry(record.run).or_default().push((record.seq, record.link, event));
        }
        for (run, events) in by_run {
            self.fold(&mut batch, run, &events)?;
        }
        self.write(batch, frame.position)
    }

    fn write(&self, mut batch: sled::Batch, position: Position) -> Result<(), StateError> {
        parts::put(&mut batch, keys::META, &Meta::at(position));
        self.reader.db.apply_batch(batch)?;
        Ok(())
    }

    fn fold(&mut self, batch: &mut sled::Batch, run: RunId, events: &[(u64, Link, Stamped)]) -> Result<(), StateError> {
        let mut state = match self.live.remove(&run) {
            Some(state) => Some(state),
            None => self.reader.run(run)?,
        };
        let known = state.as_ref().map_or(0, |state| state.head.seq);
        let mut touched_tasks: BTreeSet<TaskId> = BTreeSet::new();
        let mut touched_steps: BTreeSet<StepIndex> = BTreeSet::new();
        let mut last = None;
        for (seq, link, stamped) in events {
            if *seq <= known {
                continue;
            }
            let folded = fold(state.take(), stamped).map_err(|source| StateError::Corrupt { run, source })?;
            touched_tasks.extend(stamped.event.task());
            touched_steps.extend(stamped.event.step());
            if let Event::RunAccepted { plan, .. } = &stamped.event {
                parts::put(batch, &keys::plan(run), plan);
            }
            last = Some(ChainHead { seq: *seq, link: link.0 });
            state = Some(folded);
        }
        let Some(state) = state else { return Ok(()) };
        if let Some(chain) = last {
            parts::put(batch, &keys::chain(run), &chain);
            parts::put(batch, &keys::head(run), &state.head);
        }
        for step in touched_steps {
            parts::put(batch, &keys::step(run, step), &state.steps[step as usize]);
        }
        for id in touched_tasks {
            if let Some(task) = state.tasks.get(&id) {
                parts::put(batch, &keys::task(run, id), task);
                index_done(batch, &state, id, task);
            }
        }
        if state.head.end.is_none() {
            self.live.insert(run, state);
        }
        Ok(())
    }
}

/// A done output can be found by its identity, and by its place.
fn index_done(batch: &mut sled::Batch, state: &RunState, id: TaskId, task: &Task) {
    let (TaskPhase::Done { output, verdicts, reused }, Some(identity)) = (&task.phase, task.identity) else {
        return;
    };
    let run = state.head.run;
    if reused.is_none() {
        let staged = task.tried.last().and_then(|tried| tried.staged.clone());
        let found = Reusable { run, task: id, output: output.clone(), verdicts: verdicts.clone(), staged };
        parts::put(batch, &keys::identity(&identity), &found);
    }
    let step = state.step(id.step).id.as_str();
    let place = Place::new(&state.head.origin.project, state.plan.name(), step, &task.key);
    parts::put(batch, &keys::place(&place), &Seen { run, identity });
}
