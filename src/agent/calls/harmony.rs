//! The channels of harmony (gpt-oss): analysis is thought, `final` is said, and what is addressed `to=` a tool is a call.

use super::names::Offers;
use super::shape::{Arguments, Raw};

/// One message of a reply in channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Channelled<'t> {
    /// What stands before `<|message|>`: role, channel, recipient.
    pub(super) head: &'t str,
    /// What stands behind it.
    pub(super) body: &'t str,
    /// What ended it: `<|call|>`, `<|end|>`, `<|return|>`; empty where the text was over.
    pub(super) ended_by: &'t str,
}

const MESSAGE: &str = "<|message|>";
const ENDS: &[&str] = &["<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"];

/// Most messages of one reply that are looked at.
const MESSAGES_MAX: usize = 256;

/// The messages of a reply that uses channels; none for any other text.
pub(super) fn messages(text: &str) -> Option<Vec<Channelled<'_>>> {
    if !text.contains(MESSAGE) && !text.trim_start().starts_with("<|channel|>") {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(MESSAGE)
        && found.len() < MESSAGES_MAX
    {
        let head = &rest[..at];
        let behind = &rest[at + MESSAGE.len()..];
        let end = ENDS.iter().filter_map(|end| Some((behind.find(end)?, *end))).min();
        let (body, ended_by, next) = match end {
            // The next message starts with its own mark: it is part of its head.
            Some((at, mark @ ("<|start|>" | "<|channel|>"))) => (&behind[..at], mark, &behind[at..]),
            Some((at, mark)) => (&behind[..at], mark, &behind[at + mark.len()..]),
            None => (behind, "", ""),
        };
        found.push(Channelled { head, body, ended_by });
        rest = next;
    }
    if found.is_empty() {
        // A channel that was opened, and no message.
        found.push(Channelled { head: text, body: "", ended_by: "" });
    }
    Some(found)
}

impl<'t> Channelled<'t> {
    /// The tool that it is addressed to.
    pub(super) fn recipient(self) -> Option<&'t str> {
        let at = self.head.find("to=")?;
        let name = self.head[at + 3..].split(|c: char| c.is_whitespace() || c == '<').next()?;
        (!name.is_empty() && !matches!(name, "user" | "assistant" | "all")).then_some(name)
    }

    pub(super) fn is_reasoning(self) -> bool {
        self.recipient().is_none() && self.head.contains("analysis")
    }

    /// Meant for the reader.
    pub(super) fn is_said(self) -> bool {
        self.recipient().is_none() && !self.head.contains("analysis")
    }

    /// Written by the model in somebody else's name.
    fn is_forged(self) -> bool {
        let role = self.head.trim_start().trim_start_matches("<|start|>").trim_start();
        role.starts_with("functions.") || role.starts_with("tool") || role.starts_with("user")
    }
}

/// Calls of a reply in channels, and the said text before the first of them. A call whose text was not ended may be cut
/// and comes with arguments that do not close.
pub(super) fn calls(text: &str, offers: Offers<'_>) -> Option<Vec<Raw>> {
    let mut found = Vec::new();
    for one in messages(text)? {
        if one.is_forged() {
            if found.is_empty() {
                continue;
            }
            break;
        }
        let Some(recipient) = one.recipient() else { continue };
        // `to=functions.x code`: some write the constraint as part of the address.
        let name = recipient.trim_end_matches("<|constrain|>json");
        let name = offers.find(name).map_or(name, |(tool, _)| tool.name.as_str());
        let mut raw = Raw::new(name, Arguments::Json(one.body.trim().to_owned()));
        if one.ended_by.is_empty() {
            raw.notes.push("the end of the call was not marked".to_owned());
        }
        found.push(raw);
    }
    (!found.is_empty()).then_some(found)
}
