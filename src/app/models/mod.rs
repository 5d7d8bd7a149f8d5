//! Model servers of the configuration and of a plan, and the ladders that their models make.

pub mod asking;
pub mod find;
pub mod first;
pub mod ladder;
pub mod prepare;
pub mod pull;
pub mod records;
pub mod survey;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};

use crate::config::Settings;
use crate::domain::plan::{ModelServerKind, ModelServerSpec, Plan};
use crate::model::address::Address;
use crate::model::key::Key;
use crate::model::ollama::Ollama;
use crate::model::openai::OpenAi;
use crate::model::stand_in::StandIn;
use crate::model::{
    About, Loaded, ModelError, ModelInfo, ModelServer, ModelServers, Notices, PullProgress, Reply, Request, split_rung,
};

pub use prepare::{Prepared, prepare};
pub use window::with_window;

/// Name of the server that is there by itself.
pub const OLLAMA: &str = "ollama";
/// How long a server may take to list its models at the start of a run.
const LIST_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may take to tell of one model, or of itself.
const DETAIL_LIMIT: Duration = Duration::from_secs(10);
/// Models of one server that are asked for one by one.
const DETAILS_MAX: usize = 200;
/// Of them at once.
const DETAILS_AT_ONCE: usize = 8;

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
        if spec.kind == ModelServerKind::StandIn {
            found.insert(name.clone(), Arc::new(StandIn) as Arc<dyn ModelServer>);
            continue;
        }
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

    fn about(&self) -> BoxFuture<'_, Result<About, ModelError>> {
        self.inner.about()
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
    let said = |error: &dyn std::fmt::Display| error.to_string();
    match spec.kind {
        ModelServerKind::Ollama => {
            let address = Address::ollama(&spec.url).map_err(|error| said(&error))?;
            Ok((Arc::new(Ollama::new(address.clone(), key).map_err(|error| said(&error))?), address))
        }
        ModelServerKind::Openai => {
            let address = Address::url(&spec.url).map_err(|error| said(&error))?;
            Ok((Arc::new(OpenAi::new(address.clone(), key).map_err(|error| said(&error))?), address))
        }
        ModelServerKind::StandIn => Err("a stand-in has no address".to_owned()),
    }
}

/// The models of servers by name, or why a server does not tell them.
pub type Lists = BTreeMap<String, Result<Vec<ModelInfo>, ModelError>>;

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

/// Adds what a list does not tell of its models.
pub async fn detailed(clients: &ModelServers, lists: Lists) -> Lists {
    let mut all = Lists::new();
    for (name, list) in lists {
        let list = match (list, clients.0.get(&name)) {
            (Ok(models), Some(server)) => Ok(details(server.as_ref(), models).await),
            (list, _) => list,
        };
        all.insert(name, list);
    }
    all
}

async fn details(server: &dyn ModelServer, models: Vec<ModelInfo>) -> Vec<ModelInfo> {
    let asks = models.into_iter().enumerate().map(|(at, model)| async move {
        let is_known = model.tools.is_some() && model.context_tokens_max.is_some();
        if at >= DETAILS_MAX || is_known {
            return model;
        }
        match tokio::time::timeout(DETAIL_LIMIT, server.model(&model.name)).await {
            Ok(Ok(info)) => info,
            _ => model,
        }
    });
    futures::stream::iter(asks).buffered(DETAILS_AT_ONCE).collect().await
}

/// The rung's server answers, and has no such model.
#[must_use]
pub fn is_not_there(rung: &str, lists: &Lists) -> bool {
    split_rung(rung).is_some_and(|(server, model)| match lists.get(server) {
        Some(Ok(models)) => !models.iter().any(|known| is_same(&known.name, model)),
        Some(Err(_)) => false,
        None => true,
    })
}

/// A name without a tag means `latest`.
#[must_use]
pub fn is_same(known: &str, wanted: &str) -> bool {
    known == wanted || known.strip_suffix(":latest") == Some(wanted) || wanted.strip_suffix(":latest") == Some(known)
}
