//! What scenes of paid rungs are built from: Claude behind the real account on disk and a real socket, or answers that a
//! test sells by the world's clock.

use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::executor::block_on;
use futures::future::BoxFuture;
use ollmcp::account::{Account, Limits};
use ollmcp::app::claude::ClaudeDoor;
use ollmcp::domain::failure::{Failure, FailureKind};
use ollmcp::domain::plan::Plan;
use ollmcp::engine::paid::{Bought, PaidModels, PaidRequest};
use ollmcp::engine::{Clock, Ladders};
use ollmcp::model::claude::catalogue::Catalogue;
use ollmcp::model::claude::{Claude, address};
use ollmcp::model::key::Key;
use ollmcp::model::{ModelInfo, NativeCall, Reply, Request, Tokens};
use serde_json::Value;

use super::super::world::{World, plan};
use crate::anthropic_server::AnthropicServer;
use crate::model_server::ModelServer;

/// The model of the rung `claude`.
pub(crate) const MODEL: &str = "claude-sonnet-4-6";

/// Claude as the program has it, for one home folder.
pub(crate) struct Shop {
    pub(crate) claude: AnthropicServer,
    pub(crate) account: Account,
    home: tempfile::TempDir,
}

impl Shop {
    pub(crate) fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let account = block_on(Account::open(home.path())).unwrap();
        Self { claude: AnthropicServer::start(), account, home }
    }

    /// The folder of the account.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Who sells within these limits.
    pub(crate) fn door(&self, limits: Limits) -> Arc<dyn PaidModels> {
        self.door_on(self.account.clone(), limits)
    }

    pub(crate) fn door_on(&self, account: Account, limits: Limits) -> Arc<dyn PaidModels> {
        let catalogue = Arc::new(Catalogue::on("2026-11-25".parse().unwrap()));
        let claude = Claude::new(address(Some(&self.claude.url())).unwrap(), Key::api("sk-ant-test"), catalogue);
        Arc::new(ClaudeDoor::new(claude.unwrap(), account, limits, "/p".to_owned(), MODEL.to_owned()))
    }

    /// Records of the documented usage file.
    pub(crate) fn records(&self) -> Vec<Value> {
        block_on(self.account.flush()).unwrap();
        let Ok(text) = std::fs::read_to_string(self.home().join("claude_usage.json")) else { return Vec::new() };
        serde_json::from_str(&text).unwrap()
    }

    /// Records of calls that brought an answer, and of others.
    pub(crate) fn counted(&self) -> (usize, usize) {
        let records = self.records();
        let good = records.iter().filter(|record| record["success"] == true).count();
        (good, records.len() - good)
    }
}

/// Limits of so many calls an hour.
pub(crate) fn an_hour(calls_per_hour_max: u64) -> Limits {
    Limits { calls_per_hour_max, day_microdollars_max: None, ..Limits::default() }
}

/// A world with one local model, and a paid rung behind it.
pub(crate) fn paid_world(local: &ModelServer, tools: &str, paid: Arc<dyn PaidModels>) -> World {
    let mut world = super::world(local, &["m:8b"], tools, |call, _| super::super::world::echo(call));
    world.ladders.unpaid = None;
    world.paid = Some(paid);
    world
}

/// A world whose only rung is paid: nothing in it has a socket.
pub(crate) fn only_paid(tools: &str, paid: impl FnOnce(Arc<dyn Clock>) -> Arc<dyn PaidModels>) -> World {
    let mut world = World::calm();
    world.agents = vec![super::agent(tools)];
    world.ladders = Ladders { built: vec!["claude".to_owned()], unpaid: None, ..Ladders::default() };
    world.paid = Some(paid(world.clock.clone()));
    world
}

/// A plan whose step asks a model, and whose answer must be a number that is 42; `more` goes on inside its braces.
pub(crate) fn sum(more: &str) -> Plan {
    plan(&format!(
        "name: p\nsteps:\n  - {{ id: a, agent: WORKER, prompt: What is 19 and 23?, {}, done_when: [ \"output.n == 42\" ], \
         retry: {{ transient: 5, backoff: 5ms..20ms }}{more} }}\n",
        super::scenes::NUMBER
    ))
}

type Script = dyn FnMut(&PaidRequest, usize) -> Bought + Send;

/// Sells scripted answers, so many an hour of the world's clock.
pub(crate) struct Scripted {
    clock: Arc<dyn Clock>,
    per_hour: usize,
    /// How long an answer takes.
    takes_ms: u64,
    script: Mutex<Box<Script>>,
    /// When each request was sent, and the request.
    pub(crate) sold: Mutex<Vec<(u64, Request)>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        per_hour: usize,
        takes_ms: u64,
        script: impl FnMut(&PaidRequest, usize) -> Bought + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { clock, per_hour, takes_ms, script: Mutex::new(Box::new(script)), sold: Mutex::default() })
    }

    pub(crate) fn times(&self) -> Vec<u64> {
        self.sold.lock().unwrap().iter().map(|(at_ms, _)| *at_ms).collect()
    }

    async fn sell(&self, asked: PaidRequest) -> Bought {
        const HOUR_MS: u64 = 3_600_000;
        let now_ms = self.clock.now_ms();
        let nth = {
            let mut sold = self.sold.lock().unwrap();
            let within: Vec<u64> =
                sold.iter().map(|(at_ms, _)| *at_ms).filter(|at_ms| at_ms + HOUR_MS > now_ms).collect();
            if within.len() >= self.per_hour {
                let frees_at_ms = within.first().map(|at_ms| at_ms + HOUR_MS);
                let message = format!("the hourly limit of {} paid calls is reached", self.per_hour);
                return Bought::Refused(Failure::new(FailureKind::Limited, message).until(frees_at_ms));
            }
            sold.push((now_ms, asked.request.clone()));
            sold.len()
        };
        tokio::time::sleep(std::time::Duration::from_millis(self.takes_ms)).await;
        let mut script = self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        script(&asked, nth)
    }
}

impl PaidModels for Scripted {
    fn info(&self, rung: &str) -> ModelInfo {
        let name = rung.strip_prefix("claude:").unwrap_or(MODEL).to_owned();
        ModelInfo { name, context_tokens_max: Some(200_000), tools: Some(true), chat: true, ..ModelInfo::default() }
    }

    fn buy(&self, request: PaidRequest) -> BoxFuture<'_, Bought> {
        self.sell(request).boxed()
    }
}

/// An answer in words.
pub(crate) fn says(text: &str) -> Bought {
    Bought::Reply(Box::new(Reply { text: text.to_owned(), tokens: Tokens::new(100, 10), ..Reply::default() }), 450)
}

/// An answer that calls a tool.
pub(crate) fn calls(name: &str, arguments: Value) -> Bought {
    let call = NativeCall { id: Some("t1".to_owned()), name: name.to_owned(), arguments };
    Bought::Reply(Box::new(Reply { calls: vec![call], tokens: Tokens::new(100, 10), ..Reply::default() }), 450)
}
