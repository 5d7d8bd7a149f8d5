//! Tools in words, for models that read none by themselves, and their names in an agent's prompt.

use serde_json::Value;

use super::{cap, data};
use crate::model::Offer;

/// Longest description of one tool, and the one where room is scarce.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 300;
pub(super) const SHORT_CHARS_MAX: usize = 60;

/// Longest description that goes along with a native tool.
const NATIVE_CHARS_MAX: usize = 1_000;
/// Longest name that servers take.
const NAME_CHARS_MAX: usize = 64;

/// Names for models of tools (`server.tool`): letters, digits, `_` and `-` only, as all servers take them; two that
/// would look alike get a number.
#[must_use]
pub fn offer_names(tools: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(tools.len());
    for tool in tools {
        let plain: String =
            tool.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect();
        let with = |number: usize| {
            let end = if number == 1 { String::new() } else { format!("_{number}") };
            format!("{}{end}", &plain[..plain.len().min(NAME_CHARS_MAX - end.len())])
        };
        let name = (1..).map(with).find(|name| !names.contains(name)).expect("one of endless numbers is free");
        names.push(name);
    }
    names
}

/// A tool as it is offered, its description bounded and without signs of chat templates.
#[must_use]
pub fn offer(name: String, description: &str, parameters: Value) -> Offer {
    let (description, _) = cap::cut(&data::tame(description.trim()), NATIVE_CHARS_MAX);
    Offer { name, description, parameters }
}

/// How a call is written, and each tool with its arguments. No call syntax of a programming language: models would
/// write programs.
pub(super) fn in_words(offers: &[Offer], description_chars_max: usize) -> String {
    let mut out = String::from(
        "# Tools\nTo call a tool, write one JSON object and nothing around it:\n\
         {\"tool\": \"NAME\", \"arguments\": {\"ARGUMENT\": VALUE}}\n\
         One call in a message. The tools by NAME, with their arguments (`?`: may be left out):",
    );
    for offer in offers {
        let description = cap::one_line(&data::tame(&offer.description));
        let (description, _) = cap::cut(&description, description_chars_max);
        out.push_str(&format!("\n- {}: {}\n", offer.name, cap::one_line(&description)));
        out.push_str("  arguments: ");
        out.push_str(&arguments(&offer.parameters));
    }
    out
}

fn arguments(parameters: &Value) -> String {
    let none = serde_json::Map::new();
    let properties = parameters.get("properties").and_then(Value::as_object).unwrap_or(&none);
    if properties.is_empty() {
        return "none, so {}".into();
    }
    let required: Vec<&str> =
        parameters.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    // What is needed stands first.
    let (needed, free): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| required.contains(&name.as_str()));
    let words = needed
        .iter()
        .map(|(name, schema)| (name, schema, ""))
        .chain(free.iter().map(|(name, schema)| (name, schema, "?")));
    let words: Vec<String> = words
        .map(|(name, schema, mark)| {
            let form = super::form::type_in_words(schema, parameters);
            let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            let (about, _) = cap::cut(&cap::one_line(&data::tame(about)), ARGUMENT_CHARS_MAX);
            let about = cap::one_line(&about);
            if about.is_empty() {
                format!("\"{name}\"{mark}: {form}")
            } else {
                format!("\"{name}\"{mark}: {form} ({about})")
            }
        })
        .collect();
    words.join("; ")
}

/// Longest description of one argument.
const ARGUMENT_CHARS_MAX: usize = 120;

/// The prompt with `server.tool` written as the tool is offered: a model must see one name for one thing.
pub(super) fn named_as_offered(prompt: &str, offers: &[Offer]) -> String {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut out = String::with_capacity(prompt.len());
    let mut rest = prompt;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        // A dot at the end belongs to the sentence.
        let bare = word.trim_end_matches('.');
        match bare.contains('.').then(|| offered(bare, offers)).flatten() {
            Some(offer) => {
                out.push_str(&offer.name);
                out.push_str(&word[bare.len()..]);
            }
            None => out.push_str(word),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn offered<'a>(tool: &str, offers: &'a [Offer]) -> Option<&'a Offer> {
    let plain = |name: &str| -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    };
    let squeezed = |name: &str| plain(name).replace("__", "_");
    let wanted = squeezed(tool);
    let mut found = offers.iter().filter(|offer| squeezed(&offer.name) == wanted);
    // Two that look alike are told apart by nobody: then the prompt stays as it is.
    found.next().filter(|_| found.next().is_none())
}
