//! Which literals are calls: every arrangement of name and arguments that models write, as one set of rules.
//!
//! A literal is a call only as a whole: a tool that is merely mentioned inside of an answer, a plan or a listing is none.

use super::names::{Offers, folded};
use super::reader::{Invocation, Node, Words, literal};
use super::statements;

/// A call as it was written: nothing about it is checked yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raw {
    pub(super) name: String,
    pub(super) arguments: Arguments,
    pub(super) notes: Vec<String>,
    pub(super) id: Option<String>,
}

/// Arguments as they were written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arguments {
    /// Of an object; `is_closed` as of [`Node::Map`].
    Members { members: Vec<(String, Node)>, is_closed: bool },
    /// JSON text of an object.
    Json(String),
    /// In round brackets.
    Invoked { positional: Vec<Node>, named: Vec<(String, Node)> },
    /// Between tags: all of them text so far.
    Fields(Vec<(String, String)>),
    /// Words that stand for the only argument.
    Free(String),
    /// Nothing stands where arguments should.
    Omitted,
}

impl Raw {
    pub(super) fn new(name: impl Into<String>, arguments: Arguments) -> Self {
        Self { name: name.into(), arguments, notes: Vec::new(), id: None }
    }

    pub(super) fn members(name: impl Into<String>, members: Vec<(String, Node)>) -> Self {
        Self::new(name, Arguments::Members { members, is_closed: true })
    }
}

/// Keys that name the tool, by [`folded`] spelling; the first that is there counts.
const NAME_KEYS: &[&str] =
    &["toolname", "tool", "functionname", "function", "recipientname", "action", "name", "api", "apiname", "toolid"];

/// Keys that hold the arguments.
const ARGUMENT_KEYS: &[&str] = &[
    "arguments",
    "parameters",
    "args",
    "params",
    "input",
    "inputs",
    "actioninput",
    "actionarguments",
    "toolinput",
    "toolargs",
    "toolarguments",
    "toolparameters",
    "toolparams",
    "functionarguments",
    "functionargs",
    "functionparameters",
    "kwargs",
    "argument",
    "parameter",
];

/// Argument keys that say "call" by themselves, so that a tool that is not on offer is complained about.
const PLAIN_ARGUMENT_KEYS: &[&str] = &["arguments", "parameters", "args", "actioninput", "toolinput", "toolargs"];

/// Keys around a list of calls, or around one.
const WRAPPERS: &[&str] = &[
    "toolcalls",
    "toolcall",
    "functioncalls",
    "functioncall",
    "tooluses",
    "tooluse",
    "toolrequest",
    "toolrequests",
    "calls",
    "call",
];

/// Keys that may stand beside a call and say nothing about it.
const ASIDE: &[&str] = &[
    "id",
    "type",
    "callid",
    "toolcallid",
    "tooluseid",
    "index",
    "thought",
    "thoughts",
    "thinking",
    "reasoning",
    "reason",
    "rationale",
    "explanation",
    "comment",
    "role",
    "content",
    "refusal",
    "message",
];

fn is_aside(key: &str) -> bool {
    ASIDE.contains(&folded(key).as_str())
}

/// How sure it is that a call was meant before the literal is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It stands where only a call stands: behind a tag.
    Tagged,
    /// It stands in text, where answers stand too.
    Plain,
}

/// The calls that a literal is; none where it is something else.
pub(super) fn calls(node: &Node, offers: Offers<'_>, standing: Standing) -> Option<Vec<Raw>> {
    match node {
        Node::Map { members, is_closed: _ } => of_map(members, offers, standing),
        Node::List { items, is_closed: _ } => of_list(items, offers, standing),
        Node::Call(call) => of_invocation(call, offers, standing),
        Node::Text(text) => of_text(text, offers, standing),
        Node::Null | Node::Bool(_) | Node::Number(..) => None,
    }
}

