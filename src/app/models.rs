//! Model servers of the configuration and of a plan, and the ladders that their models make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};

use super::place::Standing;
use crate::config::Settings;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::plan::{ModelServerKind, ModelServerSpec, Plan, StepKind};
use crate::engine::ladders::is_paid;
use crate::engine::{AgentCard, Ladders};
use crate::model::address::Address;
use crate::model::key::Key;
use crate::model::ollama::Ollama;
use crate::model::openai::OpenAi;
use crate::model::{
    Loaded, ModelError, ModelInfo, ModelServer, ModelServers, Notices, PullProgress, Reply, Request, split_rung,
};

/// Name of the server that is there by itself.
pub const OLLAMA: &str = "ollama";
/// How long a server may take to list its models at the start of a run.
const LIST_LIMIT: Duration = Duration::from_secs(10);
/// Rungs of a ladder that is built by itself.
const BUILT_RUNGS_MAX: usize = 3;

/// Every model server that a run may name: Ollama, those of the configuration, those of its plan over both.
#[must_use]
pub fn specs(settings: &Settings, plan: Option<&Plan>) -> BTreeMap<String, ModelServerSpec> {
    let ollama = ModelServerSpec {
        kind: ModelServerKind::Ollama,
        url: settings.ollama_url.clone(),
        key_env: None,
        slots: None,
        schema_bound: None,
    };
    let mut all = BTreeMap::from([(OLLAMA.to_owned(), ollama)]);
    all.extend(settings.model_servers.clone());
    all.extend(plan.into_iter().flat_map(|plan| plan.raw().model_servers.clone()));
    all
}

/// Clients for the servers, and what is odd about them, one sentence each.
///
/// # Errors
/// An address that is none, or a key that cannot be sent; one sentence each.
pub fn servers(
    specs: &BTreeMap<String, ModelServerSpec>,
    environment: &BTreeMap<String, String>,
) -> Result<(ModelServers, Vec<String>), Vec<String>> {
    let mut found = BTreeMap::new();
    let (mut notes, mut faults) = (Vec::new(), Vec::new());
    for (name, spec) in specs {
        let key = match &spec.key_env {
            None => None,
            Some(variable) => match environment.get(variable).and_then(|text| Key::bearer(text)) {
                Some(key) => Some(key),
                None => {
                    notes.push(format!("model server `{name}`: the variable {variable} of its key is not set"));
                    None
                }
            },
        };
        match client(spec, key) {
            Ok((server, address)) => {
                let server: Arc<dyn ModelServer> = match spec.slots {
                    Some(slots) => Arc::new(WithSlots { inner: server, slots: slots as usize }),
                    None => server,
                };
                if !address.is_loopback() {
                    notes.push(format!("model server `{name}` is not on this machine: {}", address.shown()));
                }
                found.insert(name.clone(), server);
            }
            Err(why) => faults.push(format!("model server `{name}`: {why}")),
        }
    }
    if faults.is_empty() { Ok((ModelServers(found), notes)) } else { Err(faults) }
}

/// A server that takes as many requests at once as its configuration says.
#[derive(Debug)]
struct WithSlots {
    inner: Arc<dyn ModelServer>,
    slots: usize,
}

impl ModelServer for WithSlots {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        self.inner.chat(request, notices)
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        self.inner.models()
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        self.inner.model(name)
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        self.inner.loaded()
    }

    fn pull<'a>(
        &'a self,
        name: &'a str,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        self.inner.pull(name, progress)
    }
}

fn client(spec: &ModelServerSpec, key: Option<Key>) -> Result<(Arc<dyn ModelServer>, Address), String> {
    let address = match spec.kind {
        ModelServerKind::Ollama => Address::ollama(&spec.url),
        ModelServerKind::Openai => Address::url(&spec.url),
    };
    let address = address.map_err(|error| error.to_string())?;
    let server: Arc<dyn ModelServer> = match spec.kind {
        ModelServerKind::Ollama => Arc::new(Ollama::new(address.clone(), key).map_err(|error| error.to_string())?),
        ModelServerKind::Openai => Arc::new(OpenAi::new(address.clone(), key).map_err(|error| error.to_string())?),
    };
    Ok((server, address))
}

/// What the start of a run finds out about its models.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The ladders.
    pub ladders: Ladders,
    /// What is said before the run starts.
    pub lines: Vec<String>,
    /// Why a step can never ask anybody.
    pub faults: Vec<Failure>,
}

