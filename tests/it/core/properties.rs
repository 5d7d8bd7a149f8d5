//! Random plans and random commands, sensible and not: what must hold after every one of them.

use std::collections::{BTreeMap, BTreeSet};

use ollmcp::domain::command::{AttemptEnd, Command};
use ollmcp::domain::event::{DoubtAnswer, Event, Usage};
use ollmcp::domain::failure::{Failure, FailureKind};
use ollmcp::domain::ids::{AskId, Digest, RunId, StepIndex, TaskId};
use ollmcp::domain::ladder::{Ladder, WhenLimited};
use ollmcp::domain::payload::{BlobRef, Items, Payload};
use ollmcp::domain::plan::{Check, ForEach, OnError, Plan, RepeatClass, Retry, Step, Tolerate};
use ollmcp::domain::run::{AskKind, Counts, Due, RunState, TaskPhase, due};
use ollmcp::domain::verdict::{Judge, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::story::{Plans, START_MS, Story};

const STEPS_MAX: usize = 6;
const ITEMS_MAX: u32 = 4;

/// The numbers that a step of a random plan is made from.
#[derive(Clone, Debug)]
struct Dice {
    kind: u8,
    source: prop::sample::Index,
    needs: Vec<prop::sample::Index>,
    len: u32,
    parallel: u32,
    on_error: u8,
    tolerate: Option<u32>,
    retries: u32,
    has_judge: bool,
    is_judged_at_end: bool,
}

fn dice() -> impl Strategy<Value = Dice> {
    (
        0..5_u8,
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..2),
        0..=ITEMS_MAX,
        1..=3_u32,
        0..3_u8,
        prop::option::of(0..3_u32),
        0..2_u32,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(kind, source, needs, len, parallel, on_error, tolerate, retries, has_judge, is_judged_at_end)| Dice {
                kind,
                source,
                needs,
                len,
                parallel,
                on_error,
                tolerate,
                retries,
                has_judge,
                is_judged_at_end,
            },
        )
}

fn plans() -> impl Strategy<Value = Plan> {
    prop::collection::vec(dice(), 1..=STEPS_MAX).prop_map(|all| {
        let mut steps: Vec<Step> = Vec::new();
        for (at, dice) in all.into_iter().enumerate() {
            let id = format!("s{at}");
            let sources: Vec<String> =
                steps.iter().filter(|step| step.for_each.is_some()).map(|step| step.id.to_string()).collect();
            let mut step = match dice.kind {
                0 => Plans::step(&id),
                1 | 2 if !sources.is_empty() => Plans::flow(&id, &sources[dice.source.index(sources.len())]),
                3 => Step { for_each: Some(ForEach::List(Value::from("${{ inputs.list }}"))), ..Plans::step(&id) },
                _ => Plans::each(&id, dice.len),
            };
            if at > 0 {
                let names: Vec<String> = dice.needs.iter().map(|need| format!("s{}", need.index(at))).collect();
                step = Plans::after(step, &names.iter().map(String::as_str).collect::<Vec<_>>());
            }
            step.max_parallel = dice.parallel;
            step.retry = Retry { transient_max: dice.retries, backoff_first_ms: 10, backoff_max_ms: 20 };
            step.on_error = [OnError::Stop, OnError::Continue, OnError::Quarantine][usize::from(dice.on_error)];
            step.tolerate = dice.tolerate.map(Tolerate::Count);
            step.judge = dice.has_judge.then(|| "VALIDATOR".to_owned());
            if dice.is_judged_at_end {
                step.all_done_when = vec![Check::Expression("true".to_owned())];
            }
            steps.push(step);
        }
        Plans::of(steps)
    })
}

/// One thing that happens to a run. The numbers choose among what is there when it happens.
#[derive(Clone, Debug)]
enum Happening {
    /// Something that is due is done, with this outcome.
    Due(prop::sample::Index, Outcome),
    /// An open attempt ends.
    End(prop::sample::Index, Outcome),
    /// A judge of an output that waits speaks.
    Judge(prop::sample::Index, bool),
    /// A person answers.
    Answer(prop::sample::Index, u8),
    /// A pending task asks for approval.
    AskApproval(prop::sample::Index),
    /// The process dies and another takes the run up.
    Crash,
    /// Time passes.
    Wait(u64),
    /// A person cancels.
    Cancel,
    /// A command that nobody asked for.
    Nonsense(Box<Command>),
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// With files that wait for acceptance.
    Files,
    Good,
    Wrong,
    Transient,
    /// A limit of paid calls; it frees.
    Limited,
    Permanent,
    Unworkable,
    Unknown,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Good),
        2 => Just(Outcome::Wrong),
        1 => Just(Outcome::Files),
        2 => Just(Outcome::Transient),
        1 => Just(Outcome::Limited),
        1 => Just(Outcome::Permanent),
        1 => Just(Outcome::Unworkable),
        1 => Just(Outcome::Unknown),
    ]
}

