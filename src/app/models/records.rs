//! What use has shown of models on this machine: how fast they were, and how their probes went. Kept for the user, over
//! all projects, in `models.json` of the user-wide folder.
//!
//! A record belongs to one model of one server with one digest: other weights begin anew. Nothing in it is needed to do
//! work, so a file that cannot be read is put aside and said, and never stops anything.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::app::probe::outcome::ProbeRecord;
use crate::config::Home;
use crate::engine::broker::Samples;
use crate::engine::broker::measure::{CALLS_KEPT, median};
use crate::engine::broker::residence::key_of;
use crate::model::ModelServers;
use crate::os::files;

/// Version of the file.
const VERSION: u32 = 1;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Records that are kept; beyond it those that were not used for longest go.
const RECORDS_MAX: usize = 500;
/// Probes of one model that are kept.
const PROBES_MAX: usize = 5;
/// How long another process that writes the file is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Why nothing could be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The system refused it.
    #[error("cannot use `{file}`: {source}")]
    System {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is of a later version.
    #[error("`{file}` was written by a newer version ({version}); it stays as it is")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It does not parse.
    #[error("`{file}` cannot be read: {message}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// Another process holds it.
    #[error("`{file}` is held by another process for more than {} s", LOCK_WAIT.as_secs())]
    Held {
        /// The lock file.
        file: PathBuf,
    },
}

/// How fast a model was: the last values of each kind, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// From sending to the first part of an answer, without loading.
    #[serde(default)]
    pub first_token_ms: Vec<u64>,
    /// Written in a second.
    #[serde(default)]
    pub tokens_per_second: Vec<f64>,
    /// Until the model was ready, of calls that loaded it.
    #[serde(default)]
    pub load_ms: Vec<u64>,
    /// When the last value came, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub at_ms: u64,
}

/// The medians of a [`Speed`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SpeedLine {
    /// Calls that it comes from.
    pub calls: usize,
    /// From sending to the first part of an answer, without loading.
    pub first_token_ms: Option<u64>,
    /// Written in a second.
    pub tokens_per_second: Option<f64>,
    /// Until the model was ready, of calls that loaded it.
    pub load_ms: Option<u64>,
    /// When the last value came.
    pub at_ms: u64,
}

impl Speed {
    /// Adds what was measured.
    pub fn add(&mut self, samples: &Samples, now_ms: u64) {
        append(&mut self.first_token_ms, &samples.first_token_ms);
        append(&mut self.tokens_per_second, &samples.tokens_per_second);
        append(&mut self.load_ms, &samples.load_ms);
        self.at_ms = now_ms;
    }

    /// The medians; `None` where nothing was measured.
    #[must_use]
    pub fn line(&self) -> Option<SpeedLine> {
        (!self.first_token_ms.is_empty()).then(|| SpeedLine {
            calls: self.first_token_ms.len(),
            first_token_ms: median(self.first_token_ms.iter().copied(), u64::cmp),
            tokens_per_second: median(self.tokens_per_second.iter().copied(), f64::total_cmp),
            load_ms: median(self.load_ms.iter().copied(), u64::cmp),
            at_ms: self.at_ms,
        })
    }
}

fn append<T: Copy>(kept: &mut Vec<T>, new: &[T]) {
    kept.extend_from_slice(new);
    let over = kept.len().saturating_sub(CALLS_KEPT);
    kept.drain(..over);
}

/// One model of one server with one digest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Address of the server, without user and password.
    pub server: String,
    /// The model, without `:latest`.
    pub model: String,
    /// Digest of its weights; empty where the server does not say.
    #[serde(default)]
    pub digest: String,
    /// When something was added last, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub used_at_ms: u64,
    /// How fast it was.
    #[serde(default)]
    pub speed: Speed,
    /// Its probes, the oldest first.
    #[serde(default)]
    pub probes: Vec<ProbeRecord>,
}

/// All records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Records {
    v: u32,
    models: Vec<Record>,
}

impl Records {
    /// What is kept; nothing where nothing was kept yet.
    ///
    /// # Errors
    /// A file that cannot be read, or that a newer version wrote.
    pub fn load(home: &Home) -> Result<Self, RecordsError> {
        read(&file_of(home))
    }

