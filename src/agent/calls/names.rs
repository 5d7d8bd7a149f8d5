//! From the name that a model wrote to the one tool it means, if there is exactly one.

use super::{Offered, Wanted};

/// Prefixes that stand for "the tools" and for no server.
const GENERIC: &[&str] =
    &["functions", "function", "tools", "tool", "default_api", "default", "api", "mcp", "builtin", "namespace"];

/// What may stand between a server and its tool.
const SEPARATORS: &[&str] = &["__", "::", ".", "/", ":"];

/// The tools on offer, and what to do where there are none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers<'o>(pub(super) &'o [Offered], pub(super) Wanted);

/// Letters and digits alone, in lower case: what is left when case, dots, underscores and dashes do not count.
pub(super) fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl<'o> Offers<'o> {
    /// The tool that is meant, and whether its name had to be folded.
    pub(super) fn find(self, written: &str) -> Option<(&'o Offered, bool)> {
        let written = written.trim().trim_matches(['`', '"', '\'']);
        let written = without_index(written);
        // Llama's own tools are written `search.call(…)`.
        let written = written.strip_suffix(".call").unwrap_or(written);
        let written = written.strip_suffix("()").unwrap_or(written);
        if written.is_empty() || written.len() > 256 {
            return None;
        }
        if let Some(tool) = self.0.iter().find(|tool| tool.name == written) {
            return Some((tool, false));
        }
        self.only(|tool| folded(&tool.name) == folded(written))
            .or_else(|| self.find_unprefixed(written))
            .or_else(|| self.only(|tool| last_part(&tool.name).is_some_and(|last| folded(last) == folded(written))))
            .map(|tool| (tool, true))
    }

    /// Past a prefix that names no server: `functions.read_file`, `mcp__fs__read`.
    fn find_unprefixed(self, written: &str) -> Option<&'o Offered> {
        let (prefix, rest) = SEPARATORS
            .iter()
            .filter_map(|separator| written.split_once(separator))
            .min_by_key(|(prefix, _)| prefix.len())?;
        let is_generic = GENERIC.contains(&prefix.to_ascii_lowercase().as_str());
        if !is_generic || rest.is_empty() {
            return None;
        }
        self.find(rest).map(|(tool, _)| tool)
    }

    fn only(self, fits: impl Fn(&Offered) -> bool) -> Option<&'o Offered> {
        let mut fitting = self.0.iter().filter(|tool| fits(tool));
        let first = fitting.next()?;
        // An empty fold (a name of signs alone) fits everything that has no letters either.
        (fitting.next().is_none() && !folded(&first.name).is_empty()).then_some(first)
    }

    /// The tool whose name, as written or with other separators, ends this line; with where it starts.
    pub(super) fn ending(self, line: &str) -> Option<(&'o Offered, usize)> {
        let line = line.trim_end();
        let mut best: Option<(&Offered, usize)> = None;
        for tool in self.0 {
            for spelling in [tool.name.clone(), tool.name.replace(['.', '-', '/'], "_")] {
                let Some(before) = line.strip_suffix(&spelling) else { continue };
                let is_whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if is_whole && best.is_none_or(|(_, start)| before.len() < start) {
                    best = Some((tool, before.len()));
                }
            }
        }
        best
    }

    /// Names for a complaint.
    pub(super) fn listed(self) -> String {
        const SHOWN_MAX: usize = 40;
        let mut names: Vec<String> = self.0.iter().take(SHOWN_MAX).map(|tool| format!("`{}`", tool.name)).collect();
        if self.0.len() > SHOWN_MAX {
            names.push(format!("and {} more", self.0.len() - SHOWN_MAX));
        }
        names.join(", ")
    }
}

/// The part behind the last separator.
fn last_part(name: &str) -> Option<&str> {
    SEPARATORS
        .iter()
        .filter_map(|separator| name.rsplit_once(separator))
        .map(|(_, last)| last)
        .min_by_key(|last| last.len())
        .filter(|last| !last.is_empty())
}

/// Kimi counts its calls in the name: `functions.read:0`.
fn without_index(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((name, index)) if !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(offered: &[&str], written: &str, expect: Option<&str>) {
        let offered: Vec<Offered> =
            offered.iter().map(|name| Offered { name: (*name).to_owned(), parameters: json!({}) }).collect();
        let found = Offers(&offered, Wanted::Words).find(written).map(|(tool, _)| tool.name.as_str());
        assert_eq!(found, expect, "`{written}`");
    }

    #[test]
    fn a_name_is_found_when_one_tool_fits_and_only_one() {
        for (offered, written, expect) in [
            (&["read_file"][..], "read_file", Some("read_file")),
            (&["read_file"], "Read_File", Some("read_file")),
            (&["read_file"], "readFile", Some("read_file")),
            (&["read_file"], "read-file", Some("read_file")),
            (&["read_file"], "functions.read_file", Some("read_file")),
            (&["read_file"], "functions.read_file:3", Some("read_file")),
            (&["read_file"], "default_api.read_file", Some("read_file")),
            (&["read_file"], "`read_file`", Some("read_file")),
            (&["fs.read"], "fs_read", Some("fs.read")),
            (&["fs.read"], "read", Some("fs.read")),
            (&["fs__read"], "mcp__fs__read", Some("fs__read")),
            (&["fs.read", "db.read"], "read", None),
            (&["fs.read", "fs_read"], "fsread", None),
            (&["fs.read", "fs_read"], "fs_read", Some("fs_read")),
            (&["functions.zero", "functions.intersect"], "functions_intersect", Some("functions.intersect")),
            (&["functions.zero", "functions.intersect"], "functions.zero", Some("functions.zero")),
            (&["read_file"], "os.read_file", None),
            (&["read_file"], "file", None),
            (&["read_file"], "read_files", None),
            (&["read_file"], "", None),
            (&["___"], "...", None),
            (&[], "read_file", None),
            (&["获取天气"], "获取天气", Some("获取天气")),
            (&["get current temperature"], "get current temperature", Some("get current temperature")),
        ] {
            check(offered, written, expect);
        }
    }
}
