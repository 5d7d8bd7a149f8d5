//! The body of a request: what the model takes of what was asked for, in an order that never changes.

use serde_json::{Map, Value, json};

use super::catalogue::{Catalogue, ThinkOff, ThinkOn};
use super::conversation::{Conversation, mark};
use super::names::wire_name;
use super::strict::strict;
use crate::model::{Offer, Request, Think, schema};

/// Fewest tokens of reasoning that a model takes as a budget.
const BUDGET_TOKENS_MIN: u32 = 1_024;

/// The body of `/v1/messages` for a model by its id on the wire.
pub(super) fn request(request: &Request, sent: &str, catalogue: &Catalogue) -> Value {
    let family = catalogue.family(sent);
    let longest = catalogue.card(sent).map_or(u32::MAX, |card| card.reply_tokens_max);
    let max_tokens = request.reply_tokens_max.clamp(1, longest);
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(sent));
    body.insert("max_tokens".to_owned(), json!(max_tokens));
    body.insert("stream".to_owned(), json!(true));
    add_conversation(&mut body, request);
    let thinking = match request.think {
        Think::Unset => None,
        Think::Off => match family.think_off {
            ThinkOff::None => None,
            ThinkOff::Disabled => Some(json!({ "type": "disabled" })),
            ThinkOff::BetweenTools => Some(json!({ "type": "between_tools" })),
        },
        Think::On => match family.think_on {
            ThinkOn::None => None,
            ThinkOn::Adaptive => Some(json!({ "type": "adaptive" })),
            // Half of the answer, where that is enough for any reasoning at all.
            ThinkOn::Budget => Some(max_tokens / 2)
                .filter(|budget| *budget >= BUDGET_TOKENS_MIN)
                .map(|budget| json!({ "type": "enabled", "budget_tokens": budget })),
        },
    };
    let is_thinking = thinking.is_some() && request.think == Think::On;
    if let Some(thinking) = thinking {
        body.insert("thinking".to_owned(), thinking);
    }
    // No model takes both.
    if let Some(temperature) = request.temperature.filter(|_| family.takes_sampling && !is_thinking) {
        body.insert("temperature".to_owned(), json!(temperature.clamp(0.0, 1.0)));
    }
    let bound = request.schema.as_ref().filter(|_| family.takes_schema).and_then(strict);
    if let Some(schema) = bound {
        body.insert("output_config".to_owned(), json!({ "format": { "type": "json_schema", "schema": schema } }));
    }
    Value::Object(body)
}

/// The body of `/v1/messages/count_tokens`.
pub(super) fn count(request: &Request, sent: &str) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(sent));
    add_conversation(&mut body, request);
    Value::Object(body)
}

/// Rules, tools and turns, with marks on what later requests repeat.
fn add_conversation(body: &mut Map<String, Value>, request: &Request) {
    let mut conversation = Conversation::of(&request.messages);
    // With tools there will be more turns; where a model has spoken there are some.
    conversation.keep(!request.tools.is_empty() || conversation.has_answer());
    let mut tools: Vec<Value> = request.tools.iter().map(tool).collect();
    if conversation.system.is_empty()
        && let Some(last) = tools.last_mut()
    {
        mark(last);
    }
    for (key, blocks) in [("tools", tools), ("system", conversation.system), ("messages", conversation.messages)] {
        if !blocks.is_empty() {
            body.insert(key.to_owned(), Value::Array(blocks));
        }
    }
}

