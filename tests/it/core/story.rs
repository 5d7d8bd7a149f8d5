//! Plans, commands and events as short text, so that a case reads like a story.
//!
//! A command names its task as `step.item`; the attempt is the one that is open unless `#n` is given. Questions are
//! numbered from 1 in the order in which they were asked.

use std::fmt::Write as _;

use ollmcp::domain::command::{AttemptEnd, Command, Refusal};
use ollmcp::domain::event::{DoubtAnswer, Event, Origin, Stamped, StepEnd, TaskEnd, Usage, decode, encode};
use ollmcp::domain::failure::{Failure, FailureKind};
use ollmcp::domain::identity::digest_bytes;
use ollmcp::domain::ids::{AskId, Digest, RunId, StepId, StepIndex, TaskId};
use ollmcp::domain::ladder::{Ladder, PaidReason, Rung, WhenLimited};
use ollmcp::domain::payload::{BlobRef, Items, Payload};
use ollmcp::domain::plan::{
    Check, ForEach, OnError, Part, Plan, RawPlan, Reference, RepeatClass, Retry, Step, StepKind, Tolerate,
};
use ollmcp::domain::run::{Due, RunState, accept, apply, decide, due, fold};
use ollmcp::domain::verdict::{Judge, Verdict};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The time of the first event.
pub(crate) const START_MS: u64 = 1_000_000;

/// Makes plans by code.
pub(crate) struct Plans;

impl Plans {
    /// A `value` step with all defaults and one retry second.
    pub(crate) fn step(id: &str) -> Step {
        Step {
            id: StepId::from(id),
            kind: StepKind::Value { template: Value::from(1) },
            needs: Vec::new(),
            refs: Vec::new(),
            condition: None,
            for_each: None,
            key: None,
            max_parallel: 100,
            timeout_ms: 1_000,
            retry: Retry { transient_max: 2, backoff_first_ms: 1_000, backoff_max_ms: 3_000 },
            on_error: OnError::Stop,
            tolerate: None,
            critical: None,
            threshold: None,
            ladder: None,
            done_when: Vec::new(),
            all_done_when: Vec::new(),
            output_schema: None,
            repeat: None,
            reuse: None,
            files: Vec::new(),
            agree: None,
            tools: None,
            grants: None,
            idle_timeout_ms: None,
            judge: None,
            task_kind: None,
            claude: None,
            local_only: None,
            when_limited: None,
            input_refs: Vec::new(),
        }
    }

    /// A step over the numbers 0 to `len` - 1.
    pub(crate) fn each(id: &str, len: u32) -> Step {
        Step { for_each: Some(ForEach::Range(Value::from(len))), ..Self::step(id) }
    }

    /// A step that follows another item by item.
    pub(crate) fn flow(id: &str, from: &str) -> Step {
        Step {
            for_each: Some(ForEach::Items(StepId::from(from))),
            refs: vec![Reference { step: StepId::from(from), part: Part::Flow }],
            ..Self::step(id)
        }
    }

    /// The step, after others.
    pub(crate) fn after(mut step: Step, needs: &[&str]) -> Step {
        step.needs.extend(needs.iter().map(|id| StepId::from(*id)));
        step
    }

    /// The checked plan of these steps.
    pub(crate) fn of(steps: Vec<Step>) -> Plan {
        let raw = RawPlan {
            name: "test".to_owned(),
            description: String::new(),
            inputs: Vec::new(),
            steps,
            ladders: std::collections::BTreeMap::new(),
            model_servers: std::collections::BTreeMap::new(),
            source_digest: String::new(),
        };
        Plan::try_from(raw).unwrap()
    }
}

pub(crate) fn quarantine(step: Step, tolerate: Option<Tolerate>) -> Step {
    Step { on_error: OnError::Quarantine, tolerate, ..step }
}

pub(crate) fn on(step: Step, on_error: OnError) -> Step {
    Step { on_error, ..step }
}

