//! Which models make a first ladder, and in which order. Pure.

use std::collections::BTreeMap;

use super::records::Records;
use super::{Lists, OLLAMA, is_not_there, is_same};
use crate::app::probe::outcome::Summary;
use crate::model::{ModelInfo, ModelServers, split_rung};

/// Rungs of a ladder that is built by itself.
pub const RUNGS_MAX: usize = 3;

/// The rule in one line, for people.
pub const RULE: &str = "small and good first: who is right in half of its cases takes part, the smallest first; a larger \
                        one follows where it is right more often; who fails tool calls stays out of steps with tools";

/// One model that may take part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// `SERVER:MODEL`.
    pub rung: String,
    /// A measure of its size; unknown ones stand last.
    pub size: u64,
    /// It reads tools natively; `None`: nobody says.
    pub tools: Option<bool>,
    /// How it did in its last probe.
    pub probe: Option<Summary>,
}

/// The ladder that models make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// The ladder `default`.
    pub default: Vec<String>,
    /// A ladder for steps without tools, where models that fail tool calls are good at the rest.
    pub text: Vec<String>,
    /// Models that are left out, and why.
    pub left_out: Vec<(String, String)>,
    /// Models in `default` that are marked, and why.
    pub marks: Vec<(String, String)>,
    /// No model that was asked is good enough: the ladder is what there is.
    pub is_weak: bool,
}

impl Candidate {
    /// From what a server and the records know of a model.
    #[must_use]
    pub fn new(server: &str, address: &str, model: &ModelInfo, records: &Records) -> Self {
        let record = records.of(address, &model.name, &model.digest);
        Self {
            rung: format!("{server}:{}", model.name),
            size: size(model),
            tools: model.tools,
            probe: record.and_then(|record| record.probe()).map(|probe| probe.summary()),
        }
    }

    fn is_good(&self) -> bool {
        self.probe.as_ref().is_none_or(|probe| probe.all.right * 2 >= probe.all.asked)
    }

    fn fails_tools(&self) -> bool {
        self.probe.as_ref().is_some_and(Summary::fails_tools)
    }
}

/// A size to order by: bytes on disk, else the size class in its fields or name.
fn size(model: &ModelInfo) -> u64 {
    if model.bytes > 0 {
        return model.bytes;
    }
    let parameters = class(&model.parameter_size).or_else(|| {
        let words = model.name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
        words.into_iter().filter_map(class).next()
    });
    parameters.unwrap_or(u64::MAX)
}

/// `8B`, `8.2b`, `135M` as a number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
fn class(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "B" | "b" => 1e9,
        "M" | "m" => 1e6,
        _ => return None,
    };
    digits.parse::<f64>().ok().filter(|number| *number > 0.0).map(|number| (number * factor) as u64)
}

/// All models that may take part: they chat, and they run on machines of one's own.
#[must_use]
pub fn candidates(lists: &Lists, servers: &ModelServers, records: &Records) -> Vec<Candidate> {
    let of_server = |(server, models): (&String, &Result<Vec<ModelInfo>, _>)| {
        let address = servers.0.get(server).map(|server| server.address().to_owned()).unwrap_or_default();
        let takes_part = |model: &&ModelInfo| model.chat && !model.is_remote;
        let models = models.iter().flatten().filter(takes_part);
        models.map(|model| Candidate::new(server, &address, model, records)).collect::<Vec<_>>()
    };
    lists.iter().flat_map(of_server).collect()
}