fn nonsense() -> impl Strategy<Value = Command> {
    let step = 0..(STEPS_MAX as u32 + 1);
    let task = (step.clone(), 0..=ITEMS_MAX).prop_map(|(step, item)| TaskId::new(step, item));
    let ask = (0..4_u128).prop_map(|number| AskId(Uuid::from_u128(1_000 + number)));
    let items = prop_oneof![
        Just(Items::One),
        (0..=ITEMS_MAX).prop_map(|len| Items::Range { len }),
        (0..=ITEMS_MAX).prop_map(|len| Items::List { len, blob: BlobRef { sha256: Digest([1; 32]), bytes: 1 } }),
        step.clone().prop_map(|from| Items::Flow { from }),
    ];
    let verdict = (any::<bool>(), 0..3_u8).prop_map(|(accepted, by)| verdict(judge_of(by), accepted));
    let repeat = prop::sample::select(vec![RepeatClass::Read, RepeatClass::Idempotent, RepeatClass::Unsafe]);
    prop_oneof![
        any::<bool>().prop_map(|unclean| Command::Resume { unclean, budget_microdollars: None }),
        (step.clone(), items).prop_map(|(step, items)| Command::OpenStep { step, items, ladder: ladder() }),
        (step.clone(), any::<bool>()).prop_map(|(step, for_failure)| Command::SkipStep {
            step,
            reason: "r".to_owned(),
            for_failure
        }),
        step.clone().prop_map(|step| Command::FailStep { step, failure: failure(FailureKind::BadInput) }),
        step.clone().prop_map(|step| Command::CloseStep { step }),
        (step, verdict.clone()).prop_map(|(step, verdict)| Command::JudgeStep { step, verdict }),
        (task.clone(), repeat).prop_map(|(task, repeat)| start(task, repeat)),
        (task.clone(), verdict.clone()).prop_map(|(task, verdict)| reuse(task, verdict)),
        (task.clone(), 0..3_u32, outcome(), ask.clone()).prop_map(|(task, attempt, outcome, ask)| {
            Command::EndAttempt { task, attempt, end: end(outcome), ask, away: Vec::new() }
        }),
        (task.clone(), 0..3_u32, verdict).prop_map(|(task, attempt, verdict)| Command::Judge {
            task,
            attempt,
            verdict,
            away: Vec::new()
        }),
        (ask.clone(), 0..4_u8).prop_map(|(ask, answer)| Command::Answer {
            ask,
            answer: answer_of(answer),
            by: "b".to_owned()
        }),
        (task.clone(), ask.clone()).prop_map(|(task, ask)| Command::AskApproval { task, ask, what: "w".to_owned() }),
        (ask, any::<bool>()).prop_map(|(ask, granted)| Command::Approve { ask, granted, by: "b".to_owned() }),
        (task, any::<u64>()).prop_map(|(task, tokens)| Command::RecordUsage {
            task,
            attempt: 1,
            usage: Usage {
                model: "m".to_owned(),
                input_tokens: tokens,
                output_tokens: tokens,
                cost_microdollars: tokens
            },
        }),
        Just(Command::EndRun),
    ]
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        12 => (index(), outcome()).prop_map(|(at, outcome)| Happening::Due(at, outcome)),
        12 => (index(), outcome()).prop_map(|(at, outcome)| Happening::End(at, outcome)),
        8 => (index(), prop::bool::weighted(0.8)).prop_map(|(at, accepted)| Happening::Judge(at, accepted)),
        3 => (index(), 0..4_u8).prop_map(|(at, answer)| Happening::Answer(at, answer)),
        2 => index().prop_map(Happening::AskApproval),
        2 => Just(Happening::Crash),
        3 => (0..30_u64).prop_map(Happening::Wait),
        1 => Just(Happening::Cancel),
        8 => nonsense().prop_map(|command| Happening::Nonsense(Box::new(command))),
    ];
    prop::collection::vec(one, 0..60)
}

