//! Where a model server is: `OLLAMA_HOST` in all its forms, and plain URLs. User and password leave the text here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::key::Key;

/// The port of Ollama where neither a port nor a scheme is given.
const OLLAMA_PORT: u16 = 11_434;

/// The address of one model server.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `http://host:port/prefix`, without a slash at the end and without user or password.
    base: String,
    host: String,
    key: Option<Key>,
}

/// Why a text is no address of a model server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Something other than HTTP.
    #[error("`{scheme}://` is no way to reach a model server: use `http://` or `https://`")]
    Scheme {
        /// What stands there.
        scheme: String,
    },
    /// Nothing where the host should be, where one is needed.
    #[error("the address `{text}` names no host")]
    NoHost {
        /// The address, without user and password.
        text: String,
    },
    /// Not a number from 1 to 65535.
    #[error("`{port}` is no port: a number from 1 to 65535 is needed")]
    Port {
        /// What stands there.
        port: String,
    },
    /// A query or fragment, a space, a host that cannot be one.
    #[error("`{text}` is no address of a model server: {why}")]
    Malformed {
        /// The address, without user and password.
        text: String,
        /// What is wrong.
        why: String,
    },
}

impl Address {
    /// Reads `OLLAMA_HOST`: nothing, `host`, `host:port`, `:port`, `http://host[:port][/prefix]`, `https://…`.
    ///
    /// The port is 11434 without a scheme and 80 or 443 with one, as Ollama's own client takes it. An address that only a
    /// server can listen at (`0.0.0.0`, `[::]`) means this machine.
    ///
    /// # Errors
    /// [`AddressError`]; where Ollama falls back to its default port for one that is none, this is a fault.
    pub fn ollama(text: &str) -> Result<Self, AddressError> {
        Self::read(text, Some(OLLAMA_PORT))
    }

    /// Reads a URL of any model server: `http://host[:port][/prefix]` or `https://…`.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn url(text: &str) -> Result<Self, AddressError> {
        Self::read(text, None)
    }

    /// The address for people and for requests: no user, no password, no slash at the end.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.base
    }

    /// Whether the server is this machine itself.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let name = self.host.trim_end_matches('.').to_ascii_lowercase();
        match self.ip() {
            Some(IpAddr::V4(ip)) => ip.is_loopback(),
            Some(IpAddr::V6(ip)) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
            None => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether the server stands in a network of the user's own, as far as the address tells: private and link-local
    /// addresses, those of overlay networks (100.64.0.0/10), names without a dot and names that are never public.
    #[must_use]
    pub fn is_own_network(&self) -> bool {
        if self.is_loopback() {
            return true;
        }
        let own_v4 = |ip: Ipv4Addr| {
            ip.is_private() || ip.is_link_local() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
        };
        match self.ip() {
            Some(IpAddr::V4(ip)) => own_v4(ip),
            Some(IpAddr::V6(ip)) => {
                ip.is_unique_local() || ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some_and(own_v4)
            }
            None => {
                let name = self.host.trim_end_matches('.').to_ascii_lowercase();
                !name.contains('.')
                    || [".local", ".lan", ".internal", ".home.arpa", ".test"].iter().any(|end| name.ends_with(end))
            }
        }
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// The credential that stood in the address.
    pub(super) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// The path below the host, empty or with a slash in front.
    pub(super) fn prefix(&self) -> &str {
        let after = self.base.find("://").map_or(0, |at| at + 3);
        self.base[after..].find('/').map_or("", |at| &self.base[after + at..])
    }

    /// The same server with another prefix.
    pub(super) fn with_prefix(&self, prefix: &str) -> Self {
        let root = &self.base[..self.base.len() - self.prefix().len()];
        Self { base: format!("{root}{}", prefix.trim_end_matches('/')), ..self.clone() }
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
    }

    fn read(text: &str, schemeless_port: Option<u16>) -> Result<Self, AddressError> {
        let text = text.trim().trim_matches(['"', '\'']).trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        let (user, host_port) = match authority.rsplit_once('@') {
            Some((user, host_port)) => (Some(user), host_port),
            None => (None, authority),
        };
        let plain = format!("{}{host_port}{path}", scheme.as_ref().map_or(String::new(), |word| format!("{word}://")));
        let malformed = |why: String| AddressError::Malformed { text: plain.clone(), why };

        let scheme = match (scheme.as_deref(), schemeless_port) {
            (Some("http"), _) => "http",
            (Some("https"), _) => "https",
            (Some(other), _) => return Err(AddressError::Scheme { scheme: other.to_owned() }),
            (None, Some(_)) => "http",
            (None, None) if plain.is_empty() => return Err(AddressError::NoHost { text: plain }),
            (None, None) => return Err(malformed("it must begin with `http://` or `https://`".to_owned())),
        };
        if let Some((_, after)) = path.rsplit_once('@') {
            // Most likely a password with a `/` in it, so nothing of what stands before is repeated.
            let why = "user and password must be percent-encoded, and no `@` may follow the host".to_owned();
            return Err(AddressError::Malformed { text: format!("…@{after}"), why });
        }
        if let Some(mark) = path.find(['?', '#']) {
            return Err(malformed(format!("`{}` has no place in it", &path[mark..])));
        }
        let (host, port) = split_port(host_port);
        let host = match host {
            "" if schemeless_port.is_some() => "127.0.0.1".to_owned(),
            "" => return Err(AddressError::NoHost { text: plain }),
            "0.0.0.0" => "127.0.0.1".to_owned(),
            "[::]" | "::" => "[::1]".to_owned(),
            bare if bare.parse::<Ipv6Addr>().is_ok() => format!("[{bare}]"),
            name => name.to_owned(),
        };
        let port = match port {
            Some(digits) => Some(read_port(digits)?),
            None if plain.contains("://") => None,
            None => schemeless_port,
        };
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let url =
            Url::parse(&format!("{scheme}://{host}{port}{path}")).map_err(|error| malformed(error.to_string()))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        // `Url` drops a port that its scheme implies; the text keeps what was meant, so that it can be read again.
        let base = format!("{scheme}://{host}{port}{}", url.path().trim_end_matches('/'));
        Ok(Self { base, host, key: user.map(read_user) })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?}{})", self.base, if self.key.is_some() { ", (secret)" } else { "" })
    }
}