fn text_of(node: &Node) -> Option<&str> {
    match node {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

fn member<'n>(members: &'n [(String, Node)], keys: &[&str]) -> Option<(usize, &'n Node)> {
    keys.iter().find_map(|key| {
        members.iter().enumerate().rev().find(|(_, (name, _))| folded(name) == *key).map(|(at, (_, node))| (at, node))
    })
}

fn id_of(members: &[(String, Node)]) -> Option<String> {
    member(members, &["toolcallid", "callid", "tooluseid", "id"])
        .and_then(|(_, node)| text_of(node))
        .filter(|id| !id.is_empty() && id.len() <= 256)
        .map(str::to_owned)
}

fn of_map(members: &[(String, Node)], offers: Offers<'_>, standing: Standing) -> Option<Vec<Raw>> {
    wrapped(members, offers, standing)
        .or_else(|| named(members, offers, standing).map(|raw| vec![raw]))
        .or_else(|| keyed_by_tool(members, offers, standing))
}

/// `{"tool_calls": […]}`, `{"type": "function", "function": {"name": …}}`.
fn wrapped(members: &[(String, Node)], offers: Offers<'_>, standing: Standing) -> Option<Vec<Raw>> {
    let is_wrapper = |key: &str, node: &Node| {
        let key = folded(key);
        match node {
            Node::List { .. } => WRAPPERS.contains(&key.as_str()),
            Node::Map { .. } => {
                WRAPPERS.contains(&key.as_str()) || matches!(key.as_str(), "function" | "tool" | "action")
            }
            _ => false,
        }
    };
    let mut wrappers = members.iter().enumerate().filter(|(_, (key, node))| is_wrapper(key, node));
    let (at, (_, inner)) = wrappers.next()?;
    if wrappers.next().is_some() || !members.iter().enumerate().all(|(i, (key, _))| i == at || is_aside(key)) {
        return None;
    }
    let mut found = match inner {
        Node::Map { members: inner, .. } => of_map(inner, offers, standing)?,
        other => calls(other, offers, standing)?,
    };
    if let [only] = found.as_mut_slice()
        && only.id.is_none()
    {
        only.id = id_of(members);
    }
    Some(found)
}

/// `{"name": …, "arguments": …}` in all its spellings.
fn named(members: &[(String, Node)], offers: Offers<'_>, standing: Standing) -> Option<Raw> {
    let mut candidates = NAME_KEYS.iter().filter_map(|key| {
        let (at, node) = member(members, &[key])?;
        Some((at, text_of(node)?))
    });
    let (name_at, name) =
        candidates.clone().find(|(_, name)| offers.find(name).is_some()).or_else(|| candidates.next())?;
    if name.is_empty() || name.len() > 256 {
        return None;
    }
    // A server beside the tool belongs to its name, where that is how the tool is offered.
    let server =
        member(members, &["server", "servername", "mcpserver"]).and_then(|(at, node)| Some((at, text_of(node)?)));
    let name = match server {
        Some((_, server)) if offers.find(&format!("{server}.{name}")).is_some() => format!("{server}.{name}"),
        _ => name.to_owned(),
    };
    let is_offered = offers.find(&name).is_some();
    let mut holders = members
        .iter()
        .enumerate()
        .filter(|(at, (key, _))| *at != name_at && ARGUMENT_KEYS.contains(&folded(key).as_str()));
    let holder = holders.next();
    let is_beside =
        |at: usize, key: &str| at == name_at || is_aside(key) || server.is_some_and(|(server_at, _)| at == server_at);
    let Some((holder_at, (holder_key, node))) = holder else {
        return without_holder(members, name, is_offered, standing, is_beside, offers);
    };
    if holders.next().is_some() {
        return None;
    }
    let is_whole = members.iter().enumerate().all(|(at, (key, _))| at == holder_at || is_beside(at, key));
    if !is_whole && standing == Standing::Plain {
        return None;
    }
    // What carries a result tells of a call that has been made.
    let has_result = members.iter().any(|(key, _)| {
        matches!(folded(key).as_str(), "result" | "results" | "output" | "observation" | "response" | "toolresult")
    });
    let is_plain_key = PLAIN_ARGUMENT_KEYS.contains(&folded(holder_key).as_str());
    if has_result || (!is_offered && standing == Standing::Plain && !is_plain_key) {
        return None;
    }
    let arguments = match node {
        Node::Map { members, is_closed } => {
            if is_definition(members, &name, offers) {
                return None;
            }
            Arguments::Members { members: members.clone(), is_closed: *is_closed }
        }
        Node::Null => Arguments::Members { members: Vec::new(), is_closed: true },
        Node::List { items, is_closed: true } if items.is_empty() => {
            Arguments::Members { members: Vec::new(), is_closed: true }
        }
        Node::Text(text) if text.trim_start().starts_with('{') => Arguments::Json(text.clone()),
        Node::Text(text) if text.trim().is_empty() => Arguments::Members { members: Vec::new(), is_closed: true },
        Node::Text(text) if is_offered && folded(holder_key) == "actioninput" => Arguments::Free(text.clone()),
        Node::List { items, is_closed: true } if is_offered && pair_list(items).is_some() => {
            Arguments::Members { members: pair_list(items).unwrap_or_default(), is_closed: true }
        }
        _ if standing == Standing::Tagged || is_offered => {
            // An evident attempt whose arguments are no object: the complaint comes with the check.
            Arguments::Json(node.to_value().map_or_else(String::new, |value| value.to_string()))
        }
        _ => return None,
    };
    let mut raw = Raw::new(name, arguments);
    raw.id = id_of(members);
    Some(raw)
}

/// `[{"name": "path", "value": "a.txt"}]`: arguments as a list of pairs.
fn pair_list(items: &[Node]) -> Option<Vec<(String, Node)>> {
    items
        .iter()
        .map(|item| match item {
            Node::Map { members, is_closed: true } if members.len() == 2 => {
                let (_, key) = member(members, &["name", "key"])?;
                let (_, value) = member(members, &["value"])?;
                Some((text_of(key)?.to_owned(), value.clone()))
            }
            _ => None,
        })
        .collect()
}

/// A call without a key for its arguments: none at all, or all of them beside the name.
fn without_holder(
    members: &[(String, Node)],
    name: String,
    is_offered: bool,
    standing: Standing,
    is_beside: impl Fn(usize, &str) -> bool,
    offers: Offers<'_>,
) -> Option<Raw> {
    let flat: Vec<(String, Node)> = members
        .iter()
        .enumerate()
        .filter(|(at, (key, _))| !is_beside(*at, key))
        .map(|(_, member)| member.clone())
        .collect();
    if flat.is_empty() {
        return (standing == Standing::Tagged).then(|| Raw::new(name, Arguments::Omitted));
    }
    let (tool, _) = offers.find(&name).filter(|_| is_offered)?;
    let are_declared = flat.iter().all(|(key, _)| tool.declares(key));
    let has_own_name = NAME_KEYS.iter().any(|key| tool.declares(key));
    (are_declared && !has_own_name).then(|| {
        let mut raw = Raw::members(name, flat);
        raw.notes.push("the arguments stood beside the name".to_owned());
        raw
    })
}

/// The schema of a tool in place of its arguments: the definition was echoed.
fn is_definition(members: &[(String, Node)], name: &str, offers: Offers<'_>) -> bool {
    let is_schema = members.iter().any(|(key, node)| key == "properties" && matches!(node, Node::Map { .. }))
        && members.iter().any(|(key, _)| key == "type" || key == "required");
    is_schema && offers.find(name).is_none_or(|(tool, _)| !tool.declares("properties"))
}

/// `{"read_file": {"path": …}}`, one or several.
fn keyed_by_tool(members: &[(String, Node)], offers: Offers<'_>, standing: Standing) -> Option<Vec<Raw>> {
    if members.is_empty() {
        return None;
    }
    members
        .iter()
        .map(|(key, node)| {
            let (tool, _) = offers.find(key)?;
            match node {
                Node::Map { members, is_closed } => {
                    let is_sure = standing == Standing::Tagged
                        || (!members.is_empty() && members.iter().all(|(key, _)| tool.declares(key)));
                    is_sure
                        .then(|| Raw::new(key, Arguments::Members { members: members.clone(), is_closed: *is_closed }))
                }
                _ => None,
            }
        })
        .collect()
}

fn of_list(items: &[Node], offers: Offers<'_>, standing: Standing) -> Option<Vec<Raw>> {
    if items.is_empty() {
        return None;
    }
    pairs(items, offers).or_else(|| {
        let mut all = Vec::new();
        for item in items {
            all.extend(calls(item, offers, standing)?);
        }
        Some(all)
    })
}

/// `["name", {…}]`, also several such pairs in one list. More objects behind one name say nothing that is sure: the
/// first counts.
fn pairs(items: &[Node], offers: Offers<'_>) -> Option<Vec<Raw>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < items.len() {
        let name = text_of(items.get(at)?)?;
        offers.find(name)?;
        let Node::Map { members, is_closed } = items.get(at + 1)? else { return None };
        let mut raw = Raw::new(name, Arguments::Members { members: members.clone(), is_closed: *is_closed });
        at += 2;
        while let Some(Node::Map { .. }) = items.get(at) {
            raw.notes.push("more objects behind the name were left out".to_owned());
            at += 1;
        }
        found.push(raw);
    }
    (!found.is_empty()).then_some(found)
}

