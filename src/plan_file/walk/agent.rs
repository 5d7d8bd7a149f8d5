//! Steps of agents: whether a model is asked, and the words that go with a `prompt`.

use serde_json::Value;

use crate::domain::kinds::Grant;
use crate::domain::nearest::nearest;
use crate::domain::plan::Agree;

use super::super::catalog::KnownAgent;
use super::super::keys::{GRANTS, LATER_SERVERS, NEED_PROMPT, Place, TIMEOUT_MAX_MS, TOOLS_MAX};
use super::super::node::{Data, Name, Node};
use super::place::At;
use super::refer::{Scope, Stand};
use super::{Fields, Walker};

/// Our tools that write files.
const WRITING_TOOLS: &[&str] = &["fs.write", "fs.patch", "fs.move", "fs.delete"];

/// What a step says about the model that it asks.
#[derive(Debug, Default)]
pub(super) struct Asking {
    pub(super) agree: Option<Agree>,
    pub(super) tools: Option<Vec<String>>,
    pub(super) grants: Option<Vec<Grant>>,
    pub(super) idle_timeout_ms: Option<u64>,
}

impl<'a> Walker<'a> {
    /// Checks an agent's name against the catalog; gives the input schema of one that works from `with` alone.
    pub(super) fn agent(&mut self, name: &str, node: &Node, fields: &Fields<'a>, at: &At<'_>) -> Value {
        let catalog = self.catalog;
        let Some(agents) = &catalog.agents else { return Value::Null };
        let prompt = fields.name("prompt");
        match (agents.iter().find(|known| known.name == name), prompt) {
            (Some(KnownAgent { is_reserved: true, .. }), _) => {
                self.fault(node.span(), at, format!("agent `{name}` is a reserved slot: not in this version"));
                Value::Null
            }
            (Some(known), None) if known.is_deterministic => known.input_schema.clone(),
            (Some(known), Some(prompt)) if known.is_deterministic => {
                let message = format!("agent `{name}` works from `with` alone in this version");
                self.fault(prompt.span(), at, message).hint = Some("leave `prompt` out".to_owned());
                known.input_schema.clone()
            }
            (Some(known), prompt) => {
                let is_later = self.later_tool(known, node, fields, at);
                if prompt.is_none() && !is_later {
                    self.fault(node.span(), at, format!("agent `{name}` needs a `prompt`")).hint =
                        Some("say in words what is to be done; `with` holds what it is given".to_owned());
                }
                Value::Null
            }
            (None, _) => {
                let near = nearest(name, agents.iter().map(|known| known.name.as_str())).map(str::to_owned);
                let fault = self.fault(node.span(), at, format!("there is no agent `{name}`"));
                fault.hint = near.is_none().then(|| {
                    let known: Vec<_> = agents.iter().take(12).map(|known| format!("`{}`", known.name)).collect();
                    format!("known are {}", known.join(", "))
                });
                fault.nearest = near;
                Value::Null
            }
        }
    }

    /// Refuses an agent that would be offered a tool of a later version; a step's own `tools` take the place of the
    /// agent's.
    fn later_tool(&mut self, known: &KnownAgent, node: &Node, fields: &Fields<'a>, at: &At<'_>) -> bool {
        if fields.get("tools").is_some() {
            return false;
        }
        let Some(later) = known.tools.iter().find(|tool| self.is_later(tool)) else { return false };
        let rest: Vec<&str> = known.tools.iter().map(String::as_str).filter(|tool| !self.is_later(tool)).collect();
        let hint = (!rest.is_empty())
            .then(|| format!("if the others are enough, name them in the step: `tools: [{}]`", rest.join(", ")));
        let message = format!("agent `{}` works with `{later}`, which is not in this version", known.name);
        self.fault(node.span(), at, message).hint = hint;
        true
    }

