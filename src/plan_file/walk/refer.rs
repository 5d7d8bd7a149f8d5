//! Expressions inside a plan: each is compiled, and everything that it mentions must exist.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::domain::ids::StepId;
use crate::domain::plan::{Part, Reference};

use super::super::expr::{self, ExprError, Key, Piece, has_expression, parse, split};
use super::super::fault::Fault;
use super::super::node::{Data, Node};
use super::Walker;
use super::place::At;
use crate::domain::nearest::nearest;

/// What others may know of a step before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepFacts {
    pub(super) has_items: bool,
}

/// Fields of a step without `for_each`.
pub(super) const PLAIN_FIELDS: &[&str] = &["output"];

/// Fields of a step with `for_each`.
pub(super) const LIST_FIELDS: &[&str] = &["items", "count", "done", "failed", "quarantined", "skipped", "errors"];

/// Fields of `item` in a step that follows the items of another.
const FLOW_FIELDS: &[&str] = &["key", "output", "item"];

/// How a hint about `inputs.a-b` begins.
const DASHED_INPUT: &str = "an input with a dash is written";

const BASE: &[&str] = &["inputs", "steps"];
const ITEM: &[&str] = &["inputs", "steps", "item", "index"];
const TASK: &[&str] = &["inputs", "steps", "item", "index", "key"];
const CHECK: &[&str] = &["inputs", "steps", "output"];
const ITEM_CHECK: &[&str] = &["inputs", "steps", "output", "item", "index", "key"];
const END: &[&str] = &["inputs", "steps", "items", "count", "done", "failed", "quarantined", "skipped", "errors"];

/// Where an expression stands, which decides the names that it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    If,
    ForEach,
    Key,
    Task,
    Check,
    EndCheck,
}

/// One step while it is read: its name, what it maps over, and what its expressions mention so far.
pub(super) struct Scope<'s> {
    pub(super) id: &'s str,
    pub(super) has_items: bool,
    pub(super) follows: bool,
    pub(super) refs: BTreeSet<Reference>,
    pub(super) input_refs: BTreeSet<String>,
}

impl Scope<'_> {
    pub(super) fn uses(&mut self, step: &str, part: Part) {
        self.refs.insert(Reference { step: StepId::from(step), part });
    }

    const fn roots(&self, stand: Stand) -> &'static [&'static str] {
        match (stand, self.has_items) {
            (Stand::If | Stand::ForEach, _) | (Stand::Task | Stand::Key, false) => BASE,
            (Stand::Key, true) => ITEM,
            (Stand::Task, true) => TASK,
            (Stand::Check, false) => CHECK,
            (Stand::Check, true) => ITEM_CHECK,
            (Stand::EndCheck, _) => END,
        }
    }
}

impl<'a> Walker<'a> {
    /// A string with `${{ }}` in it.
    pub(super) fn template(&mut self, node: &Node, text: &str, stand: Stand, scope: &mut Scope<'_>, at: &At<'_>) {
        if !has_expression(text) {
            self.warn_without_dollar(node, text, stand, scope, at);
            return;
        }
        match split(text) {
            Ok(pieces) => {
                for piece in pieces {
                    if let Piece::Expression(inner, _) = piece {
                        self.expression(node, inner, stand, scope, at);
                    }
                }
            }
            Err(error) => self.expr_fault(node, text, &error, at),
        }
    }

    /// `{{ inputs.x }}` is text here; whoever writes it means an expression.
    fn warn_without_dollar(&mut self, node: &Node, text: &str, stand: Stand, scope: &Scope<'_>, at: &At<'_>) {
        let Some(open) = text.find("{{") else { return };
        let inner = text[open + 2..].trim_start();
        let names = |root: &&str| inner.strip_prefix(*root).is_some_and(|rest| rest.starts_with(['.', ' ', '}', '[']));
        if scope.roots(stand).iter().any(names) {
            self.warn(node.span(), at, "`{{ … }}` without `$` is plain text").hint =
                Some("expressions are written `${{ … }}`".to_owned());
        }
    }

    /// Every string inside a value, at any depth.
    pub(super) fn deep_template(&mut self, node: &Node, stand: Stand, scope: &mut Scope<'_>, at: &At<'_>) {
        match &node.data {
            Data::Str(text) => self.template(node, text, stand, scope, at),
            Data::List(list) => {
                for (index, node) in list.iter().enumerate() {
                    self.deep_template(node, stand, scope, &at.index(index));
                }
            }
            Data::Map(entries) => {
                self.duplicates(entries, at);
                for (name, node) in entries {
                    let at = at.key(&name.text);
                    if has_expression(&name.text) {
                        self.fault(name.span(), &at, "expressions are not evaluated in keys");
                    }
                    self.deep_template(node, stand, scope, &at);
                }
            }
            Data::Float(number) => self.too_large(node, *number, at),
            Data::Null | Data::Bool(_) | Data::Int(_) | Data::Uint(_) => {}
        }
    }

