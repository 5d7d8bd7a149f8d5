//! What a server has in memory, as it says or as our own calls imply, and the window that each model is asked with.
//!
//! A model that is loaded is asked with the window it was loaded with, however little a call needs: another size would
//! load it again. A call that needs more raises the size for all later calls. Values in, decision out.

use std::collections::BTreeMap;

use crate::model::Loaded;

/// Smallest window that is asked for, in tokens; larger ones are powers of two.
pub const CONTEXT_TOKENS_MIN: u32 = 2_048;

/// A model in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its name, without `:latest`.
    pub model: String,
    /// The window, as the server says.
    said: Option<u32>,
    /// The window that we asked for when it last answered. Some servers cut it down without a word and compare later
    /// requests with what was asked.
    asked: Option<u32>,
}

impl Resident {
    /// The window to ask for; `None`: nobody knows.
    #[must_use]
    pub fn context_tokens(&self) -> Option<u32> {
        self.said.max(self.asked)
    }

    fn holds(&self, need: u32) -> bool {
        self.context_tokens().is_none_or(|window| need <= window)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// What is asked for from now on.
    wanted: u32,
    /// The largest that has given an answer.
    proven: u32,
    /// The largest that the model was trained for.
    trained: Option<u32>,
}

/// How a load or a call ended, for the memory of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer: the model is in memory.
    Answered,
    /// Before any model was touched.
    Untouched,
    /// The model ran out of memory or its runner died.
    Died,
    /// The server is gone, and what it had in memory with it.
    ServerGone,
    /// Anything else: what is in memory is as it was.
    Other,
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub struct Residence {
    residents: Vec<Resident>,
    sizes: BTreeMap<String, Size>,
}

/// A model's name as it is compared.
#[must_use]
pub fn key_of(model: &str) -> &str {
    model.strip_suffix(":latest").unwrap_or(model)
}

/// The step at or above what a call needs; never above what the model was trained for, unless the call needs more.
#[must_use]
pub fn rounded(need: u32, trained: Option<u32>) -> u32 {
    if need == 0 {
        return 0;
    }
    let step = need.max(CONTEXT_TOKENS_MIN).checked_next_power_of_two().unwrap_or(u32::MAX);
    step.min(trained.unwrap_or(u32::MAX)).max(need)
}

impl Residence {
    /// What is in memory.
    #[must_use]
    pub fn residents(&self) -> &[Resident] {
        &self.residents
    }

    fn resident(&self, model: &str) -> Option<&Resident> {
        self.residents.iter().find(|resident| resident.model == model)
    }

    /// Whether a call can be answered without loading anything.
    #[must_use]
    pub fn fits(&self, model: &str, need: u32) -> bool {
        self.resident(model).is_some_and(|resident| resident.holds(need))
    }

    /// The window to ask a model for that is in memory.
    pub fn size_in_memory(&mut self, model: &str, need: u32) -> u32 {
        match self.resident(model).and_then(Resident::context_tokens) {
            Some(window) => window,
            None => self.raised(model, need),
        }
    }

    /// The size for a load, raised for good where `need` is larger than before.
    pub fn raised(&mut self, model: &str, need: u32) -> u32 {
        let size = self.sizes.entry(model.to_owned()).or_default();
        if need > size.wanted {
            size.wanted = rounded(need, size.trained);
        }
        size.wanted
    }

    /// Notes the longest window that a model was trained for.
    pub fn learn_trained(&mut self, model: &str, context_tokens_max: Option<u32>) {
        self.sizes.entry(key_of(model).to_owned()).or_default().trained = context_tokens_max.filter(|max| *max > 0);
    }

    /// A load begins: until the server says otherwise nothing else is in memory. Gives what was there.
    pub fn begin_load(&mut self, model: &str, size: u32) -> Vec<Resident> {
        let asked = (size > 0).then_some(size);
        std::mem::replace(&mut self.residents, vec![Resident { model: model.to_owned(), said: None, asked }])
    }

    /// A call ended; `before`: what was in memory before the load that it was.
    pub fn end(&mut self, model: &str, size: u32, ending: Ending, before: Option<Vec<Resident>>) {
        match ending {
            Ending::Answered => {
                let asked = (size > 0).then_some(size);
                match self.residents.iter_mut().find(|resident| resident.model == model) {
                    Some(resident) => resident.asked = asked,
                    None => self.residents.push(Resident { model: model.to_owned(), said: None, asked }),
                }
                let sizes = self.sizes.entry(model.to_owned()).or_default();
                sizes.proven = sizes.proven.max(size);
            }
            Ending::Untouched => {
                if let Some(before) = before {
                    self.residents = before;
                }
            }
            Ending::Died => {
                self.residents.retain(|resident| resident.model != model);
                let sizes = self.sizes.entry(model.to_owned()).or_default();
                if sizes.proven > 0 && size > sizes.proven {
                    // The raise was too much for this machine: those who need less shall not pay for it.
                    sizes.wanted = sizes.proven;
                }
            }
            Ending::ServerGone => self.residents.clear(),
            Ending::Other => {}
        }
    }