    /// A tool of a server of ours that comes later. A declared server of the same name is another thing.
    pub(super) fn is_later(&self, tool: &str) -> bool {
        let server = tool.split_once('.').map_or(tool, |(server, _)| server);
        LATER_SERVERS.contains(&server)
            && self.catalog.servers.as_ref().is_some_and(|declared| !declared.contains_key(server))
    }

    /// The prompt of an agent.
    pub(super) fn prompt(&mut self, fields: &Fields<'a>, scope: &mut Scope<'_>, at: &At<'_>) -> Option<String> {
        let node = fields.get("prompt")?;
        let at = at.key("prompt");
        let text = self.text(node, &at)?;
        if text.trim().is_empty() {
            self.fault(node.span(), &at, "the prompt is empty").hint =
                Some("say in words what is to be done".to_owned());
        }
        self.template(node, text, Stand::Task, scope, &at);
        Some(text.to_owned())
    }

    /// Words of a step with a `prompt` in a step of another kind.
    pub(super) fn needs_a_prompt(&mut self, kind: &str, fields: &Fields<'a>, at: &At<'_>) {
        if let Some(name) = fields.name("prompt") {
            self.fault(name.span(), &at.key("prompt"), format!("`prompt` goes with an `agent`, not with a `{kind}`"));
        }
        for word in NEED_PROMPT {
            if let Some(name) = fields.name(word) {
                let message = format!("`{word}` goes with an `agent` that has a `prompt`, not with a `{kind}`");
                self.fault(name.span(), &at.key(word), message);
            }
        }
    }

    /// Words of a `tool` step in a step of an agent. Files of a prompt are read by the model, so they count.
    pub(super) fn goes_with_a_tool(&mut self, fields: &Fields<'a>, at: &At<'_>) {
        for extra in ["files", "repeat"] {
            if let Some(name) = fields.name(extra)
                && (extra == "repeat" || fields.get("prompt").is_none())
            {
                let message = format!("`{extra}` goes with a `tool`, not with an `agent`");
                self.fault(name.span(), &at.key(extra), message);
            }
        }
    }

    /// What goes with a `prompt`.
    pub(super) fn asking(&mut self, fields: &Fields<'a>, at: &At<'_>) -> Asking {
        let Some(agent) = fields.get("agent") else { return Asking::default() };
        let has_prompt = fields.get("prompt").is_some();
        let extra = NEED_PROMPT.iter().any(|word| fields.get(word).is_some());
        if !has_prompt && extra && !self.was_told_of(agent) {
            for word in NEED_PROMPT {
                if let Some(name) = fields.name(word) {
                    self.fault(name.span(), &at.key(word), format!("`{word}` goes with a `prompt`")).hint =
                        Some("without one no model is asked".to_owned());
                }
            }
        }
        let tools = fields.get("tools").map(|node| self.tools(node, &at.key("tools")));
        let grants = fields.get("grants").map(|node| self.grants(node, &at.key("grants")));
        let agree = fields.get("agree").and_then(|node| self.agree(node, &at.key("agree")));
        let idle_timeout_ms =
            fields.get("idle_timeout").and_then(|node| self.duration(node, TIMEOUT_MAX_MS, &at.key("idle_timeout")));
        if let (Some(tools), Some(grants)) = (&tools, &grants) {
            self.tools_within_grants(tools, grants, at);
        }
        let tools = tools.map(|tools| tools.into_iter().map(|(tool, _)| tool.to_owned()).collect::<Vec<_>>());
        if let (Some(_), Some(name)) = (&agree, fields.name("agree")) {
            self.warn_of_effects(tools.as_deref(), agent, name, &at.key("agree"));
        }
        Asking { agree, tools, grants, idle_timeout_ms }
    }

    /// Whether the agent itself is at fault already.
    fn was_told_of(&self, agent: &Node) -> bool {
        self.faults.iter().any(|fault| fault.span == agent.span())
    }