pub(crate) fn judged_at_end(step: Step) -> Step {
    Step { all_done_when: vec![Check::Expression("count > 0".to_owned())], ..step }
}

pub(crate) fn with_validator(step: Step) -> Step {
    Step { judge: Some("VALIDATOR".to_owned()), ..step }
}

/// A run in the hands of a test: the state, and the same state folded from encoded bytes.
pub(crate) struct Story {
    pub(crate) state: RunState,
    /// Folded from what the journal would hold; compared with `state` by [`Story::compare`].
    pub(crate) replayed: Option<RunState>,
    pub(crate) events: Vec<Stamped>,
    pub(crate) now_ms: u64,
    pub(crate) asks: Vec<AskId>,
    uuids: u128,
}

impl Story {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self::of_run(plan, RunId(Uuid::from_u128(7)))
    }

    pub(crate) fn of_run(plan: &Plan, run: RunId) -> Self {
        let origin = Origin { project: "p".to_owned(), plan_source: "test".to_owned(), ..Origin::default() };
        let first = Stamped::new(START_MS, accept(run, plan, Map::new(), origin));
        let state = fold(None, &first).unwrap();
        let replayed = fold(None, &decode(&encode(&first)).unwrap()).ok();
        Self { state, replayed, events: vec![first], now_ms: START_MS, asks: Vec::new(), uuids: 1_000 }
    }

    /// Decides, applies what was decided, and gives it.
    pub(crate) fn tell(&mut self, command: Command) -> Result<Vec<Event>, Refusal> {
        let events = decide(&self.state, command, self.now_ms)?;
        for event in &events {
            self.happen(event.clone());
        }
        Ok(events)
    }

    fn happen(&mut self, event: Event) {
        if let Event::CallInDoubt { ask, .. } | Event::ApprovalAsked { ask, .. } | Event::StepHeld { ask, .. } = &event
        {
            self.asks.push(*ask);
        }
        let stamped = Stamped::new(self.now_ms, event);
        let bytes = encode(&stamped);
        apply(&mut self.state, &stamped).unwrap_or_else(|corrupt| panic!("{corrupt}: {stamped:?}"));
        let read = decode(&bytes).unwrap();
        assert_eq!(read, stamped, "an event reads back as it was written");
        self.replayed = Some(fold(self.replayed.take(), &read).unwrap());
        self.events.push(stamped);
    }

    /// What follows from the state alone, as a shell takes it; gives the events.
    pub(crate) fn consequences(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        for _ in 0..1_000 {
            let now = due(&self.state);
            let mut follows: Vec<Command> = Vec::new();
            for due in now {
                match due {
                    Due::Consequence(command) => follows.push(command),
                    Due::Hold { step } => follows.push(Command::HoldStep { step, ask: self.ask_id() }),
                    _ => {}
                }
            }
            if follows.is_empty() {
                return all;
            }
            for command in follows {
                all.extend(self.tell(command.clone()).unwrap_or_else(|refusal| panic!("{refusal}: {command:?}")));
            }
        }
        panic!("consequences without end");
    }

    /// The live state, the replayed one and the one put together from stored parts are the same, byte by byte.
    pub(crate) fn compare(&self) {
        let replayed = self.replayed.as_ref().unwrap();
        assert_eq!(replayed, &self.state, "folding the encoded events gives another state");
        assert_eq!(bytes_of(replayed), bytes_of(&self.state));
        let (head, steps, tasks) = stored(&self.state);
        let assembled = RunState::assemble(head, self.state.plan.clone(), steps, tasks);
        assert_eq!(assembled, self.state, "the stored parts give another state");
        assert_eq!(due(&assembled), due(&self.state));
    }

    pub(crate) fn ask_id(&mut self) -> AskId {
        self.uuids += 1;
        AskId(Uuid::from_u128(self.uuids))
    }

    /// A command from text; see [`Story::run`] for the words.
    pub(crate) fn command(&mut self, text: &str) -> Command {
        let words: Vec<&str> = text.split_whitespace().collect();
        let step = |at: usize| step_of(&self.state, words[at]);
        let task = |at: usize| task_of(&self.state, words[at]);
        let number = words.iter().find_map(|word| word.strip_prefix('#')).map(|n| n.parse::<u32>().unwrap());
        let attempt = |task: TaskId| number.unwrap_or_else(|| self.state.tasks.get(&task).map_or(1, |t| t.attempts));
        let has = |word: &str| words.contains(&word);
        match words[0] {
            "open" => Command::OpenStep { step: step(1), items: self.items(&words), ladder: ladder(&words) },
            "skip" => {
                Command::SkipStep { step: step(1), reason: "the condition says no".to_owned(), for_failure: false }
            }
            "fault" => Command::FailStep { step: step(1), failure: failure("bad_input") },
            "close" => Command::CloseStep { step: step(1) },
            "judge" => Command::JudgeStep { step: step(1), verdict: verdict(Judge::Checks, words[2] == "well") },
            "start" => {
                let repeat = match () {
                    () if has("unsafe") => RepeatClass::Unsafe,
                    () if has("idempotent") => RepeatClass::Idempotent,
                    () => RepeatClass::Read,
                };
                let task = task(1);
                Command::StartAttempt { task, key: format!("k{}", task.item), identity: Some(Digest([7; 32])), repeat }
            }
            "reuse" => {
                let task = task(1);
                let verdict = verdict(Judge::Checks, !has("rejected"));
                let from = RunId(Uuid::from_u128(3));
                let output = Payload::Inline(json!("old"));
                Command::ReuseOutput {
                    task,
                    key: format!("k{}", task.item),
                    identity: Digest([7; 32]),
                    output,
                    from,
                    verdict,
                }
            }
            "output" => self.end(task(1), attempt(task(1)), AttemptEnd::Output(Payload::Inline(json!("new")))),
            "fail" => {
                let of_check = words.iter().find_map(|word| word.strip_prefix("of:")).map(str::to_owned);
                let away = words.iter().find_map(|word| word.strip_prefix("away:")).unwrap_or_default();
                let away = away.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                let end = AttemptEnd::Failed(failure(words[2]).of_check(of_check));
                Command::EndAttempt { task: task(1), attempt: attempt(task(1)), end, ask: self.ask_id(), away }
            }
            "lost" => {
                let failure = words.get(2).filter(|word| !word.starts_with('#')).map(|kind| failure(kind));
                self.end(task(1), attempt(task(1)), AttemptEnd::Unknown { what: "the call".to_owned(), failure })
            }
            "accept" | "reject" => {
                let by = match () {
                    () if has("VALIDATOR") => Judge::Validator("VALIDATOR".to_owned()),
                    () if has("agreement") => Judge::Agreement,
                    () => Judge::Checks,
                };
                Command::Judge {
                    task: task(1),
                    attempt: attempt(task(1)),
                    verdict: verdict(by, words[0] == "accept"),
                    away: Vec::new(),
                }
            }
            "turn" => {
                let usage = Usage { model: "m".to_owned(), input_tokens: 100, output_tokens: 10, cost_microdollars: 0 };
                let request = digest_bytes(words[2].as_bytes());
                let reply = Payload::Inline(json!(words[2]));
                Command::TakeTurn { task: task(1), attempt: attempt(task(1)), request, reply, usage }
            }
            "call" => Command::StartCall {
                task: task(1),
                attempt: attempt(task(1)),
                call: words[2].to_owned(),
                tool: "box.send".to_owned(),
                repeat: if has("unsafe") { RepeatClass::Unsafe } else { RepeatClass::Idempotent },
            },
            "called" => Command::EndCall {
                task: task(1),
                attempt: attempt(task(1)),
                call: words[2].to_owned(),
                succeeded: !has("badly"),
                result: Payload::Inline(json!("sent")),
            },
            "made" => {
                let staged = has("files").then(|| Payload::Inline(json!(["a.txt"])));
                let end = AttemptEnd::Made {
                    output: Payload::Inline(json!("new")),
                    claimed: Some("done!".to_owned()),
                    staged,
                    effects: Vec::new(),
                };
                self.end(task(1), attempt(task(1)), end)
            }
            "placed" => Command::EndPlacing { task: task(1), failure: has("conflict").then(|| failure("conflict")) },
            "go" => Command::AnswerHold { ask: self.asked(words[1]), go: true, by: "ann".to_owned() },
            "stop" => Command::AnswerHold { ask: self.asked(words[1]), go: false, by: "ann".to_owned() },
            "answer" => {
                let answer = match words[2] {
                    "happened" => DoubtAnswer::Happened { output: Payload::Inline(json!("told")) },
                    "again" => DoubtAnswer::Again,
                    "skip" => DoubtAnswer::Skip,
                    "fail" => DoubtAnswer::Fail,
                    other => panic!("no answer `{other}`"),
                };
                Command::Answer { ask: self.asked(words[1]), answer, by: "ann".to_owned() }
            }
            "ask" => {
                let task = task(1);
                Command::AskApproval { task, ask: self.ask_id(), what: "may it?".to_owned() }
            }
            "approve" => Command::Approve { ask: self.asked(words[1]), granted: true, by: "ann".to_owned() },
            "deny" => Command::Approve { ask: self.asked(words[1]), granted: false, by: "ann".to_owned() },
            "usage" => {
                let usage = Usage { model: "m".to_owned(), input_tokens: 5, output_tokens: 2, cost_microdollars: 9 };
                Command::RecordUsage { task: task(1), attempt: attempt(task(1)), usage }
            }
            "cancel" => Command::Cancel { by: "ann".to_owned() },
            "resume" => Command::Resume { unclean: has("unclean"), budget_microdollars: None },
            "end" => Command::EndRun,
            other => panic!("no command `{other}`"),
        }
    }

    fn end(&mut self, task: TaskId, attempt: u32, end: AttemptEnd) -> Command {
        Command::EndAttempt { task, attempt, end, ask: self.ask_id(), away: Vec::new() }
    }

    fn asked(&self, number: &str) -> AskId {
        match number.parse::<usize>().unwrap() {
            0 => AskId(Uuid::nil()),
            number => self.asks[number - 1],
        }
    }

    fn items(&self, words: &[&str]) -> Items {
        let step = step_of(&self.state, words[1]);
        let len = words.get(2).and_then(|word| word.parse().ok());
        // A step that is not there may be named to see it refused.
        let for_each = self.state.plan.steps().get(step as usize).and_then(|step| step.for_each.as_ref());
        match for_each {
            None => Items::One,
            Some(ForEach::Items(from)) => Items::Flow { from: self.state.plan.index_of(from).unwrap() },
            Some(ForEach::Range(len_written)) => {
                Items::Range { len: len.unwrap_or_else(|| u32::try_from(len_written.as_u64().unwrap()).unwrap()) }
            }
            Some(ForEach::List(_)) => {
                Items::List { len: len.unwrap(), blob: BlobRef { sha256: Digest([1; 32]), bytes: 10 } }
            }
        }
    }

    /// Commands separated by `;` or line ends. `+N` lets N milliseconds pass. After each command all that follows from
    /// the state alone is taken, as a shell does. Gives the events as text, one story line for each command.
    pub(crate) fn run(&mut self, commands: &str) -> String {
        let mut told = String::new();
        for text in commands.split([';', '\n']).map(str::trim).filter(|text| !text.is_empty()) {
            if let Some(ms) = text.strip_prefix('+') {
                self.now_ms += ms.parse::<u64>().unwrap();
                continue;
            }
            let command = self.command(text);
            let mut events = self.tell(command).unwrap_or_else(|refusal| panic!("`{text}` was refused: {refusal}"));
            events.extend(self.consequences());
            if !told.is_empty() {
                told.push('\n');
            }
            told.push_str(if events.is_empty() { "nothing" } else { "" });
            told.push_str(&self.events_text(&events));
            self.compare();
        }
        told
    }

    /// The same without telling and comparing.
    pub(crate) fn run_quietly(&mut self, commands: &str) {
        for text in commands.split(';').map(str::trim) {
            let command = self.command(text);
            self.tell(command).unwrap_or_else(|refusal| panic!("`{text}` was refused: {refusal}"));
            self.consequences();
        }
    }

    pub(crate) fn events_text(&self, events: &[Event]) -> String {
        events.iter().map(|event| self.event_text(event)).collect::<Vec<_>>().join("; ")
    }

    fn event_text(&self, event: &Event) -> String {
        let step = |step: &StepIndex| self.state.step(*step).id.to_string();
        let task = |task: &TaskId| {
            if self.state.step(task.step).for_each.is_some() {
                format!("{}.{}", self.state.step(task.step).id, task.item)
            } else {
                self.state.step(task.step).id.to_string()
            }
        };
        match event {
            Event::RunAccepted { .. } => "accepted".to_owned(),
            Event::RunResumed { unclean, .. } => if *unclean { "resumed unclean" } else { "resumed" }.to_owned(),
            Event::StepOpened { step: s, items, .. } => match items {
                Items::One => format!("{} opens", step(s)),
                Items::Range { len } | Items::List { len, .. } => format!("{} opens x{len}", step(s)),
                Items::Flow { from } => format!("{} follows {}", step(s), step(from)),
            },
            Event::StepStopped { step: s, failure } => format!("{} stops: {}", step(s), failure.message),
            Event::StepJudged { step: s, verdict } => format!("{} is {}", step(s), accepted(verdict)),
            Event::StepEnded { step: s, end } => match end {
                StepEnd::Done => format!("{} DONE", step(s)),
                StepEnd::Failed(failure) => format!("{} FAILED: {}", step(s), failure.message),
                StepEnd::Skipped { reason, for_failure } => {
                    format!("{} SKIPPED{}: {reason}", step(s), if *for_failure { " for a failure" } else { "" })
                }
                StepEnd::Cancelled => format!("{} CANCELLED", step(s)),
            },
            Event::AttemptStarted { task: t, attempt, rung, .. } => {
                format!("{} #{attempt} starts{}", task(t), on_rung(rung))
            }
            Event::AttemptSucceeded { task: t, .. } => format!("{} gives output", task(t)),
            Event::AttemptFailed { task: t, attempt, failure } => {
                format!("{} #{attempt} fails ({})", task(t), kind_word(failure.kind))
            }
            Event::AttemptInterrupted { task: t, attempt } => format!("{} #{attempt} is cut off", task(t)),
            Event::CallInDoubt { task: t, .. } => format!("{} is in doubt", task(t)),
            Event::DoubtAnswered { task: t, answer, .. } => {
                let word = match answer {
                    DoubtAnswer::Happened { .. } => "happened",
                    DoubtAnswer::Again => "again",
                    DoubtAnswer::Skip => "skip",
                    DoubtAnswer::Fail => "fail",
                };
                format!("{}: {word}", task(t))
            }
            Event::VerdictGiven { task: t, verdict, .. } => {
                let by = match &verdict.by {
                    Judge::Checks => "checks",
                    Judge::Agreement => "agreement",
                    Judge::Validator(name) => name,
                };
                format!("{} is {} by {by}", task(t), accepted(verdict))
            }
            Event::TaskClimbed { task: t, to, for_server, .. } => {
                format!("{} goes{}{}", task(t), on_rung(to), if *for_server { " uncounted" } else { "" })
            }
            Event::TaskRetryAt { task: t, retry_at_ms, for_server } => {
                let why = if *for_server { " for a server" } else { "" };
                format!("{} waits{why} until +{}", task(t), retry_at_ms - START_MS)
            }
            Event::TurnTaken { task: t, .. } => format!("{} has a reply", task(t)),
            Event::CallStarted { task: t, call, .. } => format!("{} calls {call}", task(t)),
            Event::CallEnded { task: t, call, succeeded, .. } => {
                format!("{} called {call}{}", task(t), if *succeeded { "" } else { " badly" })
            }
            Event::TaskHeld { task: t, to, .. } => format!("{} held before{}", task(t), on_rung(to)),
            Event::StepHeld { step: s, what, .. } => {
                format!("{} HELD: {}", step(s), what.split(". ").next().unwrap())
            }
            Event::HoldAnswered { step: s, go, .. } => format!("{}: {}", step(s), if *go { "go" } else { "stop" }),
            Event::TaskAccepted { task: t } => format!("{} accepted", task(t)),
            Event::TaskDone { task: t } => format!("{} done", task(t)),
            Event::TaskReused { task: t, .. } => format!("{} reused", task(t)),
            Event::TaskEnded { task: t, end } => match end {
                TaskEnd::Failed(failure) => format!("{} failed ({})", task(t), kind_word(failure.kind)),
                TaskEnd::Quarantined(failure) => format!("{} set aside ({})", task(t), kind_word(failure.kind)),
                TaskEnd::Skipped => format!("{} left out", task(t)),
                TaskEnd::Cancelled => format!("{} cancelled", task(t)),
            },
            Event::ApprovalAsked { task: t, .. } => format!("{} asks", task(t)),
            Event::ApprovalGiven { task: t, granted, .. } => {
                format!("{}: {}", task(t), if *granted { "yes" } else { "no" })
            }
            Event::UsageRecorded { task: t, usage, .. } => format!("{} used {} tokens", task(t), usage.input_tokens),
            Event::CancelAsked { by } => format!("{by} cancels"),
            Event::RunEnded { end } => format!("run {end:?}"),
        }
    }

    /// What is due, as text.
    pub(crate) fn due_text(&self) -> String {
        let mut out = String::new();
        for one in due(&self.state) {
            let separator = if out.is_empty() { "" } else { "; " };
            let text = match one {
                Due::Consequence(command) => format!("{command:?}"),
                Due::Open { step } => format!("open {}", self.state.step(step).id),
                Due::Start { task } => format!("start {}.{}", self.state.step(task.step).id, task.item),
                Due::StartAt { task, at_ms } => {
                    format!("start {}.{} at +{}", self.state.step(task.step).id, task.item, at_ms - START_MS)
                }
                Due::Judge { task, by, .. } => {
                    format!("judge {}.{} by {by:?}", self.state.step(task.step).id, task.item)
                }
                Due::JudgeStep { step } => format!("judge {}", self.state.step(step).id),
                Due::Place { task } => format!("place {}.{}", self.state.step(task.step).id, task.item),
                Due::Hold { step } => format!("hold {}", self.state.step(step).id),
            };
            let _ = write!(out, "{separator}{text}");
        }
        out
    }
}

