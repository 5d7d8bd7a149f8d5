//! Keeps secrets out of what a server says.

use std::borrow::Cow;

use serde_json::Value;

use super::spec::ServerSpec;

/// Shorter texts are not masked: they would blot out ordinary words.
const SECRET_BYTES_MIN: usize = 6;

/// What stands in place of a secret.
const MASK: &str = "***";

/// The texts to hide of one server.
#[derive(Clone, Default)]
pub(super) struct Mask {
    secrets: Vec<String>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.secrets.len())
    }
}

impl Mask {
    pub(super) fn of(spec: &ServerSpec) -> Self {
        let is_secret = |(name, value): &(&String, &String)| is_secret_name(name) || is_key(value);
        let from_env = spec.env.iter().filter(is_secret).map(|(_, value)| value.clone());
        // `--token=KEY` as well as KEY alone.
        let words = spec.args.iter().flat_map(|arg| arg.split(['=', ' '])).filter(|word| is_key(word));
        let others = spec.secrets.iter().cloned().chain(words.map(str::to_owned));
        let mut secrets: Vec<String> = from_env.chain(others).collect();
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        // A secret that contains another one is hidden first, so that no end of it stays.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    pub(super) fn text(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| match text.contains(secret.as_str()) {
            true => text.replace(secret.as_str(), MASK),
            false => text,
        })
    }

    /// The same in every text of a value.
    pub(super) fn value(&self, value: &mut Value) {
        if self.secrets.is_empty() {
            return;
        }
        match value {
            Value::String(text) => *text = self.text(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whether a variable of this name is likely to hold a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASS", "PASSWD", "CREDENTIAL", "AUTH", "COOKIE", "PRIVATE"]
        .iter()
        .any(|word| name.contains(word))
}

/// Whether a text has the form of a key of a well-known service, whatever it is called.
fn is_key(text: &str) -> bool {
    const BEGINNINGS: [&str; 9] = ["sk-", "sk_", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA"];
    const BYTES_MIN: usize = 12;
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    text.len() >= BYTES_MIN
        && !text.contains(char::is_whitespace)
        && BEGINNINGS.iter().any(|start| text.starts_with(start))
}

/// Cuts a text to at most `bytes_max` at its end, on a character border.
pub(super) fn bounded(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let cut = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    Cow::Owned(format!("{} … ({} bytes in all)", &text[..cut], text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_hidden_in_texts_and_values_and_other_variables_are_not() {
        let mut spec = ServerSpec::new("s", "c", &[]);
        spec.env.insert("API_KEY".into(), "sk-abcdef".into());
        spec.env.insert("FOLDER".into(), "/home/me/data".into());
        spec.env.insert("CREDS_OF_MINE".into(), "ghp_0123456789".into());
        spec.args = vec!["--with=sk-args-0123456".into(), "sk-ip".into()];
        let mask = Mask::of(&spec);
        assert_eq!(mask.text("ghp_0123456789, sk-args-0123456, sk-ip".into()), "***, ***, sk-ip");
        assert_eq!(mask.text("key sk-abcdef in /home/me/data".into()), "key *** in /home/me/data");
        let mut value = json!({ "a": ["sk-abcdef", 1], "b": { "c": "xsk-abcdefx" } });
        mask.value(&mut value);
        assert_eq!(value, json!({ "a": ["***", 1], "b": { "c": "x***x" } }));
        assert!(!format!("{spec:?}{mask:?}").contains("sk-abcdef"));
    }

    #[test]
    fn cutting_keeps_whole_characters() {
        assert_eq!(bounded("äää", 3), "ä … (6 bytes in all)");
        assert_eq!(bounded("äää", 6), "äää");
    }
}
