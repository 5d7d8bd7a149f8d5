//! What there is now: every server with its models, what is loaded, what use has shown of them, and the ladders.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;

use super::ladder::{self, Candidate, Proposal};
use super::records::{Records, SpeedLine};
use super::{DETAIL_LIMIT, Lists, detailed, find, is_not_there, is_same, list, prepare, servers, specs};
use crate::agent::LadderChoice;
use crate::app::place::Standing;
use crate::app::probe::outcome::Summary;
use crate::config::KeyPath;
use crate::config::settings::Origin;
use crate::domain::plan::{ModelServerKind, ModelServerSpec};
use crate::engine::ladders::is_paid;
use crate::model::{About, Loaded, ModelInfo, ModelServer, ModelServers};

/// Everything that `models`, `doctor` and `init` look at.
#[derive(Debug, Default)]
pub struct Survey {
    /// Servers by name.
    pub servers: Vec<ServerLine>,
    /// The ladders that count, by name; one that is built is called `default`.
    pub ladders: Vec<LadderLine>,
    /// What would be built from what there is.
    pub proposal: Proposal,
    /// What is odd.
    pub notes: Vec<String>,
    /// How the servers are declared.
    pub specs: BTreeMap<String, ModelServerSpec>,
    /// Clients for them.
    pub clients: ModelServers,
    /// What use has shown.
    pub records: Records,
}

/// One server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerLine {
    /// Its name, as rungs name it.
    pub name: String,
    /// Its address.
    pub address: String,
    /// `ollama` or `openai`.
    pub kind: &'static str,
    /// Where it is declared: `configuration`, `by itself` (Ollama), or `found` at its usual place.
    pub declared: &'static str,
    /// Its program, where it says so.
    pub program: String,
    /// Its version, where it says so.
    pub version: Option<String>,
    /// Requests that it is sent at once.
    pub slots: usize,
    /// How many it says that it takes.
    pub slots_told: Option<u32>,
    /// Somebody declared how many.
    pub slots_declared: bool,
    /// Why it does not answer; `None`: it does.
    pub away: Option<String>,
    /// Its models, by name.
    pub models: Vec<ModelLine>,
}

/// One model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelLine {
    /// As a ladder names it.
    pub rung: String,
    /// What its server says.
    #[serde(flatten)]
    pub info: ModelInfo,
    /// It is in memory now.
    pub loaded: Option<Loaded>,
    /// How fast it was here; `None`: not measured yet.
    pub measured: Option<SpeedLine>,
    /// How its last probe went; `None`: none yet.
    pub probe: Option<ProbeLine>,
    /// Which rung of which ladder it is, counted from 1.
    pub rungs: Vec<(String, usize)>,
}

/// A probe in one line.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeLine {
    /// When it was.
    pub at_ms: u64,
    /// In figures.
    #[serde(flatten)]
    pub summary: Summary,
}

/// One ladder.
#[derive(Clone, Debug, Serialize)]
pub struct LadderLine {
    /// Its name.
    pub name: String,
    /// Nobody configured it: it is built from what there is.
    pub is_built: bool,
    /// Its rungs, cheapest first.
    pub rungs: Vec<RungLine>,
}

/// One rung.
#[derive(Clone, Debug, Serialize)]
pub struct RungLine {
    /// As it is written.
    pub rung: String,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// Its server answers, and has no such model.
    pub is_missing: bool,
}

/// Looks at everything. `finds`: also at the usual places, where no server is declared.
///
/// # Errors
/// Declared servers that no client can be made for, one sentence each.
pub async fn survey(standing: &Standing, finds: bool) -> Result<Survey, Vec<String>> {
    let settings = &standing.settings;
    let declared = specs(settings, None);
    let mut all = declared.clone();
    if finds {
        all.extend(find::answering(find::usual(settings)).await.into_iter().filter(|(name, _)| {
            // A declared name keeps its meaning.
            !declared.contains_key(name)
        }));
    }
    let (clients, mut notes) = servers(&all, &standing.environment)?;
    let records = Records::load(&standing.home).unwrap_or_else(|error| {
        notes.push(error.to_string());
        Records::default()
    });
    let lists = list(&clients, all.keys().map(String::as_str)).await;
    let lists = detailed(&clients, lists).await;
    let lines = all.iter().map(|(name, spec)| {
        let (server, list) = (clients.0[name].clone(), &lists[name]);
        async move { line(name, spec, server.as_ref(), list).await }
    });
    let mut lines = join_all(lines).await;
    let proposal = ladder::propose(&ladder::candidates(&lists, &clients, &records));
    let (proposal, why) = ladder::with_first(proposal, settings.models.first.as_deref(), &lists);
    notes.extend(why);
    let ladders = ladders(&named(standing), &proposal, &lists, &all);
    let rungs: BTreeMap<String, Vec<String>> = ladders
        .iter()
        .map(|ladder| (ladder.name.clone(), ladder.rungs.iter().map(|rung| rung.rung.clone()).collect()))
        .collect();
    for server in &mut lines {
        let (name, address) = (server.name.clone(), server.address.clone());
        if !declared.contains_key(&name) {
            server.declared = "found";
        } else if settings.model_servers.contains_key(&name) {
            server.declared = "configuration";
        }
        for model in &mut server.models {
            let record = records.of(&address, &model.info.name, &model.info.digest);
            model.measured = record.and_then(|record| record.speed.line());
            model.probe = record
                .and_then(|record| record.probe())
                .map(|probe| ProbeLine { at_ms: probe.at_ms, summary: probe.summary() });
            model.rungs = ladder::places(&rungs, &model.rung);
        }
    }
    Ok(Survey { servers: lines, ladders, proposal, notes, specs: all, clients, records })
}

