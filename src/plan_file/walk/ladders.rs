//! Rungs, the plan's `ladders` and its `model_servers`.

use std::collections::BTreeMap;

use crate::domain::nearest::nearest;
use crate::domain::plan::{ModelServerKind, ModelServerSpec};

use super::super::expr::is_name;
use super::super::fault::Fault;
use super::super::keys::{CLAUDE, OLLAMA, Place, RUNG_CHARS_MAX, SERVER_KINDS, SERVER_SCHEMA, SLOTS_MAX, STAND_IN};
use super::super::node::{Data, Name, Node};
use super::place::At;
use super::{Fields, NAME_CHARS_MAX, Walker};

/// Longest address of a model server, in bytes.
const URL_BYTES_MAX: usize = 2_000;

/// Whether a rung costs money.
pub(super) fn is_paid(rung: &str) -> bool {
    rung == CLAUDE || rung.strip_prefix(CLAUDE).is_some_and(|rest| rest.starts_with(':'))
}

impl<'a> Walker<'a> {
    pub(super) fn read_ladders(&mut self, fields: &Fields<'a>, at: &At<'_>) -> BTreeMap<String, Vec<String>> {
        let mut ladders = BTreeMap::new();
        let Some(node) = fields.get("ladders") else { return ladders };
        let at = at.key("ladders");
        let Data::Map(entries) = &node.data else {
            self.expected("a map of ladders", node, &at);
            return ladders;
        };
        self.duplicates(entries, &at);
        for (name, node) in entries {
            let at = at.key(&name.text);
            let Data::List(list) = &node.data else {
                self.expected("a list of rungs", node, &at);
                continue;
            };
            if list.is_empty() {
                self.fault(node.span(), &at, "a ladder needs at least one rung");
            }
            let rungs = list
                .iter()
                .enumerate()
                .filter_map(|(index, node)| self.rung(node, &at.index(index)))
                .map(str::to_owned);
            ladders.insert(name.text.clone(), rungs.collect());
        }
        ladders
    }

    /// `SERVER:MODEL`, `claude` or `claude:MODEL`; `None` for what is no rung at all.
    pub(super) fn rung(&mut self, node: &'a Node, at: &At<'_>) -> Option<&'a str> {
        let rung = self.text(node, at)?;
        let is_plain =
            rung.chars().count() <= RUNG_CHARS_MAX && !rung.chars().any(|c| c.is_whitespace() || c.is_control());
        let parts = rung.split_once(':').filter(|(server, model)| !server.is_empty() && !model.is_empty());
        let server = match parts {
            Some((server, _)) if is_plain => server,
            None if rung == CLAUDE => CLAUDE,
            _ => {
                let shown: String = rung.chars().take(60).collect();
                self.fault(node.span(), at, format!("`{}` is no rung", shown.escape_debug())).hint =
                    Some("write `SERVER:MODEL`, `claude` or `claude:MODEL`".to_owned());
                return None;
            }
        };
        if server != CLAUDE {
            self.model_server(server, rung, node, at);
        }
        Some(rung)
    }

    /// Whether the server of a rung is there.
    fn model_server(&mut self, server: &str, rung: &str, node: &Node, at: &At<'_>) {
        let Some(configured) = &self.catalog.model_servers else { return };
        let known: Vec<&str> = [OLLAMA]
            .into_iter()
            .chain(self.model_servers.iter().copied())
            .chain(configured.iter().map(String::as_str))
            .collect();
        if known.contains(&server) {
            return;
        }
        let near = nearest(server, known.iter().copied().chain([CLAUDE]));
        let mut fault = Fault::at(node.span(), format!("no model server is called `{server}`")).path(at);
        fault.nearest = near.map(|near| format!("{near}{}", &rung[server.len()..]));
        if near.is_none() {
            let shown: Vec<String> = known.iter().take(12).map(|name| format!("`{name}`")).collect();
            // A model's own name holds a colon, so the server is easily forgotten: `qwen3:8b`.
            fault.hint = Some(format!("a rung is `SERVER:MODEL`, servers are {}", shown.join(", ")));
        }
        self.faults.push(fault);
    }

    pub(super) fn read_model_servers(&mut self, fields: &Fields<'a>, at: &At<'_>) -> BTreeMap<String, ModelServerSpec> {
        let mut servers = BTreeMap::new();
        let Some(node) = fields.get("model_servers") else { return servers };
        let at = at.key("model_servers");
        let Data::Map(entries) = &node.data else {
            self.expected("a map of model servers", node, &at).hint =
                Some("write `NAME: { kind: openai, url: \"http://…\" }`".to_owned());
            return servers;
        };
        self.duplicates(entries, &at);
        for (name, node) in entries {
            let at = at.key(&name.text);
            self.server_name(name, &at);
            if let Some(server) = self.server(name, node, &at) {
                servers.insert(name.text.clone(), server);
            }
        }
        servers
    }

    fn server_name(&mut self, name: &Name, at: &At<'_>) {
        if name.text == CLAUDE {
            self.fault(name.span(), at, "`claude` is reserved: no model server may have its name");
        } else if !is_name(&name.text) || name.text.len() > NAME_CHARS_MAX {
            self.fault(
                name.span(),
                at,
                "a model server's name is a letter or `_`, then letters, digits, `_` and `-`: it stands before the colon of a rung",
            );
        }
    }

    fn server(&mut self, name: &Name, node: &'a Node, at: &At<'_>) -> Option<ModelServerSpec> {
        let Data::Map(entries) = &node.data else {
            self.expected("a map with `kind` and `url`", node, at);
            return None;
        };
        let fields = self.fields(entries, node.span(), Place::ModelServer, at);
        let is_stand_in =
            fields.get("kind").is_some_and(|node| matches!(&node.data, Data::Str(text) if text == STAND_IN));
        if is_stand_in {
            for word in ["url", "key_env", "slots", "schema"] {
                if let Some(node) = fields.get(word) {
                    self.fault(
                        node.span(),
                        &at.key(word),
                        format!("a stand-in is inside the program: it has no `{word}`"),
                    );
                }
            }
            return Some(ModelServerSpec::stand_in());
        }
        for word in ["kind", "url"] {
            if fields.get(word).is_none() && !self.has_fault_near(word) {
                self.fault(name.span(), at, format!("model server `{}` needs `{word}`", name.text));
            }
        }
        let kind = fields.get("kind").and_then(|node| self.word(node, SERVER_KINDS, &at.key("kind")));
        let url = fields.get("url").and_then(|node| self.url(node, &at.key("url")));
        let key_env = fields.get("key_env").and_then(|node| self.variable(node, &at.key("key_env")));
        let slots = fields.get("slots").and_then(|node| self.whole(node, 1, SLOTS_MAX, &at.key("slots")));
        let schema = fields.get("schema").and_then(|node| self.word(node, SERVER_SCHEMA, &at.key("schema")));
        Some(ModelServerSpec {
            kind: if kind? == "openai" { ModelServerKind::Openai } else { ModelServerKind::Ollama },
            url: url?.to_owned(),
            key_env: key_env.map(str::to_owned),
            slots: slots.and_then(|slots| u32::try_from(slots).ok()),
            schema_bound: schema.map(|word| word == "bind"),
        })
    }

    fn url(&mut self, node: &'a Node, at: &At<'_>) -> Option<&'a str> {
        let url = self.text(node, at)?;
        match wrong_with(url) {
            None => Some(url),
            Some((message, hint)) => {
                self.fault(node.span(), at, message).hint = hint.map(str::to_owned);
                None
            }
        }
    }

    /// A name of an environment variable. What stands there instead may be a key, so it is not repeated.
    fn variable(&mut self, node: &'a Node, at: &At<'_>) -> Option<&'a str> {
        let text = self.text(node, at)?;
        let is_variable = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.len() <= NAME_CHARS_MAX;
        if !is_variable {
            let hint = if text.starts_with('$') {
                "write its name without `$`"
            } else {
                "the key itself never stands in a plan"
            };
            self.fault(node.span(), at, "`key_env` is the name of an environment variable").hint =
                Some(hint.to_owned());
            return None;
        }
        Some(text)
    }
}

