//! Values of expressions and templates.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use minijinja::value::Value as Engine;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use super::error::ExprError;
use super::filters;
use super::path::follow;
use super::scan::{FILTERS, Kind, Parsed, Reference, TESTS, parse};
use super::template::{Piece, bare, has_expression, sole_expression, split};
use super::value::{Budget, estimate, from_engine, kind_of, one_line, to_engine};

/// Where an expression finds its names. Only what it mentions is asked for, each name once.
pub trait Lookup {
    /// One field of a step: `output`, or `items`, `count`, `done`, `failed`, `quarantined`, `skipped`, `errors`.
    ///
    /// # Errors
    /// [`ExprError::Unavailable`] when the step has no such value (it was skipped, its output is lost).
    fn step(&self, id: &str, field: &str) -> Result<Arc<Value>, ExprError>;

    /// Any other root: `inputs`, `item`, `index`, `key`, `output`, `items`, `count`, `failed`, …
    fn root(&self, name: &str) -> Option<Arc<Value>>;
}

/// What a step's field was when it was asked for.
type Answer = Result<Arc<Value>, ExprError>;

/// Asks each name once, however often an expression or template mentions it: an answer may be a large blob.
struct Once<'l> {
    inner: &'l dyn Lookup,
    steps: RefCell<BTreeMap<(String, String), Answer>>,
    roots: RefCell<BTreeMap<String, Option<Arc<Value>>>>,
}

impl<'l> Once<'l> {
    const fn new(inner: &'l dyn Lookup) -> Self {
        Self { inner, steps: RefCell::new(BTreeMap::new()), roots: RefCell::new(BTreeMap::new()) }
    }
}

impl Lookup for Once<'_> {
    fn step(&self, id: &str, field: &str) -> Result<Arc<Value>, ExprError> {
        let name = (id.to_owned(), field.to_owned());
        self.steps.borrow_mut().entry(name).or_insert_with(|| self.inner.step(id, field)).clone()
    }

    fn root(&self, name: &str) -> Option<Arc<Value>> {
        self.roots.borrow_mut().entry(name.to_owned()).or_insert_with(|| self.inner.root(name)).clone()
    }
}

/// A lookup over values that are already there.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    roots: BTreeMap<String, Arc<Value>>,
    steps: BTreeMap<String, BTreeMap<String, Arc<Value>>>,
}

impl Roots {
    /// The same with one more root.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Arc<Value>>) -> Self {
        self.roots.insert(name.to_owned(), value.into());
        self
    }

    /// The same with one more field of a step.
    #[must_use]
    pub fn with_step(mut self, id: &str, field: &str, value: impl Into<Arc<Value>>) -> Self {
        self.steps.entry(id.to_owned()).or_default().insert(field.to_owned(), value.into());
        self
    }
}

impl Lookup for Roots {
    fn step(&self, id: &str, field: &str) -> Result<Arc<Value>, ExprError> {
        self.steps
            .get(id)
            .and_then(|fields| fields.get(field))
            .cloned()
            .ok_or_else(|| ExprError::Missing { path: format!("steps.{id}.{field}"), hint: None })
    }

    fn root(&self, name: &str) -> Option<Arc<Value>> {
        self.roots.get(name).cloned()
    }
}

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether the expression is true.
    pub holds: bool,
    /// One sentence: the expression, and what each path in it was.
    pub evidence: String,
}

/// The value of an expression, bare or wrapped in `${{ }}`.
///
/// # Errors
/// Every variant of [`ExprError`].
pub fn evaluate(text: &str, lookup: &dyn Lookup) -> Result<Value, ExprError> {
    evaluate_within(bare(text), &Once::new(lookup), &mut Budget::new())
}

/// Whether an expression is true. Null, zero and what is empty are false; text is neither true nor false.
///
/// # Errors
/// Those of [`evaluate`], and [`ExprError::Type`] for text.
pub fn is_true(text: &str, lookup: &dyn Lookup) -> Result<bool, ExprError> {
    Ok(match evaluate(text, lookup)? {
        Value::Null => false,
        Value::Bool(flag) => flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(found) => {
            return Err(ExprError::Type {
                message: format!(
                    "`{}` is {}, which is neither true nor false",
                    shown(text),
                    one_line(&Value::String(found), 40)
                ),
                hint: Some("compare it: `… == 'yes'`, or ask for its length: `… | length > 0`".to_owned()),
            });
        }
    })
}

