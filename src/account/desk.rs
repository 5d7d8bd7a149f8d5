//! The thread that owns the account's file. Messages that wait are taken together, in one transaction; answers go out
//! when it is on disk.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};

use super::AccountError;
use super::apply::{self, End};
use super::call::{Ask, Decision, Settled};
use super::clock::{Clock, day_of, stamp_of};
use super::door::{Notices, Options, Reservation};
use super::fold;
use super::look::{self, By, Group, Span, Standing};
use super::mirror::{self, MirrorError};
use super::owner::Owner;
use super::serve::{self, Here, Served};
use super::store::{Store, anchor};
use super::usage_file::Record;

/// Messages that are taken together.
const BATCH_MAX: usize = 512;

/// How often another process's changes are looked for while somebody waits.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// How often those who wait are looked at anyway: the hour moves on, and others must see that they are there.
const SERVE_EVERY: Duration = Duration::from_secs(2);

/// Ends after which old records are looked for.
const FOLD_EVERY: u32 = 500;

type Answer<T> = oneshot::Sender<Result<T, AccountError>>;

/// What the thread is asked for.
pub(super) enum Message {
    Reserve { ask: Box<Ask>, reply: Answer<Decision>, desk: mpsc::UnboundedSender<Self> },
    End { key: u64, end: End, reply: Option<Answer<Settled>> },
    Usage { span: Span, by: By, reply: Answer<Vec<Group>> },
    Standing { run: Option<String>, reply: Answer<Standing> },
    Records { run: String, reply: Answer<Vec<Record>> },
    Flush { reply: Answer<()> },
}

/// The two files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) account: PathBuf,
    pub(super) usage: PathBuf,
}

/// An ask that has no answer yet.
struct Waiter {
    ask: Box<Ask>,
    reply: Answer<Decision>,
    desk: mpsc::UnboundedSender<Message>,
    place: Option<i64>,
}

/// A reservation that somebody holds.
struct Live {
    ask: Box<Ask>,
    row: i64,
}

/// An end that is not on disk yet.
struct Ending {
    key: u64,
    end: End,
    reply: Option<Answer<Settled>>,
}

/// A question that changes nothing.
enum Question {
    Usage(Span, By, Answer<Vec<Group>>),
    Standing(Option<String>, Answer<Standing>),
    Records(String, Answer<Vec<Record>>),
}

struct Desk {
    store: Store,
    usage_file: PathBuf,
    clock: Box<dyn Clock>,
    zone: TimeZone,
    owner: Owner,
    notices: Notices,
    live: BTreeMap<u64, Live>,
    next_key: u64,
    waiters: Vec<Waiter>,
    endings: Vec<Ending>,
    questions: Vec<Question>,
    flushes: Vec<Answer<()>>,
    /// Places in the line that nobody stands at any more.
    left: Vec<i64>,
    last_version: Option<i64>,
    last_served: Instant,
    unfolded: u32,
    usage_file_fails: bool,
}

/// Starts the thread; `opened` is answered when the account can be used.
pub(super) fn start(
    files: Files,
    options: Options,
    notices: Notices,
    messages: mpsc::UnboundedReceiver<Message>,
    opened: Answer<()>,
) -> io::Result<()> {
    let owner = Owner::new(&options.clock.read().boot_id)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let desk = Desk {
        store: Store::new(files.account),
        usage_file: files.usage,
        clock: options.clock,
        zone: options.zone,
        owner,
        notices,
        live: BTreeMap::new(),
        next_key: 0,
        waiters: Vec::new(),
        endings: Vec::new(),
        questions: Vec::new(),
        flushes: Vec::new(),
        left: Vec::new(),
        last_version: None,
        last_served: Instant::now(),
        unfolded: FOLD_EVERY,
        usage_file_fails: false,
    };
    let work = move || runtime.block_on(desk.run(messages, opened));
    std::thread::Builder::new().name("usage-account".to_owned()).spawn(work).map(|_| ())
}