    /// The record of a model.
    #[must_use]
    pub fn of(&self, server: &str, model: &str, digest: &str) -> Option<&Record> {
        let is_it =
            |record: &&Record| record.server == server && record.model == key_of(model) && record.digest == digest;
        self.models.iter().find(is_it)
    }

    /// The same, made where there is none.
    pub fn of_mut(&mut self, server: &str, model: &str, digest: &str, now_ms: u64) -> &mut Record {
        let model = key_of(model);
        let found = self
            .models
            .iter()
            .position(|record| record.server == server && record.model == model && record.digest == digest);
        let at = found.unwrap_or_else(|| {
            if self.models.len() >= RECORDS_MAX {
                let oldest = (0..self.models.len()).min_by_key(|at| self.models[*at].used_at_ms);
                self.models.swap_remove(oldest.expect("there are records"));
            }
            let (server, digest) = (server.to_owned(), digest.to_owned());
            self.models.push(Record { server, model: model.to_owned(), digest, ..Record::default() });
            self.models.len() - 1
        });
        let record = &mut self.models[at];
        record.used_at_ms = now_ms;
        record
    }

    /// Changes what is kept, alone: another process that writes waits. What cannot be read is put aside first, and its
    /// new place is the answer.
    ///
    /// # Errors
    /// [`RecordsError`]; the file stands as it was then.
    pub fn change(home: &Home, change: impl FnOnce(&mut Self)) -> Result<Option<PathBuf>, RecordsError> {
        let file = file_of(home);
        let system = |source| RecordsError::System { file: file.clone(), source };
        files::make_private_folder(&home.ollmcp).map_err(system)?;
        let _lock = lock(&home.ollmcp.join("models.lock"))?;
        let (mut records, aside) = match read(&file) {
            Ok(records) => (records, None),
            Err(RecordsError::Damaged { .. }) => {
                let aside = file.with_extension("json.unreadable");
                std::fs::rename(&file, &aside).map_err(system)?;
                (Self::default(), Some(aside))
            }
            Err(error) => return Err(error),
        };
        change(&mut records);
        records.v = VERSION;
        let text = serde_json::to_vec(&records).expect("records are plain data");
        files::write_atomically(&file, &text, files::PRIVATE_FILE_MODE).map_err(system)?;
        Ok(aside)
    }

    /// Keeps what was measured in a process. `digests` are those of the models by rung.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn keep_speeds(
        home: &Home,
        servers: &ModelServers,
        digests: &BTreeMap<String, String>,
        samples: &[Samples],
        now_ms: u64,
    ) -> Result<(), RecordsError> {
        if samples.iter().all(|samples| samples.first_token_ms.is_empty()) {
            return Ok(());
        }
        let aside = Self::change(home, |records| {
            for samples in samples.iter().filter(|samples| !samples.first_token_ms.is_empty()) {
                let Some(server) = servers.0.get(&samples.server) else { continue };
                let rung = format!("{}:{}", samples.server, key_of(&samples.model));
                let digest = digests.get(&rung).map_or("", String::as_str);
                records.of_mut(server.address(), &samples.model, digest, now_ms).speed.add(samples, now_ms);
            }
        })?;
        if let Some(aside) = aside {
            tracing::warn!(aside = %aside.display(), "what was known of models could not be read; it was put aside");
        }
        Ok(())
    }
}

impl Record {
    /// Adds a probe.
    pub fn add_probe(&mut self, probe: ProbeRecord) {
        self.probes.push(probe);
        let over = self.probes.len().saturating_sub(PROBES_MAX);
        self.probes.drain(..over);
    }

    /// The newest probe that asked anything.
    #[must_use]
    pub fn probe(&self) -> Option<&ProbeRecord> {
        self.probes.iter().rev().find(|probe| !probe.cases.is_empty())
    }
}

