//! Which of our own variables a tool server gets: a short list of harmless ones and what is named for it.
//! Everything else, API keys before all, stays here.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::masking::is_secret_name;

/// Names that every server gets. The last line: without its certificates a server behind a company's proxy cannot
/// reach anything.
const PASSED: [&str; 16] = [
    "PATH",
    "HOME",
    "LANG",
    "LANGUAGE",
    "TERM",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "SHELL",
    "TZ",
    "PWD",
    "COLUMNS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
];

/// Beginnings of names that every server gets.
const PASSED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];

/// Picks from `ours` what a server may have.
#[must_use]
pub fn passed(ours: impl Iterator<Item = (OsString, OsString)>, named: &[String]) -> BTreeMap<OsString, OsString> {
    ours.filter(|(name, _)| name.to_str().is_some_and(|name| is_passed(name, named))).collect()
}

fn is_passed(name: &str, named: &[String]) -> bool {
    let is_usual = PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    named.iter().any(|one| one == name) || (is_usual && !is_secret_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_and_named_variables_pass() {
        let named = ["MY_DATABASE".to_owned()];
        for name in ["PATH", "LC_ALL", "XDG_CACHE_HOME", "MY_DATABASE"] {
            assert!(is_passed(name, &named), "{name}");
        }
        for name in ["ANTHROPIC_API_KEY", "XDG_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "OLLMCP_HOME"] {
            assert!(!is_passed(name, &named), "{name}");
        }
    }
}