/// Orders models by [`RULE`]. Of models that were never probed, those without tools stand behind the others.
#[must_use]
pub fn propose(candidates: &[Candidate]) -> Proposal {
    let mut proposal = Proposal::default();
    let mut all: Vec<&Candidate> = candidates.iter().collect();
    all.sort_by_key(|one| (one.tools == Some(false) && one.probe.is_none(), one.size, &one.rung));
    let (good, weak): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.is_good());
    for one in &weak {
        let probe = one.probe.as_ref().expect("what was never probed is not weak");
        proposal.left_out.push((one.rung.clone(), format!("right in {} of {}", probe.all.right, probe.all.asked)));
    }
    if good.is_empty() {
        // Better a weak ladder than none: checks refuse what is wrong.
        let mut weak = weak;
        weak.sort_by_key(|one| std::cmp::Reverse(one.probe.as_ref().map_or(0, |probe| probe.all.right)));
        proposal.is_weak = !weak.is_empty();
        proposal.default = weak.into_iter().take(1).map(|one| one.rung.clone()).collect();
        proposal.left_out.retain(|(rung, _)| !proposal.default.contains(rung));
        return proposal;
    }
    let (with_tools, without): (Vec<_>, Vec<_>) = good.iter().copied().partition(|one| !one.fails_tools());
    let climbing = climbing(&good);
    if with_tools.is_empty() {
        proposal.marks = climbing.iter().map(|one| (one.rung.clone(), "fails tool calls".to_owned())).collect();
        proposal.default = rungs(&climbing);
    } else {
        let chosen = self::climbing(&with_tools);
        for one in with_tools.iter().filter(|one| !chosen.contains(one)) {
            proposal.left_out.push((one.rung.clone(), why_left_out(one, &chosen)));
        }
        proposal.default = rungs(&chosen);
        if !without.is_empty() {
            proposal.text = rungs(&climbing);
            let why = "fails tool calls: for steps without tools".to_owned();
            proposal.left_out.extend(without.iter().map(|one| (one.rung.clone(), why.clone())));
        }
    }
    proposal
}

/// Puts the model that the configuration names first: `SERVER:MODEL`, or one of Ollama's. The second value says why it
/// could not be.
#[must_use]
pub fn with_first(mut proposal: Proposal, wanted: Option<&str>, lists: &Lists) -> (Proposal, Option<String>) {
    let Some(wanted) = wanted else { return (proposal, None) };
    let is_rung = split_rung(wanted).is_some_and(|(server, _)| lists.contains_key(server));
    let rung = if is_rung { wanted.to_owned() } else { format!("{OLLAMA}:{wanted}") };
    if is_not_there(&rung, lists) {
        let why = format!("`model` names `{wanted}`, and no server has it: the ladder is built without it");
        return (proposal, Some(why));
    }
    let is_it = |other: &String| is_same(other, &rung);
    proposal.left_out.retain(|(other, _)| !is_it(other));
    for ladder in [&mut proposal.default, &mut proposal.text].into_iter().filter(|ladder| !ladder.is_empty()) {
        ladder.retain(|other| !is_it(other));
        ladder.insert(0, rung.clone());
        ladder.truncate(RUNGS_MAX);
    }
    if proposal.default.is_empty() {
        proposal.default.push(rung);
    }
    (proposal, None)
}

fn rungs(candidates: &[&Candidate]) -> Vec<String> {
    candidates.iter().map(|one| one.rung.clone()).collect()
}

/// From small to large, as far as each is better than all before it; of one that was never probed nobody knows.
fn climbing<'a>(candidates: &[&'a Candidate]) -> Vec<&'a Candidate> {
    let mut best: Option<f64> = None;
    let mut chosen = Vec::new();
    for one in candidates {
        if let Some(share) = one.probe.as_ref().map(Summary::share) {
            if best.is_some_and(|best| share <= best) {
                continue;
            }
            best = Some(share);
        }
        chosen.push(*one);
        if chosen.len() == RUNGS_MAX {
            break;
        }
    }
    chosen
}

fn why_left_out(one: &Candidate, chosen: &[&Candidate]) -> String {
    let share = |one: &Candidate| one.probe.as_ref().map_or(0.0, Summary::share);
    let better = chosen.iter().find(|other| other.probe.is_some() && share(other) >= share(one));
    match better.filter(|_| one.probe.is_some()) {
        Some(better) => format!("larger than {}, and not right more often", better.rung),
        None => format!("a ladder that is built has at most {RUNGS_MAX} rungs"),
    }
}