/// Whether a URL leads to this machine; `false` for what is no URL. For warnings: what is sent to others can be read there.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    Address::ollama(url).is_ok_and(|address| address.is_loopback())
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address, which has no port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some(end) = text.rfind(']').filter(|_| text.starts_with('[')) {
        let (host, rest) = text.split_at(end + 1);
        return (host, (!rest.is_empty()).then(|| rest.strip_prefix(':').unwrap_or(rest)));
    }
    if text.matches(':').count() > 1 {
        return (text, None);
    }
    text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
}

fn read_port(digits: &str) -> Result<u16, AddressError> {
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = only_digits.then(|| digits.parse().ok()).flatten().filter(|port| *port > 0);
    port.ok_or_else(|| AddressError::Port { port: digits.to_owned() })
}

fn read_user(text: &str) -> Key {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Key::basic(&percent_decoded(user), &percent_decoded(password))
}

/// The text with its `%20`s and the like as what they stand for.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, after) {
            (b'%', [high, low, ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0);
                out.push(u8::try_from(value).unwrap_or(b'?'));
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(Address::ollama(text).as_ref().map(Address::shown), Ok(expect), "{text}");
    }

    #[test]
    fn ollama_host_is_read_in_all_its_forms() {
        check("", "http://127.0.0.1:11434");
        check("  \"box\" ", "http://box:11434");
        check("box", "http://box:11434");
        check("box:8080", "http://box:8080");
        check("box:80", "http://box:80");
        check(":11500", "http://127.0.0.1:11500");
        check("box/ollama/", "http://box:11434/ollama");
        check("http://box", "http://box");
        check("http://box:11434/", "http://box:11434");
        check("HTTPS://box", "https://box");
        check("https://box.example/llm/", "https://box.example/llm");
        check("https://box.example:8443/a/b", "https://box.example:8443/a/b");
        check("0.0.0.0", "http://127.0.0.1:11434");
        check("0.0.0.0:11500", "http://127.0.0.1:11500");
        check("http://0.0.0.0:1", "http://127.0.0.1:1");
        check("[::]:1", "http://[::1]:1");
        check("::1", "http://[::1]:11434");
        check("[::1]", "http://[::1]:11434");
        check("[fe80::2]:99", "http://[fe80::2]:99");
        check("user:pa%3Ass@box", "http://box:11434");
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        for (text, part) in [
            ("ftp://box", "`ftp://` is no way"),
            ("box:http", "`http` is no port"),
            ("box:0", "`0` is no port"),
            ("box:70000", "`70000` is no port"),
            ("box:+80", "`+80` is no port"),
            ("http://box:", "`` is no port"),
            ("http://box?x=1", "`?x=1` has no place"),
            ("a b", "is no address"),
        ] {
            let error = Address::ollama(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Address::url("box:8080").unwrap_err().to_string().contains("must begin with `http://`"));
        assert!(Address::url("http://").unwrap_err().to_string().contains("names no host"));
        assert!(Address::url("").unwrap_err().to_string().contains("names no host"));
    }

    #[test]
    fn user_and_password_become_a_header_and_are_never_shown() {
        let address = Address::url("https://me:p%40ss@box.example/v1").unwrap();
        assert_eq!(address.shown(), "https://box.example/v1");
        assert_eq!(address.key().map(Key::header), Some("Basic bWU6cEBzcw=="));
        assert!(!format!("{address:?}").contains("ss@"), "{address:?}");
        for text in [
            "ftp://me:hush@box",
            "http://me:hush@box:x",
            "http://me:hush@box?y",
            "http://me:hush@",
            "http://me:hush/x@box",
        ] {
            let error = Address::url(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for url in [
            "",
            "localhost",
            "http://127.0.0.1:1/x",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "a.localhost",
            "LOCALHOST.",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "box",
            "10.0.0.1",
            "http://localhost.example.com",
            "https://x.trycloudflare.com",
            "http://127.0.0.1.nip.io",
            "ftp://x",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn private_networks_are_told_from_public_ones() {
        for url in [
            "http://192.168.1.5",
            "http://10.1.1.1:8080",
            "http://box",
            "http://box.lan/",
            "http://[fd00::1]",
            "http://100.100.1.1",
        ] {
            assert!(Address::url(url).unwrap().is_own_network(), "{url}");
        }
        for url in ["https://api.openai.com/v1", "http://8.8.8.8", "http://[2001:db8::1]", "http://100.128.0.1"] {
            assert!(!Address::url(url).unwrap().is_own_network(), "{url}");
        }
    }

    #[test]
    fn a_prefix_can_be_changed() {
        let address = Address::url("http://box:1/a/v1/").unwrap();
        assert_eq!(address.prefix(), "/a/v1");
        assert_eq!(address.with_prefix("/a").shown(), "http://box:1/a");
        assert_eq!(Address::url("http://box").unwrap().with_prefix("/v1").shown(), "http://box/v1");
    }
}