/// What is wrong with the address of a model server, and what to write. Nothing of a password is repeated.
fn wrong_with(url: &str) -> Option<(String, Option<&'static str>)> {
    const SCHEME_HINT: Option<&str> = Some("an address begins with `http://` or `https://`");
    if url.len() > URL_BYTES_MAX {
        return Some((format!("an address has at most {URL_BYTES_MAX} bytes"), None));
    }
    if super::super::expr::has_expression(url) {
        return Some(("expressions are not evaluated in an address".to_owned(), None));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some(("an address holds no blanks".to_owned(), None));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(("this is no address of a model server".to_owned(), SCHEME_HINT));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        let shown: String = scheme.chars().take(20).collect();
        return Some((format!("a model server is not reached by `{}://`", shown.escape_debug()), SCHEME_HINT));
    }
    if rest.contains('@') {
        let message = "an address in a plan holds no user and no password";
        return Some((message.to_owned(), Some("name the variable that holds the key: `key_env`")));
    }
    if rest.contains(['?', '#']) {
        return Some(("an address of a model server has no `?` and no `#`".to_owned(), None));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rfind(']').filter(|_| authority.starts_with('[')) {
        Some(end) => (
            &authority[1..end],
            authority[end + 1..].strip_prefix(':').or_else(|| (end + 1 < authority.len()).then_some("?")),
        ),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Some(("this address names no host".to_owned(), Some("write it as `http://HOST:PORT`")));
    }
    let is_host = if authority.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    if !is_host {
        return Some((format!("`{}` is no host", host.escape_debug()), None));
    }
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..)) || port.starts_with('+')) {
        return Some(("the port of an address is a number from 1 to 65535".to_owned(), None));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::wrong_with;

    #[test]
    fn an_address_has_a_scheme_a_host_and_no_password() {
        for url in [
            "http://box:8080/v1",
            "https://example.org",
            "HTTP://127.0.0.1:11434/",
            "http://[::1]:8080/v1",
            "http://[fe80::1]",
            "http://müller.example/a/b",
            "http://my_box",
        ] {
            assert_eq!(wrong_with(url), None, "{url}");
        }
        for (url, word) in [
            ("", "no address"),
            ("box:8080", "no address"),
            ("ftp://box", "`ftp://`"),
            ("http://", "no host"),
            ("http:///v1", "no host"),
            ("http://:8080", "no host"),
            ("http://[]", "no host"),
            ("http://[::1", "no host"),
            ("http://[::x]", "is no host"),
            ("http://a b", "no blanks"),
            ("http://box:0", "port"),
            ("http://box:65536", "port"),
            ("http://box:+1", "port"),
            ("http://box:", "port"),
            ("http://::1", "no host"),
            ("http://[::1]8080", "port"),
            ("http://box?x=1", "no `?`"),
            ("http://${{ inputs.x }}", "expressions"),
            ("http://a%20b", "is no host"),
        ] {
            let (told, _) = wrong_with(url).unwrap_or_else(|| panic!("{url} passes"));
            assert!(told.contains(word), "{url}: {told}");
        }
        let (told, hint) = wrong_with("https://ann:s3cret@box/v1").unwrap();
        assert!(!told.contains("s3cret") && !hint.unwrap().contains("s3cret"), "{told}");
    }
}