/// [`is_true`] with evidence: what each path of the expression was.
///
/// # Errors
/// Those of [`is_true`].
pub fn judge(text: &str, lookup: &dyn Lookup) -> Result<Judged, ExprError> {
    let lookup = &Once::new(lookup);
    let holds = is_true(text, lookup)?;
    let parsed = parse(bare(text))?;
    let mut saw: Vec<String> = Vec::new();
    for reference in &parsed.references {
        let path = reference.text(reference.keys.len());
        let line = match resolve(reference, lookup) {
            Ok((value, from)) => match follow(&value, reference, from) {
                Ok(value) => format!("{path} = {}", one_line(value, 80)),
                Err(_) => format!("{path} is not there"),
            },
            Err(_) => format!("{path} is not there"),
        };
        if !saw.contains(&line) && saw.len() < 8 {
            saw.push(line);
        }
    }
    let verb = if holds { "holds" } else { "does not hold" };
    let seen = if saw.is_empty() { String::new() } else { format!(": {}", saw.join(", ")) };
    Ok(Judged { holds, evidence: format!("`{}` {verb}{seen}", shown(text)) })
}

/// The value of a template: a string that is one `${{ … }}` keeps the value's type, text around it makes text;
/// lists and objects are walked.
///
/// # Errors
/// Those of [`evaluate`].
pub fn render(template: &Value, lookup: &dyn Lookup) -> Result<Value, ExprError> {
    render_within(template, &Once::new(lookup), &mut Budget::new())
}

fn render_within(template: &Value, lookup: &dyn Lookup, budget: &mut Budget) -> Result<Value, ExprError> {
    match template {
        Value::String(text) => render_text(text, lookup, budget),
        Value::Array(list) => list.iter().map(|entry| render_within(entry, lookup, budget)).collect(),
        Value::Object(map) => {
            let mut out = Map::with_capacity(map.len());
            for (key, entry) in map {
                budget.take(key.len() + 4)?;
                out.insert(key.clone(), render_within(entry, lookup, budget)?);
            }
            Ok(Value::Object(out))
        }
        scalar => budget.copy(scalar),
    }
}

fn render_text(text: &str, lookup: &dyn Lookup, budget: &mut Budget) -> Result<Value, ExprError> {
    if !has_expression(text) {
        budget.take(text.len() + 2)?;
        return Ok(Value::String(text.to_owned()));
    }
    if let Some(expression) = sole_expression(text) {
        return evaluate_within(expression.trim(), lookup, budget);
    }
    let mut out = String::with_capacity(text.len());
    for piece in split(text)? {
        match piece {
            Piece::Text(plain) => out.push_str(plain),
            Piece::Expression(expression, _) => match evaluate_within(expression.trim(), lookup, budget)? {
                Value::String(part) => out.push_str(&part),
                other => out.push_str(&other.to_string()),
            },
        }
    }
    budget.take(out.len())?;
    Ok(Value::String(out))
}

fn evaluate_within(text: &str, lookup: &dyn Lookup, budget: &mut Budget) -> Result<Value, ExprError> {
    let parsed = parse(text)?;
    if let Some(path) = parsed.plain() {
        let (value, from) = resolve(path, lookup)?;
        return budget.copy(follow(&value, path, from)?);
    }
    let names = Names::gather(&parsed, lookup)?;
    refuse_unlike(&parsed, lookup)?;
    let engine = engine_for(names.nodes);
    let source = for_engine(&parsed);
    let expression = engine.compile_expression(&source).map_err(|error| from_minijinja(&error))?;
    let result = expression
        .eval(names.context)
        .and_then(|value| if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { Ok(value) });
    match result {
        Ok(value) => from_engine(&value, budget, 0),
        Err(error) => Err(explain_undefined(&error, &parsed, lookup, names.first_missing)),
    }
}