/// Digests of listed models by rung, for [`Records::keep_speeds`].
#[must_use]
pub fn digests(lists: &super::Lists) -> BTreeMap<String, String> {
    let of = |(server, models): (&String, &Result<Vec<crate::model::ModelInfo>, _>)| {
        let server = server.clone();
        let models: Vec<_> = models.iter().flatten().cloned().collect();
        models.into_iter().map(move |model| (format!("{server}:{}", key_of(&model.name)), model.digest))
    };
    lists.iter().flat_map(of).collect()
}

fn file_of(home: &Home) -> PathBuf {
    home.ollmcp.join("models.json")
}

fn read(file: &Path) -> Result<Records, RecordsError> {
    let damaged = |message: String| RecordsError::Damaged { file: file.to_owned(), message };
    let text = match files::read_text(file, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::InvalidData && file.is_file() => {
            return Err(damaged(error.to_string()));
        }
        Err(source) => return Err(RecordsError::System { file: file.to_owned(), source }),
    };
    let Some(text) = text else { return Ok(Records::default()) };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let version = value.get("v").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let version = u32::try_from(version).unwrap_or(u32::MAX);
    if version > VERSION {
        return Err(RecordsError::Newer { file: file.to_owned(), version });
    }
    serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
}

/// Held while the file is read and written; the system ends it with the process.
fn lock(file: &Path) -> Result<File, RecordsError> {
    let system = |source| RecordsError::System { file: file.to_owned(), source };
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(file).map_err(system)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match open.try_lock() {
            Ok(()) => return Ok(open),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_POLL),
            Err(std::fs::TryLockError::WouldBlock) => return Err(RecordsError::Held { file: file.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => return Err(system(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(folder: &Path) -> Home {
        Home { folder: None, ollmcp: folder.join("home") }
    }

    fn samples(values: &[u64]) -> Samples {
        Samples {
            server: "box".to_owned(),
            model: "m:latest".to_owned(),
            first_token_ms: values.to_vec(),
            tokens_per_second: vec![10.0],
            load_ms: Vec::new(),
        }
    }

    #[test]
    fn other_weights_begin_anew_and_only_the_last_values_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        for at in 0..3 {
            Records::change(&home, |records| {
                records.of_mut("http://box", "m", "d1", at).speed.add(&samples(&[at; 60]), at);
            })
            .unwrap();
        }
        let records = Records::load(&home).unwrap();
        let line = records.of("http://box", "m:latest", "d1").unwrap().speed.line().unwrap();
        assert_eq!((line.calls, line.first_token_ms, line.tokens_per_second), (CALLS_KEPT, Some(2), Some(10.0)));
        assert_eq!(records.of("http://box", "m", "d2"), None);
        assert_eq!(records.of("http://other", "m", "d1"), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_put_aside_and_one_of_a_newer_version_stays() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        std::fs::create_dir(&home.ollmcp).unwrap();
        std::fs::write(file_of(&home), "{ half").unwrap();
        assert!(matches!(Records::load(&home), Err(RecordsError::Damaged { .. })));
        let aside = Records::change(&home, |records| {
            records.of_mut("s", "m", "", 1);
        })
        .unwrap()
        .unwrap();
        assert_eq!(std::fs::read_to_string(aside).unwrap(), "{ half");
        assert!(Records::load(&home).unwrap().of("s", "m", "").is_some());
        std::fs::write(file_of(&home), r#"{"v": 99, "models": "other"}"#).unwrap();
        assert!(matches!(Records::change(&home, |_| {}), Err(RecordsError::Newer { version: 99, .. })));
        assert!(std::fs::read_to_string(file_of(&home)).unwrap().contains("99"));
    }

    #[test]
    fn two_writers_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let home = &home;
                scope.spawn(move || {
                    for at in 0..10 {
                        Records::change(home, |records| {
                            records.of_mut("s", &format!("m{writer}-{at}"), "", 1);
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(Records::load(&home).unwrap().models.len(), 40);
    }

    #[test]
    fn the_least_used_record_goes_first() {
        let mut records = Records::default();
        for at in 0..=RECORDS_MAX as u64 {
            records.of_mut("s", &format!("m{at}"), "", at + 1);
        }
        assert_eq!(records.models.len(), RECORDS_MAX);
        assert!(records.of("s", "m0", "").is_none() && records.of("s", "m1", "").is_some());
    }
}
