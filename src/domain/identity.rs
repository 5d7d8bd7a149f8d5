//! The digest of what can change an item's output. Equal digests mean: the stored output is the output.
//!
//! What counts: the kind, the tool or agent with its output version, the evaluated arguments, the agent's text, the
//! output schema, the content of the files that the arguments name, and who has to agree (`agree`), for no check of today
//! can make up for a second answer. What does not: limits, parallelism, retries, `on_error`, ladder and checks; a changed
//! check judges the stored output.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::ids::Digest;

/// Raised when the way of working out an identity changes; all outputs are made anew then.
const IDENTITY_VERSION: u64 = 1;

/// A file that counts by its place and its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileContent {
    /// Path, relative where the file lies inside the project.
    pub path: String,
    /// SHA-256 of the content; `None` for a folder or a file that is not there.
    pub sha256: Option<Digest>,
}

/// Everything that can change an output.
#[derive(Clone, Debug)]
pub struct Ingredients<'a> {
    /// `tool`, `agent` or `value`.
    pub kind: &'a str,
    /// `server.tool` or the agent's name.
    pub name: &'a str,
    /// Raised by the tool or agent when its results change.
    pub output_version: &'a str,
    /// The agent file's text; empty for a tool.
    pub text: &'a str,
    /// Evaluated arguments, paths relative where they lie inside the project.
    pub with: &'a Value,
    /// The schema that the output must fit.
    pub output_schema: Option<&'a Value>,
    /// Files that the arguments name.
    pub files: &'a [FileContent],
}

/// The identity of an item.
#[must_use]
pub fn identity(of: &Ingredients<'_>) -> Digest {
    let mut hash = Sha256::new();
    hash.update(IDENTITY_VERSION.to_be_bytes());
    for text in [of.kind, of.name, of.output_version, of.text] {
        field(&mut hash, text.as_bytes());
    }
    value(&mut hash, of.with);
    value(&mut hash, of.output_schema.unwrap_or(&Value::Null));
    let mut files = of.files.to_vec();
    files.sort();
    files.dedup();
    for file in &files {
        field(&mut hash, file.path.as_bytes());
        hash.update(file.sha256.map_or([0; 32], |digest| digest.0));
    }
    Digest(hash.finalize().into())
}

/// SHA-256 of bytes.
#[must_use]
pub fn digest_bytes(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// SHA-256 of a JSON value that does not depend on the order of its keys.
#[must_use]
pub fn digest_value(of: &Value) -> Digest {
    let mut hash = Sha256::new();
    value(&mut hash, of);
    Digest(hash.finalize().into())
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// Every value begins with a letter of its own, lengths stand before contents: no two values share a spelling.
fn value(hash: &mut Sha256, of: &Value) {
    match of {
        Value::Null => hash.update(b"n"),
        Value::Bool(flag) => hash.update(if *flag { b"t" } else { b"f" }),
        Value::Number(number) => {
            hash.update(b"#");
            field(hash, number.to_string().as_bytes());
        }
        Value::String(text) => {
            hash.update(b"s");
            field(hash, text.as_bytes());
        }
        Value::Array(list) => {
            hash.update(b"[");
            hash.update((list.len() as u64).to_be_bytes());
            list.iter().for_each(|entry| value(hash, entry));
        }
        Value::Object(map) => {
            hash.update(b"{");
            hash.update((map.len() as u64).to_be_bytes());
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort_unstable();
            for key in keys {
                field(hash, key.as_bytes());
                value(hash, &map[key]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_count_and_everything_else_does() {
        let same = [json!({"a": 1, "b": [true, null]}), json!({"b": [true, null], "a": 1})];
        assert_eq!(digest_value(&same[0]), digest_value(&same[1]));
        let others =
            [json!({"a": 1, "b": [null, true]}), json!({"a": "1", "b": [true, null]}), json!(["a", 1]), json!("a1")];
        for other in &others {
            assert_ne!(digest_value(&same[0]), digest_value(other), "{other}");
        }
    }

    #[test]
    fn each_ingredient_counts() {
        let with = json!({"path": "a.pdf"});
        let schema = json!({"type": "object"});
        let file = FileContent { path: "a.pdf".to_owned(), sha256: Some(digest_bytes(b"1")) };
        let changed = FileContent { sha256: Some(digest_bytes(b"2")), ..file.clone() };
        let base = Ingredients {
            kind: "tool",
            name: "pdf.read",
            output_version: "1",
            text: "",
            with: &with,
            output_schema: None,
            files: std::slice::from_ref(&file),
        };
        let other_with = json!({"path": "b.pdf"});
        let others = [
            Ingredients { kind: "agent", ..base.clone() },
            Ingredients { name: "pdf.rea", output_version: "d1", ..base.clone() },
            Ingredients { output_version: "2", ..base.clone() },
            Ingredients { text: "x", ..base.clone() },
            Ingredients { with: &other_with, ..base.clone() },
            Ingredients { output_schema: Some(&schema), ..base.clone() },
            Ingredients { files: std::slice::from_ref(&changed), ..base.clone() },
            Ingredients { files: &[], ..base.clone() },
        ];
        let all: std::collections::BTreeSet<_> = others.iter().chain([&base]).map(identity).collect();
        assert_eq!(all.len(), others.len() + 1);
    }
}
