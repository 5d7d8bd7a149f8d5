//! What the interface keeps of prompts: prefixes up to a mark, found again from a later mark within 20 blocks.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use serde_json::Value;

use crate::scripted::answer::tokens_of;

/// Blocks before a mark that are looked at.
const LOOKBACK_BLOCKS: usize = 20;

/// Tokens of one prompt by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes {
    pub(super) input: u64,
    pub(super) write_5m: u64,
    pub(super) write_1h: u64,
    pub(super) read: u64,
}

impl Classes {
    pub(super) fn total(&self) -> u64 {
        self.input + self.write_5m + self.write_1h + self.read
    }
}

pub(super) struct Cache {
    kept: Mutex<HashSet<u64>>,
    tokens_min: u64,
}

/// A block of the prompt with all before it.
struct Place {
    hash: u64,
    tokens: u64,
    /// `Some(true)`: marked for an hour.
    mark: Option<bool>,
}

impl Cache {
    pub(super) fn new(tokens_min: u64) -> Self {
        Self { kept: Mutex::default(), tokens_min }
    }

    /// Counts a prompt, and keeps what it marks.
    pub(super) fn take(&self, model: &str, body: &Value) -> Classes {
        let places = places(model, body);
        let total = places.last().map_or(0, |place| place.tokens);
        let marks = || places.iter().enumerate().filter(|(_, place)| place.mark.is_some()).map(|(at, _)| at);
        let Some(last) = marks().next_back().map(|at| &places[at]).filter(|last| last.tokens >= self.tokens_min) else {
            return Classes { input: total, ..Classes::default() };
        };
        let mut kept = self.kept.lock().unwrap();
        let found = marks().rev().find_map(|at| {
            let from = at.saturating_sub(LOOKBACK_BLOCKS);
            places[from..=at].iter().rev().find(|place| kept.contains(&place.hash))
        });
        let read = found.map_or(0, |place| place.tokens);
        let written = last.tokens - read.min(last.tokens);
        kept.extend(marks().map(|at| places[at].hash));
        let (write_5m, write_1h) = if last.mark == Some(true) { (0, written) } else { (written, 0) };
        Classes { input: total - last.tokens, write_5m, write_1h, read }
    }
}

/// Blocks in the order of the prefix: tools, rules, turns.
fn places(model: &str, body: &Value) -> Vec<Place> {
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    let mut tokens = 0;
    let mut places = Vec::new();
    let mut add = |block: &Value| {
        let mut plain = block.clone();
        let mark = plain.as_object_mut().and_then(|map| map.remove("cache_control"));
        let text = plain.to_string();
        text.hash(&mut hasher);
        tokens += tokens_of(&text);
        places.push(Place { hash: hasher.finish(), tokens, mark: mark.map(|mark| mark["ttl"] == "1h") });
    };
    let each = |value: &Value| match value {
        Value::Array(blocks) => blocks.clone(),
        Value::Null => Vec::new(),
        other => vec![other.clone()],
    };
    each(&body["tools"]).iter().for_each(&mut add);
    each(&body["system"]).iter().for_each(&mut add);
    for turn in each(&body["messages"]) {
        each(&turn["content"]).iter().for_each(&mut add);
    }
    places
}