fn ladder() -> Ladder {
    let local = vec!["A".to_owned(), "B".to_owned()];
    Ladder {
        local,
        paid: vec!["claude".to_owned()],
        threshold: 2,
        seconds: Vec::new(),
        server_wait_ms: 20,
        when_limited: WhenLimited::Park,
        ..Ladder::default()
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "it was so")
}

fn judge_of(by: u8) -> Judge {
    match by {
        0 => Judge::Checks,
        1 => Judge::Agreement,
        _ => Judge::Validator("VALIDATOR".to_owned()),
    }
}

fn verdict(by: Judge, accepted: bool) -> Verdict {
    Verdict { accepted, ..Verdict::accepting(by, Vec::new()) }
}

fn start(task: TaskId, repeat: RepeatClass) -> Command {
    Command::StartAttempt { task, key: task.item.to_string(), identity: None, repeat }
}

fn reuse(task: TaskId, verdict: Verdict) -> Command {
    Command::ReuseOutput {
        task,
        key: task.item.to_string(),
        identity: Digest([2; 32]),
        output: Payload::Inline(json!(1)),
        from: RunId(Uuid::from_u128(3)),
        verdict,
    }
}

fn end(outcome: Outcome) -> AttemptEnd {
    match outcome {
        Outcome::Good => AttemptEnd::Output(Payload::Inline(json!(1))),
        Outcome::Files => AttemptEnd::Made {
            output: Payload::Inline(json!(1)),
            claimed: Some("done".to_owned()),
            staged: Some(Payload::Inline(json!(["a"]))),
            effects: vec!["k".to_owned()],
        },
        Outcome::Wrong => AttemptEnd::Failed(failure(FailureKind::Check)),
        Outcome::Transient => AttemptEnd::Failed(failure(FailureKind::Busy)),
        Outcome::Limited => AttemptEnd::Failed(failure(FailureKind::Limited).until(Some(START_MS + 50))),
        Outcome::Permanent => AttemptEnd::Failed(failure(FailureKind::Missing)),
        Outcome::Unworkable => AttemptEnd::Failed(failure(FailureKind::Unworkable)),
        Outcome::Unknown => AttemptEnd::Unknown { what: "w".to_owned(), failure: Some(failure(FailureKind::Timeout)) },
    }
}

fn answer_of(answer: u8) -> DoubtAnswer {
    match answer {
        0 => DoubtAnswer::Happened { output: Payload::Inline(json!(1)) },
        1 => DoubtAnswer::Again,
        2 => DoubtAnswer::Skip,
        _ => DoubtAnswer::Fail,
    }
}

/// A run and what was seen of it.
struct Watched {
    story: Story,
    /// Events looked at so far.
    looked: usize,
    open: BTreeMap<TaskId, u32>,
    terminal: BTreeMap<TaskId, TaskPhase>,
    done: BTreeSet<TaskId>,
    has_ended: bool,
}

impl Watched {
    fn new(plan: &Plan) -> Self {
        let mut watched = Self {
            story: Story::new(plan),
            looked: 1,
            open: BTreeMap::new(),
            terminal: BTreeMap::new(),
            done: BTreeSet::new(),
            has_ended: false,
        };
        watched.settle();
        watched
    }

    fn happens(&mut self, happening: Happening) {
        if let Some(command) = self.command(happening) {
            // A refusal changes nothing; that every decided event applies is seen inside.
            let before = self.story.events.len();
            if self.story.tell(command).is_err() {
                assert_eq!(self.story.events.len(), before);
            }
        }
        self.settle();
    }

