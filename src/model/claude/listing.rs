//! The models that an account may use, as the interface lists them: page by page.

use serde::Deserialize;

use crate::model::ModelInfo;

/// Most pages that are read.
pub(super) const PAGES_MAX: usize = 20;

/// One page.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    data: Vec<Entry>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

impl Page {
    /// Its models, and the id behind which the next page begins.
    pub(super) fn split(self) -> (impl Iterator<Item = ModelInfo>, Option<String>) {
        let next = self.last_id.filter(|_| self.has_more);
        (self.data.into_iter().map(Entry::info), next)
    }
}

/// One model.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    id: String,
    line: Option<String>,
    max_input_tokens: Option<u32>,
}

impl Entry {
    pub(super) fn info(self) -> ModelInfo {
        ModelInfo {
            name: self.id,
            family: self.line.unwrap_or_else(|| "claude".to_owned()),
            context_tokens_max: self.max_input_tokens.filter(|tokens| *tokens > 0),
            tools: Some(true),
            chat: true,
            is_remote: true,
            ..ModelInfo::default()
        }
    }
}

/// An id as a part of a path.
pub(super) fn in_path(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(in_path("claude-sonnet-5-5"), "claude-sonnet-5-5");
        assert_eq!(in_path("a/../b?c#d é"), "a%2F..%2Fb%3Fc%23d%20%C3%A9");
    }
}
