//! Steps and edges. A [`Plan`] value is always a checked DAG: there is no way to make one that is not.
//!
//! Expressions are carried here as text; the room `plan_file` reads and evaluates them. Which steps an
//! expression mentions is worked out by that room and handed over in [`Step::refs`].

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{StepId, StepIndex};
use super::kinds::{Grant, TaskKind};
use super::ladder::WhenLimited;

/// What a person wrote, read into types but not yet checked as a graph. Serialised into the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawPlan {
    /// Name of the plan; with the project id it ties runs of the same plan together.
    pub name: String,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What a run may be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Steps in the order written.
    pub steps: Vec<Step>,
    /// Named ladders, cheapest rung first. Steps that need no model ignore them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ladders: BTreeMap<String, Vec<String>>,
    /// Model servers of this plan, by name; they go over configured ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub model_servers: BTreeMap<String, ModelServerSpec>,
    /// SHA-256 of the text that the plan was read from, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_digest: String,
}

/// One input of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Its name, used as `inputs.NAME`.
    pub name: String,
    /// What it may hold.
    #[serde(rename = "type")]
    pub kind: InputKind,
    /// The value when the person gives none; an input without default must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Nothing that comes from it goes to a paid model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local_only: bool,
}

/// Types of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Any text.
    String,
    /// A file or folder: typed relative to where the person stands, a default relative to the project folder.
    Path,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A JSON list.
    List,
    /// A JSON object.
    Object,
}

/// One node of the plan. Defaults are already filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique name.
    pub id: StepId,
    /// What the step does.
    #[serde(flatten)]
    pub kind: StepKind,
    /// Order that the person wrote (`needs`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// Steps that the expressions mention, each with what of it is used. Worked out by the reader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<Reference>,
    /// Bare expression; false skips the step.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Where the items come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Template that names an item for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Attempts of this step at once.
    pub max_parallel: u32,
    /// Limit of one attempt.
    pub timeout_ms: u64,
    /// How transient failures are retried.
    pub retry: Retry,
    /// What a failed item does to the step.
    pub on_error: OnError,
    /// How many items may be set aside before the step fails (with `on_error: quarantine`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerate: Option<Tolerate>,
    /// Escalates after one failure. `None`: what the table of task kinds says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    /// Counted failures before a paid rung; `None`: the configured threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
    /// Name of a ladder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<String>,
    /// Its kind of task; `None`: what the table of task kinds says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_kind: Option<TaskKind>,
    /// Claude is asked first (`true`) or never (`false`); `None`: after counted failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claude: Option<bool>,
    /// No paid model is asked, nor by any step that uses what this one makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_only: Option<bool>,
    /// What its tasks do at a limit of paid calls; `None`: what is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_limited: Option<WhenLimited>,
    /// Inputs that its expressions mention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_refs: Vec<String>,
    /// A second model must give the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<Agree>,
    /// Tools that the agent is offered, as `server.tool` or `server.*`; `None`: those of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// What the step may do at most; `None`: what its agent may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Grant>>,
    /// Limit of silence in one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// Checks on each task's output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done_when: Vec<Check>,
    /// Checks once at the end of a `for_each` step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all_done_when: Vec<Check>,
    /// JSON Schema of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Overrides the tool's repeat class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatClass>,
    /// Whether done items of earlier runs are taken over; `None`: the rule of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<bool>,
    /// Arguments of a foreign tool that are files (their content counts for the identity).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// A judge beside the checks whose verdict the task needs (the slot of the later VALIDATOR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
}

/// Who gives the second answer of a step with `agree`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agree {
    /// `SERVER:MODEL`; `None`: a local rung of another family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
}

/// A model server that a plan brings along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelServerSpec {
    /// The protocol that it speaks.
    pub kind: ModelServerKind,
    /// Its address; empty for a stand-in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Name of the environment variable that holds its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// Requests that it takes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Whether its answers are bound to a schema; `false`: it is told of the schema in the prompt only. `None`: bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_bound: Option<bool>,
}

impl RawPlan {
    /// Whether a rung is on a stand-in that the plan brings along.
    #[must_use]
    pub fn is_stand_in(&self, rung: &str) -> bool {
        let server = rung.split_once(':').and_then(|(server, _)| self.model_servers.get(server));
        server.is_some_and(|server| server.kind == ModelServerKind::StandIn)
    }
}

impl ModelServerSpec {
    /// A stand-in inside the program.
    #[must_use]
    pub const fn stand_in() -> Self {
        Self { kind: ModelServerKind::StandIn, url: String::new(), key_env: None, slots: None, schema_bound: None }
    }
}

