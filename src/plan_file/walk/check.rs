//! `done_when` and `all_done_when`.

use serde_json::Value;

use crate::domain::plan::Check;

use super::super::expr::{bare, has_expression};
use super::super::keys::{PARSES, Place, RANGE_MAX};
use super::super::node::{Data, Name, Node};
use super::place::At;
use super::refer::{Scope, Stand};
use super::{Fields, Walker};

impl<'a> Walker<'a> {
    pub(super) fn checks(
        &mut self,
        fields: &Fields<'a>,
        word: &'static str,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Vec<Check> {
        let Some(node) = fields.get(word) else { return Vec::new() };
        let at = at.key(word);
        let stand = if word == "done_when" { Stand::Check } else { Stand::EndCheck };
        if stand == Stand::EndCheck && !scope.has_items {
            let span = fields.name(word).map_or_else(|| node.span(), Name::span);
            self.fault(span, &at, "`all_done_when` is for steps with `for_each`").hint =
                Some("use `done_when`".to_owned());
            return Vec::new();
        }
        match &node.data {
            Data::List(list) => list
                .iter()
                .enumerate()
                .filter_map(|(index, node)| self.check(node, stand, fields, scope, &at.index(index)))
                .collect(),
            _ => self.check(node, stand, fields, scope, &at).into_iter().collect(),
        }
    }

    fn check(
        &mut self,
        node: &'a Node,
        stand: Stand,
        step: &Fields<'a>,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Option<Check> {
        let entries = match &node.data {
            Data::Str(_) | Data::Bool(_) => {
                return self.bare_expression(node, stand, scope, at).map(Check::Expression);
            }
            Data::Map(entries) => entries,
            _ => {
                self.expected("a check", node, at).hint =
                    Some("write an expression, or one of `file`, `sql`, `called`, `count`".to_owned());
                return None;
            }
        };
        let before = self.faults.len();
        let fields = self.fields(entries, node.span(), Place::Check, at);
        match fields.entries.as_slice() {
            [("file", _, node)] => self.file_check(node, stand, step, scope, &at.key("file")),
            [("sql", _, node)] => self.sql_check(node, stand, scope, &at.key("sql")),
            [("called", _, node)] => self.called(node, stand, step, &at.key("called")),
            [("count", name, node)] => self.count_check(name, node, stand, scope, &at.key("count")),
            [] if self.faults.len() > before => None,
            [] => {
                self.fault(node.span(), at, "a check is one of `file`, `sql`, `called`, `count`");
                None
            }
            [_, (_, name, _), ..] => {
                self.fault(name.span(), at, "one entry is one check").hint =
                    Some("begin another entry with `-`".to_owned());
                None
            }
            [(_, name, _)] => {
                self.fault(name.span(), at, format!("`{}` is not in this version", name.text));
                None
            }
        }
    }

    fn file_check(
        &mut self,
        node: &'a Node,
        stand: Stand,
        step: &Fields<'a>,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Option<Check> {
        if let Data::Str(path) = &node.data {
            self.template(node, path, stand, scope, at);
            return Some(Check::File { path: path.clone(), exists: Some(true), parses: None, changed: None });
        }
        let Data::Map(entries) = &node.data else {
            self.expected("a map with `path`", node, at);
            return None;
        };
        let fields = self.fields(entries, node.span(), Place::FileCheck, at);
        let path = self.required(&fields, "path", "a `file` check", node, stand, scope, at);
        let exists = fields.get("exists").and_then(|node| self.flag(node, &at.key("exists")));
        let parses = fields.get("parses").and_then(|node| self.word(node, PARSES, &at.key("parses")));
        if let (Some(false), Some(name)) = (exists, fields.name("parses")) {
            self.fault(name.span(), &at.key("parses"), "a file that must not exist cannot be parsed");
        }
        let changed = fields.get("changed").and_then(|node| self.flag(node, &at.key("changed")));
        if let Some(name) = fields.name("changed") {
            let at = at.key("changed");
            if stand == Stand::EndCheck {
                self.fault(name.span(), &at, "`changed` looks at one attempt").hint =
                    Some("move it to `done_when`".to_owned());
            } else if step.get("prompt").is_none() {
                self.fault(name.span(), &at, "`changed` is for steps whose agent has a `prompt`").hint =
                    Some("other steps leave no files of an attempt".to_owned());
            }
        }
        // A file that is only asked whether it stayed as it was may well be missing.
        let exists = if exists.is_none() && parses.is_none() && changed.is_none() { Some(true) } else { exists };
        Some(Check::File { path: path?, exists, parses: parses.map(str::to_owned), changed })
    }

    fn sql_check(&mut self, node: &'a Node, stand: Stand, scope: &mut Scope<'_>, at: &At<'_>) -> Option<Check> {
        let Data::Map(entries) = &node.data else {
            self.expected("a map with `database`, `query` and `equals`", node, at);
            return None;
        };
        let fields = self.fields(entries, node.span(), Place::SqlCheck, at);
        let database = self.required(&fields, "database", "an `sql` check", node, stand, scope, at);
        let query = match fields.get("query") {
            Some(node) => {
                let at = at.key("query");
                let text = self.text(node, &at);
                if text.is_some_and(has_expression) {
                    self.fault(node.span(), &at, "expressions are not put into SQL").hint =
                        Some("select the value and compare it with `equals`".to_owned());
                }
                text
            }
            None => {
                self.fault(node.span(), at, "an `sql` check needs `query`");
                None
            }
        };
        let equals = match fields.get("equals") {
            Some(node) => {
                self.deep_template(node, stand, scope, &at.key("equals"));
                Some(node.to_json())
            }
            None => {
                self.fault(node.span(), at, "an `sql` check needs `equals`");
                None
            }
        };
        Some(Check::Sql { database: database?, query: query?.to_owned(), equals: equals? })
    }

    fn called(&mut self, node: &'a Node, stand: Stand, step: &Fields<'a>, at: &At<'_>) -> Option<Check> {
        let tool = self.text(node, at)?;
        if stand == Stand::EndCheck {
            self.fault(node.span(), at, "`called` looks at one attempt").hint =
                Some("move it to `done_when`".to_owned());
        } else if step.get("value").is_some() {
            self.fault(node.span(), at, "a `value` step calls no tool");
        } else {
            self.tool(tool, node, at);
        }
        Some(Check::Called { tool: tool.to_owned() })
    }

    fn count_check(
        &mut self,
        name: &Name,
        node: &'a Node,
        stand: Stand,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Option<Check> {
        if stand == Stand::Check {
            self.fault(name.span(), at, "`count` is for `all_done_when`").hint =
                Some("in `done_when` write an expression: `output.rows | length == 3`".to_owned());
            return None;
        }
        Some(match self.count_value(node, RANGE_MAX, stand, scope, at)? {
            Value::String(text) => Check::Expression(format!("count == ({})", bare(&text))),
            number => Check::Expression(format!("count == {number}")),
        })
    }

    /// A template that must be there.
    #[expect(clippy::too_many_arguments, reason = "one caller's context, passed on whole")]
    fn required(
        &mut self,
        fields: &Fields<'a>,
        word: &str,
        what: &str,
        node: &Node,
        stand: Stand,
        scope: &mut Scope<'_>,
        at: &At<'_>,
    ) -> Option<String> {
        let Some(node) = fields.get(word) else {
            self.fault(node.span(), at, format!("{what} needs `{word}`"));
            return None;
        };
        let at = at.key(word);
        let text = self.text(node, &at)?;
        self.template(node, text, stand, scope, &at);
        Some(text.to_owned())
    }
}
