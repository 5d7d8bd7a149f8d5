//! Attempts that ask models: the engine with its real broker and adapters, against the scripted model server on a real
//! socket. Names of scenarios (S01 …) are those of the recorded failures of local models.

mod agreement;
mod batches;
mod circles;
mod files;
mod ladder;
mod paid;
mod paid_door;
mod paid_faults;
mod paid_limits;
mod paid_park;
mod passing;
mod prompts;
mod reasoning;
mod replies;
mod said;
mod scenes;
mod servers;
mod spellings;
mod tools;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use ollmcp::domain::plan::{Plan, StepKind};
use ollmcp::domain::run::{RunState, Task, TaskPhase};
use ollmcp::engine::Ladders;
use ollmcp::engine::supervisor::RunExit;
use ollmcp::model::address::Address;
use ollmcp::model::ollama::Ollama;
use ollmcp::model::{ModelServer as Port, ModelServers};
use ollmcp::tool::ToolCall;
use serde_json::{Value, json};

use super::world::{Cut, Reply, World, outputs, plan};
use crate::model_server::ModelServer;

/// An agent that is offered some tools.
pub(crate) fn agent(tools: &str) -> String {
    format!(
        "---\nname: WORKER\ndescription: works\nformat: 1\ngrants: [read, write]\ntools: [{tools}]\n---\nYou do one task.\n"
    )
}

/// A plan of one step that asks a model; `more` goes on after the prompt.
pub(crate) fn asks(prompt: &str, more: &str) -> Plan {
    asking(plan(&format!("name: p\nsteps:\n  - {{ id: a, value: 1{more} }}\n")), prompt)
}

/// The plan with its first step made one that asks WORKER.
pub(crate) fn asking(plan: Plan, prompt: &str) -> Plan {
    let mut raw = plan.raw().clone();
    raw.steps[0].kind =
        StepKind::Agent { name: "WORKER".to_owned(), prompt: Some(prompt.to_owned()), with: serde_json::Map::new() };
    Plan::try_from(raw).unwrap()
}

/// A world whose ladder is these models of one scripted server.
pub(crate) fn world(
    server: &ModelServer,
    models: &[&str],
    tools: &str,
    script: impl Fn(&ToolCall, usize) -> Reply + Send + Sync + 'static,
) -> World {
    let client: Arc<dyn Port> = Arc::new(Ollama::new(Address::ollama(&server.url()).unwrap(), None).unwrap());
    let rungs = models.iter().map(|model| format!("box:{model}")).collect();
    let mut world = World::new(script, |_, _| Reply::Value(json!(1)));
    world.model_servers = ModelServers(BTreeMap::from([("box".to_owned(), client)]));
    world.ladders = Ladders { configured: BTreeMap::from([("default".to_owned(), rungs)]), ..Ladders::default() };
    world.agents = vec![agent(tools)];
    world.policy = Some(ollmcp::engine::broker::Policy::default());
    world
}

/// The task of a run's first step.
pub(crate) fn first(state: &RunState) -> &Task {
    state.tasks.values().next().expect("it was begun")
}

/// How a task's attempts failed, in order; `-` for one that did not.
pub(crate) fn failures(task: &Task) -> Vec<String> {
    let word = |tried: &ollmcp::domain::run::Tried| {
        tried.failure.as_ref().map_or_else(|| "-".to_owned(), |failure| failure.kind.word().to_owned())
    };
    task.tried.iter().filter(|tried| !tried.interrupted).map(word).collect()
}

/// The output of a task that is done.
pub(crate) fn output(world: &World, task: &Task) -> Value {
    match &task.phase {
        TaskPhase::Done { output, .. } => world.blobs().read_value(output).unwrap(),
        other => panic!("the task is {}: {other:?}", other.word()),
    }
}

/// Runs the plan once undisturbed; then with the process gone before and after every append, gone on to its end. Each
/// time it must come to the same outputs, and `check` looks at the world at the end.
pub(crate) async fn with_kills(
    make: impl Fn() -> (ModelServer, World),
    plan: &Plan,
    check: impl Fn(&ModelServer, &World, &RunState),
) {
    let (server, calm) = make();
    let (exit, state) = calm.run(plan).await;
    assert!(matches!(exit, RunExit::Ended(_)), "{exit:?}");
    check(&server, &calm, &state);
    let wanted = outputs(&state);
    for nth in 1..60 {
        for cut in [Cut::Before(nth), Cut::After(nth)] {
            let (server, world) = make();
            let booted = world.boot(Vec::new(), cut).await;
            let exit = booted.start(plan);
            let is_over = tokio::select! {
                _ = exit => true,
                () = booted.dies() => false,
            };
            if is_over {
                assert!(nth > 3, "the run has more appends than {nth}");
                return;
            }
            let frames = booted.gone().await;
            let booted = world.boot(frames, Cut::Never).await;
            let run = if booted.frames().is_empty() { None } else { Some(booted.run_here()) };
            let exit = match run {
                Some(run) => booted.resume(run).await.unwrap(),
                None => booted.start(plan).await.unwrap(),
            };
            assert!(matches!(exit, RunExit::Ended(_)), "{cut:?}: {exit:?}");
            let state = booted.state();
            assert_eq!(outputs(&state), wanted, "{cut:?}");
            check(&server, &world, &state);
        }
    }
    panic!("a run of more than 60 appends");
}