pub(crate) fn stored(
    state: &RunState,
) -> (
    ollmcp::domain::run::Head,
    Vec<ollmcp::domain::run::StepState>,
    std::collections::BTreeMap<TaskId, ollmcp::domain::run::Task>,
) {
    let head = serde_json::from_slice(&serde_json::to_vec(&state.head).unwrap()).unwrap();
    let steps = serde_json::from_slice(&serde_json::to_vec(&state.steps).unwrap()).unwrap();
    let tasks = state
        .tasks
        .iter()
        .map(|(id, task)| (*id, serde_json::from_slice(&serde_json::to_vec(task).unwrap()).unwrap()))
        .collect();
    (head, steps, tasks)
}

pub(crate) fn bytes_of(state: &RunState) -> Vec<u8> {
    let tasks: Vec<_> = state.tasks.iter().collect();
    serde_json::to_vec(&(&state.head, &state.steps, tasks)).unwrap()
}

/// A step by name; `sN` is step number N whether it is there or not.
fn step_of(state: &RunState, name: &str) -> StepIndex {
    match state.plan.index_of(&StepId::from(name)) {
        Some(step) => step,
        None => name.strip_prefix('s').and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no step `{name}`")),
    }
}

fn task_of(state: &RunState, text: &str) -> TaskId {
    let (step, item) = text.split_once('.').unwrap_or((text, "0"));
    TaskId::new(step_of(state, step), item.parse().unwrap())
}

