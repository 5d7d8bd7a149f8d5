//! The cases of a probe: small tasks with known answers, as data inside the binary.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::agent::AgentSpec;
use crate::agent::turns::Tool;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::identity::digest_value;
use crate::domain::plan::RepeatClass;
use crate::model::Offer;

const TEXT: &str = include_str!("cases.json");

/// Name of the server that scripted tools stand for.
pub const SERVER: &str = "probe";

/// All cases, with what they share.
#[derive(Debug)]
pub struct Cases {
    /// The agent that does them.
    pub agent: AgentSpec,
    /// The cases in the order in which they are asked.
    pub cases: Vec<Case>,
    tools: BTreeMap<String, Scripted>,
}

/// One small task with a known answer.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// What it is about.
    pub group: String,
    /// The task.
    pub task: String,
    /// What the task is given.
    pub inputs: Map<String, Value>,
    /// Names of the scripted tools that are offered.
    pub tools: Vec<String>,
    /// Form of the answer.
    pub schema: Option<Value>,
    /// What is right.
    pub expect: Expect,
    /// Digest of all of this.
    pub digest: String,
}

/// What is right, by kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Expect {
    /// The output has this value.
    Value {
        /// The value.
        value: Value,
    },
    /// Checks over the output hold.
    Checks {
        /// As in `done_when`.
        checks: Vec<String>,
    },
    /// These calls are made, and no other that changes something.
    Calls {
        /// The calls, in any order.
        calls: Vec<ExpectedCall>,
        /// Arguments that may be anything.
        #[serde(default)]
        free: Vec<String>,
        /// Words that the answer has.
        #[serde(default)]
        text_has: Vec<String>,
    },
    /// No call is made, and the output has this value.
    NoCall {
        /// The value.
        value: Value,
    },
    /// The output is a plan: it reads as one, with these roles in this order.
    Plan {
        /// Roles of its steps, sorted.
        roles: Vec<String>,
        /// Every step of the first role is done before every step of the second.
        order: Vec<(String, String)>,
        /// Steps of these roles do not wait for each other.
        #[serde(default)]
        apart: Vec<String>,
    },
}

/// A call that is right.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedCall {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
}

/// A tool that answers by the book.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scripted {
    description: String,
    parameters: Value,
    repeat: RepeatClass,
    #[serde(default)]
    creates: bool,
    /// What it answers to everything that is not among `results`.
    result: Option<Value>,
    /// What it answers, by its arguments as JSON.
    #[serde(default)]
    results: BTreeMap<String, Value>,
    /// What it says of arguments that it has no answer to.
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[expect(dead_code, reason = "read so that another format is a fault")]
    format: u32,
    agent: String,
    tools: BTreeMap<String, Scripted>,
    cases: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    id: String,
    group: String,
    task: String,
    #[serde(default)]
    inputs: Map<String, Value>,
    #[serde(default)]
    tools: Vec<String>,
    schema: Option<Value>,
    expect: Expect,
}

impl Cases {
    /// The cases of this version.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    pub fn shipped() -> Self {
        Self::read(TEXT).expect("a test reads the shipped cases")
    }

    /// Reads cases.
    ///
    /// # Errors
    /// Why they are none.
    pub fn read(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let agent = AgentSpec::parse(&raw.agent, "the agent of the probe", None)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let cases = raw.cases.into_iter().map(|value| {
            let digest = digest_value(&value).to_string()[..16].to_owned();
            let case: RawCase = serde_json::from_value(value).map_err(|error| error.to_string())?;
            let unknown = case.tools.iter().find(|name| !raw.tools.contains_key(*name));
            if let Some(name) = unknown {
                return Err(format!("case `{}` names a tool `{name}`, which is not there", case.id));
            }
            let RawCase { id, group, task, inputs, tools, schema, expect } = case;
            Ok(Case { id, group, task, inputs, tools, schema, expect, digest })
        });
        let cases = cases.collect::<Result<Vec<_>, String>>()?;
        Ok(Self { agent, cases, tools: raw.tools })
    }

    /// The tools of a case as an attempt is offered them.
    #[must_use]
    pub fn tools_of(&self, case: &Case) -> Vec<Tool> {
        let tool = |name: &String| {
            let scripted = self.tools.get(name)?;
            Some(Tool {
                offer: Offer {
                    name: name.clone(),
                    description: scripted.description.clone(),
                    parameters: scripted.parameters.clone(),
                },
                server: SERVER.to_owned(),
                tool: name.clone(),
                repeat: scripted.repeat,
                creates: scripted.creates,
            })
        };
        case.tools.iter().filter_map(tool).collect()
    }

    /// What a scripted tool answers.
    ///
    /// # Errors
    /// What it says of arguments that it has no answer to.
    pub fn answer(&self, tool: &str, arguments: &Map<String, Value>) -> Result<Value, Failure> {
        let scripted = self.tools.get(tool);
        let key = Value::Object(arguments.clone()).to_string();
        let found = scripted.and_then(|tool| tool.results.get(&key).or(tool.result.as_ref()));
        found.cloned().ok_or_else(|| {
            let message = scripted.and_then(|tool| tool.error.clone()).unwrap_or_else(|| "nothing is there".to_owned());
            Failure::new(FailureKind::ToolError, message).of_tool()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_cases_hold() {
        let cases = Cases::shipped();
        assert!((18..=24).contains(&cases.cases.len()), "{}", cases.cases.len());
        let mut ids: Vec<&str> = cases.cases.iter().map(|case| case.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), cases.cases.len(), "two cases have one id");
        for case in &cases.cases {
            if let Some(schema) = &case.schema {
                assert!(jsonschema::validator_for(schema).is_ok(), "{}", case.id);
            }
            for tool in cases.tools_of(case) {
                assert!(jsonschema::validator_for(&tool.offer.parameters).is_ok(), "{}", tool.offer.name);
            }
            match &case.expect {
                Expect::Value { value } | Expect::NoCall { value } => {
                    let schema = case.schema.as_ref().expect("a value has a form");
                    crate::evidence::fits_schema(schema, value).expect("what is right fits the form");
                }
                Expect::Calls { calls, .. } => {
                    for call in calls {
                        assert!(case.tools.contains(&call.tool), "{} wants a call of what is not offered", case.id);
                    }
                }
                Expect::Checks { .. } | Expect::Plan { .. } => assert!(case.schema.is_some(), "{}", case.id),
            }
        }
        for group in ["extraction", "tool calls", "no tool fits", "schema", "plan"] {
            assert!(cases.cases.iter().filter(|case| case.group == group).count() >= 3, "{group}");
        }
    }

    #[test]
    fn a_tool_answers_by_its_arguments() {
        let cases = Cases::shipped();
        let arguments = |path: &str| Map::from_iter([("path".to_owned(), Value::from(path))]);
        assert!(cases.answer("read_file", &arguments("notes.txt")).unwrap().to_string().contains("4471"));
        assert_eq!(cases.answer("read_file", &arguments("other")).unwrap_err().message, "no such file");
    }
}
