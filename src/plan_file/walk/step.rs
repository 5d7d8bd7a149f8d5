//! One step of a plan file: its kind, its options, its expressions.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use serde_json::Value;

use crate::domain::ids::StepId;
use crate::domain::kinds::TaskKind;
use crate::domain::plan::{ForEach, OnError, Part, RepeatClass, Step, StepKind};

use super::super::expr::{self, is_name, parse, sole_expression};
use super::super::keys::{PARALLEL_DEFAULT, Place, RANGE_MAX, REPEAT, TASK_KINDS, TIMEOUT_DEFAULT_MS};
use super::super::node::{Data, Node};
use super::options::Options;
use super::place::At;
use super::refer::{Scope, Stand, StepFacts};
use super::{Fields, NAME_CHARS_MAX, Walker};
use crate::domain::nearest::nearest;

/// What other steps may know of a step before it is read.
pub(super) fn facts(node: &Node) -> Option<(&str, StepFacts)> {
    let Data::Map(entries) = &node.data else { return None };
    let get = |key: &str| entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| &node.data);
    let Some(Data::Str(id)) = get("id") else { return None };
    Some((id, StepFacts { has_items: get("for_each").is_some() }))
}

impl<'a> Walker<'a> {
    /// A step with the place of its id; `None` when it has no usable id. Faulty parts are replaced by harmless ones.
    pub(super) fn step(
        &mut self,
        node: &'a Node,
        defaults: &Options,
        seen: &mut HashSet<&'a str>,
        at: &At<'_>,
    ) -> Option<(Step, Range<usize>)> {
        let Data::Map(entries) = &node.data else {
            self.expected("a step", node, at).hint = Some("a step is a map with `id` and one kind".to_owned());
            return None;
        };
        let start = entries.first().map_or_else(|| node.span(), |(name, _)| name.span());
        let fields = self.fields(entries, start.clone(), Place::Step, at);
        let id = self.step_id(&fields, seen, at);
        let mut scope = Scope {
            id: id.unwrap_or(""),
            has_items: fields.get("for_each").is_some(),
            follows: false,
            refs: BTreeSet::new(),
            input_refs: BTreeSet::new(),
        };
        let for_each = self.for_each(&fields, &mut scope, at);
        let condition =
            fields.get("if").and_then(|node| self.bare_expression(node, Stand::If, &mut scope, &at.key("if")));
        let key = self.item_key(&fields, &mut scope, at);
        let kind = self.kind(&fields, &mut scope, at);
        let own = self.options(&fields, at);
        let asking = self.asking(&fields, at);
        self.without_effect(&fields, &own, defaults, at);
        let needs = self.needs(&fields, scope.id, at);
        let done_when = self.checks(&fields, "done_when", &mut scope, at);
        let all_done_when = self.checks(&fields, "all_done_when", &mut scope, at);
        let output_schema = self.output_schema(&fields, at);
        let repeat = fields.get("repeat").and_then(|node| {
            self.word(node, REPEAT, &at.key("repeat")).map(|word| match word {
                "read" => RepeatClass::Read,
                "idempotent" => RepeatClass::Idempotent,
                _ => RepeatClass::Unsafe,
            })
        });
        let task_kind = fields
            .get("task_kind")
            .and_then(|node| self.word(node, TASK_KINDS, &at.key("task_kind")).and_then(TaskKind::from_word));
        let files = self.files(&fields, at);
        let id = id?;
        let on_error = own.on_error.or(defaults.on_error).unwrap_or_default();
        let parallel = own.max_parallel.or(defaults.max_parallel).unwrap_or(PARALLEL_DEFAULT);
        let step = Step {
            id: StepId::from(id),
            kind,
            needs,
            refs: scope.refs.into_iter().collect(),
            condition,
            max_parallel: if scope.has_items { parallel } else { 1 },
            for_each,
            key,
            timeout_ms: own.timeout_ms.or(defaults.timeout_ms).unwrap_or(TIMEOUT_DEFAULT_MS),
            retry: own.retry(defaults),
            on_error,
            tolerate: own.tolerate.or(defaults.tolerate).filter(|_| on_error == OnError::Quarantine),
            critical: own.critical.or(defaults.critical),
            threshold: own.threshold.or(defaults.threshold),
            ladder: own.ladder.clone().or_else(|| defaults.ladder.clone()),
            done_when,
            all_done_when,
            output_schema,
            repeat,
            reuse: own.reuse.or(defaults.reuse),
            claude: own.claude.or(defaults.claude),
            local_only: own.local_only.or(defaults.local_only),
            when_limited: own.when_limited.or(defaults.when_limited),
            input_refs: scope.input_refs.into_iter().collect(),
            files,
            agree: asking.agree,
            tools: asking.tools,
            grants: asking.grants,
            idle_timeout_ms: asking.idle_timeout_ms,
            task_kind,
            judge: None,
        };
        let span = fields.get("id").map_or(start, Node::span);
        Some((step, span))
    }