/// `A,B|claude x2`: local rungs, paid rungs, threshold.
fn ladder(words: &[&str]) -> Ladder {
    let Some(at) = words.iter().position(|word| *word == "ladder") else { return Ladder::default() };
    let (local, paid) = words[at + 1].split_once('|').unwrap_or((words[at + 1], ""));
    let names = |text: &str| text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let threshold = words.get(at + 2).and_then(|word| word.strip_prefix('x')).map_or(2, |n| n.parse().unwrap());
    let seconds = words.iter().find_map(|word| word.strip_prefix("agree:")).map_or_else(Vec::new, names);
    let server_wait_ms = words.iter().find_map(|word| word.strip_prefix("wait:")).map_or(0, |n| n.parse().unwrap());
    let when_limited = if words.contains(&"parks") { WhenLimited::Park } else { WhenLimited::Fail };
    let unpaid = words.iter().find_map(|word| word.strip_prefix("unpaid:"));
    Ladder {
        local: names(local),
        paid: names(paid),
        threshold,
        seconds,
        server_wait_ms,
        when_limited,
        reason: if words.contains(&"wished") { PaidReason::UserRequested } else { PaidReason::Fallback },
        unpaid: unpaid.map(|word| serde_json::from_value(Value::from(word)).unwrap()),
        escalates_when_away: words.contains(&"away-pays"),
    }
}

