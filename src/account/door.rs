//! The account as others hold it: a handle to the thread that owns the file, and reservations that cannot be lost.

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};

use super::apply::End;
use super::call::{Ask, Decision, Settled, Spent};
use super::clock::{Clock, SystemClock};
use super::desk::{self, Message};
use super::look::{By, Group, Span, Standing};
use super::usage_file::Record;
use super::{ACCOUNT_FILE, AccountError, USAGE_FILE};
use crate::domain::ids::RunId;

/// Notices that are kept until somebody takes them.
const NOTICES_MAX: usize = 100;

/// What is told to people, not to callers.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    pub(super) fn say(&self, text: String) {
        tracing::warn!(notice = text, "usage account");
        let mut all = self.0.lock().expect("nothing panics under this lock");
        if all.len() < NOTICES_MAX {
            all.push(text);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("nothing panics under this lock"))
    }
}

/// What an account stands on.
pub struct Options {
    /// Its clocks.
    pub clock: Box<dyn Clock>,
    /// Where "today" and the stamps of the usage file are.
    pub zone: TimeZone,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// The usage account. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Account {
    desk: mpsc::UnboundedSender<Message>,
    file: Arc<Path>,
    notices: Notices,
}

impl Account {
    /// Opens the account of a folder (`~/.ollmcp`), making both where there is none. What dead processes left open is
    /// counted as spent; the usage file is brought up to date.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn open(folder: &Path) -> Result<Self, AccountError> {
        let file = folder.join(ACCOUNT_FILE);
        let clock = SystemClock::new().map_err(|error| AccountError::Failed { file, why: error.to_string() })?;
        Self::open_with(folder, Options { clock: Box::new(clock), zone: TimeZone::system() }).await
    }

    /// The same on other clocks.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn open_with(folder: &Path, options: Options) -> Result<Self, AccountError> {
        let (desk, messages) = mpsc::unbounded_channel();
        let (opened, answer) = oneshot::channel();
        let notices = Notices::default();
        let files = desk::Files { account: folder.join(ACCOUNT_FILE), usage: folder.join(USAGE_FILE) };
        let file: Arc<Path> = files.account.clone().into();
        desk::start(files, options, notices.clone(), messages, opened)
            .map_err(|error| AccountError::Failed { file: file.to_path_buf(), why: error.to_string() })?;
        answer.await.map_err(|_| AccountError::Closed)??;
        Ok(Self { desk, file, notices })
    }

    /// Whether a folder has an account, or a usage file to make one from.
    #[must_use]
    pub fn is_there(folder: &Path) -> bool {
        folder.join(ACCOUNT_FILE).exists() || folder.join(USAGE_FILE).exists()
    }

    /// The account's file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Asks for a call. Waits as long as others that came before, or are open, decide whether it fits. A future that is
    /// dropped leaves the line, and gives back what it was granted meanwhile.
    ///
    /// # Errors
    /// [`AccountError`]: nothing may be sent.
    pub async fn reserve(&self, ask: &Ask) -> Result<Decision, AccountError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Reserve { ask: Box::new(ask.clone()), reply, desk: self.desk.clone() })?;
        let mut decision = answer.await.map_err(|_| AccountError::Closed)??;
        if let Decision::Granted(reservation) = &mut decision {
            reservation.is_taken = true;
        }
        Ok(decision)
    }

    /// Puts what a call cost in place of its reservation. When this returns, it is on disk.
    ///
    /// # Errors
    /// [`AccountError`]: the call still counts at its reservation, and settling is tried again with the next change.
    pub async fn settle(&self, reservation: Reservation, spent: &Spent) -> Result<Settled, AccountError> {
        self.end(reservation, End::Settled(spent.clone())).await
    }

    /// The call may have been made: it counts as spent at its reservation.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub async fn unknown(&self, reservation: Reservation) -> Result<Settled, AccountError> {
        self.end(reservation, End::Unknown).await
    }

    /// It is certain that nothing was sent. It counts for nothing, and leaves no record; a call that the server turned away
    /// is settled at nothing.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub async fn release(&self, reservation: Reservation) -> Result<Settled, AccountError> {
        self.end(reservation, End::Released).await
    }

    async fn end(&self, mut reservation: Reservation, end: End) -> Result<Settled, AccountError> {
        let (reply, answer) = oneshot::channel();
        let key = reservation.key;
        reservation.has_ended = true;
        self.send(Message::End { key, end, reply: Some(reply) })?;
        answer.await.map_err(|_| AccountError::Closed)?
    }

    /// Usage of a span in groups, in the order of their first call.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn usage(&self, span: Span, by: By) -> Result<Vec<Group>, AccountError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Usage { span, by, reply })?;
        answer.await.map_err(|_| AccountError::Closed)?
    }

    /// What is used and open now. `run` is the beginning of a run's id; without it the last run that paid is told.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn standing(&self, run: Option<&str>) -> Result<Standing, AccountError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Standing { run: run.map(str::to_owned), reply })?;
        answer.await.map_err(|_| AccountError::Closed)?
    }

    /// Records of one run's calls, as they stand in the usage file; those that were folded are left out.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn records(&self, run: RunId) -> Result<Vec<Record>, AccountError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Records { run: run.to_string(), reply })?;
        answer.await.map_err(|_| AccountError::Closed)?
    }

    /// Waits until everything that was said before is on disk, the usage file included.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn flush(&self) -> Result<(), AccountError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Flush { reply })?;
        answer.await.map_err(|_| AccountError::Closed)?
    }

    /// What people should be told, each once: a usage file that was set aside or cannot be written.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        self.notices.take()
    }

    fn send(&self, message: Message) -> Result<(), AccountError> {
        self.desk.send(message).map_err(|_| AccountError::Closed)
    }
}

/// The right to make one call. Dropped without an end, its outcome is unknown.
#[must_use = "a reservation counts as spent until it is settled or released"]
pub struct Reservation {
    key: u64,
    microdollars: u64,
    desk: mpsc::UnboundedSender<Message>,
    /// Whoever asked has it in hand.
    is_taken: bool,
    has_ended: bool,
}

impl Reservation {
    pub(super) const fn new(key: u64, microdollars: u64, desk: mpsc::UnboundedSender<Message>) -> Self {
        Self { key, microdollars, desk, is_taken: false, has_ended: false }
    }

    /// What it holds back at most.
    #[must_use]
    pub const fn microdollars(&self) -> u64 {
        self.microdollars
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("microdollars", &self.microdollars).finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let end = if self.is_taken { End::Unknown } else { End::Released };
        // Where the thread is gone, the next process counts it as spent.
        let _ = self.desk.send(Message::End { key: self.key, end, reply: None });
    }
}
