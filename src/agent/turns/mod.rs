//! One attempt from inside: prompt, reply, calls, results, until there is an output or a counted failure.
//!
//! The engine owns everything around it: rungs, counting, judging, durability. A limit is a failure here, never success,
//! and text is never evidence.

#![expect(clippy::result_large_err, reason = "the error is how an attempt ends: made once, and read at once")]

pub mod answer;
pub mod setup;
pub mod views;
mod window;
pub mod world;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::budget::{self, Budget};
use super::calls::{self, Call, Offered, Read};
use super::grounding::Grounds;
use crate::domain::failure::{Failure, FailureClass, FailureKind};
use crate::model::{Message, ModelError, NativeCall, Reply, Request, ResultOf, Speaker, Think};

pub use setup::{Defaults, Limits, Setup};
use views::{READ_RESULT, Views};
pub use world::{Asked, Called, Tool, World};

/// Longest text of a model that is kept in the conversation.
const SAID_CHARS_MAX: usize = 4_000;
/// Times that a request is made smaller, or its window larger, before it does not fit.
const REFITS_MAX: u32 = 4;
/// Refused calls that end an attempt.
const REFUSALS_MAX: u32 = 2;
/// Longest claim that is kept.
const CLAIM_CHARS_MAX: usize = 300;

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// With an output, still to be judged.
    Output {
        /// The output.
        value: Value,
        /// What the model says that it did.
        claimed: String,
        /// Tools (`server.tool`) whose calls succeeded.
        called: Vec<String>,
    },
    /// Without one.
    Failed(Failure),
    /// In the middle of a call whose outcome nobody knows.
    InDoubt {
        /// Which, for people.
        what: String,
        /// Why.
        failure: Failure,
    },
    /// It is not open any more, or something cannot be kept.
    Gone(String),
}

/// Carries out one attempt.
pub async fn run(setup: &Setup<'_>, world: &dyn World) -> Ended {
    match Attempt::new(setup) {
        Ok(mut attempt) => match attempt.run(world).await {
            // What it said is shown beside why it does not count.
            Err(Ended::Failed(failure)) if failure.class() == FailureClass::Wrong => {
                Ended::Failed(failure.said(&attempt.last_said))
            }
            Ok(ended) | Err(ended) => ended,
        },
        Err(failure) => Ended::Failed(failure),
    }
}

/// A question that is asked at most once in an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Empty,
    Reasoning,
    Unread,
    Form,
}

struct Attempt<'a> {
    setup: &'a Setup<'a>,
    budget: Budget,
    /// The conversation as it was; what is sent may be shorter.
    messages: Vec<Message>,
    offered: Vec<Offered>,
    views: Views,
    grounds: Grounds,
    /// Tools go natively; else they stand in the prompt.
    native: bool,
    think: Think,
    /// The next request binds its answer to the schema and offers nothing.
    form_only: bool,
    asked_again: Vec<Again>,
    refusals: u32,
    calls: u32,
    reply_tokens: u64,
    /// Replies so far.
    turn: u32,
    /// Calls that were made since something was changed, and parts of results that were read.
    seen: HashMap<String, Seen>,
    /// Equal calls of the whole attempt.
    made: HashMap<String, u32>,
    /// Calls that changed something.
    changes: u32,
    /// Last outcome of each tool, and whether any call of it succeeded.
    outcomes: BTreeMap<String, Outcome>,
    /// The latest reply as a person reads it: its words without reasoning, and its calls.
    last_said: String,
}

/// A call that was made, and what it answered.
#[derive(Clone, Debug)]
struct Seen {
    /// Replies that held it.
    times: u32,
    /// The latest of them.
    turn: u32,
    answer: Result<String, String>,
}

#[derive(Clone, Debug, Default)]
struct Outcome {
    is_read: bool,
    succeeded: bool,
    last_error: Option<String>,
}

type Step<T> = Result<T, Ended>;

fn failed<T>(kind: FailureKind, message: impl Into<String>) -> Step<T> {
    Err(Ended::Failed(Failure::new(kind, message)))
}