/// Which rungs of which ladders a model is: `default 1`, by rung.
#[must_use]
pub fn places(ladders: &BTreeMap<String, Vec<String>>, rung: &str) -> Vec<(String, usize)> {
    let of = |(name, rungs): (&String, &Vec<String>)| {
        let at = rungs.iter().position(|one| super::is_same(one, rung))?;
        Some((name.clone(), at + 1))
    };
    ladders.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::probe::outcome::Figures;

    fn one(rung: &str, size: u64, right: Option<u32>, tools_right: u32) -> Candidate {
        let probe = right.map(|right| {
            let figures = |right, asked| Figures { right, asked, ..Figures::default() };
            let groups = BTreeMap::from([("tool calls".to_owned(), figures(tools_right, 5))]);
            Summary { all: figures(right, 20), of: 20, groups }
        });
        Candidate { rung: rung.to_owned(), size, tools: None, probe }
    }

    #[test]
    fn small_and_good_stands_first_and_larger_ones_behind_where_they_are_better() {
        let models = [
            one("s:large", 30, Some(19), 5),
            one("s:worse", 20, Some(14), 5),
            one("s:small", 10, Some(15), 5),
            one("s:tiny", 1, Some(4), 0),
            one("s:new", 15, None, 0),
        ];
        let proposal = propose(&models);
        assert_eq!(proposal.default, ["s:small", "s:new", "s:large"]);
        assert!(proposal.text.is_empty() && !proposal.is_weak);
        let left: Vec<&str> = proposal.left_out.iter().map(|(rung, _)| rung.as_str()).collect();
        assert_eq!(left, ["s:tiny", "s:worse"]);
        assert!(proposal.left_out[1].1.contains("larger than s:small"), "{:?}", proposal.left_out);
    }

    #[test]
    fn who_fails_tool_calls_is_for_steps_without_tools_only() {
        let models = [one("s:a", 1, Some(12), 1), one("s:b", 2, Some(16), 5)];
        let proposal = propose(&models);
        assert_eq!(
            (proposal.default, proposal.text),
            (vec!["s:b".to_owned()], vec!["s:a".to_owned(), "s:b".to_owned()])
        );
        let alone = propose(&models[..1]);
        assert_eq!(alone.default, ["s:a"]);
        assert_eq!(alone.marks, [("s:a".to_owned(), "fails tool calls".to_owned())]);
    }

    #[test]
    fn where_nobody_is_good_the_best_one_stands_alone() {
        let proposal = propose(&[one("s:a", 1, Some(2), 0), one("s:b", 2, Some(5), 0)]);
        assert!(proposal.is_weak);
        assert_eq!(proposal.default, ["s:b"]);
        assert_eq!(propose(&[]), Proposal::default());
    }

    #[test]
    fn the_configured_model_stands_first_if_a_server_has_it() {
        let info = |name: &str| ModelInfo { name: name.to_owned(), chat: true, ..ModelInfo::default() };
        let lists: Lists = [
            ("ollama".to_owned(), Ok(vec![info("a:1b"), info("b:latest"), info("c:8b")])),
            ("box".to_owned(), Ok(vec![info("d")])),
        ]
        .into();
        let built = |wanted: Option<&str>, ladder: &[&str]| {
            let default = ladder.iter().map(|rung| (*rung).to_owned()).collect();
            with_first(Proposal { default, ..Proposal::default() }, wanted, &lists)
        };
        let three = ["ollama:a:1b", "ollama:b:latest", "ollama:c:8b"];
        for (wanted, first) in [
            (Some("c:8b"), vec!["ollama:c:8b", "ollama:a:1b", "ollama:b:latest"]),
            (Some("b"), vec!["ollama:b", "ollama:a:1b", "ollama:c:8b"]),
            (Some("box:d"), vec!["box:d", "ollama:a:1b", "ollama:b:latest"]),
            (Some("ollama:a:1b"), three.to_vec()),
            (None, three.to_vec()),
        ] {
            assert_eq!(
                built(wanted, &three),
                (
                    Proposal { default: first.iter().map(|rung| (*rung).to_owned()).collect(), ..Proposal::default() },
                    None
                ),
                "{wanted:?}"
            );
        }
        let (kept, why) = built(Some("gone:1b"), &three);
        assert_eq!(kept.default, three);
        assert!(why.unwrap().contains("names `gone:1b`, and no server has it"));
        assert_eq!(built(Some("box:d"), &[]).0.default, ["box:d"]);
    }

    #[test]
    fn without_probes_models_with_tools_stand_first_and_sizes_are_read_from_where_they_stand() {
        let named = |name: &str, size: &str, bytes| ModelInfo {
            name: name.to_owned(),
            parameter_size: size.to_owned(),
            bytes,
            chat: true,
            ..ModelInfo::default()
        };
        let records = Records::default();
        let of = |info: &ModelInfo| Candidate::new("s", "http://s", info, &records);
        let mut plain = of(&named("plain", "", 5));
        plain.tools = Some(false);
        let models = [of(&named("x", "", 0)), of(&named("q-7b-instruct", "", 0)), of(&named("y", "135M", 0)), plain];
        assert_eq!(propose(&models).default, ["s:y", "s:q-7b-instruct", "s:x"]);
        assert_eq!(propose(&models[3..]).default, ["s:plain"]);
    }
}