    fn command(&mut self, happening: Happening) -> Option<Command> {
        let ask = self.story.ask_id();
        let state = &self.story.state;
        Some(match happening {
            Happening::Due(at, outcome) => {
                let list = due(state);
                self.of_due((!list.is_empty()).then(|| at.get(&list).clone())?, outcome)
            }
            Happening::End(at, outcome) => {
                let open: Vec<TaskId> = state.open_attempts().map(|(task, _)| task).collect();
                let task = *(!open.is_empty()).then(|| at.get(&open))?;
                Command::EndAttempt {
                    task,
                    attempt: state.tasks[&task].attempts,
                    end: end(outcome),
                    ask,
                    away: Vec::new(),
                }
            }
            Happening::Judge(at, accepted) => {
                let judges: Vec<Due> = due(state).into_iter().filter(|due| matches!(due, Due::Judge { .. })).collect();
                let Due::Judge { task, attempt, by } = (!judges.is_empty()).then(|| at.get(&judges))?.clone() else {
                    unreachable!("only judges were kept")
                };
                Command::Judge { task, attempt, verdict: verdict(by, accepted), away: Vec::new() }
            }
            Happening::Answer(at, answer) => {
                let asks: Vec<_> = state.head.asks.iter().map(|(id, ask)| (*id, ask.kind)).collect();
                let (ask, kind) = *(!asks.is_empty()).then(|| at.get(&asks))?;
                answered(ask, kind, answer)
            }
            Happening::AskApproval(at) => {
                let pending: Vec<TaskId> = state
                    .tasks
                    .iter()
                    .filter(|(_, task)| task.phase == TaskPhase::Pending)
                    .map(|(id, _)| *id)
                    .collect();
                let task = *(!pending.is_empty()).then(|| at.get(&pending))?;
                Command::AskApproval { task, ask, what: "w".to_owned() }
            }
            Happening::Crash => {
                self.crash();
                return None;
            }
            Happening::Wait(ms) => {
                self.story.now_ms += ms;
                return None;
            }
            Happening::Cancel => Command::Cancel { by: "b".to_owned() },
            Happening::Nonsense(command) => *command,
        })
    }

    /// What a shell does with what is due.
    fn of_due(&mut self, due: Due, outcome: Outcome) -> Command {
        match due {
            Due::Consequence(command) => command,
            Due::Open { step } => match outcome {
                Outcome::Permanent => Command::FailStep { step, failure: failure(FailureKind::BadInput) },
                Outcome::Unworkable => Command::SkipStep { step, reason: "no".to_owned(), for_failure: false },
                Outcome::Good => {
                    Command::OpenStep { step, items: items(&self.story.state, step), ladder: Ladder::default() }
                }
                _ => Command::OpenStep { step, items: items(&self.story.state, step), ladder: ladder() },
            },
            Due::Start { task } => match outcome {
                Outcome::Unknown => start(task, RepeatClass::Unsafe),
                Outcome::Transient => start(task, RepeatClass::Idempotent),
                Outcome::Unworkable => reuse(task, verdict(Judge::Checks, true)),
                _ => start(task, RepeatClass::Read),
            },
            Due::StartAt { task, at_ms } => {
                self.story.now_ms = self.story.now_ms.max(at_ms);
                start(task, RepeatClass::Read)
            }
            Due::Judge { task, attempt, by } => Command::Judge {
                task,
                attempt,
                verdict: verdict(by, matches!(outcome, Outcome::Good)),
                away: Vec::new(),
            },
            Due::Place { task } => {
                let conflict = failure(FailureKind::Conflict);
                Command::EndPlacing { task, failure: (!matches!(outcome, Outcome::Good)).then_some(conflict) }
            }
            Due::Hold { step } => Command::HoldStep { step, ask: self.story.ask_id() },
            Due::JudgeStep { step } => {
                Command::JudgeStep { step, verdict: verdict(Judge::Checks, matches!(outcome, Outcome::Good)) }
            }
        }
    }

    /// The process is gone; the next one settles what was open.
    fn crash(&mut self) {
        if self.story.state.head.end.is_some() {
            return;
        }
        let open: Vec<(TaskId, u32)> =
            self.story.state.open_attempts().map(|(task, record)| (task, record.attempts)).collect();
        self.story.tell(Command::Resume { unclean: !open.is_empty(), budget_microdollars: None }).unwrap();
        for (task, attempt) in open {
            let end = AttemptEnd::Unknown { what: "w".to_owned(), failure: None };
            let ask = self.story.ask_id();
            self.story.tell(Command::EndAttempt { task, attempt, end, ask, away: Vec::new() }).unwrap();
        }
        assert_eq!(self.story.state.open_attempts().count(), 0);
    }

    /// Takes what follows, then looks at everything.
    fn settle(&mut self) {
        self.story.consequences();
        self.look();
        self.counts_are_true();
        self.is_not_stuck();
        self.story.compare();
    }

