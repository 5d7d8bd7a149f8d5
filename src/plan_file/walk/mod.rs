//! Nodes to a plan, collecting every fault on the way. A faulty part is replaced by a harmless one and the walk goes
//! on, so that one reading tells everything.
//!
//! `place` where we are · `scalar` text, numbers, durations · `refer` expressions and what they mention · `inputs` ·
//! `step` · `options` · `kind` · `agent` what goes with a `prompt` · `ladders` rungs and model servers · `arguments` ·
//! `check` · `schema`.

mod agent;
mod arguments;
mod check;
mod inputs;
mod kind;
mod ladders;
mod options;
mod place;
mod refer;
mod scalar;
mod schema;
mod step;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::domain::plan::{Input, Plan, PlanFault, RawPlan, Step};

use super::catalog::Catalog;
use super::fault::Fault;
use super::keys::{Place, find, keys_of};
use super::node::{Data, Name, Node};
use crate::domain::nearest::nearest;
use place::At;
use refer::StepFacts;

pub(super) use inputs::{fits, wanted};
pub(super) use scalar::shown_ms;

/// Longest name of a plan, step or input, in characters.
const NAME_CHARS_MAX: usize = 100;

/// The state of one reading.
pub(super) struct Walker<'a> {
    source: &'a str,
    catalog: &'a Catalog,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    steps: HashMap<&'a str, StepFacts>,
    step_names: Vec<&'a str>,
    inputs: Vec<&'a str>,
    ladders: Vec<&'a str>,
    model_servers: Vec<&'a str>,
    schemas: HashMap<String, Option<schema::Broken>>,
}

/// The entries of a map whose keys were checked.
struct Fields<'n> {
    entries: Vec<(&'static str, &'n Name, &'n Node)>,
    span: Range<usize>,
    /// A key that was refused, but is one of the kinds or near to one.
    has_near_kind: bool,
}

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(known, ..)| *known == name).map(|(_, _, node)| *node)
    }

    fn name(&self, name: &str) -> Option<&'n Name> {
        self.entries.iter().find(|(known, ..)| *known == name).map(|(_, name, _)| *name)
    }
}

impl<'a> Walker<'a> {
    pub(super) fn new(source: &'a str, catalog: &'a Catalog) -> Self {
        Self {
            source,
            catalog,
            faults: Vec::new(),
            warnings: Vec::new(),
            steps: HashMap::new(),
            step_names: Vec::new(),
            inputs: Vec::new(),
            ladders: Vec::new(),
            model_servers: Vec::new(),
            schemas: HashMap::new(),
        }
    }

    /// The checked plan, when nothing is wrong.
    pub(super) fn plan(&mut self, root: &'a Node, source_digest: String) -> Option<Plan> {
        let at = At::top();
        let Data::Map(entries) = &root.data else {
            let found = root.found();
            self.fault(root.span(), &at, format!("a plan is a map with `name` and `steps`, found {found}"));
            return None;
        };
        let fields = self.fields(entries, root.span(), Place::Plan, &at);
        self.survey(&fields);
        if let Some(node) = fields.get("format") {
            self.whole(node, 1, 1, &at.key("format"));
        }
        let name = self.plan_name(&fields, &at);
        let description = self.optional_text(&fields, "description", &at).unwrap_or_default();
        let inputs = self.read_inputs(&fields, &at);
        let ladders = self.read_ladders(&fields, &at);
        let model_servers = self.read_model_servers(&fields, &at);
        let defaults = self.read_defaults(&fields, &at);
        let steps = self.read_steps(&fields, &defaults, &at);
        let ids: Vec<Range<usize>> = steps.iter().map(|(_, span)| span.clone()).collect();
        let raw = RawPlan {
            name,
            description,
            inputs,
            steps: steps.into_iter().map(|(step, _)| step).collect(),
            ladders,
            model_servers,
            source_digest,
        };
        self.graph(raw, &ids)
    }

