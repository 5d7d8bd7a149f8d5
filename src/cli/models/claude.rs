//! `models claude`: the dated table of Claude's models with a person's own prices over it. Nobody is asked.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::app::claude::{catalogue, model, today};
use crate::app::place::Standing;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::config::Settings;
use crate::engine::ladders::is_paid;
use crate::model::claude::catalogue::{Becomes, Catalogue, ModelCard};
use crate::model::claude::prices::{PriceList, Prices, Step};
use crate::report::text::{clean, thousands};

/// Heads of the columns of prices.
const COLUMNS: [&str; 5] = ["input", "output", "write 5m", "write 1h", "read"];

pub(super) fn claude(context: &Context) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let table = Table::new(&standing);
    if context.is_json {
        output::json_with_version(table.json());
    } else {
        output::out(&table.text());
    }
    Ok(Exit::Complete)
}

/// An id that the configuration names, and where.
#[derive(Debug)]
struct Configured {
    id: String,
    whence: String,
}

#[derive(Debug)]
struct Table {
    catalogue: Catalogue,
    today: Date,
    configured: Vec<Configured>,
    about: String,
}

impl Table {
    fn new(standing: &Standing) -> Self {
        let settings = &standing.settings;
        let catalogue = catalogue(standing);
        let configured = configured(settings, &catalogue);
        Self { catalogue, today: today(), configured, about: about(settings) }
    }

    fn is_there(&self, card: &ModelCard) -> bool {
        !card.is_retired(self.today)
    }

    /// Where a model is configured: under an id of its own, or under one that it is sent for.
    fn whence(&self, card: &ModelCard) -> Vec<&str> {
        let is_it = |one: &&Configured| {
            let sent = self.catalogue.resolve(&one.id).sent;
            card.ids().any(|id| id == sent)
        };
        self.configured.iter().filter(is_it).map(|one| one.whence.as_str()).collect()
    }

    /// Own prices for ids that are in no row of the table: retired ones, corrected ones, unknown ones.
    fn apart(&self) -> impl Iterator<Item = (&str, &PriceList)> {
        let has_row = |id: &str| self.catalogue.card(id).is_some_and(|card| self.is_there(card));
        self.catalogue.all_own_prices().filter(move |(id, _)| !has_row(id))
    }

    fn text(&self) -> String {
        let mut out = format!(
            "Claude's models and prices of {}, in US dollars for a million tokens\nfrom: {}\n\n{:<20}",
            self.catalogue.as_of(),
            self.catalogue.source(),
            "model"
        );
        out.push_str(&COLUMNS.map(|head| format!("{head:>9}")).concat());
        out.push_str("  best for\n");
        for card in self.catalogue.cards().iter().filter(|card| self.is_there(card)) {
            self.card(card, &mut out);
        }
        let apart: Vec<_> = self.apart().collect();
        if !apart.is_empty() {
            out.push_str("\nyour prices for ids that are not in this table\n");
            for (id, list) in apart {
                out.push_str(&format!("{:<20}{}\n", clean(id), columns(&list.steps()[0].prices)));
            }
        }
        out.push_str("\nids for which another is sent\n");
        for (ids, sent, why) in self.replaced() {
            out.push_str(&format!("{} → {sent} ({why})\n", ids.join(", ")));
        }
        out.push_str(&format!("\n{}\n", self.about));
        for one in &self.configured {
            out.push_str(&format!("{}: {}\n", one.whence, clean(&one.id)));
            if let Some(note) = self.catalogue.resolve(&one.id).note() {
                out.push_str(&format!("  {}\n", clean(&note)));
            }
        }
        out.push_str("prices of your own: ollmcp config set --user claude_integration.prices.MODEL '{\"input\": 3, \"output\": 15}'\n");
        out
    }

    fn card(&self, card: &ModelCard, out: &mut String) {
        let own = card.ids().find_map(|id| self.catalogue.own_prices(id));
        let list = own.map_or(&card.prices, |(_, list)| list);
        for (at, step) in list.steps().iter().enumerate() {
            let name = match (at, list.steps().get(at.wrapping_sub(1)).and_then(|before| before.prompt_tokens_max)) {
                (0, _) => card.id.clone(),
                (_, Some(max)) => format!("  over {}", thousands(max)),
                (_, None) => String::new(),
            };
            let best_for = if at == 0 { format!("  {}", card.best_for) } else { "  (of the whole prompt)".to_owned() };
            out.push_str(&format!("{name:<20}{}{best_for}\n", columns(&step.prices)));
        }
        if own.is_some() {
            let of_table = card.prices.steps().first().map(|step| step.prices).unwrap_or_default();
            out.push_str(&format!("  yours; the table:  {}\n", columns(&of_table).trim_start()));
        }
        if let Some(day) = card.retired {
            out.push_str(&format!("  retires on {day}\n"));
        }
        for whence in self.whence(card) {
            out.push_str(&format!("  ← {whence}\n"));
        }
    }