fn tool(offer: &Offer) -> Value {
    let has_choice = ["anyOf", "oneOf", "allOf"].iter().any(|key| offer.parameters.get(key).is_some());
    // At the top of a tool no choice is allowed.
    let parameters = if has_choice { schema::narrow(&offer.parameters) } else { schema::whole(&offer.parameters) };
    json!({ "name": wire_name(&offer.name), "description": offer.description, "input_schema": parameters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sampling::Sampling;
    use crate::model::{Message, Speaker, TimeLimits};

    fn asked(model: &str) -> Request {
        Request {
            model: model.to_owned(),
            messages: vec![Message::new(Speaker::System, "Rules."), Message::new(Speaker::User, "Go.")],
            tools: Vec::new(),
            schema: Some(json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] })),
            think: Think::Unset,
            temperature: Some(1.5),
            sampling: Sampling { top_p: Some(0.5), ..Sampling::default() },
            seed: Some(7),
            reply_tokens_max: 10_000,
            context_tokens: 100_000,
            limits: TimeLimits { first_token_ms: 1, idle_ms: 1, whole_ms: 1 },
        }
    }

    fn body(request: &Request) -> Value {
        let catalogue = Catalogue::on("2026-11-25".parse().unwrap());
        super::request(request, &request.model, &catalogue)
    }

    #[test]
    fn a_model_gets_only_what_it_takes() {
        for (model, think, thinking, temperature, is_bound) in [
            ("claude-sonnet-5-5", Think::Unset, json!(null), json!(null), true),
            ("claude-sonnet-5-5", Think::Off, json!({ "type": "between_tools" }), json!(null), true),
            ("claude-sonnet-5-5", Think::On, json!({ "type": "adaptive" }), json!(null), true),
            ("claude-opus-5-5", Think::Off, json!(null), json!(null), true),
            ("claude-haiku-5-5", Think::Off, json!({ "type": "disabled" }), json!(null), true),
            ("claude-sonnet-4-6", Think::Unset, json!(null), json!(1.0), true),
            ("claude-sonnet-4-6", Think::On, json!({ "type": "adaptive" }), json!(null), true),
            ("claude-haiku-4-5", Think::On, json!({ "type": "enabled", "budget_tokens": 5_000 }), json!(null), true),
            ("claude-opus-4", Think::Off, json!(null), json!(1.0), false),
            ("claude-3-5-haiku", Think::On, json!(null), json!(1.0), false),
            ("claude-next", Think::On, json!(null), json!(null), true),
        ] {
            let body = body(&Request { think, ..asked(model) });
            assert_eq!(body["thinking"], thinking, "{model} {think:?}");
            assert_eq!(body["temperature"], temperature, "{model} {think:?}");
            assert_eq!(body.get("output_config").is_some(), is_bound, "{model}");
            assert!(body.get("seed").is_none() && body.get("top_p").is_none());
        }
    }

    #[test]
    fn an_answer_is_as_long_as_the_model_can_write() {
        for (model, wanted, sent) in [
            ("claude-3-5-haiku", 100_000, 8_192),
            ("claude-sonnet-5-5", 100_000, 100_000),
            ("claude-sonnet-5-5", 0, 1),
            ("claude-next", 999_999, 999_999),
        ] {
            assert_eq!(body(&Request { reply_tokens_max: wanted, ..asked(model) })["max_tokens"], json!(sent));
        }
        // Too short an answer leaves no room for reasoning.
        let short = Request { reply_tokens_max: 2_000, think: Think::On, ..asked("claude-haiku-4-5") };
        assert!(body(&short).get("thinking").is_none());
    }

    #[test]
    fn what_is_repeated_is_marked_once_for_tools_and_rules_and_twice_in_the_turns() {
        let offer = |name: &str| Offer {
            name: name.into(),
            description: "does".into(),
            parameters: json!({ "anyOf": [{ "properties": { "a": {} } }] }),
        };
        let marks = |value: &Value| value.to_string().matches("cache_control").count();
        let once = body(&asked("claude-sonnet-5-5"));
        assert_eq!((marks(&once["system"]), marks(&once["messages"])), (1, 0));
        let with_tools = Request { tools: vec![offer("a.b"), offer("c")], ..asked("claude-sonnet-5-5") };
        let sent = body(&with_tools);
        assert_eq!((marks(&sent["tools"]), marks(&sent["system"]), marks(&sent["messages"])), (0, 1, 1));
        assert_eq!((&sent["tools"][0]["name"], &sent["tools"][1]["name"]), (&json!(wire_name("a.b")), &json!("c")));
        let schema = &sent["tools"][0]["input_schema"];
        assert!(schema["type"] == "object" && schema.get("anyOf").is_none());
        let without_rules = Request { messages: vec![Message::new(Speaker::User, "Go.")], ..with_tools.clone() };
        let sent = body(&without_rules);
        assert_eq!(sent["tools"][1]["cache_control"], json!({ "type": "ephemeral" }));
        assert!(sent.get("system").is_none());
        assert_eq!(body(&with_tools).to_string(), body(&with_tools).to_string());
        let counted = count(&with_tools, "claude-sonnet-5-5");
        assert!(
            counted.get("max_tokens").is_none() && counted.get("stream").is_none() && counted.get("tools").is_some()
        );
    }
}