/// Protocols of model servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelServerKind {
    /// Ollama's own.
    Ollama,
    /// OpenAI's, as llama.cpp, vLLM and LM Studio speak it.
    Openai,
    /// None: inside the program, in place of local models, and never right. For trying what follows their failures.
    StandIn,
}

/// The kinds of steps that this version runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A direct call, no model.
    Tool {
        /// `server.tool`.
        name: String,
        /// Template of the arguments: an object.
        #[serde(default)]
        with: Map<String, Value>,
    },
    /// Expressions only.
    Value {
        /// Template of the output.
        template: Value,
    },
    /// An attempt in the role of an agent.
    Agent {
        /// Name of the agent file.
        name: String,
        /// Template of the prompt; `None` where the role has a deterministic way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        /// Template of the arguments: an object.
        #[serde(default)]
        with: Map<String, Value>,
    },
}

impl StepKind {
    /// The word that a plan file uses for the kind.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Tool { .. } => "tool",
            Self::Value { .. } => "value",
            Self::Agent { .. } => "agent",
        }
    }

    /// Whether its attempts ask a model.
    #[must_use]
    pub const fn asks_a_model(&self) -> bool {
        matches!(self, Self::Agent { prompt: Some(_), .. })
    }

    /// Whether its attempts write rows the deterministic way: what a model says about databases and rows counts for
    /// nothing.
    #[must_use]
    pub const fn writes_rows(&self) -> bool {
        matches!(self, Self::Agent { prompt: None, .. })
    }
}

/// Where the items of a step come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForEach {
    /// The done items of another step, one by one as they are done: exactly `${{ steps.X.items }}`.
    Items(StepId),
    /// A template that gives a list.
    List(Value),
    /// `{range: N}`: the numbers 0 to N-1; a number or a template that gives one.
    Range(Value),
}

/// What an expression uses of another step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// The step that is mentioned.
    pub step: StepId,
    /// Which part of it.
    pub part: Part,
}

/// Parts of a step that an expression may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Item by item, as the source of `for_each`: does not wait for the step's end.
    Flow,
    /// Anything else (`output`, `items`, `count`, `failed`, `quarantined`, `errors`): waits for its end.
    Whole,
}

/// Retries of transient failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Tries after the first, for transient failures in a row.
    pub transient_max: u32,
    /// Wait before the first retry; doubled for each further one.
    pub backoff_first_ms: u64,
    /// Longest wait.
    pub backoff_max_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { transient_max: 5, backoff_first_ms: 1_000, backoff_max_ms: 60_000 }
    }
}

/// What a failed item does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The first failed item fails the step.
    #[default]
    Stop,
    /// The item is failed, the others go on, then the step is failed.
    Continue,
    /// The item is set aside, the step is done while no more than `tolerate` are.
    Quarantine,
}

/// How many items may be set aside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerate {
    /// A number of items.
    Count(u32),
    /// A share of the whole list in hundredths of a per cent (1 000 is 10 %), rounded up, at least 1.
    BasisPoints(u32),
}

impl Tolerate {
    /// The number of items that may be set aside in a list of `len`.
    #[must_use]
    pub fn limit(self, len: u64) -> u64 {
        match self {
            Self::Count(count) => u64::from(count),
            Self::BasisPoints(points) => (len * u64::from(points)).div_ceil(10_000).max(1),
        }
    }
}

/// One check of `done_when` or `all_done_when`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// A bare expression over `output`, `item` (or `items`, `count`, `failed`), `inputs`, `steps`.
    Expression(String),
    /// A file of the workspace.
    File {
        /// Template of the path.
        path: String,
        /// It must (or must not) exist.
        exists: Option<bool>,
        /// It must parse as this: `json`, `yaml`, `csv`, `pdf`.
        parses: Option<String>,
        /// The attempt must (or must not) have changed it.
        #[serde(default)]
        changed: Option<bool>,
    },
    /// One query on a database, inside the writing transaction where the task writes that database.
    Sql {
        /// Template of the address.
        database: String,
        /// One read-only statement.
        query: String,
        /// What its first column of its first row must equal (template).
        equals: Value,
    },
    /// The named tool was called in the attempt and succeeded.
    Called {
        /// `server.tool`.
        tool: String,
    },
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expression(text) => f.write_str(text),
            Self::File { path, changed: None, .. } => write!(f, "file {path}"),
            Self::File { path, changed: Some(true), .. } => write!(f, "file {path}, changed"),
            Self::File { path, changed: Some(false), .. } => write!(f, "file {path}, not changed"),
            Self::Sql { query, .. } => write!(f, "sql {query}"),
            Self::Called { tool } => write!(f, "called {tool}"),
        }
    }
}

