//! What the engine costs beside the disk: a chain of dependent `value` steps and a fan-out of `value` items, through the
//! real engine, journal and state store, against the floor of the same disk in the same run.
//!
//! The floor of a chain is one write and one `fdatasync` of a record for each step, one after the other; the floor of a
//! fan-out is one for each group of items that may wait together. Prints medians of interleaved rounds and their ratios;
//! nothing here fails by being slow.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, reason = "a bench prints and may fail")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ollmcp::app::store::{self, StoreMemory};
use ollmcp::app::{SystemClock, SystemIds, databases::OpenDatabases, new_uuid, running};
use ollmcp::domain::event::{Origin, RunEnd};
use ollmcp::domain::ids::RunId;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::accept;
use ollmcp::engine::broker::Door;
use ollmcp::engine::root::RegistryDoor;
use ollmcp::engine::supervisor::{Beginning, RunExit};
use ollmcp::engine::tree::TreeNode;
use ollmcp::engine::{Ports, ServerControl};
use ollmcp::model::ModelServers;
use ollmcp::plan_file::{Catalog, read};
use ollmcp::tool::{ToolBox, ToolCall, ToolError, ToolResult, ToolSpec};
use serde_json::Map;

/// Steps of the chain.
const STEPS: usize = 1_000;
/// Items of the fan-out, and how many may be at work together.
const ITEMS: usize = 10_000;
const PARALLEL: usize = 64;
/// A usual record.
const RECORD_BYTES: usize = 300;
/// Rounds; ours and the floor take turns, so that a slow moment of the disk hits both.
const ROUNDS: usize = 7;

#[derive(Debug)]
struct NoTools;

impl ToolBox for NoTools {
    fn servers(&self) -> Vec<String> {
        Vec::new()
    }

    fn tools<'a>(&'a self, _server: &'a str) -> BoxFuture<'a, Result<Arc<Vec<ToolSpec>>, ToolError>> {
        async { Ok(Arc::default()) }.boxed()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolResult, ToolError>> {
        async { Err(ToolError::UnknownServer { server: call.server.clone(), known: Vec::new() }) }.boxed()
    }
}

impl ServerControl for NoTools {
    fn nodes(&self) -> Vec<TreeNode> {
        Vec::new()
    }

    fn close_all(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

fn plan(text: &str) -> Plan {
    read(text.as_bytes(), &Catalog::default()).unwrap_or_else(|faults| panic!("{}", faults.render("bench", false))).plan
}

fn chain() -> Plan {
    let mut text = "name: chain\nsteps:\n  - { id: s0, value: 0 }\n".to_owned();
    for step in 1..STEPS {
        writeln!(text, "  - {{ id: s{step}, value: \"${{{{ steps.s{}.output }}}}\" }}", step - 1).unwrap();
    }
    plan(&text)
}

fn fan_out() -> Plan {
    plan(&format!(
        "name: fan\nsteps:\n  - {{ id: a, for_each: {{ range: {ITEMS} }}, max_parallel: {PARALLEL}, value: \"${{{{ item }}}}\" }}\n"
    ))
}

/// One run of a plan in a new state folder, from its start to its end.
async fn ours(folder: &Path, plan: &Plan) -> Duration {
    let state = folder.join("state");
    std::fs::create_dir_all(&state).unwrap();
    let store = store::open(&state, "bench").unwrap();
    let ports = Ports {
        ladders: Arc::default(),
        journal: store.journal.clone(),
        blobs: store.blobs.clone(),
        memory: Arc::new(StoreMemory(store.state.clone())),
        tools: Arc::new(NoTools),
        servers: Arc::new(NoTools),
        model_servers: ModelServers::default(),
        paid: None,
        models: Arc::new(Door::default()),
        databases: Arc::new(OpenDatabases::new(folder.to_owned(), Vec::new())),
        agents: Arc::new(BTreeMap::new()),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        readers: Vec::new(),
        workspace: folder.to_owned(),
        project: "bench".to_owned(),
        granted_paths: Vec::new(),
        staging: Arc::new(ollmcp::engine::Staging::new(state.join("staging"))),
        attempts_max: PARALLEL,
        defaults: Arc::default(),
        park_wait_ms: 0,
    };
    let engine = running::start(ports, store.journal.clone(), RegistryDoor::default(), None).await.unwrap();
    let origin = Origin { project: "bench".to_owned(), plan_source: "bench".to_owned(), ..Origin::default() };
    let run = RunId(new_uuid());
    let first = accept(run, plan, Map::new(), origin);
    let begun = Instant::now();
    let exit = engine.start_run(run, Beginning::New(Box::new(first)), false).unwrap().await.unwrap();
    let took = begun.elapsed();
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    engine.shut_down().await;
    store.state.settle();
    let stored = store.state.reader().run(run).unwrap().unwrap();
    assert_eq!(stored.head.end, Some(RunEnd::Complete));
    took
}

/// `count` writes of `bytes`, each made durable before the next, into a file whose blocks are there already.
fn floor(folder: &Path, count: usize, bytes: usize) -> Duration {
    let path = folder.join("floor");
    let file = File::create(&path).unwrap();
    let length = count * bytes;
    file.write_all_at(&vec![0; length], 0).unwrap();
    file.sync_all().unwrap();
    let record = vec![b'x'; bytes];
    let begun = Instant::now();
    for at in 0..count {
        file.write_all_at(&record, (at * bytes) as u64).unwrap();
        file.sync_data().unwrap();
    }
    begun.elapsed()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn compare(runtime: &tokio::runtime::Runtime, name: &str, plan: &Plan, syncs: usize, bytes: usize, pieces: usize) {
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().unwrap();
        floors.push(floor(folder.path(), syncs, bytes));
        times.push(runtime.block_on(ours(folder.path(), plan)));
    }
    let ratios: Vec<String> = times
        .iter()
        .zip(&floors)
        .map(|(time, floor)| format!("{:.2}", time.as_secs_f64() / floor.as_secs_f64()))
        .collect();
    let (time, floor) = (median(times), median(floors));
    println!(
        "{name}: {:.1} ms, floor {:.1} ms ({syncs} syncs of {bytes} bytes), ratio {:.2}; {:.1} µs each; rounds {}",
        milliseconds(time),
        milliseconds(floor),
        time.as_secs_f64() / floor.as_secs_f64(),
        milliseconds(time) * 1e3 / pieces as f64,
        ratios.join(" ")
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let only = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
    if "chain".starts_with(&only) {
        compare(&runtime, "chain", &chain(), STEPS, RECORD_BYTES, STEPS);
    }
    if "fan-out".starts_with(&only) {
        compare(&runtime, "fan-out", &fan_out(), ITEMS.div_ceil(PARALLEL), PARALLEL * RECORD_BYTES, ITEMS);
    }
}