/// Where a path's keys start, and in which value: the step's field, or the root itself.
fn resolve(reference: &Reference, lookup: &dyn Lookup) -> Result<(Arc<Value>, usize), ExprError> {
    if reference.root == "steps" {
        let (Some(id), Some(field)) = (reference.name(0), reference.name(1)) else {
            return Err(ExprError::syntax_hint(
                format!("`{}` names no field of a step", reference.text(reference.keys.len())),
                reference.range.clone(),
                "write `steps.ID.output`",
            ));
        };
        return Ok((lookup.step(id, field)?, 2));
    }
    let value =
        lookup.root(&reference.root).ok_or_else(|| ExprError::Missing { path: reference.root.clone(), hint: None })?;
    Ok((value, 0))
}

/// The values that an expression mentions, ready for the engine.
struct Names {
    context: Engine,
    nodes: u64,
    first_missing: Option<ExprError>,
}

impl Names {
    /// A name that has no value stays undefined, so that `default` and `is defined` can ask about it.
    fn gather(parsed: &Parsed<'_>, lookup: &dyn Lookup) -> Result<Self, ExprError> {
        let mut roots: BTreeMap<String, Engine> = BTreeMap::new();
        let mut steps: BTreeMap<String, BTreeMap<String, Engine>> = BTreeMap::new();
        let mut nodes = 0_u64;
        let mut first_missing = None;
        for reference in &parsed.references {
            match resolve(reference, lookup) {
                Ok((value, from)) => {
                    nodes = nodes.saturating_add(follow(&value, reference, from).map_or(1, estimate));
                    match (reference.name(0), reference.name(1)) {
                        (Some(id), Some(field)) if from == 2 => {
                            steps.entry(id.to_owned()).or_default().insert(field.to_owned(), to_engine(&value));
                        }
                        _ => {
                            roots.insert(reference.root.clone(), to_engine(&value));
                        }
                    }
                }
                Err(error @ ExprError::Syntax { .. }) => return Err(error),
                Err(error) => {
                    if let (Some(id), "steps") = (reference.name(0), reference.root.as_str()) {
                        steps.entry(id.to_owned()).or_default();
                    }
                    first_missing.get_or_insert(error);
                }
            }
        }
        if !steps.is_empty() {
            let steps = steps.into_iter().map(|(id, fields)| (id, Engine::from(fields)));
            roots.insert("steps".to_owned(), Engine::from(steps.collect::<BTreeMap<_, _>>()));
        }
        Ok(Self { context: Engine::from(roots), nodes, first_missing })
    }
}

/// The text that the engine reads: step ids with dashes become subscripts.
fn for_engine(parsed: &Parsed<'_>) -> String {
    let mut out = String::with_capacity(parsed.source.len());
    let mut copied = 0;
    for at in 1..parsed.tokens.len() {
        let token = &parsed.tokens[at];
        if token.kind == Kind::Name && parsed.kind(at - 1) == Some(Kind::Dot) && parsed.text(at).contains('-') {
            out.push_str(&parsed.source[copied..parsed.tokens[at - 1].range.start]);
            out.push_str("['");
            out.push_str(parsed.text(at));
            out.push_str("']");
            copied = token.range.end;
        }
    }
    out.push_str(&parsed.source[copied..]);
    out
}

/// Whether the engine's grammar accepts the expression.
pub(in crate::plan_file) fn compiles(parsed: &Parsed<'_>) -> Result<(), ExprError> {
    refuse_number_against_digits(parsed)?;
    refuse_unreadable_patterns(parsed)?;
    let source = for_engine(parsed);
    match engine_for(0).compile_expression(&source) {
        Ok(_) => Ok(()),
        Err(error) => {
            let len = parsed.source.len();
            let range = error.range().filter(|_| source.len() == len).unwrap_or(0..len);
            let range = range.start.min(len)..range.end.min(len);
            let whole = if range.is_empty() { 0..len } else { range };
            Err(ExprError::syntax(words(&error), whole))
        }
    }
}