    fn look(&mut self) {
        for stamped in &self.story.events[self.looked..] {
            assert!(!self.has_ended, "an event after the end: {stamped:?}");
            let event = &stamped.event;
            if let (Some(task), false) = (event.task(), matches!(event, Event::UsageRecorded { .. })) {
                assert!(!self.terminal.contains_key(&task), "an ended task moved: {stamped:?}");
            }
            match event {
                Event::AttemptStarted { task, attempt, .. } => {
                    assert_eq!(self.open.insert(*task, *attempt), None, "a second attempt is open: {stamped:?}");
                    assert!(!self.done.contains(task), "a done task started again: {stamped:?}");
                }
                Event::AttemptSucceeded { task, attempt, .. }
                | Event::AttemptFailed { task, attempt, .. }
                | Event::AttemptInterrupted { task, attempt }
                | Event::CallInDoubt { task, attempt, .. } => {
                    assert_eq!(self.open.remove(task), Some(*attempt), "{stamped:?}");
                }
                Event::TaskDone { task } | Event::TaskReused { task, .. } => {
                    self.done.insert(*task);
                }
                Event::RunEnded { .. } => self.has_ended = true,
                _ => {}
            }
        }
        self.looked = self.story.events.len();
        let state = &self.story.state;
        let open: BTreeMap<TaskId, u32> = state.open_attempts().map(|(task, record)| (task, record.attempts)).collect();
        assert_eq!(open, self.open);
        for (task, phase) in &self.terminal {
            assert_eq!(&state.tasks[task].phase, phase, "terminal stays terminal");
        }
        let terminal = state.tasks.iter().filter(|(_, task)| task.phase.is_terminal());
        self.terminal = terminal.map(|(id, task)| (*id, task.phase.clone())).collect();
        assert_eq!(state.head.end.is_some(), self.has_ended);
        assert_eq!(state.head.seq as usize, self.story.events.len());
    }

    fn counts_are_true(&self) {
        use ollmcp::domain::event::TaskEnd;
        let state = &self.story.state;
        for step in 0..state.steps.len() as StepIndex {
            let mut counts = Counts::default();
            for (_, task) in state.tasks_of(step) {
                match &task.phase {
                    TaskPhase::Pending | TaskPhase::RetryAt { .. } => counts.pending += 1,
                    TaskPhase::Running { .. } | TaskPhase::Judging { .. } | TaskPhase::Placing { .. } => {
                        counts.running += 1;
                    }
                    TaskPhase::InDoubt { .. } | TaskPhase::AwaitsApproval { .. } | TaskPhase::Held { .. } => {
                        counts.waiting += 1;
                    }
                    TaskPhase::Done { reused, .. } => {
                        counts.done += 1;
                        counts.reused += u32::from(reused.is_some());
                    }
                    TaskPhase::Ended(TaskEnd::Failed(_)) => counts.failed += 1,
                    TaskPhase::Ended(TaskEnd::Quarantined(failure)) => {
                        counts.quarantined += 1;
                        counts.unworkable += u32::from(failure.kind == FailureKind::Unworkable);
                    }
                    TaskPhase::Ended(TaskEnd::Skipped) => counts.skipped += 1,
                    TaskPhase::Ended(TaskEnd::Cancelled) => counts.cancelled += 1,
                }
            }
            assert_eq!(state.steps[step as usize].counts, counts, "step {step}");
            let parallel = state.tasks_of(step).filter(|(_, task)| matches!(task.phase, TaskPhase::Running { .. }));
            assert!(parallel.count() <= state.step(step).max_parallel as usize);
        }
        let asks = state.head.asks.values().filter(|ask| ask.kind != AskKind::Hold);
        let asked: BTreeSet<TaskId> = asks.map(|ask| ask.task).collect();
        for (id, ask) in state.head.asks.iter().filter(|(_, ask)| ask.kind == AskKind::Hold) {
            let hold = state.steps[ask.task.step as usize].hold.as_ref();
            assert_eq!(
                hold.and_then(|hold| hold.ask),
                Some(*id),
                "each question about a step belongs to one that is held"
            );
        }
        let waiting = state
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.phase, TaskPhase::InDoubt { .. } | TaskPhase::AwaitsApproval { .. }));
        assert_eq!(asked, waiting.map(|(id, _)| *id).collect(), "each question belongs to a task that waits");
    }

    fn is_not_stuck(&self) {
        let state = &self.story.state;
        let moves = state.head.end.is_some()
            || !due(state).is_empty()
            || state.open_attempts().next().is_some()
            || state.awaits_person();
        assert!(moves, "nothing is due and nothing is awaited: {:#?}", state.steps);
    }

    /// Does what is due until the run has ended; `outcome` says how things go.
    fn drive(&mut self, mut outcome: impl FnMut() -> Outcome) {
        for _ in 0..5_000 {
            if self.story.state.head.end.is_some() {
                return;
            }
            let outcome = outcome();
            let open = self.story.state.open_attempts().next().map(|(task, record)| (task, record.attempts));
            let ask = self.story.state.head.asks.iter().next().map(|(id, ask)| (*id, ask.kind));
            let next = due(&self.story.state).into_iter().next();
            let command = match (open, next, ask) {
                (Some((task, attempt)), ..) => {
                    let ask = self.story.ask_id();
                    Command::EndAttempt { task, attempt, end: end(outcome), ask, away: Vec::new() }
                }
                (None, Some(due), _) => self.of_due(due, outcome),
                (None, None, Some((ask, kind))) => answered(ask, kind, 0),
                (None, None, None) => panic!("nothing to do: {:#?}", self.story.state.steps),
            };
            self.story.tell(command).unwrap();
            self.story.consequences();
            self.look();
        }
        panic!("no end after 5,000 commands: {:#?}", self.story.state.steps);
    }
}