/// Whether a call may be made again when nobody knows if it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatClass {
    /// Changes nothing: run again.
    Read,
    /// The same call with the same key changes nothing more: run again with the same key.
    Idempotent,
    /// Never repeated blindly: in doubt after a crash.
    Unsafe,
}

/// Why steps do not form a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// A plan needs at least one step.
    #[error("a plan needs at least one step")]
    NoSteps,
    /// Two steps share an id.
    #[error("two steps are called `{id}`")]
    DuplicateStep {
        /// The shared id.
        id: StepId,
        /// Position of the later one.
        at: usize,
    },
    /// `needs` or an expression names a step that is not there.
    #[error("step `{step}` refers to `{missing}`, which is no step of this plan")]
    UnknownStep {
        /// The step that refers.
        step: StepId,
        /// The name that is not there.
        missing: StepId,
    },
    /// The steps wait for each other.
    #[error("these steps wait for each other: {}", .cycle.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(" → "))]
    Cycle {
        /// The steps on the cycle, in order; the first waits for the last.
        cycle: Vec<StepId>,
    },
    /// `for_each` flows from a step that has no items.
    #[error("step `{step}` maps over the items of `{source_step}`, which has no `for_each`")]
    NoItems {
        /// The mapping step.
        step: StepId,
        /// The step without items.
        source_step: StepId,
    },
}

/// A checked DAG of steps.
#[derive(Clone, Debug)]
pub struct Plan {
    raw: RawPlan,
    graph: DiGraph<StepIndex, Part>,
    order: Vec<StepIndex>,
    index: BTreeMap<StepId, StepIndex>,
}

impl Plan {
    /// The plan as it was written, with defaults filled in.
    #[must_use]
    pub const fn raw(&self) -> &RawPlan {
        &self.raw
    }

    /// The plan's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.raw.name
    }

    /// All steps, in the order written.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.raw.steps
    }

    /// One step. The index comes from this plan.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> &Step {
        &self.raw.steps[index as usize]
    }

    /// The position of a step by name.
    #[must_use]
    pub fn index_of(&self, id: &StepId) -> Option<StepIndex> {
        self.index.get(id).copied()
    }

    /// Why no paid model may see what a step sees, for people; `None`: one may. What is local only stays so in all that
    /// is made from it.
    #[must_use]
    pub fn local_only(&self, step: StepIndex) -> Option<String> {
        let own = |at: StepIndex| {
            let step = self.step(at);
            if step.local_only == Some(true) {
                return Some("the step says so".to_owned());
            }
            let inputs = self.raw.inputs.iter().filter(|input| input.local_only);
            let named = inputs.map(|input| &input.name).find(|name| step.input_refs.contains(name));
            named.map(|name| format!("it uses the input `{name}`"))
        };
        if let Some(why) = own(step) {
            return Some(why);
        }
        let (mut seen, mut left) = (BTreeSet::from([step]), vec![step]);
        while let Some(at) = left.pop() {
            for source in self.step(at).refs.iter().filter_map(|reference| self.index_of(&reference.step)) {
                if own(source).is_some() {
                    return Some(format!("it uses what `{}` makes", self.step(source).id));
                }
                if seen.insert(source) {
                    left.push(source);
                }
            }
        }
        None
    }

    /// Steps so that each stands after all that it needs; ties in the order written.
    #[must_use]
    pub fn order(&self) -> &[StepIndex] {
        &self.order
    }

    /// What `step` waits for, and how.
    pub fn needs(&self, step: StepIndex) -> impl Iterator<Item = (StepIndex, Part)> + '_ {
        self.neighbours(step, petgraph::Direction::Incoming)
    }

    /// What waits for `step`, and how.
    pub fn needed_by(&self, step: StepIndex) -> impl Iterator<Item = (StepIndex, Part)> + '_ {
        self.neighbours(step, petgraph::Direction::Outgoing)
    }

    fn neighbours(&self, step: StepIndex, way: petgraph::Direction) -> impl Iterator<Item = (StepIndex, Part)> + '_ {
        use petgraph::visit::EdgeRef;
        self.graph.edges_directed(NodeIndex::new(step as usize), way).map(move |edge| {
            let other = if way == petgraph::Direction::Incoming { edge.source() } else { edge.target() };
            (self.graph[other], *edge.weight())
        })
    }
}