    /// Names that expressions may use, gathered before anything is checked.
    fn survey(&mut self, fields: &Fields<'a>) {
        if let Some(Data::List(list)) = fields.get("steps").map(|node| &node.data) {
            for node in list {
                if let Some((id, facts)) = step::facts(node)
                    && !self.steps.contains_key(id)
                {
                    self.steps.insert(id, facts);
                    self.step_names.push(id);
                }
            }
        }
        if let Some(Data::Map(entries)) = fields.get("inputs").map(|node| &node.data) {
            self.inputs = entries.iter().map(|(name, _)| name.text.as_str()).collect();
        }
        if let Some(Data::Map(entries)) = fields.get("ladders").map(|node| &node.data) {
            self.ladders = entries.iter().map(|(name, _)| name.text.as_str()).collect();
        }
        if let Some(Data::Map(entries)) = fields.get("model_servers").map(|node| &node.data) {
            self.model_servers = entries.iter().map(|(name, _)| name.text.as_str()).collect();
        }
    }

    fn plan_name(&mut self, fields: &Fields<'a>, at: &At<'_>) -> String {
        let Some(node) = fields.get("name") else {
            if !self.has_fault_near("name") {
                self.fault(fields.span.start..fields.span.start, at, "a plan needs a `name`");
            }
            return String::new();
        };
        let at = at.key("name");
        let Some(text) = self.text(node, &at) else { return String::new() };
        let is_plain = !text.trim().is_empty()
            && text.trim() == text
            && text.chars().count() <= NAME_CHARS_MAX
            && !text.chars().any(|c| c.is_control() || c == '/');
        if !is_plain {
            let message = format!("a plan's name is one line of 1 to {NAME_CHARS_MAX} characters without `/`");
            self.fault(node.span(), &at, message);
        }
        text.to_owned()
    }

    fn has_fault_near(&self, word: &str) -> bool {
        self.faults.iter().any(|fault| fault.nearest.as_deref() == Some(word))
    }

    fn read_steps(
        &mut self,
        fields: &Fields<'a>,
        defaults: &options::Options,
        at: &At<'_>,
    ) -> Vec<(Step, Range<usize>)> {
        let Some(node) = fields.get("steps") else {
            if !self.has_fault_near("steps") {
                self.fault(fields.span.start..fields.span.start, at, "a plan needs `steps`");
            }
            return Vec::new();
        };
        let at = at.key("steps");
        let Data::List(list) = &node.data else {
            self.expected("a list of steps", node, &at).hint = Some("each step begins with `- id: NAME`".to_owned());
            return Vec::new();
        };
        if list.is_empty() {
            self.fault(node.span(), &at, "a plan needs at least one step");
        }
        let mut seen: HashSet<&str> = HashSet::new();
        let mut steps = Vec::with_capacity(list.len());
        for (index, node) in list.iter().enumerate() {
            let at = at.index(index);
            if let Some(step) = self.step(node, defaults, &mut seen, &at) {
                steps.push(step);
            }
        }
        steps
    }

    /// Order of the steps. Names were checked with their places; only what the graph alone knows is told here.
    fn graph(&mut self, raw: RawPlan, ids: &[Range<usize>]) -> Option<Plan> {
        let positions: HashMap<String, usize> =
            raw.steps.iter().enumerate().map(|(at, step)| (step.id.to_string(), at)).collect();
        match Plan::try_from(raw) {
            Ok(plan) => self.faults.is_empty().then_some(plan),
            Err(found) => {
                for fault in found {
                    let PlanFault::Cycle { cycle } = &fault else { continue };
                    let first = cycle.first().and_then(|id| positions.get(id.as_str())).copied();
                    let span = first.and_then(|at| ids.get(at)).cloned().unwrap_or(0..0);
                    let at = first.unwrap_or(0);
                    self.faults.push(Fault::at(span, fault.to_string()).path(format_args!("steps[{at}]")));
                }
                None
            }
        }
    }