/// Works out the ladders of a plan, looks which of their models are there, and builds a ladder where none is named.
pub async fn prepare(
    standing: &Standing,
    plan: &Plan,
    cards: &BTreeMap<String, AgentCard>,
    specs: &BTreeMap<String, ModelServerSpec>,
    servers: &ModelServers,
) -> Prepared {
    let settings = &standing.settings;
    let mut ladders = Ladders {
        configured: settings.ladders.clone(),
        threshold: settings.claude.escalation_threshold,
        critical_kinds: settings.claude.critical_tasks.clone(),
        server_wait_ms: settings.limits.model_server_wait_s.saturating_mul(1_000),
        free_servers: specs
            .iter()
            .filter(|(_, spec)| spec.schema_bound == Some(false))
            .map(|(name, _)| name.clone())
            .collect(),
        ..Ladders::default()
    };
    let mut lines = Vec::new();
    let asking: Vec<_> = plan.steps().iter().filter(|step| step.kind.asks_a_model()).collect();
    if asking.is_empty() {
        return Prepared { ladders, lines, faults: Vec::new() };
    }
    let card = |step: &crate::domain::plan::Step| match &step.kind {
        StepKind::Agent { name, .. } => cards.get(name),
        _ => None,
    };
    let needs_built =
        asking.iter().any(|step| ladders.rungs(plan, step, card(step)).is_ok_and(|rungs| rungs.is_empty()));
    let mut named: BTreeSet<String> = asking
        .iter()
        .flat_map(|step| {
            let mut rungs = ladders.rungs(plan, step, card(step)).unwrap_or_default();
            rungs.extend(step.agree.iter().filter_map(|agree| agree.with.clone()));
            rungs
        })
        .collect();
    let asked: BTreeSet<&str> = if needs_built {
        servers.0.keys().map(String::as_str).collect()
    } else {
        named.iter().filter_map(|rung| split_rung(rung)).map(|(server, _)| server).collect()
    };
    let lists = list(servers, asked).await;
    for (server, models) in &lists {
        for model in models.iter().flatten() {
            ladders.families.insert(format!("{server}:{}", model.name), model.family.clone());
        }
    }
    if needs_built {
        ladders.built = built(&lists);
        if ladders.built.is_empty() {
            lines.push("no ladder is configured, and no server has a model that can take part".to_owned());
        } else {
            lines.push(format!("ladder (built from the models that are there): {}", ladders.built.join(" → ")));
        }
        named.extend(ladders.built.iter().cloned());
    }
    lines.extend(named.iter().filter_map(|rung| missing(rung, &lists)));
    let mut faults = Vec::new();
    for step in asking {
        match ladders.of(plan, step, card(step)) {
            Ok(ladder) if ladder.local.iter().all(|rung| is_not_there(rung, &lists)) => {
                let message = format!("step `{}` can ask nobody: no model of its ladder is there", step.id);
                let rung = &ladder.local[0];
                let hint = format!("fetch one, or name another ladder; the first rung is `{rung}`");
                faults.push(Failure::new(FailureKind::ModelMissing, message).hint(hint));
            }
            Ok(ladder) => lines.extend(about_ladder(&ladders, plan, step, card(step), &ladder.local)),
            Err(failure) => faults.push(failure),
        }
    }
    lines.dedup();
    Prepared { ladders, lines, faults }
}

type Lists = BTreeMap<String, Result<Vec<ModelInfo>, ModelError>>;

/// The models of some servers, asked at once.
pub async fn list<'a>(servers: &ModelServers, names: impl IntoIterator<Item = &'a str>) -> Lists {
    let asks = names.into_iter().filter_map(|name| {
        let server = servers.0.get(name)?.clone();
        Some(async move {
            let found = match tokio::time::timeout(LIST_LIMIT, server.models()).await {
                Ok(found) => found,
                Err(_) => Err(ModelError::Unreachable {
                    server: server.address().to_owned(),
                    message: format!("no list of models within {} s", LIST_LIMIT.as_secs()),
                }),
            };
            (name.to_owned(), found)
        })
    });
    join_all(asks).await.into_iter().collect()
}

/// A first ladder: local models that chat, those that take tools before those that do not, small before large.
#[must_use]
pub fn built(lists: &Lists) -> Vec<String> {
    let mut models: Vec<(bool, u64, String)> = lists
        .iter()
        .flat_map(|(server, models)| models.iter().flatten().map(move |model| (server, model)))
        .filter(|(_, model)| model.chat && !model.is_remote)
        .map(|(server, model)| (model.tools == Some(false), model.bytes, format!("{server}:{}", model.name)))
        .collect();
    models.sort();
    models.into_iter().map(|(_, _, rung)| rung).take(BUILT_RUNGS_MAX).collect()
}

/// What is wrong with a rung, if anything is.
fn missing(rung: &str, lists: &Lists) -> Option<String> {
    if is_paid(rung) {
        return None;
    }
    let Some((server, model)) = split_rung(rung) else {
        return Some(format!("`{rung}` is no rung: write SERVER:MODEL"));
    };
    match lists.get(server) {
        None => Some(format!("rung `{rung}`: no model server is called `{server}`")),
        Some(Err(error)) => Some(format!("rung `{rung}`: {error}; its tasks wait for it")),
        Some(Ok(models)) if models.iter().any(|known| is_same(&known.name, model)) => None,
        Some(Ok(_)) => Some(format!("rung `{rung}`: `{server}` has no such model (with Ollama: ollama pull {model})")),
    }
}

/// The rung's server answers, and has no such model.
fn is_not_there(rung: &str, lists: &Lists) -> bool {
    split_rung(rung).is_some_and(|(server, model)| match lists.get(server) {
        Some(Ok(models)) => !models.iter().any(|known| is_same(&known.name, model)),
        Some(Err(_)) => false,
        None => true,
    })
}

/// A name without a tag means `latest`.
fn is_same(known: &str, wanted: &str) -> bool {
    known == wanted || known.strip_suffix(":latest") == Some(wanted) || wanted.strip_suffix(":latest") == Some(known)
}

/// What a person should know of a step's ladder before it is climbed.
fn about_ladder(
    ladders: &Ladders,
    plan: &Plan,
    step: &crate::domain::plan::Step,
    card: Option<&AgentCard>,
    local: &[String],
) -> Vec<String> {
    let mut lines = Vec::new();
    let rungs = ladders.rungs(plan, step, card).unwrap_or_default();
    if rungs.iter().any(|rung| is_paid(rung)) {
        lines.push("not in this version: paid rungs; `claude` is left out of the ladders".to_owned());
    }
    lines.push(format!("step `{}` climbs {}; no paid rung stands above", step.id, local.join(" → ")));
    lines
}
