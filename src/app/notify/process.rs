//! Starting the command of `notify`: in a group of its own, with few variables, a limit in seconds, and its last words
//! kept for the one sentence about its failure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Say;
use crate::app::place::Standing;
use crate::os::process_group::{self, TAG_VARIABLE};
use crate::report::notice::Notice;
use crate::report::text::{bounded, clean};
use crate::tool::environment::passed;

/// Commands that run at once.
const AT_ONCE_MAX: usize = 4;
/// What is kept of the end of standard error.
const HEARD_BYTES_MAX: usize = 4096;
/// Longest sentence about it.
const HEARD_CHARS_MAX: usize = 200;
/// For the last words of a command that has ended.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// For notices on a screen.
const SCREEN: [&str; 3] = ["DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"];
/// Never handed on, whoever asks for it.
const CLAUDE_KEY: &str = "ANTHROPIC_API_KEY";

/// The command, and all that it is started with.
#[derive(Clone)]
pub(super) struct Program {
    words: Vec<String>,
    folder: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    pub(super) limit: Duration,
}

impl Program {
    /// `None` where no command is configured.
    pub(super) fn of(standing: &Standing) -> Option<Self> {
        let settings = &standing.settings;
        let words = settings.notify.command.clone()?;
        let named: Vec<String> = settings.notify.env_passed.iter().cloned().chain(SCREEN.map(str::to_owned)).collect();
        let ours = standing.environment.iter().map(|(name, value)| (name.into(), value.into()));
        let mut environment = passed(ours, &named);
        let keys = settings.model_servers.values().filter_map(|server| server.key_env.as_deref());
        for name in keys.chain([CLAUDE_KEY]) {
            environment.remove(&OsString::from(name));
        }
        if let Some(key) = &settings.claude.api_key {
            environment.retain(|_, value| !value.to_string_lossy().contains(key.expose()));
        }
        environment.insert("PWD".into(), standing.folder().into());
        let folder = standing.folder().to_owned();
        Some(Self { words, folder, environment, limit: Duration::from_secs(settings.limits.notify_timeout_s) })
    }

    fn command(&self, tag: &str) -> Command {
        let mut command = std::process::Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear().envs(&self.environment).env(TAG_VARIABLE, tag);
        command.current_dir(&self.folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // The thread that starts it lives until it has ended, or the process does.
        process_group::lead_group(&mut command);
        Command::from(command)
    }
}

/// Tells the command until nothing more comes, and all are done.
pub(super) fn work(program: &Program, mut notices: mpsc::Receiver<Notice>, say: &Say) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(&format!("`notify` cannot be used: {error}")),
    };
    let program = Arc::new(program.clone());
    runtime.block_on(async {
        let mut running: JoinSet<Result<(), String>> = JoinSet::new();
        let (mut number, mut has_failed, mut is_open) = (0_u64, false, true);
        while is_open || !running.is_empty() {
            tokio::select! {
                notice = notices.recv(), if is_open && running.len() < AT_ONCE_MAX => match notice {
                    Some(notice) => {
                        number += 1;
                        let tag = format!("notify-{}-{number}", std::process::id());
                        running.spawn(tell(program.clone(), notice.line(), tag));
                    }
                    None => is_open = false,
                },
                Some(told) = running.join_next() => {
                    let told = told.unwrap_or_else(|error| Err(error.to_string()));
                    if let Err(why) = told
                        && !std::mem::replace(&mut has_failed, true)
                    {
                        say(&format!("the command of `notify` failed: {why}; further failures are not said"));
                    }
                }
            }
        }
    });
}

/// Starts the command for one notice, and sees to its end.
async fn tell(program: Arc<Program>, line: String, tag: String) -> Result<(), String> {
    let mut child = program.command(&tag).spawn().map_err(|error| cannot_start(&program, &error))?;
    let leader = child.id().unwrap_or_default();
    let mut heard = Vec::new();
    let status = tokio::time::timeout(program.limit, ended(&mut child, &line, &mut heard)).await;
    let Ok(status) = status else {
        process_group::kill_family(leader, &tag);
        // It was killed just now.
        let _ = child.wait().await;
        return Err(format!("it did not end within {} s (`limits.notify_timeout_s`)", program.limit.as_secs()));
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}{}", last_line(&heard))),
        Err(error) => Err(error.to_string()),
    }
}

/// Gives it the line, and listens until it has ended.
async fn ended(child: &mut Child, line: &str, heard: &mut Vec<u8>) -> std::io::Result<ExitStatus> {
    let mut input = child.stdin.take();
    let mut errors = child.stderr.take();
    let give = async {
        if let Some(input) = &mut input {
            // A command that does not read it has its reasons.
            let _ = input.write_all(line.as_bytes()).await;
            let _ = input.shutdown().await;
        }
        drop(input.take());
        std::future::pending::<()>().await;
    };
    let mut piece = [0_u8; 1024];
    let mut give = std::pin::pin!(give);
    loop {
        tokio::select! {
            status = child.wait() => {
                // What it left running may keep the pipe open: its last words are there already, or nowhere.
                if let Some(errors) = &mut errors {
                    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(LAST_WORDS, errors.read(&mut piece)).await {
                        keep(heard, &piece[..count]);
                    }
                }
                return status;
            }
            () = &mut give => {}
            count = async { errors.as_mut().expect("it is asked only while it is there").read(&mut piece).await }, if errors.is_some() => {
                match count {
                    Ok(count @ 1..) => keep(heard, &piece[..count]),
                    Ok(0) | Err(_) => errors = None,
                }
            }
        }
    }
}

/// Keeps the end of what was heard.
fn keep(heard: &mut Vec<u8>, piece: &[u8]) {
    heard.extend_from_slice(piece);
    let over = heard.len().saturating_sub(HEARD_BYTES_MAX);
    heard.drain(..over);
}

fn last_line(heard: &[u8]) -> String {
    let text = String::from_utf8_lossy(heard);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map(|line| format!(": {}", bounded(&clean(line), HEARD_CHARS_MAX))).unwrap_or_default()
}

fn cannot_start(program: &Program, error: &std::io::Error) -> String {
    format!("`{}` cannot be started: {error}", bounded(&clean(&program.words[0]), HEARD_CHARS_MAX))
}