/// Engines by fuel: enough for what the mentioned values can ask for, never unlimited.
fn engine_for(nodes: u64) -> &'static Environment<'static> {
    static ENGINES: LazyLock<[(u64, Environment<'static>); 4]> =
        LazyLock::new(|| [100_000, 1_000_000, 10_000_000, 100_000_000].map(|fuel| (fuel, engine(fuel))));
    let wanted = nodes.saturating_mul(20).saturating_add(50_000);
    let found = ENGINES.iter().find(|(fuel, _)| *fuel >= wanted);
    &found.unwrap_or(&ENGINES[3]).1
}

fn engine(fuel: u64) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(fuel));
    let globals: Vec<String> = engine.globals().map(|(name, _)| name.to_owned()).collect();
    for name in globals {
        engine.remove_global(&name);
    }
    engine.add_global("null", Engine::from(()));
    for name in ["safe", "escape", "e", "pprint", "indent", "urlencode"] {
        debug_assert!(!FILTERS.contains(&name) && !TESTS.contains(&name), "left out of the list of filters");
        engine.remove_filter(name);
    }
    debug_assert!(filters::OWN_FILTERS.iter().all(|name| FILTERS.contains(name)), "ours are in the list of filters");
    filters::add_to(&mut engine);
    engine
}

pub(super) fn from_minijinja(error: &minijinja::Error) -> ExprError {
    match error.kind() {
        ErrorKind::OutOfFuel => ExprError::OutOfFuel,
        ErrorKind::SyntaxError => ExprError::syntax(words(error), error.range().unwrap_or(0..0)),
        _ => ExprError::Failed { message: words(error) },
    }
}

fn words(error: &minijinja::Error) -> String {
    let mut text = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => format!("{:?}", error.kind()),
    };
    if error.kind() == ErrorKind::UndefinedError {
        text = "a value is not there".to_owned();
    }
    if let Some((at, _)) = text.char_indices().nth(300) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// The engine says only that something is undefined; this says what.
fn explain_undefined(
    error: &minijinja::Error,
    parsed: &Parsed<'_>,
    lookup: &dyn Lookup,
    first_missing: Option<ExprError>,
) -> ExprError {
    if error.kind() == ErrorKind::OutOfFuel {
        return ExprError::OutOfFuel;
    }
    if let Some(missing) = first_missing {
        return missing;
    }
    let broken = parsed.references.iter().find_map(|reference| match resolve(reference, lookup) {
        Ok((value, from)) => follow(&value, reference, from).err(),
        Err(error) => Some(error),
    });
    match (broken, error.kind()) {
        (Some(missing), _) => missing,
        (None, ErrorKind::UndefinedError) => ExprError::Missing {
            path: parsed.source.trim().to_owned(),
            hint: Some("a part of the expression is undefined".to_owned()),
        },
        (None, _) => from_minijinja(error),
    }
}

/// A pattern that stands in the expression is read with the plan, not first when a check is made.
fn refuse_unreadable_patterns(parsed: &Parsed<'_>) -> Result<(), ExprError> {
    for at in 1..parsed.tokens.len() {
        let asks = match parsed.text(at) {
            "matches" => parsed.kind(at - 1) == Some(Kind::Pipe),
            "matching" => matches!(parsed.text(at - 1), "is" | "not"),
            _ => false,
        };
        let literal = if parsed.text(at + 1) == "(" { at + 2 } else { at + 1 };
        if !asks || parsed.kind(literal) != Some(Kind::Text) {
            continue;
        }
        let value = engine_for(0).compile_expression(parsed.text(literal)).and_then(|text| text.eval(()));
        if let Some(pattern) = value.ok().as_ref().and_then(Engine::as_str)
            && let Err(message) = filters::compiled(pattern)
        {
            return Err(ExprError::syntax(message, parsed.tokens[literal].range.clone()));
        }
    }
    Ok(())
}

/// `count > '0'` is never what was meant; minijinja calls it false.
fn refuse_number_against_digits(parsed: &Parsed<'_>) -> Result<(), ExprError> {
    for at in 0..parsed.tokens.len() {
        if !is_ordering(parsed, at) {
            continue;
        }
        for side in [at.wrapping_sub(1), at + 1] {
            if parsed.kind(side) != Some(Kind::Text) {
                continue;
            }
            let quoted = parsed.text(side);
            let inner = &quoted[1..quoted.len() - 1];
            if !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                return Err(ExprError::syntax_hint(
                    format!("`{}` compares with the text {quoted}, not with a number", parsed.text(at)),
                    parsed.tokens[side].range.clone(),
                    format!("write {inner} without quotes"),
                ));
            }
        }
    }
    Ok(())
}

