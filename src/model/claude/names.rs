//! Names as the interface takes them: letters, digits, `_` and `-`, at most 64. Pure, and the same in every request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::model::Offer;

/// Longest name of a tool, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Digits of the hash that tells apart names which became alike.
const HASH_CHARS: usize = 8;

/// The name to send for a tool. One that fits stays; any other is written with what may stand in it, and its hash.
pub(super) fn wire_name(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    let plain: String = name.chars().map(|c| if is_letter(c) { c } else { '_' }).collect();
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let kept = NAME_CHARS_MAX - HASH_CHARS - 1;
    Cow::Owned(format!("{}_{}", &plain[..plain.len().min(kept)], &hash[..HASH_CHARS]))
}

/// An id for a call, as far as it may be sent: `None` for one that may not.
pub(super) fn wire_id(id: &str) -> Option<&str> {
    is_plain(id).then_some(id)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(is_letter)
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The way back from names that had to be changed.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    pub(super) fn of(tools: &[Offer]) -> Self {
        let changed = tools.iter().filter_map(|tool| match wire_name(&tool.name) {
            Cow::Borrowed(_) => None,
            Cow::Owned(wire) => Some((wire, tool.name.clone())),
        });
        Self(changed.collect())
    }

    /// The name as it was offered; one that was not stays as the model wrote it.
    pub(super) fn offered(&self, wire: &str) -> String {
        self.0.get(wire).map_or_else(|| wire.to_owned(), Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn offer(name: &str) -> Offer {
        Offer { name: name.to_owned(), description: String::new(), parameters: json!({}) }
    }

    #[test]
    fn a_name_that_fits_stays_and_others_are_told_apart() {
        assert_eq!(wire_name("fs_read"), "fs_read");
        let (dotted, slashed) = (wire_name("fs.read"), wire_name("fs/read"));
        assert!(dotted.starts_with("fs_read_") && slashed.starts_with("fs_read_") && dotted != slashed);
        let (long, longer) = ("a".repeat(64), "a".repeat(65));
        assert_eq!(wire_name(&long), long.as_str());
        assert_eq!(wire_name(&longer).len(), 64);
        assert_ne!(wire_name(&longer), wire_name(&"a".repeat(66)));
        assert_eq!(wire_name("").len(), 9);
    }

    proptest! {
        #[test]
        fn every_name_fits_and_comes_back(name in ".{0,140}") {
            let wire = wire_name(&name).into_owned();
            prop_assert!(is_plain(&wire), "{wire}");
            prop_assert_eq!(Names::of(&[offer(&name)]).offered(&wire), name);
        }
    }
}
