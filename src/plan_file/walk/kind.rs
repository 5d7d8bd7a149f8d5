//! What a step does: exactly one of `tool`, `value`, `agent`.

use serde_json::{Map, Value};

use crate::domain::plan::StepKind;

use super::super::catalog::ServerTools;
use super::super::keys::KINDS;
use super::super::node::{Data, Name, Node};
use super::place::At;
use super::refer::{Scope, Stand};
use super::step::no_kind;
use super::{Fields, Walker};
use crate::domain::nearest::nearest;

const TOOL_HINT: &str = "a tool is written `server.tool`, as in `fs.list`";
const TOOLS_HINT: &str = "write `server.tool`, as in `fs.list`, or `server.*` for all of a server";

impl<'a> Walker<'a> {
    pub(super) fn kind(&mut self, fields: &Fields<'a>, scope: &mut Scope<'_>, at: &At<'_>) -> StepKind {
        let kinds: Vec<(&'static str, &Name, &'a Node)> =
            fields.entries.iter().filter(|(name, ..)| KINDS.contains(name)).map(|(n, k, v)| (*n, *k, *v)).collect();
        match kinds.as_slice() {
            [] => {
                if !fields.has_near_kind {
                    self.fault(fields.span.clone(), at, "a step needs a kind: one of `tool`, `value` or `agent`");
                }
                self.with(fields, &Value::Null, "", scope, at);
                no_kind()
            }
            [(word, _, node)] => self.one_kind(word, node, fields, scope, at),
            [(first, _, node), (second, name, _), ..] => {
                let span = name.span();
                let message = format!("a step has one kind, this one has `{first}` and `{second}`");
                self.fault(span, &at.key(second), message);
                self.one_kind(first, node, fields, scope, at)
            }
        }
    }

    fn one_kind(
        &mut self,
        word: &str,
        node: &'a Node,
        fields: &Fields<'a>,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> StepKind {
        match word {
            "value" => {
                self.needs_a_prompt(word, fields, at);
                for extra in ["with", "files", "repeat"] {
                    if let Some(name) = fields.name(extra) {
                        let message = format!("`{extra}` goes with a `tool` or an `agent`, not with a `value`");
                        self.fault(name.span(), &at.key(extra), message);
                    }
                }
                self.deep_template(node, Stand::Task, scope, &at.key("value"));
                StepKind::Value { template: node.to_json() }
            }
            "tool" => {
                self.needs_a_prompt(word, fields, at);
                let name = self.text(node, &at.key("tool"));
                let schema = name.map_or(Value::Null, |name| self.tool(name, node, &at.key("tool")));
                let with = self.with(fields, &schema, name.unwrap_or(""), scope, at);
                name.map_or_else(no_kind, |name| StepKind::Tool { name: name.to_owned(), with })
            }
            _ => {
                let name = self.text(node, &at.key("agent"));
                let schema = name.map_or(Value::Null, |name| self.agent(name, node, fields, &at.key("agent")));
                self.goes_with_a_tool(fields, at);
                let prompt = self.prompt(fields, scope, at);
                let with = self.with(fields, &schema, name.unwrap_or(""), scope, at);
                name.map_or_else(no_kind, |name| StepKind::Agent { name: name.to_owned(), prompt, with })
            }
        }
    }

    /// Checks a tool's name against the catalog; gives its input schema where it is known.
    pub(super) fn tool(&mut self, name: &str, node: &Node, at: &At<'_>) -> Value {
        self.tool_or_pattern(name, false, node, at)
    }

    /// The same for an entry of `tools`, which may be `server.*`.
    pub(super) fn tool_or_pattern(&mut self, name: &str, is_pattern: bool, node: &Node, at: &At<'_>) -> Value {
        let catalog = self.catalog;
        // Names of servers may hold dots: the longest declared name wins.
        let is_declared = |server: &str| catalog.servers.as_ref().is_some_and(|servers| servers.contains_key(server));
        let split = name.rmatch_indices('.').map(|(at, _)| (&name[..at], &name[at + 1..]));
        let split = split.clone().find(|(server, _)| is_declared(server)).or_else(|| name.split_once('.'));
        let Some((server, tool)) = split.filter(|(server, tool)| !server.is_empty() && !tool.is_empty()) else {
            self.fault(node.span(), at, format!("`{name}` is no tool")).hint =
                Some(if is_pattern { TOOLS_HINT } else { TOOL_HINT }.to_owned());
            return Value::Null;
        };
        let Some(servers) = &catalog.servers else { return Value::Null };
        if self.is_later(name) {
            self.fault(node.span(), at, format!("`{name}` is not in this version"));
            return Value::Null;
        }
        let Some(tools) = servers.get(server) else {
            let near = nearest(server, servers.keys().map(String::as_str)).map(str::to_owned);
            let fault = self.fault(node.span(), at, format!("no tool server is called `{server}`"));
            fault.hint = near.is_none().then(|| {
                let known: Vec<_> = servers.keys().take(12).map(|name| format!("`{name}`")).collect();
                if known.is_empty() {
                    "none is declared".to_owned()
                } else {
                    format!("declared are {}", known.join(", "))
                }
            });
            fault.nearest = near.map(|near| format!("{near}.{tool}"));
            return Value::Null;
        };
        let tools = match tools {
            ServerTools::Known(tools) => tools,
            ServerTools::Unknown => return Value::Null,
            ServerTools::Away { why, hint } => {
                self.fault(node.span(), at, format!("tool server `{server}` {why}")).hint = hint.clone();
                return Value::Null;
            }
        };
        match tools.iter().find(|known| known.name == tool) {
            _ if tool == "*" && is_pattern => Value::Null,
            Some(known) => known.input_schema.clone(),
            None => {
                let near =
                    nearest(tool, tools.iter().map(|known| known.name.as_str())).map(|n| format!("{server}.{n}"));
                let fault = self.fault(node.span(), at, format!("server `{server}` has no tool `{tool}`"));
                fault.hint = near.is_none().then(|| {
                    let known: Vec<_> = tools.iter().take(12).map(|known| format!("`{}`", known.name)).collect();
                    format!("it has {}", known.join(", "))
                });
                fault.nearest = near;
                Value::Null
            }
        }
    }

    fn with(
        &mut self,
        fields: &Fields<'a>,
        schema: &Value,
        target: &str,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Map<String, Value> {
        let Some(node) = fields.get("with") else {
            self.missing_arguments(&[], fields.span.clone(), schema, target, at);
            return Map::new();
        };
        let at = at.key("with");
        let Data::Map(entries) = &node.data else {
            if matches!(node.data, Data::Null) {
                self.missing_arguments(&[], fields.span.clone(), schema, target, &at);
            } else {
                self.expected("a map of arguments", node, &at);
            }
            return Map::new();
        };
        self.deep_template(node, Stand::Task, scope, &at);
        let span = fields.name("with").map_or_else(|| node.span(), Name::span);
        self.arguments(entries, span, schema, target, &at);
        match node.to_json() {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}
