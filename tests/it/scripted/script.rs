//! What a server answers, in which order, and to which model.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use super::answer::Answer;
use super::asked::Asked;
use super::record::Record;

/// Answers to one model, or to all that have none of their own.
pub(crate) enum Script {
    /// In order.
    List(VecDeque<Answer>),
    /// As each request has it.
    Closure(Box<dyn FnMut(&Asked) -> Answer + Send>),
}

impl Script {
    fn next(&mut self, asked: &Asked) -> Option<Answer> {
        match self {
            Self::List(answers) => answers.pop_front(),
            Self::Closure(closure) => Some(closure(asked)),
        }
    }
}

/// All scripts of a server; under `None` that for every other model.
#[derive(Default)]
pub(crate) struct Scripts(Mutex<HashMap<Option<String>, Script>>);

impl Scripts {
    pub(crate) fn set(&self, model: Option<String>, script: Script) {
        self.0.lock().unwrap().insert(model, script);
    }

    /// The next answer; `None` where no script speaks of the model.
    pub(crate) fn next(&self, model: Option<String>, asked: &Asked, record: &Record) -> Option<Answer> {
        let key = if self.0.lock().unwrap().contains_key(&model) { model } else { None };
        // Out of the table while it speaks: a script may use its server.
        let mut script = self.0.lock().unwrap().remove(&key)?;
        let spoken = std::panic::catch_unwind(AssertUnwindSafe(|| script.next(asked)));
        self.0.lock().unwrap().entry(key).or_insert(script);
        Some(match spoken {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                record.unscripted();
                Answer::refused(500, format!("the script has no answer left for `{}`", asked.model))
            }
            Err(cause) => {
                let words = cause.downcast_ref::<String>().cloned();
                let words = words.or_else(|| cause.downcast_ref::<&str>().map(|words| (*words).to_owned()));
                let words = words.unwrap_or_else(|| "no words".into());
                record.panicked(words.clone());
                Answer::refused(500, format!("the script panicked: {words}"))
            }
        })
    }
}
