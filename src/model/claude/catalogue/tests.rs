//! The table itself, and the examples of money that people were given.

use super::*;

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn today() -> Catalogue {
    Catalogue::on(day("2026-11-25"))
}

fn prices(input: &str, output: &str) -> Prices {
    Prices::usual(input.parse().unwrap(), output.parse().unwrap())
}

/// The four ids of the specification of the prior program, with the prices that stand there.
fn of_the_specification() -> Catalogue {
    today()
        .with_prices("claude-3-5-haiku-20241022", prices("1", "5"))
        .with_prices("claude-3-5-sonnet-20241022", prices("3", "15"))
        .with_prices("claude-opus-4-20250514", prices("5", "25"))
        .with_prices("claude-opus-4-5-20250514", prices("15", "75"))
}

#[test]
fn every_row_of_the_table_is_whole() {
    let catalogue = today();
    assert!(catalogue.cards().len() > 15);
    let mut ids = std::collections::BTreeSet::new();
    for card in catalogue.cards() {
        assert!(catalogue.families.contains_key(&card.family), "{}", card.id);
        assert_eq!(card.retired.is_some(), card.replacement.is_some(), "{}", card.id);
        for id in std::iter::once(&card.id).chain(&card.aliases) {
            assert!(ids.insert(id.clone()), "{id} stands twice");
            assert!(super::super::is_claude(id));
        }
        assert!(card.reply_tokens_max < card.context_tokens && !card.best_for.is_empty());
    }
    // What is sent is always a model that is there, on any day.
    let last = Catalogue::on(day("2030-01-01"));
    for id in ids.iter().chain(catalogue.never_existed.keys()) {
        let sent = last.resolve(id).sent;
        assert!(last.card(&sent).is_some_and(|card| card.retired.is_none()), "{id} becomes {sent}");
    }
    assert_eq!(catalogue.resolve(catalogue.default_model()).becomes, Becomes::Itself);
    assert!(!catalogue.source().is_empty() && catalogue.as_of() == day("2026-11-25"));
}

#[test]
fn retired_and_wrong_ids_are_replaced_and_unknown_ones_are_sent_and_it_is_said() {
    for (id, sent, note) in [
        ("claude-sonnet-5-5", "claude-sonnet-5-5", None),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001", None),
        ("claude-sonnet-4-5", "claude-sonnet-4-5", None),
        (
            "claude-3-5-haiku-20241022",
            "claude-haiku-5-5",
            Some("`claude-3-5-haiku-20241022` is retired since 2026-02-19; `claude-haiku-5-5` is sent in its place"),
        ),
        (
            "claude-3-5-sonnet-20241022",
            "claude-sonnet-5-5",
            Some("`claude-3-5-sonnet-20241022` is retired since 2025-10-28; `claude-sonnet-5-5` is sent in its place"),
        ),
        (
            "claude-opus-4-20250514",
            "claude-opus-5-5",
            Some("`claude-opus-4-20250514` is retired since 2026-06-15; `claude-opus-5-5` is sent in its place"),
        ),
        (
            "claude-opus-4-5-20250514",
            "claude-opus-5-5",
            Some("there never was a model `claude-opus-4-5-20250514`; `claude-opus-5-5` is sent in its place"),
        ),
        (
            "claude-opus-9",
            "claude-opus-9",
            Some("`claude-opus-9` is not known; it is sent as it is, and priced as the dearest model that is known"),
        ),
    ] {
        let found = today().resolve(id);
        assert_eq!((found.sent.as_str(), found.note().as_deref()), (sent, note), "{id}");
    }
    assert_eq!(Catalogue::on(day("2026-11-29")).resolve("claude-sonnet-4-5").becomes, Becomes::Itself);
    assert_eq!(Catalogue::on(day("2026-11-30")).resolve("claude-sonnet-4-5").sent, "claude-sonnet-5-5");
}

#[test]
fn the_specifications_prices_give_its_example_costs() {
    let catalogue = of_the_specification();
    let escalation = Tokens::new(2_000, 1_000);
    for (id, one, ten) in [
        ("claude-3-5-haiku-20241022", 7_000, 70_000),
        ("claude-3-5-sonnet-20241022", 21_000, 210_000),
        ("claude-opus-4-20250514", 35_000, 350_000),
        ("claude-opus-4-5-20250514", 105_000, 1_050_000),
    ] {
        let cost = catalogue.cost(id, &escalation);
        assert_eq!(cost, Cost { microdollars: one, is_estimate: false }, "{id}");
        assert_eq!(cost.microdollars * 10, ten, "{id}, ten escalations in a hundred tasks");
    }
    let all_on_sonnet = 100 * catalogue.cost("claude-3-5-sonnet-20241022", &escalation).microdollars;
    assert_eq!(all_on_sonnet, 2_100_000);
}

