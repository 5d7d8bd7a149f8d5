//! Text that must not be printed: it has no `Display`, no serde, and a `Debug` that says nothing.

use std::fmt;

/// A key or password. Only [`Secret::expose`] gives it out, so every use can be found by that word.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text; `None` when it is empty.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into().trim().to_owned();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text itself: for a request header, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