    fn step_id(&mut self, fields: &Fields<'a>, seen: &mut HashSet<&'a str>, at: &At<'_>) -> Option<&'a str> {
        let Some(node) = fields.get("id") else {
            self.fault(fields.span.clone(), at, "a step needs an `id`");
            return None;
        };
        let at = at.key("id");
        let id = self.text(node, &at)?;
        if !is_name(id) || id.len() > NAME_CHARS_MAX {
            let shown: String = id.chars().take(40).collect();
            self.fault(node.span(), &at, format!("`{}` is no id of a step", shown.escape_debug())).hint = Some(
                "an id is a letter or `_`, then letters, digits, `_` and `-`, so that expressions can use it".into(),
            );
        }
        if !seen.insert(id) {
            self.fault(node.span(), &at, format!("two steps are called `{id}`"));
            return None;
        }
        Some(id)
    }

    fn needs(&mut self, fields: &Fields<'a>, own: &str, at: &At<'_>) -> Vec<StepId> {
        let Some(node) = fields.get("needs") else { return Vec::new() };
        let at = at.key("needs");
        let mut needs: Vec<StepId> = Vec::new();
        for (id, node) in self.names(node, &at) {
            if id == own {
                self.fault(node.span(), &at, format!("step `{id}` needs itself"));
            } else if !self.steps.contains_key(id) {
                let near = nearest(id, self.step_names.iter().copied().filter(|name| *name != own)).map(str::to_owned);
                self.fault(node.span(), &at, format!("there is no step `{id}`")).nearest = near;
            } else if !needs.iter().any(|known| known.as_str() == id) {
                needs.push(StepId::from(id));
            }
        }
        needs
    }

    fn for_each(&mut self, fields: &Fields<'a>, scope: &mut Scope<'_>, at: &At<'_>) -> Option<ForEach> {
        let node = fields.get("for_each")?;
        let at = at.key("for_each");
        match &node.data {
            Data::Str(text) => {
                if let Some(inner) = sole_expression(text) {
                    if let Some(source) = flow_source(inner).filter(|source| self.follows(source, scope)) {
                        scope.follows = true;
                        scope.uses(source, Part::Flow);
                        return Some(ForEach::Items(StepId::from(source)));
                    }
                    self.expression(node, inner, Stand::ForEach, scope, &at);
                    return Some(ForEach::List(Value::String(text.clone())));
                }
                let fault = self.expected("a list", node, &at);
                fault.hint = Some(if text.contains("${{") {
                    "text around an expression makes text; write the expression alone".to_owned()
                } else if parse(text)
                    .is_ok_and(|parsed| parsed.references.iter().any(|r| r.root == "steps" || r.root == "inputs"))
                {
                    format!("write `${{{{ {} }}}}`", text.trim())
                } else {
                    "write `\"${{ … }}\"`, `[a, b]` or `{ range: 3 }`".to_owned()
                });
                None
            }
            Data::List(_) => {
                self.deep_template(node, Stand::ForEach, scope, &at);
                Some(ForEach::List(node.to_json()))
            }
            Data::Map(entries) => {
                let fields = self.fields(entries, node.span(), Place::ForEach, &at);
                let Some(node) = fields.get("range") else {
                    if entries.is_empty() {
                        self.fault(node.span(), &at, "`for_each` needs a list or `range`");
                    }
                    return None;
                };
                self.range(node, scope, &at.key("range")).map(ForEach::Range)
            }
            _ => {
                self.expected("a list", node, &at).hint =
                    Some("write `\"${{ … }}\"`, `[a, b]` or `{ range: 3 }`".to_owned());
                None
            }
        }
    }

    fn follows(&self, source: &str, scope: &Scope<'_>) -> bool {
        source != scope.id && self.steps.get(source).is_some_and(|facts| facts.has_items)
    }

    fn range(&mut self, node: &'a Node, scope: &mut Scope<'_>, at: &At<'_>) -> Option<Value> {
        self.count_value(node, RANGE_MAX, Stand::ForEach, scope, at)
    }

    /// A whole number, or one expression that gives it.
    pub(super) fn count_value(
        &mut self,
        node: &'a Node,
        max: u64,
        stand: Stand,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Option<Value> {
        if let Data::Str(text) = &node.data
            && let Some(inner) = sole_expression(text)
        {
            return self.expression(node, inner, stand, scope, at).then(|| Value::String(text.clone()));
        }
        if let Data::Str(text) = &node.data
            && expr::has_expression(text)
        {
            self.fault(node.span(), at, "expected a whole number or one expression, found text with expressions in it");
            return None;
        }
        self.whole(node, 0, max, at).map(Value::from)
    }

    fn item_key(&mut self, fields: &Fields<'a>, scope: &mut Scope<'_>, at: &At<'_>) -> Option<String> {
        let node = fields.get("key")?;
        let at = at.key("key");
        if !scope.has_items {
            let span = fields.name("key").map_or_else(|| node.span(), super::super::node::Name::span);
            self.fault(span, &at, "`key` names the items of `for_each`, which this step does not have");
            return None;
        }
        let text = self.text(node, &at)?;
        if !expr::has_expression(text) {
            let fault = self.fault(node.span(), &at, "this key is the same for every item");
            fault.hint = Some(if text.starts_with("item") {
                format!("write `${{{{ {text} }}}}`")
            } else {
                "use the item: `${{ item.name }}`".to_owned()
            });
            return None;
        }
        self.template(node, text, Stand::Key, scope, &at);
        Some(text.to_owned())
    }

    /// Words that are legal but would do nothing here.
    fn without_effect(&mut self, fields: &Fields<'a>, own: &Options, defaults: &Options, at: &At<'_>) {
        let on_error = own.on_error.or(defaults.on_error).unwrap_or_default();
        if let Some(name) = fields.name("tolerate")
            && on_error != OnError::Quarantine
        {
            self.fault(name.span(), &at.key("tolerate"), "`tolerate` counts only with `on_error: quarantine`");
        }
        if let Some(name) = fields.name("max_parallel")
            && fields.get("for_each").is_none()
        {
            self.warn(name.span(), &at.key("max_parallel"), "`max_parallel` does nothing without `for_each`");
        }
    }

    fn files(&mut self, fields: &Fields<'a>, at: &At<'_>) -> Vec<String> {
        let Some(node) = fields.get("files") else { return Vec::new() };
        let at = at.key("files");
        let with = match fields.get("with").map(|node| &node.data) {
            Some(Data::Map(entries)) => entries.iter().map(|(name, _)| name.text.as_str()).collect(),
            _ => Vec::new(),
        };
        let mut files = Vec::new();
        for (name, node) in self.names(node, &at) {
            if !with.contains(&name) {
                let near = nearest(name, with.iter().copied()).map(str::to_owned);
                self.fault(node.span(), &at, format!("`with` has no argument `{name}`")).nearest = near;
            }
            files.push(name.to_owned());
        }
        files
    }

    fn output_schema(&mut self, fields: &Fields<'a>, at: &At<'_>) -> Option<Value> {
        let node = fields.get("output")?;
        let at = at.key("output");
        let Data::Map(entries) = &node.data else {
            self.expected("a map with `schema`", node, &at);
            return None;
        };
        let fields = self.fields(entries, node.span(), Place::Output, &at);
        let node = fields.get("schema")?;
        self.schema(node, &at.key("schema"));
        Some(node.to_json())
    }
}

/// The step of an expression that is exactly `steps.X.items`.
fn flow_source(inner: &str) -> Option<&str> {
    let parsed = parse(inner).ok()?;
    let path = parsed.plain()?;
    let is_items = path.root == "steps" && path.keys.len() == 2 && path.name(1) == Some("items");
    let span = path.key_ranges.first().filter(|_| is_items)?.clone();
    Some(inner[span].trim_matches(['\'', '"']))
}

/// A harmless kind for a step whose own is faulty.
pub(super) const fn no_kind() -> StepKind {
    StepKind::Value { template: Value::Null }
}