async fn line(
    name: &str,
    spec: &ModelServerSpec,
    server: &dyn ModelServer,
    list: &Result<Vec<ModelInfo>, crate::model::ModelError>,
) -> ServerLine {
    let mut line = ServerLine {
        name: name.to_owned(),
        address: server.address().to_owned(),
        kind: match spec.kind {
            ModelServerKind::Ollama => "ollama",
            ModelServerKind::Openai => "openai",
            ModelServerKind::StandIn => "stand_in",
        },
        declared: "by itself",
        program: String::new(),
        version: None,
        slots: server.slots(),
        slots_told: None,
        slots_declared: spec.slots.is_some(),
        away: None,
        models: Vec::new(),
    };
    let models = match list {
        Ok(models) => models,
        Err(error) => {
            line.away = Some(error.to_string());
            return line;
        }
    };
    let (about, loaded) = tokio::join!(
        tokio::time::timeout(DETAIL_LIMIT, server.about()),
        tokio::time::timeout(DETAIL_LIMIT, server.loaded())
    );
    let About { program, version, slots } = about.ok().and_then(Result::ok).unwrap_or_default();
    (line.program, line.version, line.slots_told) = (program, version, slots);
    let loaded = loaded.ok().and_then(Result::ok).flatten().unwrap_or_default();
    line.models = models
        .iter()
        .map(|info| ModelLine {
            rung: format!("{name}:{}", info.name),
            info: info.clone(),
            loaded: loaded.iter().find(|loaded| is_same(&loaded.name, &info.name)).cloned(),
            measured: None,
            probe: None,
            rungs: Vec::new(),
        })
        .collect();
    line.models.sort_by(|one, other| one.info.name.cmp(&other.info.name));
    line
}

/// The ladders of the configuration, and those that agents have of their own.
fn named(standing: &Standing) -> BTreeMap<String, Vec<String>> {
    let own = standing.agents.iter().filter_map(|agent| match &agent.ladder {
        Some(LadderChoice::Rungs(rungs)) => Some((format!("of agent {}", agent.name), rungs.clone())),
        _ => None,
    });
    standing.settings.ladders.clone().into_iter().chain(own).collect()
}

/// The configured ladders, and the one that is built where `default` is not among them.
fn ladders(
    configured: &BTreeMap<String, Vec<String>>,
    proposal: &Proposal,
    lists: &Lists,
    specs: &BTreeMap<String, ModelServerSpec>,
) -> Vec<LadderLine> {
    let rung = |rung: &String| RungLine {
        rung: rung.clone(),
        fault: prepare::missing(rung, lists, specs),
        is_missing: !is_paid(rung)
            && specs.contains_key(rung.split(':').next().unwrap_or_default())
            && is_not_there(rung, lists),
    };
    let of = |name: &str, rungs: &[String], is_built| LadderLine {
        name: name.to_owned(),
        is_built,
        rungs: rungs.iter().map(rung).collect(),
    };
    let mut all: Vec<LadderLine> = configured.iter().map(|(name, rungs)| of(name, rungs, false)).collect();
    if !configured.contains_key("default") && !proposal.default.is_empty() {
        all.insert(0, of("default", &proposal.default, true));
    }
    all
}

impl Survey {
    /// Every model that may be probed: it chats, and runs on machines of one's own. Small ones first.
    #[must_use]
    pub fn local_models(&self) -> Vec<(&ServerLine, &ModelLine)> {
        let mut all: Vec<_> = self
            .servers
            .iter()
            .flat_map(|server| server.models.iter().map(move |model| (server, model)))
            .filter(|(_, model)| model.info.chat && !model.info.is_remote)
            .collect();
        let size = |server: &ServerLine, model: &ModelLine| {
            Candidate::new(&server.name, &server.address, &model.info, &self.records).size
        };
        all.sort_by_key(|(server, model)| (size(server, model), model.rung.clone()));
        all
    }

    /// Servers that stand at their usual places and are not declared.
    #[must_use]
    pub fn found(&self) -> Vec<&ServerLine> {
        self.servers.iter().filter(|server| server.declared == "found").collect()
    }

    /// Whether somebody asked for this server: it is declared, or the address of Ollama is.
    #[must_use]
    pub fn is_wanted(&self, standing: &Standing, server: &ServerLine) -> bool {
        let url = KeyPath::parse("ollama.url");
        let is_set =
            url.and_then(|key| standing.settings.origin(&key).cloned()).is_some_and(|from| from != Origin::Default);
        server.declared == "configuration" || (server.declared == "by itself" && is_set)
    }
}
