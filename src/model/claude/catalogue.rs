//! Which models there are: the dated table in `models.json`, what is sent for an id, what it costs, what it takes. Pure.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;

use super::prices::{PriceList, Prices};
use crate::model::Tokens;

const TABLE: &str = include_str!("models.json");

/// How a model is told to reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ThinkOn {
    /// It cannot be told.
    None,
    /// With so many tokens.
    Budget,
    /// As it sees fit.
    Adaptive,
}

/// How a model is told to answer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ThinkOff {
    /// It cannot be told: it never reasons, or always does.
    None,
    /// By a switch.
    Disabled,
    /// By keeping it to the time between calls.
    BetweenTools,
}

/// What the models of one family take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Family {
    /// `temperature` may be sent.
    pub(super) takes_sampling: bool,
    pub(super) think_on: ThinkOn,
    pub(super) think_off: ThinkOff,
    /// An answer can be bound to a schema.
    pub(super) takes_schema: bool,
}

/// What is sent to a model that nobody knows: nothing that any model refuses.
const UNKNOWN: Family =
    Family { takes_sampling: false, think_on: ThinkOn::None, think_off: ThinkOff::None, takes_schema: true };

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// Its id, without a date.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Other ids of it, which are sent as they are.
    #[serde(default)]
    pub aliases: Vec<String>,
    family: String,
    /// From this day on it is not there any more.
    pub retired: Option<Date>,
    /// The model that is sent for it then.
    pub replacement: Option<String>,
    /// Its window in tokens.
    pub context_tokens: u32,
    /// Its longest answer in tokens.
    pub reply_tokens_max: u32,
    /// What it is best for.
    pub best_for: String,
    /// What it costs.
    pub prices: PriceList,
}

impl ModelCard {
    /// All its ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.id).chain(&self.aliases).map(String::as_str)
    }

    /// Whether it is not there any more on a day.
    #[must_use]
    pub fn is_retired(&self, today: Date) -> bool {
        self.retired.is_some_and(|day| today >= day)
    }
}

/// What becomes of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// It is sent.
    Itself,
    /// The model is retired since that day; another is sent.
    Replaced(Date),
    /// There never was such a model; another is sent.
    Corrected,
    /// Nobody knows it; it is sent as it is.
    Unknown,
}

/// An id, and what is sent for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The id as it was given.
    pub asked: String,
    /// The id that is sent.
    pub sent: String,
    /// Why.
    pub becomes: Becomes,
}

impl Resolved {
    /// What people are told about it, where there is something to tell.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let Self { asked, sent, becomes } = self;
        match becomes {
            Becomes::Itself => None,
            Becomes::Replaced(day) => Some(format!("`{asked}` is retired since {day}; `{sent}` is sent in its place")),
            Becomes::Corrected => Some(format!("there never was a model `{asked}`; `{sent}` is sent in its place")),
            Becomes::Unknown => Some(format!(
                "`{asked}` is not known; it is sent as it is, and priced as the dearest model that is known"
            )),
        }
    }
}

/// Money for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// In millionths of a dollar.
    pub microdollars: u64,
    /// The model is not known: this is what the dearest one would have cost.
    pub is_estimate: bool,
}

/// All models of one day.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    as_of: Date,
    source: String,
    #[serde(rename = "unit")]
    _unit: String,
    default: String,
    families: BTreeMap<String, Family>,
    models: Vec<ModelCard>,
    never_existed: BTreeMap<String, String>,
    /// Prices of a person's own, by the id as that person writes it.
    #[serde(skip)]
    own: BTreeMap<String, PriceList>,
    #[serde(skip)]
    today: Option<Date>,
}

impl Catalogue {
    /// The models of a day: one whose last day is past is replaced.
    #[must_use]
    pub fn on(today: Date) -> Self {
        let table: Self = serde_json::from_str(TABLE).expect("the table is read by a test");
        Self { today: Some(today), ..table }
    }

    /// The same with prices of a person's own for one id, known or not.
    #[must_use]
    pub fn with_prices(mut self, id: &str, prices: impl Into<PriceList>) -> Self {
        self.own.insert(id.to_owned(), prices.into());
        self
    }