    /// The server has said what is in memory. What runs is there, whatever it says.
    pub fn learn(&mut self, loaded: &[Loaded], runs: impl Fn(&str) -> bool) {
        let mut before = std::mem::take(&mut self.residents);
        for loaded in loaded {
            let model = key_of(&loaded.name).to_owned();
            let asked = before.iter().find(|resident| resident.model == model).and_then(|resident| resident.asked);
            let said = loaded.context_tokens.filter(|tokens| *tokens > 0);
            before.retain(|resident| resident.model != model);
            self.residents.push(Resident { model, said, asked });
        }
        self.residents.extend(before.into_iter().filter(|resident| runs(&resident.model)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(name: &str, context_tokens: Option<u32>) -> Loaded {
        Loaded { name: name.to_owned(), context_tokens, bytes: 0, vram_bytes: 0, until_ms: None }
    }

    #[test]
    fn sizes_are_powers_of_two_within_what_the_model_was_trained_for() {
        let table = [
            (0, None, 0),
            (1, None, 2_048),
            (2_048, None, 2_048),
            (2_049, None, 4_096),
            (40_000, None, 65_536),
            (40_000, Some(40_960), 40_960),
            (50_000, Some(40_960), 50_000),
            (1, Some(512), 512),
            (u32::MAX, None, u32::MAX),
        ];
        for (need, trained, size) in table {
            assert_eq!(rounded(need, trained), size, "{need} {trained:?}");
        }
    }

    #[test]
    fn a_smaller_need_uses_what_is_loaded_and_a_larger_one_raises_it_for_good() {
        let mut memory = Residence::default();
        memory.learn(&[loaded("a:latest", Some(8_192))], |_| false);
        assert!(memory.fits("a", 1_000) && memory.fits("a", 8_192) && !memory.fits("a", 8_193) && !memory.fits("b", 1));
        assert_eq!(memory.size_in_memory("a", 1_000), 8_192);
        assert_eq!(memory.raised("a", 9_000), 16_384);
        memory.begin_load("a", 16_384);
        memory.end("a", 16_384, Ending::Answered, Some(Vec::new()));
        assert_eq!(memory.size_in_memory("a", 10), 16_384);
        memory.begin_load("b", 2_048);
        assert!(!memory.fits("a", 10), "b may have taken its place");
        assert_eq!(memory.raised("a", 10), 16_384, "the size does not alternate");
    }

    #[test]
    fn a_window_that_the_server_cuts_down_is_asked_for_as_before() {
        let mut memory = Residence::default();
        let size = memory.raised("a", 60_000);
        memory.begin_load("a", size);
        memory.end("a", size, Ending::Answered, Some(Vec::new()));
        memory.learn(&[loaded("a", Some(32_768))], |_| false);
        assert!(memory.fits("a", 60_000), "it was loaded for this");
        assert_eq!(memory.size_in_memory("a", 100), 65_536);
    }

    #[test]
    fn a_raise_that_runs_out_of_memory_is_taken_back() {
        let mut memory = Residence::default();
        let size = memory.raised("a", 4_000);
        memory.begin_load("a", size);
        memory.end("a", size, Ending::Answered, Some(Vec::new()));
        let size = memory.raised("a", 30_000);
        let before = memory.begin_load("a", size);
        memory.end("a", size, Ending::Died, Some(before));
        assert!(!memory.fits("a", 1));
        assert_eq!(memory.raised("a", 1_000), 4_096);
    }

    #[test]
    fn a_load_of_what_does_not_exist_moves_nothing() {
        let mut memory = Residence::default();
        memory.learn(&[loaded("a", Some(4_096))], |_| false);
        let before = memory.begin_load("nobody", 2_048);
        memory.end("nobody", 2_048, Ending::Untouched, Some(before));
        assert!(memory.fits("a", 4_096) && !memory.fits("nobody", 1));
        memory.end("a", 4_096, Ending::ServerGone, None);
        assert!(!memory.fits("a", 1));
    }
}