impl Desk {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>, opened: Answer<()>) {
        let ready = self.turn().await;
        let refused = ready.is_err();
        let _ = opened.send(ready);
        if refused {
            return;
        }
        loop {
            let waits = !self.waiters.is_empty() || !self.endings.is_empty() || !self.left.is_empty();
            let first = if waits {
                match tokio::time::timeout(LOOK_EVERY, messages.recv()).await {
                    Ok(Some(message)) => Some(message),
                    // Nobody is left who could hear an answer.
                    Ok(None) => break,
                    Err(_) => None,
                }
            } else {
                match messages.recv().await {
                    Some(message) => Some(message),
                    None => break,
                }
            };
            if let Some(message) = first {
                self.take(message);
                for _ in 1..BATCH_MAX {
                    let Ok(message) = messages.try_recv() else { break };
                    self.take(message);
                }
            } else if !self.must_look().await {
                continue;
            }
            // Whoever asked has the fault; the next message tries again.
            let _ = self.turn().await;
        }
        self.left.extend(std::mem::take(&mut self.waiters).iter().filter_map(|waiter| waiter.place));
        if !self.endings.is_empty() || !self.left.is_empty() {
            let _ = self.turn().await;
        }
        self.store.close().await;
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Reserve { ask, reply, desk } => self.waiters.push(Waiter { ask, reply, desk, place: None }),
            Message::End { key, end, reply } => self.endings.push(Ending { key, end, reply }),
            Message::Usage { span, by, reply } => self.questions.push(Question::Usage(span, by, reply)),
            Message::Standing { run, reply } => self.questions.push(Question::Standing(run, reply)),
            Message::Records { run, reply } => self.questions.push(Question::Records(run, reply)),
            Message::Flush { reply } => self.flushes.push(reply),
        }
    }

    /// Whether anything may have changed for those who wait.
    async fn must_look(&mut self) -> bool {
        if self.last_served.elapsed() >= SERVE_EVERY || self.waiters.iter().any(|waiter| waiter.reply.is_closed()) {
            return true;
        }
        let version = self.store.data_version().await;
        version.is_none() || version != self.last_version
    }

    fn here(&self) -> (super::clock::Reading, Here) {
        let reading = self.clock.read();
        let here = Here {
            now: reading.moment(),
            stamp: stamp_of(reading.wall_us, &self.zone),
            day: day_of(reading.wall_us, &self.zone),
            owner: self.owner.seen_in(&reading.boot_id),
        };
        (reading, here)
    }

    /// One transaction with everything that waits, then the usage file, then the answers that rest on both.
    async fn turn(&mut self) -> Result<(), AccountError> {
        let (gone, here): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.reply.is_closed());
        self.waiters = here;
        self.left.extend(gone.iter().filter_map(|waiter| waiter.place));
        match self.work().await {
            Ok(done) => {
                let behind = done.is_behind;
                let settled = self.after(done);
                if behind {
                    self.write_usage_file().await;
                }
                for (reply, told) in settled {
                    let _ = reply.send(Ok(told));
                }
                for flush in std::mem::take(&mut self.flushes) {
                    let _ = flush.send(Ok(()));
                }
                self.last_version = self.store.data_version().await;
                Ok(())
            }
            Err(error) => {
                self.store.roll_back().await;
                self.refuse(&error);
                Err(error)
            }
        }
    }

    /// Tells everybody of a fault. Ends stay, and are tried again.
    fn refuse(&mut self, error: &AccountError) {
        for waiter in std::mem::take(&mut self.waiters) {
            self.left.extend(waiter.place);
            let _ = waiter.reply.send(Err(error.clone()));
        }
        for reply in self.endings.iter_mut().filter_map(|ending| ending.reply.take()) {
            let _ = reply.send(Err(error.clone()));
        }
        for question in std::mem::take(&mut self.questions) {
            match question {
                Question::Usage(_, _, reply) => _ = reply.send(Err(error.clone())),
                Question::Standing(_, reply) => _ = reply.send(Err(error.clone())),
                Question::Records(_, reply) => _ = reply.send(Err(error.clone())),
            }
        }
        for flush in std::mem::take(&mut self.flushes) {
            let _ = flush.send(Err(error.clone()));
        }
    }

    async fn work(&mut self) -> Result<Done, AccountError> {
        let is_another = self.store.ensure().await?;
        self.store.begin().await?;
        let done = self.work_inside(is_another).await?;
        self.store.commit().await?;
        Ok(done)
    }

    async fn work_inside(&mut self, is_another: bool) -> Result<Done, AccountError> {
        let (reading, here) = self.here();
        let path = self.store.path().to_owned();
        let fault = |error: sqlx::Error| AccountError::of(&path, &error);
        let mut done = Done::default();
        anchor(self.store.link(), &reading).await.map_err(fault)?;
        if is_another && !self.is_held_by_us(&here).await.map_err(fault)? {
            // The file was taken away: what is open here is open there, too.
            for (key, live) in &self.live {
                done.moved.push((*key, serve::insert(self.store.link(), &here, &live.ask, 0).await.map_err(fault)?));
            }
            for waiter in &mut self.waiters {
                waiter.place = None;
            }
            self.left.clear();
        }
        let swept = serve::sweep(self.store.link(), &here).await.map_err(fault)?;
        if swept.counted > 0 {
            super::store::set_meta(self.store.link(), super::store::DIRTY, "1").await.map_err(fault)?;
        }
        let taken = mirror::take_over(self.store.link(), &here, &self.zone, &self.usage_file).await;
        match taken {
            Err(MirrorError::Store(error)) => return Err(fault(error)),
            Err(MirrorError::File(error)) => self.usage_file_failed("read", &error),
            Ok(()) => {}
        }
        for place in &self.left {
            serve::leaves(self.store.link(), *place).await.map_err(fault)?;
        }
        let moved: BTreeMap<u64, i64> = done.moved.iter().copied().collect();
        for ending in &self.endings {
            let told = match self.live.get(&ending.key) {
                Some(live) => {
                    let row = moved.get(&ending.key).copied().unwrap_or(live.row);
                    apply::end(self.store.link(), &here, &live.ask, row, &ending.end).await.map_err(fault)?
                }
                None => Settled::default(),
            };
            done.settled.push(told);
        }
        self.unfolded = self.unfolded.saturating_add(u32::try_from(self.endings.len()).unwrap_or(u32::MAX));
        if self.unfolded >= FOLD_EVERY {
            fold::fold(self.store.link(), here.now).await.map_err(fault)?;
            done.has_folded = true;
        }
        self.waiters.sort_by_key(|waiter| waiter.place.unwrap_or(i64::MAX));
        let asks: Vec<(&Ask, Option<i64>)> =
            self.waiters.iter().map(|waiter| (waiter.ask.as_ref(), waiter.place)).collect();
        let says_it_is_there = self.last_served.elapsed() >= SERVE_EVERY;
        done.served =
            serve::serve(self.store.link(), &here, &asks, &swept.silent, says_it_is_there).await.map_err(fault)?;
        done.has_said = says_it_is_there;
        for question in &self.questions {
            match question {
                Question::Usage(span, by, _) => {
                    let told = look::usage(self.store.link(), &here, *span, *by).await.map_err(fault)?;
                    done.told.push(Told::Usage(told));
                }
                Question::Standing(run, _) => {
                    let told = look::standing(self.store.link(), &here, run.as_deref()).await.map_err(fault)?;
                    done.told.push(Told::Standing(told));
                }
                Question::Records(run, _) => {
                    let told = look::records(self.store.link(), run).await.map_err(fault)?;
                    done.told.push(Told::Records(told));
                }
            }
        }
        done.is_behind = mirror::is_behind(self.store.link()).await.map_err(fault)?;
        Ok(done)
    }

    /// Whether this file knows the reservations of this account: then it is the one that was open before.
    async fn is_held_by_us(&mut self, here: &Here) -> Result<bool, sqlx::Error> {
        let Some(live) = self.live.values().next() else { return Ok(true) };
        let sql = "select count(*) from calls where id = ? and task = ? and owner = ?";
        let row = live.row;
        let task: String = live.ask.task.chars().take(serve::NAME_CHARS_MAX).collect();
        let count: i64 =
            sqlx::query_scalar(sql).bind(row).bind(task).bind(here.owner.text()).fetch_one(self.store.link()).await?;
        Ok(count > 0)
    }

    /// What was committed becomes what is known; grants and refusals go out. Gives the answers to ends.
    fn after(&mut self, done: Done) -> Vec<(Answer<Settled>, Settled)> {
        self.left.clear();
        for (key, row) in done.moved {
            if let Some(live) = self.live.get_mut(&key) {
                live.row = row;
            }
        }
        let mut settled = Vec::new();
        for (ending, told) in std::mem::take(&mut self.endings).into_iter().zip(done.settled) {
            self.live.remove(&ending.key);
            settled.extend(ending.reply.map(|reply| (reply, told)));
        }
        if done.has_folded {
            self.unfolded = 0;
        }
        if done.has_said {
            self.last_served = Instant::now();
        }
        for (mut waiter, served) in std::mem::take(&mut self.waiters).into_iter().zip(done.served) {
            match served {
                Served::Waits(place) => {
                    waiter.place = Some(place);
                    self.waiters.push(waiter);
                }
                Served::Reached(reached) => _ = waiter.reply.send(Ok(Decision::Reached(reached))),
                Served::Granted(row) => {
                    let key = self.next_key;
                    self.next_key += 1;
                    let reservation = Reservation::new(key, waiter.ask.microdollars, waiter.desk);
                    self.live.insert(key, Live { ask: waiter.ask, row });
                    // Where nobody hears it any more, it comes back by itself, released.
                    drop(waiter.reply.send(Ok(Decision::Granted(reservation))));
                }
            }
        }
        for (question, told) in std::mem::take(&mut self.questions).into_iter().zip(done.told) {
            match (question, told) {
                (Question::Usage(_, _, reply), Told::Usage(told)) => _ = reply.send(Ok(told)),
                (Question::Standing(_, reply), Told::Standing(told)) => _ = reply.send(Ok(told)),
                (Question::Records(_, reply), Told::Records(told)) => _ = reply.send(Ok(told)),
                _ => unreachable!("questions are answered in their order"),
            }
        }
        settled
    }

    /// Reporting breaks nothing: a usage file that cannot be written is said once, and tried again with the next call.
    async fn write_usage_file(&mut self) {
        let path = self.store.path().to_owned();
        let outcome = self.write_usage_file_once().await;
        match outcome {
            Ok(aside) => {
                self.usage_file_fails = false;
                if let Some((aside, why)) = aside {
                    self.notices.say(format!(
                        "`{}` was broken ({why}): it is kept as `{}`, and a new one holds every call on record",
                        self.usage_file.display(),
                        aside.display()
                    ));
                }
            }
            Err(error) => {
                self.store.roll_back().await;
                match error {
                    MirrorError::File(error) => self.usage_file_failed("write", &error),
                    MirrorError::Store(error) => {
                        let error = AccountError::of(&path, &error);
                        tracing::warn!(%error, "the usage file is behind the account");
                    }
                }
            }
        }
    }

    async fn write_usage_file_once(&mut self) -> Result<Option<(PathBuf, String)>, MirrorError> {
        let closed = || MirrorError::File(io::Error::other("the account cannot be locked"));
        self.store.ensure().await.map_err(|_| closed())?;
        self.store.begin().await.map_err(|_| closed())?;
        let (_, here) = self.here();
        // Another process may have written it meanwhile.
        let aside = if mirror::is_behind(self.store.link()).await? {
            mirror::write(self.store.link(), &here, &self.zone, &self.usage_file).await?
        } else {
            None
        };
        self.store.commit().await.map_err(|_| closed())?;
        Ok(aside)
    }

    fn usage_file_failed(&mut self, what: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.usage_file_fails, true) {
            self.notices.say(format!(
                "cannot {what} `{}`: {error}; the account itself has every call, and the file follows when it can",
                self.usage_file.display()
            ));
        }
    }
}

/// What one transaction did.
#[derive(Default)]
struct Done {
    moved: Vec<(u64, i64)>,
    settled: Vec<Settled>,
    served: Vec<Served>,
    told: Vec<Told>,
    is_behind: bool,
    has_folded: bool,
    has_said: bool,
}

enum Told {
    Usage(Vec<Group>),
    Standing(Standing),
    Records(Vec<Record>),
}