    fn tools(&mut self, node: &'a Node, at: &At<'_>) -> Vec<(&'a str, &'a Node)> {
        let named = self.names(node, at);
        if named.len() > TOOLS_MAX {
            self.fault(node.span(), at, format!("a step names at most {TOOLS_MAX} tools, this one {}", named.len()));
        }
        let mut tools: Vec<(&'a str, &'a Node)> = Vec::new();
        for (index, (name, node)) in named.into_iter().enumerate() {
            self.tool_or_pattern(name, true, node, &at.index(index));
            if !tools.iter().any(|(known, _)| *known == name) {
                tools.push((name, node));
            }
        }
        tools
    }

    fn grants(&mut self, node: &'a Node, at: &At<'_>) -> Vec<Grant> {
        let list: Vec<&'a Node> = match &node.data {
            Data::List(list) => list.iter().collect(),
            Data::Str(_) => vec![node],
            _ => {
                self.expected("a list of grants", node, at);
                Vec::new()
            }
        };
        let mut grants = Vec::new();
        for (index, node) in list.into_iter().enumerate() {
            let word = self.word(node, GRANTS, &at.index(index));
            if let Some(grant) = word.and_then(Grant::from_word)
                && !grants.contains(&grant)
            {
                grants.push(grant);
            }
        }
        grants
    }

    /// A tool that is named must be usable; what tools of other people need nobody knows here.
    fn tools_within_grants(&mut self, tools: &[(&'a str, &'a Node)], grants: &[Grant], at: &At<'_>) {
        if grants.contains(&Grant::Write) {
            return;
        }
        for (name, node) in tools.iter().filter(|(name, _)| WRITING_TOOLS.contains(name)) {
            self.fault(node.span(), &at.key("tools"), format!("`{name}` needs the grant `write`")).hint =
                Some("add it to `grants`, or leave the tool out".to_owned());
        }
    }

    fn agree(&mut self, node: &'a Node, at: &At<'_>) -> Option<Agree> {
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Bool(flag) => return flag.then(Agree::default),
            Data::Str(text) if text.contains(':') => {
                self.expected("`true`, `false` or a map with `with`", node, at).hint =
                    Some(format!("write `agree: {{ with: \"{}\" }}`", text.escape_debug()));
                return None;
            }
            _ => {
                self.expected("`true`, `false` or a map with `with`", node, at);
                return None;
            }
        };
        let before = self.faults.len();
        let fields = self.fields(entries, node.span(), Place::Agree, at);
        let Some(node) = fields.get("with") else {
            if self.faults.len() == before {
                self.fault(node.span(), at, "`agree` needs `with`").hint =
                    Some("write `agree: true` for a model of the ladder".to_owned());
            }
            return None;
        };
        let at = at.key("with");
        let rung = self.rung(node, &at)?;
        if super::ladders::is_paid(rung) {
            self.fault(node.span(), &at, format!("`{rung}` costs money: a second answer is asked of a local model"))
                .hint = Some("write `SERVER:MODEL`".to_owned());
        }
        Some(Agree { with: Some(rung.to_owned()) })
    }

    /// A second model that writes would do the work twice, so it only answers.
    fn warn_of_effects(&mut self, tools: Option<&[String]>, agent: &Node, name: &Name, at: &At<'_>) {
        let of_agent = self.catalog.agents.as_deref().and_then(|agents| {
            let Data::Str(name) = &agent.data else { return None };
            agents.iter().find(|known| known.name == *name).map(|known| known.tools.as_slice())
        });
        let offered = tools.or(of_agent).unwrap_or_default();
        let writes = |tool: &&String| tool.as_str() == "fs.*" || WRITING_TOOLS.contains(&tool.as_str());
        if let Some(tool) = offered.iter().find(writes) {
            self.warn(name.span(), at, format!("`agree` compares answers, not what `{tool}` does to files")).hint =
                Some("check the files with `done_when`".to_owned());
        }
    }
}