impl<'a> Attempt<'a> {
    fn new(setup: &'a Setup<'a>) -> Result<Self, Failure> {
        let native = setup.info.tools == Some(true);
        let mut grounds = Grounds::new(setup.workspace);
        grounds.see(setup.task);
        for (_, text) in setup.inputs.iter().chain(&setup.results) {
            grounds.see(text);
        }
        for value in setup.grounds {
            grounds.see_value(value);
        }
        let mut attempt = Self {
            setup,
            budget: window::budget(setup),
            messages: Vec::new(),
            offered: Vec::new(),
            views: Views::new(setup.view_chars_max()),
            grounds,
            native,
            think: setup.think(),
            form_only: false,
            asked_again: Vec::new(),
            refusals: 0,
            calls: 0,
            reply_tokens: 0,
            turn: 0,
            seen: HashMap::new(),
            made: HashMap::new(),
            changes: 0,
            outcomes: BTreeMap::new(),
            last_said: String::new(),
        };
        attempt.begin()?;
        Ok(attempt)
    }

    /// Writes the first messages, in the form that the model takes tools in.
    fn begin(&mut self) -> Result<(), Failure> {
        self.messages = window::prompt(self.setup, &self.budget, self.native)?;
        self.offered = self
            .setup
            .tools
            .iter()
            .map(|tool| Offered { name: tool.offer.name.clone(), parameters: tool.offer.parameters.clone() })
            .collect();
        Ok(())
    }

    async fn run(&mut self, world: &dyn World) -> Step<Ended> {
        for _ in 0..self.setup.limits.turns_max {
            let reply = self.ask(world).await?;
            self.turn += 1;
            self.reply_tokens = self.reply_tokens.saturating_add(reply.tokens.reply);
            self.budget.saw(reply.tokens.prompt);
            self.last_said = spoken(&reply);
            let wanted = if self.setup.schema.is_some() { calls::Wanted::Form } else { calls::Wanted::Words };
            let read = calls::read_for(&reply, &self.offered_now(), wanted);
            match read {
                Read::Calls { calls, text } => {
                    self.said(&reply, &text, &calls);
                    self.call_all(world, calls).await?;
                }
                Read::Text(text) => match self.uncalled_for(&text) {
                    Some(complaint) => self.refused(&reply, FailureKind::NotOffered, complaint)?,
                    None => {
                        if let Some(ended) = self.finish(&text)? {
                            return Ok(ended);
                        }
                    }
                },
                Read::Failed(unread) => self.unread(&reply, unread.kind, unread.complaint)?,
            }
            if self.reply_tokens > u64::from(self.setup.limits.tokens_max) {
                let limit = self.setup.limits.tokens_max;
                return failed(FailureKind::Limit, format!("the attempt wrote more than its {limit} tokens"));
            }
        }
        let turns = self.setup.limits.turns_max;
        failed(FailureKind::Limit, format!("no answer within {turns} turns{}", self.done_so_far()))
    }

    /// What was done before a limit was met, so that the next attempt knows.
    fn done_so_far(&self) -> String {
        let done: Vec<&str> =
            self.outcomes.iter().filter(|(_, outcome)| outcome.succeeded).map(|(name, _)| name.as_str()).collect();
        if done.is_empty() { String::new() } else { format!("; called with success: {}", done.join(", ")) }
    }

    fn offered_now(&self) -> Vec<Offered> {
        if self.form_only {
            return Vec::new();
        }
        let mut offered = self.offered.clone();
        if self.views.has_cut() {
            let offer = Views::offer();
            offered.push(Offered { name: offer.name, parameters: offer.parameters });
        }
        offered
    }

    // ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async fn ask(&mut self, world: &dyn World) -> Step<Reply> {
        let mut refits = 0;
        loop {
            let request = self.request()?;
            match world.ask(request).await {
                Asked::Reply(reply) => return Ok(*reply),
                Asked::Gone(why) => return Err(Ended::Gone(why)),
                Asked::Refused(failure) => return Err(Ended::Failed(failure)),
                Asked::Failed(ModelError::PromptTooLong { context_tokens, message, .. }) if refits < REFITS_MAX => {
                    refits += 1;
                    tracing::info!(%message, ?context_tokens, "the prompt did not fit; it is made smaller");
                    self.budget.did_not_fit(context_tokens);
                    if self.messages.len() == 2 {
                        // Nothing to shorten but the first messages themselves.
                        self.begin().map_err(Ended::Failed)?;
                    }
                }
                Asked::Failed(ModelError::Unsupported { what: "thinking", .. }) if self.think != Think::Unset => {
                    self.think = Think::Unset;
                }
                Asked::Failed(ModelError::Unsupported { what: "tools", .. }) if self.native => {
                    self.native = false;
                    self.begin().map_err(Ended::Failed)?;
                }
                Asked::Failed(ModelError::UnreadableCall { message, .. }) => {
                    return self.unread_call(world, &message).await;
                }
                Asked::Failed(error) => return Err(Ended::Failed(setup::model_failure(&error))),
            }
        }
    }

    /// The model's own server could not read its call: said once, then counted.
    async fn unread_call(&mut self, world: &dyn World, message: &str) -> Step<Reply> {
        if self.asked_again.contains(&Again::Unread) {
            return failed(FailureKind::MalformedCall, format!("its server could not read the call: {message}"));
        }
        self.asked_again.push(Again::Unread);
        self.tell(format!("Your call could not be read: {message}. Write it again, as plain JSON."));
        Box::pin(self.ask(world)).await
    }

    fn request(&mut self) -> Step<Request> {
        let setup = self.setup;
        let binds = setup.schema.is_some() && setup.binds_schema && (self.form_only || self.offered.is_empty());
        let mut tools: Vec<_> = Vec::new();
        if self.native && !self.form_only {
            tools.extend(setup.tools.iter().map(|tool| tool.offer.clone()));
            tools.extend(self.views.has_cut().then(Views::offer));
        }
        // From the whole conversation each time: the same results are shortened the same way from turn to turn.
        let mut messages = self.messages.clone();
        let fitted = budget::fit(&mut messages, &tools, &mut self.budget);
        let context_tokens = fitted.map_err(|why| Ended::Failed(setup.too_long(&why.to_string())))?;
        Ok(Request {
            model: setup.model.to_owned(),
            messages,
            tools,
            schema: binds.then(|| setup.schema.cloned()).flatten(),
            think: self.think,
            temperature: setup.temperature,
            sampling: setup.defaults.sampling.clone(),
            seed: Some(setup.complaints.len() as u64),
            reply_tokens_max: setup.reply_tokens_max(),
            context_tokens,
            limits: setup.limits.time,
        })
    }

    // ── talking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The engine says something about the model's reply.
    fn tell(&mut self, text: String) {
        self.messages.push(Message::new(Speaker::User, text));
    }

    /// Keeps what the model said, without its reasoning.
    fn said(&mut self, reply: &Reply, text: &str, calls: &[Call]) {
        let mut message = Message::new(Speaker::Assistant, head(text, SAID_CHARS_MAX));
        if self.native {
            message.echo.clone_from(&reply.echo);
            message.calls = calls
                .iter()
                .map(|call| NativeCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    arguments: Value::Object(call.arguments.clone()),
                })
                .collect();
        } else {
            let written: Vec<String> = calls
                .iter()
                .map(|call| serde_json::json!({ "tool": call.name, "arguments": call.arguments }).to_string())
                .collect();
            message.text = head(&format!("{}\n{}", message.text, written.join("\n")), SAID_CHARS_MAX).trim().to_owned();
        }
        self.messages.push(message);
    }

    /// A reply that is neither calls nor an answer: said once for each of its kinds, then counted.
    fn unread(&mut self, reply: &Reply, kind: FailureKind, complaint: String) -> Step<()> {
        let (again, say) = match kind {
            FailureKind::EmptyReply if self.asked_again.contains(&Again::Reasoning) => {
                return failed(FailureKind::ReasoningOnly, "it only thought, and without thinking it said nothing");
            }
            FailureKind::EmptyReply => (Again::Empty, self.after_nothing()),
            FailureKind::ReasoningOnly => {
                self.think = if self.think == Think::Unset { Think::Unset } else { Think::Off };
                (Again::Reasoning, format!("You thought, and said nothing. {}", self.after_nothing()))
            }
            FailureKind::NotOffered => return self.refused(reply, kind, complaint),
            FailureKind::MalformedCall | FailureKind::Described => (Again::Unread, complaint.clone()),
            _ => return failed(kind, complaint),
        };
        if self.asked_again.contains(&again) {
            return failed(kind, complaint);
        }
        self.asked_again.push(again);
        let text = head(&calls::without_reasoning(&reply.text).text, SAID_CHARS_MAX);
        if !text.trim().is_empty() {
            self.messages.push(Message::new(Speaker::Assistant, text));
        }
        self.tell(say);
        Ok(())
    }

    /// What is said to a text that is a call and nothing else, where nothing is offered and no form is asked for: without
    /// a schema it would pass for an answer, and the work that it asks for would never be done.
    fn uncalled_for(&self, text: &str) -> Option<String> {
        let may_be_answer = self.setup.schema.is_some() || !self.offered.is_empty();
        if may_be_answer { None } else { calls::bare_call(text) }
    }

    fn after_nothing(&self) -> String {
        if self.outcomes.is_empty() && !self.offered.is_empty() {
            "Call one of the tools, or give the answer.".to_owned()
        } else if self.outcomes.is_empty() {
            "Give the answer.".to_owned()
        } else {
            "Give the result of the task now, from the results above.".to_owned()
        }
    }

    /// A call that may not run: refused twice, the attempt has failed.
    fn refused(&mut self, reply: &Reply, kind: FailureKind, complaint: String) -> Step<()> {
        self.refusals += 1;
        if self.refusals >= REFUSALS_MAX {
            return failed(kind, complaint);
        }
        let text = head(&calls::without_reasoning(&reply.text).text, SAID_CHARS_MAX);
        if !text.trim().is_empty() {
            self.messages.push(Message::new(Speaker::Assistant, text));
        }
        self.tell(complaint);
        Ok(())
    }

    // ── calling ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async fn call_all(&mut self, world: &dyn World, calls: Vec<Call>) -> Step<()> {
        for (at, call) in calls.iter().enumerate() {
            self.calls += 1;
            if self.calls > self.setup.limits.calls_max {
                let limit = self.setup.limits.calls_max;
                return failed(FailureKind::Limit, format!("more than {limit} calls{}", self.done_so_far()));
            }
            let result = self.call(world, call).await?;
            let is_refused = matches!(result, Answer::Refused(_));
            self.answer(call, result.into_text());
            if is_refused {
                // What the model meant after a wrong name rests on the wrong name.
                for later in &calls[at + 1..] {
                    self.answer(later, "not called, because the call before it was refused".to_owned());
                }
                return Ok(());
            }
        }
        Ok(())
    }

    async fn call(&mut self, world: &dyn World, call: &Call) -> Step<Answer> {
        if call.name == READ_RESULT {
            return self.read_on(call);
        }
        let setup = self.setup;
        let tool = setup.tools.iter().find(|tool| tool.offer.name == call.name).expect("only offered names are read");
        let is_read = tool.repeat == crate::domain::plan::RepeatClass::Read;
        let (parameters, arguments) = (&tool.offer.parameters, &call.arguments);
        let grounded = self.grounds.check(parameters, arguments, tool.may_name());
        let grounded = grounded.and_then(|()| match is_read {
            true => Ok(()),
            false => self.grounds.check_taken(parameters, arguments, setup.is_taken),
        });
        if let Err(ungrounded) = grounded {
            let complaint = ungrounded.complaint(&call.name);
            self.refusals += 1;
            if self.refusals >= REFUSALS_MAX {
                return failed(FailureKind::Ungrounded, complaint);
            }
            return Ok(Answer::Refused(complaint));
        }
        if !call.notes.is_empty() {
            tracing::debug!(tool = %tool.full_name(), notes = ?call.notes, "the call was mended");
        }
        let exact = format!("{} {}", call.name, canonical(&call.arguments));
        let key = format!("{}#{exact}", self.changes);
        if let Some(known) = self.known(&key, &call.name)? {
            return Ok(known);
        }
        let nth = self.made.entry(exact).or_insert(0);
        let called = world.call(tool, &call.arguments, *nth).await;
        *nth += 1;
        let outcome = self.outcomes.entry(tool.full_name()).or_default();
        outcome.is_read = is_read;
        let answer = match called {
            Called::Value(value) => {
                outcome.succeeded = true;
                outcome.last_error = None;
                self.grounds.see_value(&value);
                Ok(self.views.of(&value))
            }
            Called::Error(failure) => {
                outcome.last_error = Some(failure.message.clone());
                let hint = failure.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
                Err(format!("{}{hint}", failure.message))
            }
            Called::Failed(failure) => return Err(Ended::Failed(failure)),
            Called::InDoubt { what, failure } => return Err(Ended::InDoubt { what, failure }),
            Called::Gone(why) => return Err(Ended::Gone(why)),
        };
        let key = if is_read || answer.is_err() {
            key
        } else {
            // After a change everything may be looked at again; the change itself is not made a second time unseen.
            self.changes += 1;
            format!("{}#{} {}", self.changes, call.name, canonical(&call.arguments))
        };
        Ok(self.first(key, answer))
    }

    /// Reads on in a result: what was cut never changes, so the same part is never news.
    fn read_on(&mut self, call: &Call) -> Step<Answer> {
        let key = format!("{READ_RESULT} {}", canonical(&call.arguments));
        if let Some(known) = self.known(&key, READ_RESULT)? {
            return Ok(known);
        }
        let answer = self.views.read(&call.arguments);
        Ok(self.first(key, answer))
    }

    /// The answer to a call that was made for the first time.
    fn first(&mut self, key: String, answer: Result<String, String>) -> Answer {
        let text = match &answer {
            Ok(view) => view.clone(),
            Err(why) => format!("error: {why}"),
        };
        self.seen.insert(key, Seen { times: 1, turn: self.turn, answer });
        Answer::Result(text)
    }

    /// The answer to a call that was made before: from the record once, then the attempt goes in circles. A reply that
    /// holds the call several times counts once, for the model has seen no result in between.
    fn known(&mut self, key: &str, name: &str) -> Step<Option<Answer>> {
        let Some(seen) = self.seen.get_mut(key) else { return Ok(None) };
        if seen.turn == self.turn {
            return Ok(Some(Answer::Result("this call stands in your reply before; its result is above".to_owned())));
        }
        seen.times += 1;
        seen.turn = self.turn;
        if seen.times > 2 {
            let times = seen.times;
            return failed(FailureKind::Loop, format!("{name} was called with the same arguments {times} times"));
        }
        Ok(Some(Answer::Result(match &seen.answer {
            Ok(view) => format!("you have this already: {view}"),
            Err(why) => format!("error, as before: {why}"),
        })))
    }

    /// Gives a result to the model.
    fn answer(&mut self, call: &Call, text: String) {
        let message = if self.native {
            let result_of = Some(ResultOf { name: call.name.clone(), id: call.id.clone() });
            Message { result_of, ..Message::new(Speaker::Tool, text) }
        } else {
            let result_of = Some(ResultOf { name: call.name.clone(), id: None });
            Message { result_of, ..Message::new(Speaker::User, format!("Result of {}:\n{text}", call.name)) }
        };
        self.messages.push(message);
    }

    // ── finishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// A final text. `None`: the model is asked once more for the right form.
    fn finish(&mut self, text: &str) -> Step<Option<Ended>> {
        let claimed = head(text.trim(), CLAIM_CHARS_MAX);
        if let Some((name, error)) = self.failed_tool() {
            let message = format!("the last call of {name} failed: {error}; the model says: {}", one_line(&claimed));
            return failed(FailureKind::ToolError, message);
        }
        let check = |value: &Value| (self.setup.fits)(value);
        let fits: Option<&answer::Fits<'_>> = if self.setup.schema.is_some() { Some(&check) } else { None };
        match answer::output(text, fits) {
            Ok(value) => {
                let called = self.outcomes.iter().filter(|(_, outcome)| outcome.succeeded);
                let called = called.map(|(name, _)| name.clone()).collect();
                Ok(Some(Ended::Output { value, claimed: one_line(&claimed), called }))
            }
            Err(why) if self.asked_again.contains(&Again::Form) => failed(FailureKind::Schema, why),
            Err(why) => {
                self.asked_again.push(Again::Form);
                self.form_only = true;
                self.messages.push(Message::new(Speaker::Assistant, head(text, SAID_CHARS_MAX)));
                self.tell(format!(
                    "{why}. Give the answer again: one JSON value of the form asked for, and nothing around it."
                ));
                Ok(None)
            }
        }
    }

    /// A tool whose last call failed: what changes something must have worked in the end, of what reads anything must.
    fn failed_tool(&self) -> Option<(&str, &str)> {
        self.outcomes.iter().find_map(|(name, outcome)| {
            let error = outcome.last_error.as_deref()?;
            (!outcome.is_read || !outcome.succeeded).then_some((name.as_str(), error))
        })
    }
}

enum Answer {
    /// What a call came to.
    Result(String),
    /// Why it was not made.
    Refused(String),
}

impl Answer {
    fn into_text(self) -> String {
        match self {
            Self::Result(text) | Self::Refused(text) => text,
        }
    }
}

/// Arguments so that equal ones are equal texts.
fn canonical(arguments: &Map<String, Value>) -> String {
    crate::domain::identity::digest_value(&Value::Object(arguments.clone())).to_string()
}

fn head(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max).chain(" …".chars()).collect()
}

/// A reply in words: what was said without reasoning, and the calls that its server read from it.
fn spoken(reply: &Reply) -> String {
    let said = calls::without_reasoning(&reply.text).text;
    let mut parts = vec![head(said.trim(), CLAIM_CHARS_MAX)];
    parts.extend(reply.calls.iter().map(|call| head(&format!("{} {}", call.name, call.arguments), CLAIM_CHARS_MAX)));
    parts.retain(|part| !part.is_empty());
    parts.truncate(3);
    parts.join(" ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
