//! Marks of chat templates: `<tool_call>`, `[TOOL_CALLS]`, `<|python_tag|>`, `<｜tool▁calls▁begin｜>` and the hundred ways
//! to write them, reduced to what they mean.

/// A mark in a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark<'t> {
    /// Its name: letters and digits, lower case, without namespace.
    pub(super) name: String,
    /// What stands behind the name: `=get_weather`, ` name="get_weather"`.
    pub(super) rest: &'t str,
    /// The name as written, for tags that are named after a tool.
    pub(super) written: &'t str,
    /// `</x>`, `[/X]`, `<x|>`.
    pub(super) is_closing: bool,
    /// `<x/>`.
    pub(super) is_empty: bool,
    /// Where the text behind it starts.
    pub(super) end: usize,
}

/// Longest mark.
const MARK_BYTES_MAX: usize = 400;

/// The mark that starts at `at`.
pub(super) fn mark_at(text: &str, at: usize) -> Option<Mark<'_>> {
    let rest = text.get(at..)?;
    if rest.starts_with("<<") {
        // `<<function>>` of Gorilla.
        let mark = angled(&rest[1..], at + 1)?;
        text[mark.end..].starts_with('>').then(|| Mark { end: mark.end + 1, ..mark })
    } else if rest.starts_with('<') {
        angled(rest, at)
    } else if rest.starts_with('[') {
        bracketed(rest, at)
    } else if rest.starts_with('◁') {
        let end = rest.find('▷').filter(|end| *end < 40)?;
        let inner = &rest['◁'.len_utf8()..end];
        let name = inner.trim_start_matches('/');
        Some(Mark {
            name: plain(name),
            rest: "",
            written: name,
            is_closing: inner.starts_with('/'),
            is_empty: false,
            end: at + end + '▷'.len_utf8(),
        })
    } else {
        None
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() && *c != '▁').flat_map(char::to_lowercase).collect()
}

fn angled(rest: &str, at: usize) -> Option<Mark<'_>> {
    let mut limit = rest.len().min(MARK_BYTES_MAX);
    while !rest.is_char_boundary(limit) {
        limit -= 1;
    }
    let mut quote = None;
    let mut close = None;
    for (i, c) in rest[..limit].char_indices().skip(1) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') && rest[..i].ends_with('=') => quote = Some(c),
            None if c == '>' => {
                close = Some(i);
                break;
            }
            None if c == '<' || (c == '\n' && !rest[..i].contains(' ')) => return None,
            None => {}
        }
    }
    let close = close?;
    let bars: &[char] = &['|', '｜'];
    let mut inner = &rest[1..close];
    let has_slash = inner.starts_with('/');
    inner = inner.trim_start_matches('/');
    let opens_with_bar = inner.starts_with(bars);
    let closes_with_bar = inner.ends_with(bars);
    inner = inner.trim_matches(bars);
    let is_slashed = has_slash || inner.starts_with('/');
    inner = inner.trim_start_matches('/');
    // `｜DSML｜invoke name="x"`
    if let Some((_, behind)) = inner.split_once(bars) {
        inner = behind;
    }
    let is_empty = inner.ends_with('/');
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let name_end = inner.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(inner.len());
    let (written, rest) = inner.split_at(name_end);
    if written.is_empty() || !written.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    let local = written.rsplit_once(':').map_or(written, |(_, local)| local);
    Some(Mark {
        name: plain(local),
        rest,
        written,
        is_closing: is_slashed || (closes_with_bar && !opens_with_bar),
        is_empty,
        end: at + close + 1,
    })
}

/// `[TOOL_CALLS]`, `[/THINK]`: capitals only, so that lists stay lists.
fn bracketed(rest: &str, at: usize) -> Option<Mark<'_>> {
    let close = rest.char_indices().take(40).find(|(_, c)| *c == ']').map(|(i, _)| i)?;
    let inner = &rest[1..close];
    let name = inner.trim_start_matches('/');
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    is_name.then(|| Mark {
        name: plain(name),
        rest: "",
        written: name,
        is_closing: inner.starts_with('/'),
        is_empty: false,
        end: at + close + 1,
    })
}

/// Where the next mark starts, from `at` on.
pub(super) fn next_mark(text: &str, at: usize) -> Option<(usize, Mark<'_>)> {
    let mut from = at;
    loop {
        let found = from + text.get(from..)?.find(['<', '[', '◁'])?;
        if let Some(mark) = mark_at(text, found) {
            return Some((found, mark));
        }
        from = found + text[found..].chars().next().map_or(1, char::len_utf8);
    }
}