#[test]
fn todays_prices_are_those_of_what_is_sent() {
    let escalation = Tokens::new(2_000, 1_000);
    for (id, microdollars) in [
        ("claude-3-5-haiku-20241022", 700),
        ("claude-3-5-sonnet-20241022", 14_000),
        ("claude-opus-4-20250514", 28_000),
        ("claude-fable-5-2", 56_000),
        ("claude-haiku-4-5-20251001", 7_000),
    ] {
        assert_eq!(today().cost(id, &escalation), Cost { microdollars, is_estimate: false }, "{id}");
    }
    // A long prompt takes Haiku 5.5 to its second step, for all tokens of the request.
    assert_eq!(today().cost("claude-haiku-5-5", &Tokens::new(100_001, 1_000)).microdollars, 50_001 + 2_500);
    let cached = Tokens { prompt: 10_000, cache_read: 9_000, ..Tokens::new(0, 100) };
    assert_eq!(today().cost("claude-sonnet-5-5", &cached).microdollars, 2_000 + 900 + 1_000);
}

#[test]
fn an_unknown_model_is_priced_as_the_dearest_and_flagged() {
    let tokens = Tokens::new(2_000, 1_000);
    assert_eq!(today().cost("claude-opus-9", &tokens), Cost { microdollars: 105_000, is_estimate: true });
    let own = today().with_prices("claude-opus-9", prices("1", "2"));
    assert_eq!(own.cost("claude-opus-9", &tokens), Cost { microdollars: 4_000, is_estimate: false });
    let dear = today().with_prices("another", prices("100", "1"));
    assert_eq!(dear.cost("claude-opus-9", &tokens).microdollars, 275_000, "class by class");
    let reserved = today().ceiling("claude-opus-9", 2_000, 1_000);
    assert!(reserved.is_estimate && reserved.microdollars >= 105_000);
}

#[test]
fn a_replaced_id_may_be_priced_under_either_name() {
    let tokens = Tokens::new(1_000_000, 0);
    let asked = today().with_prices("claude-3-5-sonnet-20241022", prices("3", "15"));
    assert_eq!(asked.cost("claude-3-5-sonnet-20241022", &tokens).microdollars, 3_000_000);
    assert_eq!(asked.cost("claude-sonnet-5-5", &tokens).microdollars, 2_000_000);
    let sent = today().with_prices("claude-sonnet-5-5", prices("7", "15"));
    assert_eq!(sent.cost("claude-3-5-sonnet-20241022", &tokens).microdollars, 7_000_000);
}

#[test]
fn own_prices_hold_under_every_id_of_the_same_model() {
    let of = |own: &str, asked: &str| {
        let catalogue = today().with_prices(own, prices("7", "9"));
        catalogue.own_prices(asked).map(|(id, _)| id.to_owned())
    };
    for (own, asked, found) in [
        ("claude-opus-4-5", "claude-opus-4-5-20251101", true),
        ("claude-opus-4-5-20251101", "claude-opus-4-5", true),
        ("claude-3-5-sonnet", "claude-3-5-sonnet-20241022", true),
        ("claude-sonnet-5-5", "claude-3-5-sonnet-latest", true),
        ("claude-opus-5-5", "claude-opus-4-5-20250514", true),
        ("claude-3-5-sonnet-20241022", "claude-sonnet-5-5", false),
        ("claude-opus-4-5", "claude-opus-4-5-20250514", false),
    ] {
        assert_eq!(of(own, asked), found.then(|| own.to_owned()), "{own} for {asked}");
    }
    let both =
        today().with_prices("claude-sonnet-5-5", prices("1", "1")).with_prices("claude-3-5-sonnet", prices("2", "2"));
    assert_eq!(
        both.cost("claude-3-5-sonnet-latest", &Tokens::new(1_000_000, 0)).microdollars,
        2_000_000,
        "the nearer id"
    );
}

#[test]
fn each_family_takes_what_it_takes() {
    let family = |id: &str| today().family(id);
    assert!(family("claude-sonnet-4-6").takes_sampling && !family("claude-opus-4-7").takes_sampling);
    assert_eq!(family("claude-haiku-4-5-20251001").think_on, ThinkOn::Budget);
    assert_eq!(family("claude-sonnet-5-5").think_off, ThinkOff::BetweenTools);
    assert_eq!(family("claude-opus-5-5").think_off, ThinkOff::None);
    assert!(!family("claude-opus-4-20250514").takes_schema);
    assert_eq!(family("claude-next"), UNKNOWN);
}