    /// An expression that may stand bare or wrapped; gives it bare.
    pub(super) fn bare_expression(
        &mut self,
        node: &'a Node,
        stand: Stand,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Option<String> {
        let text = match &node.data {
            Data::Bool(flag) => return Some(flag.to_string()),
            Data::Str(text) => text.as_str(),
            _ => {
                self.expected("an expression", node, at);
                return None;
            }
        };
        let inner = expr::bare(text);
        if has_expression(inner) {
            let is_closed = split(text).map_err(|error| self.expr_fault(node, text, &error, at)).is_ok();
            if is_closed {
                self.fault(node.span(), at, "this is text with expressions in it, not one expression").hint =
                    Some("write one expression: `a and b`".to_owned());
            }
            return None;
        }
        self.expression(node, inner, stand, scope, at).then(|| inner.to_owned())
    }

    /// One expression without its wrapper. Whether nothing was wrong with it.
    pub(super) fn expression(
        &mut self,
        node: &Node,
        inner: &str,
        stand: Stand,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> bool {
        let before = self.faults.len();
        let parsed = match parse(inner) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.expr_fault(node, inner, &error, at);
                return false;
            }
        };
        for reference in &parsed.references {
            if let Some(mut fault) = self.look_up(reference, stand, scope) {
                fault.span = self.locate(node, inner, &fault.span);
                fault.path = at.to_string();
                let is_cut = fault.hint.as_deref().is_some_and(|hint| hint.starts_with(DASHED_INPUT));
                self.faults.push(fault);
                if is_cut {
                    // The rest of the name would be told as an unknown name of its own.
                    return false;
                }
            }
        }
        // A plain path needs no grammar; everything else must compile.
        if parsed.plain().is_none()
            && let Err(error) = expr::compiles(&parsed)
        {
            self.expr_fault(node, inner, &error, at);
        }
        self.faults.len() == before
    }

    /// What is wrong with a reference, with its bytes inside the expression; notes what it uses.
    fn look_up(&self, reference: &expr::Reference, stand: Stand, scope: &mut Scope<'_>) -> Option<Fault> {
        let roots = scope.roots(stand);
        let root_span = reference.range.start..reference.range.start + reference.root.len();
        if !roots.contains(&reference.root.as_str()) {
            return Some(self.unknown_root(reference, stand, scope, root_span));
        }
        match reference.root.as_str() {
            "inputs" => {
                match reference.name(0) {
                    Some(name) => _ = scope.input_refs.insert(name.to_owned()),
                    // All of them as one value.
                    None => scope.input_refs.extend(self.inputs.iter().map(|name| (*name).to_owned())),
                }
                self.unknown_input(reference)
            }
            "steps" => self.unknown_step(reference, scope),
            "item" if scope.follows => {
                let name = reference.name(0)?;
                if FLOW_FIELDS.contains(&name) {
                    return None;
                }
                let fault = Fault::at(
                    reference.key_ranges[0].clone(),
                    format!("`item` is a done item of another step and has no `{name}`"),
                );
                Some(match nearest(name, FLOW_FIELDS.iter().copied()) {
                    Some(near) => fault.nearest(Some(near)),
                    None => fault.hint(format!("it has `key`, `output` and `item`: `item.output.{name}`?")),
                })
            }
            _ => None,
        }
    }

    fn unknown_root(&self, reference: &expr::Reference, stand: Stand, scope: &Scope<'_>, span: Range<usize>) -> Fault {
        let root = reference.root.as_str();
        let of_item = matches!(root, "item" | "index" | "key");
        let of_end = END.contains(&root);
        match stand {
            Stand::Key if of_item && root != "key" && !scope.has_items => {}
            Stand::Key if root == "key" => {
                return Fault::at(span, "`key` cannot use itself");
            }
            Stand::If if of_item => {
                return Fault::at(span, format!("`{root}` is not known in `if`, which is decided before the items"))
                    .hint("filter the list instead: `for_each: \"${{ … | selectattr('ok') | list }}\"`");
            }
            Stand::ForEach if of_item => {
                return Fault::at(span, format!("`{root}` is not known in `for_each`, which makes the items"));
            }
            Stand::EndCheck if of_item || root == "output" => {
                return Fault::at(
                    span,
                    format!("`{root}` is not known in `all_done_when`, which is checked at the end"),
                )
                .hint("use `items`, `count` or `failed`, or move the check to `done_when`");
            }
            Stand::Check if of_end && !of_item => {
                return Fault::at(span, format!("`{root}` is not known in `done_when`, which looks at one task"))
                    .hint("use `output`, or move the check to `all_done_when`");
            }
            _ => {}
        }
        if of_item && !scope.has_items {
            return Fault::at(span, format!("`{root}` is only known in a step with `for_each`"));
        }
        if root == "output" {
            return Fault::at(span, "`output` is only known in `done_when`")
                .hint("the output of another step is `steps.ID.output`");
        }
        let fault = Fault::at(span, format!("`{root}` is not known here"));
        if self.steps.contains_key(root) {
            return fault.hint(format!("step `{root}` is written `steps.{root}`"));
        }
        if self.inputs.contains(&root) {
            return fault.hint(format!("input `{root}` is written `inputs.{root}`"));
        }
        let roots = scope.roots(stand);
        match nearest(root, roots.iter().copied()) {
            Some(near) => fault.nearest(Some(near)),
            None => {
                let known: Vec<_> = roots.iter().map(|root| format!("`{root}`")).collect();
                fault.hint(format!("known here: {}; text stands in quotes", known.join(", ")))
            }
        }
    }