fn answered(ask: AskId, kind: AskKind, answer: u8) -> Command {
    match kind {
        AskKind::InDoubt => Command::Answer { ask, answer: answer_of(answer), by: "b".to_owned() },
        AskKind::Approval => Command::Approve { ask, granted: answer < 3, by: "b".to_owned() },
        AskKind::Hold => Command::AnswerHold { ask, go: answer < 2, by: "b".to_owned() },
    }
}

fn items(state: &RunState, step: StepIndex) -> Items {
    match &state.step(step).for_each {
        None => Items::One,
        Some(ForEach::Items(from)) => Items::Flow { from: state.plan.index_of(from).unwrap() },
        Some(ForEach::Range(len)) => Items::Range { len: u32::try_from(len.as_u64().unwrap()).unwrap() },
        Some(ForEach::List(_)) => Items::List { len: 3, blob: BlobRef { sha256: Digest([1; 32]), bytes: 1 } },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Every decided event applies, replay gives the same bytes, counts are true, nothing is stuck, no task has two
    /// attempts, what has ended stays so, what is done never starts again; then the run comes to its end.
    #[test]
    fn whatever_happens_to_a_run_it_stays_whole_and_can_be_brought_to_its_end(
        plan in plans(),
        happenings in happenings(),
        outcomes in prop::collection::vec(outcome(), 1..20),
    ) {
        let mut run = Watched::new(&plan);
        for happening in happenings {
            run.happens(happening);
        }
        let mut outcomes = outcomes.into_iter().chain(std::iter::repeat(Outcome::Good));
        run.drive(|| outcomes.next().unwrap_or(Outcome::Good));
        run.settle();
    }

    /// A plan whose steps all go well is done, whole, and every item of it.
    #[test]
    fn a_run_without_trouble_is_complete(plan in plans()) {
        let mut run = Watched::new(&plan);
        run.drive(|| Outcome::Good);
        let state = &run.story.state;
        prop_assert_eq!(state.head.end, Some(ollmcp::domain::event::RunEnd::Complete));
        for step in 0..state.steps.len() as StepIndex {
            prop_assert_eq!(Some(state.steps[step as usize].counts.done), state.list_len(step));
        }
    }

    /// A process that dies after any event, and again after any other, changes neither what is done nor the end.
    #[test]
    fn a_run_that_is_interrupted_everywhere_comes_to_the_same_end(plan in plans(), every in 2..6_usize) {
        let mut calm = Watched::new(&plan);
        calm.drive(|| Outcome::Good);
        let mut stormy = Watched::new(&plan);
        let mut at = 0;
        while stormy.story.state.head.end.is_none() {
            at += 1;
            prop_assert!(at < 5_000);
            let open = stormy.story.state.open_attempts().next().map(|(task, record)| (task, record.attempts));
            // The second try of each task is let through, else it would never end.
            let again = open.is_some_and(|(task, _)| stormy.story.state.tasks[&task].interruptions > 0);
            if at % every == 0 && !again {
                stormy.crash();
            } else if let Some((task, attempt)) = open {
                let ask = stormy.story.ask_id();
                stormy.story.tell(Command::EndAttempt { task, attempt, end: end(Outcome::Good), ask, away: Vec::new() }).unwrap();
            } else if let Some(next) = due(&stormy.story.state).into_iter().next() {
                let command = stormy.of_due(next, Outcome::Good);
                stormy.story.tell(command).unwrap();
            }
            stormy.settle();
        }
        prop_assert_eq!(stormy.story.state.head.end, calm.story.state.head.end);
        let done = |run: &Watched| run.done.clone();
        prop_assert_eq!(done(&stormy), done(&calm));
    }
}