    /// The day on which the table was made.
    #[must_use]
    pub const fn as_of(&self) -> Date {
        self.as_of
    }

    /// Where its figures come from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The model where none is named.
    #[must_use]
    pub fn default_model(&self) -> &str {
        &self.default
    }

    /// All models, the best to use first, retired ones last.
    #[must_use]
    pub fn cards(&self) -> &[ModelCard] {
        &self.models
    }

    /// Ids that never were a model, and what is sent for each.
    pub fn never_existed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.never_existed.iter().map(|(id, sent)| (id.as_str(), sent.as_str()))
    }

    /// The model with this id, retired or not.
    #[must_use]
    pub fn card(&self, id: &str) -> Option<&ModelCard> {
        self.models.iter().find(|card| card.id == id || card.aliases.iter().any(|alias| alias == id))
    }

    /// What is sent for an id.
    #[must_use]
    pub fn resolve(&self, id: &str) -> Resolved {
        let to = |sent: &str, becomes| Resolved { asked: id.to_owned(), sent: sent.to_owned(), becomes };
        if let Some(sent) = self.never_existed.get(id) {
            return to(sent, Becomes::Corrected);
        }
        let Some(card) = self.card(id) else { return to(id, Becomes::Unknown) };
        match (card.retired, &card.replacement) {
            (Some(day), Some(other)) if self.today.is_none_or(|today| today >= day) => {
                to(other, Becomes::Replaced(day))
            }
            _ => to(id, Becomes::Itself),
        }
    }

    /// The prices for an id: a person's own for it or for what is sent for it, then those of the table. `None`: not known.
    #[must_use]
    pub fn prices(&self, id: &str) -> Option<&PriceList> {
        let sent = self.resolve(id).sent;
        self.own_prices(id).map(|(_, own)| own).or_else(|| self.card(&sent).map(|card| &card.prices))
    }

    /// A person's own prices for an id, and the id that they were written under: the id itself, another id of the same
    /// model, or one of what is sent for it.
    #[must_use]
    pub fn own_prices(&self, id: &str) -> Option<(&str, &PriceList)> {
        let sent = self.resolve(id).sent;
        let ids_of = |id: &str| self.card(id).into_iter().flat_map(ModelCard::ids).map(str::to_owned);
        let tried =
            std::iter::once(id.to_owned()).chain(ids_of(id)).chain(std::iter::once(sent.clone())).chain(ids_of(&sent));
        tried.into_iter().find_map(|id| self.own.get_key_value(&id)).map(|(id, list)| (id.as_str(), list))
    }

    /// All prices of a person's own, by id as written.
    pub fn all_own_prices(&self) -> impl Iterator<Item = (&str, &PriceList)> {
        self.own.iter().map(|(id, list)| (id.as_str(), list))
    }

    /// What a request to a model cost.
    #[must_use]
    pub fn cost(&self, id: &str, tokens: &Tokens) -> Cost {
        match self.prices(id) {
            Some(list) => Cost { microdollars: list.cost(tokens), is_estimate: false },
            None => Cost { microdollars: self.dearest().cost(tokens), is_estimate: true },
        }
    }

    /// The most that a request can cost: what has to be reserved for it.
    #[must_use]
    pub fn ceiling(&self, id: &str, prompt_tokens_max: u64, reply_tokens_max: u64) -> Cost {
        let known = self.prices(id).map(|list| list.ceiling(prompt_tokens_max, reply_tokens_max));
        let microdollars =
            known.unwrap_or_else(|| PriceList::from(self.dearest()).ceiling(prompt_tokens_max, reply_tokens_max));
        Cost { microdollars, is_estimate: known.is_none() }
    }

    pub(super) fn family(&self, id: &str) -> Family {
        self.card(id).and_then(|card| self.families.get(&card.family)).copied().unwrap_or(UNKNOWN)
    }

    /// The dearest price of each class among all that are known.
    fn dearest(&self) -> Prices {
        let lists = self.models.iter().map(|card| &card.prices).chain(self.own.values());
        lists.fold(Prices::default(), |dearest, list| dearest.dearest(list.dearest()))
    }
}

#[cfg(test)]
mod tests;
