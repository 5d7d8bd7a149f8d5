//! What scenes about tools, batches and servers are built from: worlds of several servers, a clock that runs faster,
//! kills at chosen places, and what is read from a run afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use ollmcp::domain::event::Event;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::{RunState, Task, TaskPhase};
use ollmcp::engine::Clock;
use ollmcp::engine::supervisor::RunExit;
use ollmcp::model::address::Address;
use ollmcp::model::ollama::Ollama;
use ollmcp::model::{ModelServer as Port, ModelServers};
use ollmcp::tool::ToolCall;
use serde_json::{Value, json};

use super::super::world::{Booted, Reply, World, plan};
use crate::model_server::{Answer, Asked, ModelServer};

/// Time that runs faster than the world's, from the start of the test.
#[derive(Debug)]
struct Fast(std::time::Instant, u64);

impl Clock for Fast {
    fn now_ms(&self) -> u64 {
        1_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap() * self.1
    }
}

/// Lets what is decided by the clock (retries, breakers, waits for a server) pass so many times as fast.
pub(crate) fn hasten(world: &mut World, times: u64) {
    world.clock = Arc::new(Fast(std::time::Instant::now(), times));
}

/// A world whose ladder is these rungs, over servers by name.
pub(crate) fn worlds(
    servers: &[(&str, &ModelServer)],
    rungs: &[&str],
    tools: &str,
    script: impl Fn(&ToolCall, usize) -> Reply + Send + Sync + 'static,
) -> World {
    let client = |server: &ModelServer| -> Arc<dyn Port> {
        Arc::new(Ollama::new(Address::ollama(&server.url()).unwrap(), None).unwrap())
    };
    let mut world = super::world(servers[0].1, &[], tools, script);
    world.model_servers =
        ModelServers(servers.iter().map(|(name, server)| ((*name).to_owned(), client(server))).collect());
    let rungs = rungs.iter().map(|rung| (*rung).to_owned()).collect();
    world.ladders.configured = BTreeMap::from([("default".to_owned(), rungs)]);
    world
}

/// A step over so many items that asks WORKER for the number of each; `more` goes on inside its braces.
pub(crate) fn batch(items: u32, more: &str) -> Plan {
    plan(&format!(
        "name: p\nsteps:\n  - {{ id: a, for_each: {{ range: {items} }}, agent: WORKER, prompt: \"What is item-${{{{ item }}}}?\", \
         retry: {{ transient: 2, backoff: 5ms..20ms }}{more} }}\n"
    ))
}

/// A schema for `{n: NUMBER}`.
pub(crate) const NUMBER: &str =
    "output: { schema: { type: object, required: [n], properties: { n: { type: integer } } } }";

/// The item that a request of [`batch`] is about.
pub(crate) fn item_of(asked: &Asked) -> u32 {
    let text = asked.messages.iter().find_map(|said| said.text.split_once("item-")).expect("it names its item").1;
    text.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// The right answer to a request of [`batch`].
pub(crate) fn right(asked: &Asked) -> Answer {
    Answer::text(json!({ "n": item_of(asked) }).to_string())
}

/// Where each item of the first step ended, by its state's word.
pub(crate) fn ends(state: &RunState) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for (_, task) in state.tasks_of(0) {
        *ends.entry(task.phase.word().to_owned()).or_default() += 1;
    }
    ends
}

/// Counts as [`ends`] gives them.
pub(crate) fn counts<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<String, usize> {
    of.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

/// Outputs of the first step's done items, by item.
pub(crate) fn values(world: &World, state: &RunState) -> BTreeMap<u32, Value> {
    let done = state.tasks_of(0).filter_map(|(item, task)| match &task.phase {
        TaskPhase::Done { output, .. } => Some((item, world.blobs().read_value(output).unwrap())),
        _ => None,
    });
    done.collect()
}

/// Every item has the right number, none was counted as wrong.
#[track_caller]
pub(crate) fn all_right(world: &World, state: &RunState, items: u32) {
    let wanted: BTreeMap<u32, Value> = (0..items).map(|item| (item, json!({ "n": item }))).collect();
    assert_eq!(values(world, state), wanted, "{:#?}", ends(state));
    let counted: Vec<&String> =
        state.tasks.values().filter(|task| task.standing.failures > 0).map(|task| &task.key).collect();
    assert_eq!(counted, Vec::<&String>::new(), "nothing was the models' fault");
}

/// One line for each attempt of a task: its rung, and how it failed (`-`: it did not).
pub(crate) fn story(task: &Task) -> Vec<String> {
    use ollmcp::domain::ladder::Rung;
    let line = |tried: &ollmcp::domain::run::Tried| {
        let rung = match &tried.rung {
            Rung::Local(rung) | Rung::Paid(rung) => rung.as_str(),
            Rung::None => "nobody",
        };
        let end = match &tried.failure {
            Some(failure) => failure.kind.word(),
            None if tried.interrupted => "interrupted",
            None => "-",
        };
        format!("{rung} {end}")
    };
    task.tried.iter().map(line).collect()
}

/// Runs until so many events fit, then kills the process, and gives the world's next life with its run gone on with.
pub(crate) async fn killed_after(
    world: &World,
    plan: &Plan,
    count: usize,
    fits: impl Fn(&Event) -> bool,
) -> (Booted, tokio::sync::oneshot::Receiver<RunExit>) {
    use super::super::world::Cut;
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let _exit = booted.start(plan);
    for _ in 0..count {
        booted.event(|event| fits(event).then_some(())).await;
    }
    let frames = booted.gone().await;
    let booted = world.boot(frames, Cut::Never).await;
    let run = booted.run_here();
    let exit = booted.resume(run);
    (booted, exit)
}