/// By its kind; `KIND@MS` passes that long after the first event.
pub(crate) fn failure(kind: &str) -> Failure {
    let (kind, until) = kind.split_once('@').map_or((kind, None), |(kind, ms)| (kind, ms.parse::<u64>().ok()));
    let kind: FailureKind = serde_json::from_value(Value::from(kind)).unwrap_or_else(|_| panic!("no failure `{kind}`"));
    Failure::new(kind, format!("it was {}", kind_word(kind))).until(until.map(|ms| START_MS + ms))
}

fn kind_word(kind: FailureKind) -> String {
    serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
}

fn verdict(by: Judge, is_accepted: bool) -> Verdict {
    let complaint = (!is_accepted).then(|| "not good".to_owned());
    Verdict { accepted: is_accepted, complaint, ..Verdict::accepting(by, vec!["seen".to_owned()]) }
}

fn accepted(verdict: &Verdict) -> &'static str {
    if verdict.accepted { "accepted" } else { "rejected" }
}

fn on_rung(rung: &Rung) -> String {
    match rung {
        Rung::None => String::new(),
        Rung::Local(name) => format!(" on {name}"),
        Rung::Paid(name) => format!(" on {name} (paid)"),
    }
}

/// Holds one command against one state: the events that it causes, or the refusal.
#[track_caller]
pub(crate) fn check(plan: &Plan, given: &str, command: &str, expect: &str) {
    let mut story = Story::new(plan);
    story.run(given);
    let command = story.command(command);
    let found = match decide(&story.state, command, story.now_ms) {
        Ok(events) => story.events_text(&events),
        Err(refusal) => format!("refused: {refusal}"),
    };
    assert_eq!(found, expect);
}

/// Holds a whole story, one line of events for each command.
#[track_caller]
pub(crate) fn tells(plan: &Plan, commands: &str, expect: &str) -> Story {
    let mut story = Story::new(plan);
    let found = story.run(commands);
    let expect = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(found, expect);
    story
}