fn is_ordering(parsed: &Parsed<'_>, at: usize) -> bool {
    parsed.kind(at) == Some(Kind::Operator) && matches!(parsed.text(at), "<" | ">" | "<=" | ">=")
}

/// Refuses to order values of unlike types where both sides are plain paths or literals. Expressions with `is` are
/// left alone: they may have asked about the type themselves.
fn refuse_unlike(parsed: &Parsed<'_>, lookup: &dyn Lookup) -> Result<(), ExprError> {
    let asks = (0..parsed.tokens.len()).any(|at| parsed.kind(at) == Some(Kind::Name) && parsed.text(at) == "is");
    if asks {
        return Ok(());
    }
    for at in (0..parsed.tokens.len()).filter(|at| is_ordering(parsed, *at)) {
        let (Some(left), Some(right)) = (left_of(parsed, at, lookup), right_of(parsed, at, lookup)) else { continue };
        if std::mem::discriminant(&left) != std::mem::discriminant(&right) || left.is_null() {
            return Err(ExprError::Type {
                message: format!(
                    "`{}` cannot order {} ({}) and {} ({})",
                    parsed.source.trim(),
                    kind_of(&left),
                    one_line(&left, 40),
                    kind_of(&right),
                    one_line(&right, 40)
                ),
                hint: Some("convert one side: `… | int`, `… | float`".to_owned()),
            });
        }
    }
    Ok(())
}

/// The value of the operand that ends before token `at`, when it is a whole operand.
fn left_of(parsed: &Parsed<'_>, at: usize, lookup: &dyn Lookup) -> Option<Value> {
    let end = parsed.tokens.get(at.checked_sub(1)?)?.range.end;
    let (value, first) = match parsed.references.iter().find(|r| r.range.end == end && !r.is_open) {
        Some(reference) => {
            let first = parsed.tokens.iter().position(|t| t.range.start == reference.range.start)?;
            (path_value(reference, lookup)?, first)
        }
        None => (literal(parsed, at - 1)?, at - 1),
    };
    let before = first.checked_sub(1);
    let is_edge =
        before.is_none_or(|b| matches!(parsed.text(b), "and" | "or" | "not" | "if" | "else" | "(" | "[" | ","));
    is_edge.then_some(value)
}

fn right_of(parsed: &Parsed<'_>, at: usize, lookup: &dyn Lookup) -> Option<Value> {
    let start = parsed.tokens.get(at + 1)?.range.start;
    let (value, last) = match parsed.references.iter().find(|r| r.range.start == start && !r.is_open) {
        Some(reference) => {
            let last = parsed.tokens.iter().position(|t| t.range.end == reference.range.end)?;
            (path_value(reference, lookup)?, last)
        }
        None => (literal(parsed, at + 1)?, at + 1),
    };
    let after = parsed.text(last + 1);
    matches!(after, "" | "and" | "or" | "if" | "else" | ")" | "]" | ",").then_some(value)
}

fn path_value(reference: &Reference, lookup: &dyn Lookup) -> Option<Value> {
    let (value, from) = resolve(reference, lookup).ok()?;
    let found = follow(&value, reference, from).ok()?;
    // Only the type and a short view are wanted; large values are not copied.
    Some(match found {
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(Map::new()),
        Value::String(text) => Value::String(text.chars().take(60).collect()),
        scalar => scalar.clone(),
    })
}

fn literal(parsed: &Parsed<'_>, at: usize) -> Option<Value> {
    match parsed.kind(at)? {
        Kind::Number => Some(serde_json::from_str(parsed.text(at)).unwrap_or_else(|_| Value::from(0))),
        Kind::Text => {
            let quoted = parsed.text(at);
            Some(Value::String(quoted[1..quoted.len() - 1].to_owned()))
        }
        _ => None,
    }
}

fn shown(text: &str) -> String {
    let text = bare(text);
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