impl TryFrom<RawPlan> for Plan {
    type Error = Vec<PlanFault>;

    /// Checks names, references and order; returns all faults at once.
    fn try_from(raw: RawPlan) -> Result<Self, Self::Error> {
        let mut faults = Vec::new();
        if raw.steps.is_empty() {
            faults.push(PlanFault::NoSteps);
        }
        let mut index: BTreeMap<StepId, StepIndex> = BTreeMap::new();
        for (at, step) in raw.steps.iter().enumerate() {
            if index.contains_key(&step.id) {
                faults.push(PlanFault::DuplicateStep { id: step.id.clone(), at });
            } else {
                index
                    .insert(step.id.clone(), StepIndex::try_from(at).expect("a plan file holds fewer than 2^32 steps"));
            }
        }
        let mut graph = DiGraph::with_capacity(raw.steps.len(), raw.steps.len());
        for at in 0..raw.steps.len() {
            graph.add_node(at as StepIndex);
        }
        for (at, step) in raw.steps.iter().enumerate() {
            let mut edges: BTreeMap<StepIndex, Part> = BTreeMap::new();
            let written = step.needs.iter().map(|id| (id, Part::Whole));
            for (id, part) in written.chain(step.refs.iter().map(|r| (&r.step, r.part))) {
                match index.get(id) {
                    None => {
                        let fault = PlanFault::UnknownStep { step: step.id.clone(), missing: id.clone() };
                        if !faults.contains(&fault) {
                            faults.push(fault);
                        }
                    }
                    Some(&from) => {
                        // Waiting for the whole of a step covers following it item by item.
                        let entry = edges.entry(from).or_insert(part);
                        *entry = (*entry).max(part);
                    }
                }
            }
            if let Some(ForEach::Items(source)) = &step.for_each
                && let Some(&from) = index.get(source)
                && raw.steps[from as usize].for_each.is_none()
            {
                faults.push(PlanFault::NoItems { step: step.id.clone(), source_step: source.clone() });
            }
            for (from, part) in edges {
                graph.add_edge(NodeIndex::new(from as usize), NodeIndex::new(at), part);
            }
        }
        if let Some(cycle) = find_cycle(&graph) {
            faults.push(PlanFault::Cycle {
                cycle: cycle.into_iter().map(|at| raw.steps[at as usize].id.clone()).collect(),
            });
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let order = stable_order(&graph);
        Ok(Self { raw, graph, order, index })
    }
}

/// One cycle, shortest form: each step waits for the one before it, the first for the last.
fn find_cycle(graph: &DiGraph<StepIndex, Part>) -> Option<Vec<StepIndex>> {
    toposort(graph, None).err()?;
    let parts = petgraph::algo::tarjan_scc(graph);
    let part = parts
        .into_iter()
        .filter(|part| part.len() > 1 || graph.contains_edge(part[0], part[0]))
        .min_by_key(|part| part.iter().min().copied())?;
    let start = *part.iter().min()?;
    // A shortest way from `start` back to itself inside its part.
    let mut from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut next: Vec<_> = graph.neighbors(node).filter(|n| part.contains(n)).collect();
        next.sort_unstable();
        for to in next {
            if to == start {
                let mut way = vec![graph[node]];
                let mut at = node;
                while at != start {
                    at = from[&at];
                    way.push(graph[at]);
                }
                way.reverse();
                return Some(way);
            }
            if let std::collections::btree_map::Entry::Vacant(unseen) = from.entry(to) {
                unseen.insert(node);
                queue.push_back(to);
            }
        }
    }
    None
}

/// Kahn's algorithm with the lowest written position first, so that equal plans have equal orders.
fn stable_order(graph: &DiGraph<StepIndex, Part>) -> Vec<StepIndex> {
    let mut waits: Vec<usize> =
        graph.node_indices().map(|n| graph.neighbors_directed(n, petgraph::Direction::Incoming).count()).collect();
    let mut ready: std::collections::BTreeSet<usize> =
        waits.iter().enumerate().filter(|(_, w)| **w == 0).map(|(at, _)| at).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(at) = ready.pop_first() {
        order.push(at as StepIndex);
        for next in graph.neighbors(NodeIndex::new(at)) {
            waits[next.index()] -= 1;
            if waits[next.index()] == 0 {
                ready.insert(next.index());
            }
        }
    }
    order
}