    /// Ids for which another is sent: the ids, what is sent, why.
    fn replaced(&self) -> Vec<(Vec<&str>, &str, String)> {
        let retired = self.catalogue.cards().iter().filter(|card| !self.is_there(card));
        let retired = retired.filter_map(|card| {
            let (day, other) = (card.retired?, card.replacement.as_deref()?);
            Some((card.ids().collect(), other, format!("retired since {day}")))
        });
        let wrong = self.catalogue.never_existed();
        retired.chain(wrong.map(|(id, other)| (vec![id], other, "there never was such a model".to_owned()))).collect()
    }

    fn json(&self) -> Value {
        let models: Vec<Value> = self.catalogue.cards().iter().map(|card| self.card_json(card)).collect();
        let wrong: BTreeMap<&str, &str> = self.catalogue.never_existed().collect();
        let own: BTreeMap<&str, Value> =
            self.catalogue.all_own_prices().map(|(id, list)| (id, prices_json(&list.steps()[0].prices))).collect();
        let configured: Vec<Value> = self.configured.iter().map(|one| self.configured_json(one)).collect();
        json!({
            "as_of": self.catalogue.as_of().to_string(),
            "source": self.catalogue.source(),
            "unit": "US dollars for a million tokens, as text",
            "default": self.catalogue.default_model(),
            "models": models,
            "never_existed": wrong,
            "own_prices": own,
            "configured": configured,
        })
    }

    fn card_json(&self, card: &ModelCard) -> Value {
        let sent = self.catalogue.resolve(&card.id).sent;
        let own = card.ids().find_map(|id| self.catalogue.own_prices(id)).map(|(_, list)| list);
        let steps = |list: &PriceList| list.steps().iter().map(step_json).collect::<Vec<_>>();
        json!({
            "id": card.id,
            "name": card.name,
            "aliases": card.aliases,
            "sent": sent,
            "retired": card.retired.map(|day| day.to_string()),
            "context_tokens": card.context_tokens,
            "reply_tokens_max": card.reply_tokens_max,
            "best_for": card.best_for,
            "prices": steps(&card.prices),
            "own_prices": own.map(steps),
            "configured": self.whence(card),
        })
    }

    fn configured_json(&self, one: &Configured) -> Value {
        let resolved = self.catalogue.resolve(&one.id);
        let why = match resolved.becomes {
            Becomes::Itself => Value::Null,
            Becomes::Replaced(_) => "retired".into(),
            Becomes::Corrected => "never_existed".into(),
            Becomes::Unknown => "unknown".into(),
        };
        json!({ "id": one.id, "key": one.whence, "sent": resolved.sent, "why": why })
    }
}

/// The configured model, and those that ladders name.
fn configured(settings: &Settings, catalogue: &Catalogue) -> Vec<Configured> {
    let mut all =
        vec![Configured { id: model(settings, catalogue).to_owned(), whence: "claude_integration.model".to_owned() }];
    for (name, rungs) in &settings.ladders {
        let named = rungs.iter().filter(|rung| is_paid(rung)).filter_map(|rung| rung.strip_prefix("claude:"));
        all.extend(named.map(|id| Configured { id: id.to_owned(), whence: format!("ladders.{name}") }));
    }
    all
}

fn about(settings: &Settings) -> String {
    let about = match (settings.claude.enabled, settings.claude.api_key.is_some()) {
        (true, true) => "Claude is switched on",
        (true, false) => "Claude is switched on, and there is no key: set `ANTHROPIC_API_KEY`",
        (false, _) => "Claude is switched off: ollmcp config set claude_integration.enabled true",
    };
    about.to_owned()
}

fn columns(prices: &Prices) -> String {
    let Prices { input, output, cache_write_5m, cache_write_1h, cache_read } = prices;
    [input, output, cache_write_5m, cache_write_1h, cache_read].map(|rate| format!("{:>9}", rate.to_string())).concat()
}

fn prices_json(prices: &Prices) -> Value {
    json!({
        "input": prices.input.to_string(),
        "output": prices.output.to_string(),
        "cache_write_5m": prices.cache_write_5m.to_string(),
        "cache_write_1h": prices.cache_write_1h.to_string(),
        "cache_read": prices.cache_read.to_string(),
    })
}

fn step_json(step: &Step) -> Value {
    let mut value = prices_json(&step.prices);
    value["prompt_tokens_max"] = step.prompt_tokens_max.into();
    value
}