fn of_invocation(call: &Invocation, offers: Offers<'_>, standing: Standing) -> Option<Vec<Raw>> {
    if offers.find(&call.name).is_none() {
        // `print(f(x))`, `json.dumps(f(x))` and the like: what they are given is what was meant.
        if matches!(call.name.as_str(), "print" | "str" | "display" | "console.log" | "json.dumps" | "asyncio.run") {
            return match call.positional.as_slice() {
                [inner @ Node::Call(_)] if call.named.is_empty() => calls(inner, offers, standing),
                _ => None,
            };
        }
        // `multi_tool_use.parallel({...})`
        if let [only @ Node::Map { .. }] = call.positional.as_slice()
            && call.named.is_empty()
            && let Some(inner) = calls(only, offers, standing)
        {
            return Some(inner);
        }
    }
    Some(vec![Raw::new(
        call.name.clone(),
        Arguments::Invoked { positional: call.positional.clone(), named: call.named.clone() },
    )])
}

/// A text that is a call in round brackets, or JSON of one.
fn of_text(text: &str, offers: Offers<'_>, standing: Standing) -> Option<Vec<Raw>> {
    let trimmed = text.trim();
    if trimmed.starts_with('{') {
        let literal = literal(trimmed, 0, Words::Refused).ok()?;
        let is_all = trimmed[literal.end..].trim().is_empty();
        return match literal.node {
            Node::Map { .. } if is_all => calls(&literal.node, offers, standing),
            _ => None,
        };
    }
    if !trimmed.ends_with(')') {
        return None;
    }
    let found = statements::block(trimmed, 0, offers, standing).ok()?;
    (found.end == trimmed.len() && found.raws.iter().all(|raw| offers.find(&raw.name).is_some())).then_some(found.raws)
}
