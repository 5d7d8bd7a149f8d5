//! Values that travel by reference: small ones stand in the event itself, larger ones in a blob.
//!
//! Reading and writing blobs is the journal room's work.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::Digest;

/// Largest JSON text that stands in an event itself.
pub const INLINE_BYTES_MAX: usize = 4 * 1024;

/// A content-addressed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// SHA-256 of the content.
    pub sha256: Digest,
    /// Length of the content in bytes.
    pub bytes: u64,
}

/// A JSON value, by value or by reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// The value itself, at most [`INLINE_BYTES_MAX`] as JSON text.
    Inline(Value),
    /// The value as JSON text in a blob.
    Blob(BlobRef),
}

impl Payload {
    /// The value itself where it is small enough to stand in an event.
    ///
    /// # Errors
    /// The value, when it has to go to a blob.
    pub fn inline(value: Value) -> Result<Self, Value> {
        let mut room = Room(INLINE_BYTES_MAX);
        match serde_json::to_writer(&mut room, &value) {
            Ok(()) => Ok(Self::Inline(value)),
            Err(_) => Err(value),
        }
    }
}

/// Takes so many bytes and no more.
struct Room(usize);

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.checked_sub(bytes.len()) {
            Some(left) => {
                self.0 = left;
                Ok(bytes.len())
            }
            None => Err(std::io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The items of an open step, without the items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Items {
    /// A step without `for_each`: one task.
    One,
    /// The numbers 0 to `len` - 1.
    Range {
        /// How many.
        len: u32,
    },
    /// A blob of JSON Lines, one item a line.
    List {
        /// How many.
        len: u32,
        /// Where they are.
        blob: BlobRef,
    },
    /// The done items of another step, with the same positions.
    Flow {
        /// The step that they come from.
        from: super::ids::StepIndex,
    },
}