    /// Checks the keys of a map against the table.
    fn fields(&mut self, entries: &'a [(Name, Node)], span: Range<usize>, place: Place, at: &At<'_>) -> Fields<'a> {
        let mut fields = Fields { entries: Vec::with_capacity(entries.len()), span, has_near_kind: false };
        self.duplicates(entries, at);
        for (name, node) in entries {
            match find(place, &name.text) {
                Some(key) if key.is_built => {
                    if fields.get(key.name).is_none() {
                        fields.entries.push((key.name, name, node));
                    }
                }
                Some(key) => {
                    let message = format!("`{}` is not in this version", key.name);
                    fields.has_near_kind |= super::keys::KINDS.contains(&key.name);
                    self.fault(name.span(), &at.key(&name.text), message);
                }
                None => self.unknown_key(name, place, at, &mut fields),
            }
        }
        fields
    }

    fn unknown_key(&mut self, name: &Name, place: Place, at: &At<'_>, fields: &mut Fields<'_>) {
        let near = nearest(&name.text, keys_of(place).map(|key| key.name));
        fields.has_near_kind |= near.is_some_and(|near| super::keys::KINDS.contains(&near));
        let shown: String = name.text.chars().take(60).collect();
        let mut fault = Fault::at(name.span(), format!("unknown key `{}` in {}", shown.escape_debug(), place.words()))
            .nearest(near)
            .path(at.key(&name.text));
        if near.is_none() {
            let elsewhere = Place::ALL.into_iter().find(|other| find(*other, &name.text).is_some());
            fault.hint = match elsewhere {
                Some(other) if keys_of(place).count() > 8 => Some(format!("it belongs in {}", other.words())),
                _ if keys_of(place).count() <= 8 => {
                    let known: Vec<_> =
                        keys_of(place).filter(|key| key.is_built).map(|key| format!("`{}`", key.name)).collect();
                    Some(format!("known here: {}", known.join(", ")))
                }
                _ => None,
            };
        }
        self.faults.push(fault);
    }

    /// Tells keys that stand twice in one map.
    fn duplicates(&mut self, entries: &[(Name, Node)], at: &At<'_>) {
        if entries.len() < 2 {
            return;
        }
        let mut seen: HashSet<&str> = HashSet::with_capacity(entries.len());
        for (name, _) in entries {
            if !seen.insert(&name.text) {
                self.fault(name.span(), &at.key(&name.text), format!("key `{}` stands twice", name.text));
            }
        }
    }

    /// Tells duplicate keys anywhere inside a plain value, and keys that hold expressions.
    fn plain_value(&mut self, node: &Node, at: &At<'_>) {
        match &node.data {
            Data::List(list) => {
                for (index, node) in list.iter().enumerate() {
                    self.plain_value(node, &at.index(index));
                }
            }
            Data::Map(entries) => {
                self.duplicates(entries, at);
                for (name, node) in entries {
                    self.plain_value(node, &at.key(&name.text));
                }
            }
            Data::Float(number) => self.too_large(node, *number, at),
            _ => {}
        }
    }

    /// Whole numbers beyond 64 bits come out of YAML as inexact floats.
    fn too_large(&mut self, node: &Node, number: f64, at: &At<'_>) {
        let text = self.source.get(node.span()).unwrap_or("").trim_start_matches(['-', '+']);
        if number.fract() == 0.0 && text.len() > 15 && text.bytes().all(|b| b.is_ascii_digit()) {
            self.fault(node.span(), at, "this whole number does not fit into 64 bits").hint =
                Some("quote it to keep it as text".to_owned());
        }
    }

    fn fault(&mut self, span: Range<usize>, at: &At<'_>, message: impl Into<String>) -> &mut Fault {
        self.faults.push(Fault::at(span, message).path(at));
        self.faults.last_mut().expect("a fault was pushed in the line before")
    }

    fn warn(&mut self, span: Range<usize>, at: &At<'_>, message: impl Into<String>) -> &mut Fault {
        self.warnings.push(Fault::at(span, message).path(at));
        self.warnings.last_mut().expect("a warning was pushed in the line before")
    }

    fn expected(&mut self, what: &str, node: &Node, at: &At<'_>) -> &mut Fault {
        let found = node.found();
        self.fault(node.span(), at, format!("expected {what}, found {found}"))
    }
}

/// Inputs as a list, for callers that resolve a run's inputs.
pub(super) fn input<'p>(inputs: &'p [Input], name: &str) -> Option<&'p Input> {
    inputs.iter().find(|input| input.name == name)
}
