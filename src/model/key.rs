//! Credentials for a model server: kept so that nothing can print them by accident.

use std::fmt;

const AUTHORIZATION: &str = "authorization";

/// A key or the value of an `Authorization` header. Its `Debug` says nothing, and it has no `Display` and no serde.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    name: &'static str,
    header: String,
    parts: Vec<String>,
}

impl Key {
    /// A key that is sent as `Authorization: Bearer …`; `None` when the text is empty.
    #[must_use]
    pub fn bearer(text: &str) -> Option<Self> {
        let text = text.trim();
        let header = format!("Bearer {text}");
        (!text.is_empty()).then(|| Self { name: AUTHORIZATION, header, parts: vec![text.to_owned()] })
    }

    /// A key that is sent as `x-api-key: …`, as Anthropic's interface has it; `None` when the text is empty.
    #[must_use]
    pub fn api(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self { name: "x-api-key", header: text.to_owned(), parts: vec![text.to_owned()] })
    }

    /// A user with a password, sent as `Authorization: Basic …`.
    #[must_use]
    pub fn basic(user: &str, password: &str) -> Self {
        let encoded = base64(format!("{user}:{password}").as_bytes());
        let mut parts = vec![encoded.clone()];
        parts.extend((!password.is_empty()).then(|| password.to_owned()));
        Self { name: AUTHORIZATION, header: format!("Basic {encoded}"), parts }
    }

    /// The header that carries it.
    pub(super) fn header_name(&self) -> &'static str {
        self.name
    }

    /// The header's value: for a request, never for a message.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// The text with every part of the credential taken out: servers like to repeat what they were sent.
    pub(super) fn hide_in(&self, text: &str) -> String {
        self.parts.iter().fold(text.to_owned(), |text, part| text.replace(part.as_str(), "(secret)"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Base64 with padding, as basic authorisation wants it. A few lines, where a dependency would be one more to watch.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_its_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_key_is_not_printed_and_is_taken_out_of_texts() {
        let key = Key::bearer(" sk-123456 ").unwrap();
        assert_eq!(format!("{key:?}"), "(secret)");
        assert_eq!(key.header(), "Bearer sk-123456");
        assert_eq!(key.hide_in("bad key sk-123456!"), "bad key (secret)!");
        assert_eq!((Key::bearer("  "), Key::api(" ")), (None, None));
        let key = Key::api("sk-ant-1\n").unwrap();
        assert_eq!(
            (format!("{key:?}").as_str(), key.header_name(), key.header()),
            ("(secret)", "x-api-key", "sk-ant-1")
        );
        let key = Key::basic("Aladdin", "open sesame");
        assert_eq!(key.header(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(key.hide_in("open sesame, QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "(secret), (secret)");
    }
}