impl Mark<'_> {
    /// Behind it stands a call, and nothing but a call.
    pub(super) fn opens_calls(&self) -> bool {
        !self.is_closing
            && matches!(
                self.name.as_str(),
                "toolcall"
                    | "toolcalls"
                    | "functioncall"
                    | "functioncalls"
                    | "toolcallstart"
                    | "toolcallsstart"
                    | "toolcallbegin"
                    | "toolcallsbegin"
                    | "toolcallsectionbegin"
                    | "toolcallssectionbegin"
                    | "startfunctioncall"
                    | "startfunctioncalls"
                    | "startaction"
                    | "actionstart"
                    | "pythontag"
                    | "pythonstart"
                    | "toolrequest"
                    | "toolcode"
                    | "tooluse"
                    | "usetool"
                    | "usemcptool"
                    | "calltool"
                    | "callfunction"
                    | "toolinvocation"
                    | "longcattoolcall"
                    | "functions"
                    | "tools"
                    | "tool"
                    | "function"
                    | "invoke"
                    | "toolname"
                    | "functionname"
                    | "recipient"
            )
    }

    /// A mark that also stands in texts of other kinds: without a readable call behind it, it says nothing.
    pub(super) fn is_weak(&self) -> bool {
        matches!(
            self.name.as_str(),
            "tools"
                | "tool"
                | "functions"
                | "function"
                | "invoke"
                | "toolname"
                | "functionname"
                | "tooluse"
                | "recipient"
        ) && self.rest.is_empty()
    }

    /// Behind it stands what only an engine may write: a result, or the next word of the user.
    pub(super) fn is_forged(&self) -> bool {
        !self.is_closing
            && matches!(
                self.name.as_str(),
                "toolresponse"
                    | "toolresponses"
                    | "toolresult"
                    | "toolresults"
                    | "tooloutput"
                    | "tooloutputs"
                    | "tooloutputbegin"
                    | "tooloutputsbegin"
                    | "functionresult"
                    | "functionresults"
                    | "functionresponse"
                    | "functionoutput"
                    | "functioncalloutput"
                    | "observation"
                    | "result"
                    | "results"
                    | "user"
                    | "human"
                    | "starttoolresult"
                    | "startfunctionresponse"
                    | "ipython"
                    | "inst"
            )
    }

    /// Reasoning starts or ends here.
    pub(super) fn is_reasoning(&self) -> bool {
        matches!(
            self.name.as_str(),
            "think"
                | "thinking"
                | "thought"
                | "thoughts"
                | "reasoning"
                | "reasoningcontent"
                | "reflection"
                | "analysis"
                | "scratchpad"
                | "innermonologue"
                | "antthinking"
                | "beginofthought"
                | "endofthought"
                | "startthinking"
                | "endthinking"
                | "thinkstart"
                | "thinkend"
                | "beginofthinking"
                | "endofthinking"
        ) && self.rest.is_empty()
    }

    /// Of the marks of [`Self::is_reasoning`]: it ends here.
    pub(super) fn ends_reasoning(&self) -> bool {
        self.is_closing || self.name.starts_with("end") || self.name == "thinkend"
    }

    /// A mark of the template around messages, without a meaning here.
    pub(super) fn is_noise(&self) -> bool {
        matches!(
            self.name.as_str(),
            "imstart"
                | "imend"
                | "eotid"
                | "eomid"
                | "eom"
                | "eot"
                | "endoftext"
                | "beginoftext"
                | "startheaderid"
                | "endheaderid"
                | "startofturn"
                | "endofturn"
                | "endofsentence"
                | "beginofsentence"
                | "end"
                | "start"
                | "return"
                | "call"
                | "message"
                | "assistant"
                | "startofrole"
                | "endofrole"
                | "endofturntoken"
                | "pythonend"
                | "endaction"
                | "actionend"
                | "plugin"
                | "toolcallend"
                | "toolcallsend"
                | "toolcallsectionend"
                | "toolcallssectionend"
                | "toolsep"
                | "endfunctioncall"
                | "endtoolrequest"
                | "startresponse"
                | "endresponse"
                | "s"
                | "tooldeclaration"
        ) || (self.is_closing && self.is_call_name())
    }

    fn is_call_name(&self) -> bool {
        Mark { is_closing: false, ..self.clone() }.opens_calls()
    }

    /// The value of an attribute: `name="x"`, or what stands behind `=`.
    pub(super) fn attribute(&self, key: &str) -> Option<&str> {
        if let Some(value) = self.rest.trim_start().strip_prefix('=') {
            return Some(unquoted(value.trim()));
        }
        let mut from = 0;
        while let Some(found) = self.rest[from..].find(key) {
            let at = from + found;
            let behind = self.rest[at + key.len()..].trim_start();
            if let Some(value) = behind.strip_prefix('=')
                && self.rest[..at].ends_with(char::is_whitespace)
            {
                let value = value.trim_start();
                return match value.chars().next()? {
                    quote @ ('"' | '\'') => value[1..].split(quote).next(),
                    _ => value.split_whitespace().next(),
                };
            }
            from = at + key.len();
        }
        None
    }
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}