    fn unknown_input(&self, reference: &expr::Reference) -> Option<Fault> {
        let name = match reference.keys.first() {
            None if reference.is_open => {
                return Some(
                    Fault::at(reference.range.clone(), "inputs are named, not computed").hint("write `inputs.NAME`"),
                );
            }
            None => return None,
            Some(Key::Index(_)) => {
                return Some(Fault::at(reference.range.clone(), "inputs have names, not numbers"));
            }
            Some(Key::Name(name)) => name.as_str(),
        };
        if self.inputs.contains(&name) {
            return None;
        }
        let fault = Fault::at(reference.key_ranges[0].clone(), format!("there is no input `{name}`"));
        let dashed = self.inputs.iter().find(|known| known.starts_with(name) && known[name.len()..].starts_with('-'));
        Some(match dashed {
            Some(known) => fault.hint(format!("{DASHED_INPUT} `inputs['{known}']`")),
            None if self.inputs.is_empty() => fault.hint("the plan has no `inputs`"),
            None => fault.nearest(nearest(name, self.inputs.iter().copied())),
        })
    }

    fn unknown_step(&self, reference: &expr::Reference, scope: &mut Scope<'_>) -> Option<Fault> {
        let Some(id) = reference.name(0) else {
            let fault = Fault::at(reference.range.clone(), "steps are named, not computed");
            return Some(fault.hint("write `steps.ID.output`"));
        };
        let span = reference.key_ranges[0].clone();
        if id == scope.id {
            let hint = if scope.has_items { "its checks use `output` and `items`" } else { "its checks use `output`" };
            return Some(Fault::at(span, format!("step `{id}` refers to itself")).hint(hint));
        }
        let Some(facts) = self.steps.get(id) else {
            let near = nearest(id, self.step_names.iter().copied().filter(|name| *name != scope.id));
            return Some(Fault::at(span, format!("there is no step `{id}`")).nearest(near));
        };
        let (fields, others) = if facts.has_items { (LIST_FIELDS, PLAIN_FIELDS) } else { (PLAIN_FIELDS, LIST_FIELDS) };
        let example = fields[0];
        let Some(field) = reference.name(1) else {
            let fault = Fault::at(reference.range.clone(), format!("`steps.{id}` does not say what of the step"));
            return Some(fault.hint(format!("write `steps.{id}.{example}`")));
        };
        scope.uses(id, Part::Whole);
        if fields.contains(&field) {
            return None;
        }
        let span = reference.key_ranges[1].clone();
        if others.contains(&field) {
            let (message, hint) = if facts.has_items {
                (
                    format!("step `{id}` has `for_each`, so it has no `{field}` of its own"),
                    format!("`steps.{id}.items` holds one output for each item"),
                )
            } else {
                (
                    format!("step `{id}` has no `for_each`, so it has no `{field}`"),
                    format!("its result is `steps.{id}.output`"),
                )
            };
            return Some(Fault::at(span, message).hint(hint));
        }
        let near = match field {
            "result" | "results" | "outputs" | "out" => Some(example),
            _ => nearest(field, fields.iter().copied()),
        };
        let fault = Fault::at(span, format!("a step has no `{field}`")).nearest(near);
        Some(if near.is_none() {
            fault.hint(format!("step `{id}` has {}", super::scalar::listed(fields).replace(" or ", " and ")))
        } else {
            fault
        })
    }

    pub(super) fn expr_fault(&mut self, node: &Node, inner: &str, error: &ExprError, at: &At<'_>) {
        let range = match error {
            ExprError::Syntax { range, .. } => range.clone(),
            _ => 0..inner.len(),
        };
        let near = match error {
            ExprError::Syntax { nearest, .. } => nearest.clone(),
            _ => None,
        };
        let span = self.locate(node, inner, &range);
        let fault = self.fault(span, at, error.to_string());
        fault.hint = error.hint().map(str::to_owned);
        fault.nearest = near;
    }

    /// Bytes of the file for bytes of an expression: exact where the text stands in the file as it is, else the
    /// whole scalar.
    fn locate(&self, node: &Node, inner: &str, range: &Range<usize>) -> Range<usize> {
        let span = node.span();
        let written = self.source.get(span.clone()).unwrap_or("");
        match written.find(inner) {
            Some(found) if !inner.is_empty() => {
                let start = span.start + found;
                start + range.start..start + range.end.max(range.start)
            }
            _ => span,
        }
    }
}
