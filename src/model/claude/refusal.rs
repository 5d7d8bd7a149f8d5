//! What Anthropic's interface says instead of an answer, by status and by the `type` of its error. Pure.
//!
//! | HTTP | `error.type` | is |
//! |---|---|---|
//! | 400 | `invalid_request_error` | [`ModelError::BadRequest`]; a long prompt [`ModelError::PromptTooLong`]; a limit of the user's own [`ModelError::SpendLimit`] |
//! | 401 | `authentication_error` | [`ModelError::BadKey`] |
//! | 402 | `billing_error` | [`ModelError::Unpaid`] |
//! | 403 | `permission_error` | [`ModelError::Forbidden`] |
//! | 404 | `not_found_error` | [`ModelError::NoSuchModel`]; without that type nothing of the interface is there: [`ModelError::Protocol`] |
//! | 409 | `conflict_error` | [`ModelError::Busy`] |
//! | 413 | `request_too_large` | [`ModelError::PromptTooLong`] |
//! | 429 | `rate_limit_error` | [`ModelError::RateLimited`]; the account's monthly cap [`ModelError::SpendLimit`] |
//! | 500 | `api_error` | [`ModelError::ServerError`]; a 503 that says how long to wait [`ModelError::Busy`] |
//! | 504 | `timeout_error` | [`ModelError::ServerError`]; without that type a proxy speaks: [`ModelError::Unreachable`] |
//! | 529 | `overloaded_error` | [`ModelError::Overloaded`] |
//!
//! Statuses that are not in the table mean what they mean at any model server.

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::model::ModelError;
use crate::model::fault::{Asked, Told, one_line};
use crate::model::http::{Refused, request_id, until_ms};

/// The account's own limit of the month.
const SPEND_CAP_CODE: &str = "enforced_spend_limit_reached";
/// A limit that the user set, which comes as a bad request.
const OWN_LIMIT_WORDS: &str = "reached your specified api usage limits";

/// What a refusal means.
pub(super) fn read(asked: &Asked<'_>, refused: &Refused) -> ModelError {
    let body: Value = serde_json::from_slice(&refused.body).unwrap_or_default();
    let error = &body["error"];
    let kind = error["type"].as_str().unwrap_or_default();
    let limit = full_limit(&refused.headers);
    let mut words = vec![match error["message"].as_str().filter(|words| !words.trim().is_empty()) {
        Some(words) => words.to_owned(),
        None if kind.is_empty() => format!("HTTP {}", refused.status),
        None => kind.to_owned(),
    }];
    words.extend(limit.as_ref().map(|limit| limit.words.clone()));
    let id = request_id(&refused.headers).or_else(|| body["request_id"].as_str().map(str::to_owned));
    let message = said(asked, &words, id.as_deref());
    let retry_after_ms = refused.retry_after_ms.or_else(|| limit?.wait_ms);
    let kind = if kind.is_empty() { kind_of(refused.status) } else { kind };
    // An error without its type is no word of this interface: a proxy, or another server.
    let is_of_the_interface = error["type"].is_string();
    match (refused.status, kind) {
        (404 | 504, _) if !is_of_the_interface => plain(asked, refused),
        (503, _) if retry_after_ms.is_some() => {
            ModelError::Busy { server: asked.server.to_owned(), message, retry_after_ms }
        }
        (_, kind) => meaning(asked, kind, error, message, retry_after_ms).unwrap_or_else(|| plain(asked, refused)),
    }
}

/// What an error in the middle of a stream means.
pub(super) fn in_stream(asked: &Asked<'_>, error: &Value, id: Option<&str>) -> ModelError {
    let kind = error["type"].as_str().unwrap_or_default();
    let words = error["message"].as_str().unwrap_or(kind).to_owned();
    let message = said(asked, &[words], id);
    meaning(asked, kind, error, message.clone(), None)
        .unwrap_or_else(|| ModelError::BrokenStream { model: asked.model.to_owned(), message })
}

fn meaning(
    asked: &Asked<'_>,
    kind: &str,
    error: &Value,
    message: String,
    retry_after_ms: Option<u64>,
) -> Option<ModelError> {
    let (server, model) = (asked.server.to_owned(), asked.model.to_owned());
    let search = message.to_lowercase();
    Some(match kind {
        "rate_limit_error" if error["details"]["error_code"] == SPEND_CAP_CODE => {
            ModelError::SpendLimit { server, message }
        }
        "invalid_request_error" if search.contains(OWN_LIMIT_WORDS) => ModelError::SpendLimit { server, message },
        "invalid_request_error" if is_too_long(&search) => {
            ModelError::PromptTooLong { model, message, context_tokens: window_in(&search) }
        }
        "invalid_request_error" if search.contains("credit balance is too low") => {
            ModelError::Unpaid { server, message }
        }
        "invalid_request_error" if is_no_model(&search) => ModelError::NoSuchModel { server, model },
        "invalid_request_error" => ModelError::BadRequest { model, message },
        "authentication_error" => ModelError::BadKey { server, message },
        "billing_error" => ModelError::Unpaid { server, message },
        "permission_error" => ModelError::Forbidden { server, message },
        "not_found_error" if asked.model.is_empty() => return None,
        "not_found_error" => ModelError::NoSuchModel { server, model },
        "conflict_error" => ModelError::Busy { server, message, retry_after_ms },
        "request_too_large" => ModelError::PromptTooLong { model, message, context_tokens: None },
        "rate_limit_error" => ModelError::RateLimited { server, message, retry_after_ms },
        "api_error" | "timeout_error" => ModelError::ServerError { server, message },
        "overloaded_error" => ModelError::Overloaded { server, message, retry_after_ms },
        _ => return None,
    })
}

/// The type of an error that has none, where its status says it as well.
fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "",
    }
}

fn plain(asked: &Asked<'_>, refused: &Refused) -> ModelError {
    asked.refusal(refused.status, &Told::of_body(&refused.body), refused.retry_after_ms)
}

fn said(asked: &Asked<'_>, words: &[String], id: Option<&str>) -> String {
    let line = one_line(&words.join("; "), asked.key);
    id.map_or_else(|| line.clone(), |id| format!("{line} (request {})", one_line(id, asked.key)))
}

fn is_too_long(search: &str) -> bool {
    ["prompt is too long", "exceed context limit", "exceeds the context window", "input is too long"]
        .iter()
        .any(|words| search.contains(words))
}

/// Gateways say so of a model that they do not have.
fn is_no_model(search: &str) -> bool {
    let is_absent = ["unknown", "not found", "does not exist", "not supported", "invalid model", "no such"];
    search.contains("model") && !search.contains("messages.") && is_absent.iter().any(|words| search.contains(words))
}

/// The window out of `prompt is too long: 210000 tokens > 200000 maximum`.
fn window_in(search: &str) -> Option<u32> {
    let rest = search.split_once("> ")?.1;
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
    digits.parse().ok()
}

/// A counted limit with nothing left.
struct FullLimit {
    words: String,
    /// Until something is left again.
    wait_ms: Option<u64>,
}

/// The first of the counted limits that is full.
fn full_limit(headers: &HeaderMap) -> Option<FullLimit> {
    ["requests", "input-tokens", "output-tokens", "tokens"].iter().find_map(|what| {
        let of = |part: &str| headers.get(format!("anthropic-ratelimit-{what}-{part}"))?.to_str().ok();
        if of("remaining")?.trim() != "0" {
            return None;
        }
        let reset: Option<jiff::Timestamp> = of("reset").and_then(|text| text.trim().parse().ok());
        let count = of("limit").filter(|text| text.chars().all(|c| c.is_ascii_digit())).unwrap_or("?");
        let until = reset.map_or_else(String::new, |reset| format!(" until {reset}"));
        let words = format!("0 of {count} {} left{until}", what.replace('-', " "));
        Some(FullLimit { words, wait_ms: reset.map(|reset| until_ms(headers, reset)) })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::key::Key;

    const ASKED: Asked<'static> = Asked { server: "https://api", model: "claude-x", key: None };

    fn refused(status: u16, kind: &str, message: &str) -> Refused {
        let body = json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_1" });
        Refused { status, headers: HeaderMap::new(), body: body.to_string().into_bytes(), retry_after_ms: None }
    }

    fn kind(error: &ModelError) -> String {
        format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_kind_of_error_is_one_of_ours() {
        for (status, name, message, expect) in [
            (400, "invalid_request_error", "messages: at least one is needed", "BadRequest"),
            (400, "invalid_request_error", "prompt is too long: 210,000 tokens > 200,000 maximum", "PromptTooLong"),
            (
                400,
                "invalid_request_error",
                "You have reached your specified API usage limits. You will regain",
                "SpendLimit",
            ),
            (400, "invalid_request_error", "Your credit balance is too low to access the API", "Unpaid"),
            (401, "authentication_error", "invalid x-api-key", "BadKey"),
            (400, "invalid_request_error", "model: claude-x is unknown", "NoSuchModel"),
            (402, "billing_error", "pay", "Unpaid"),
            (403, "permission_error", "not for you", "Forbidden"),
            (404, "not_found_error", "model: claude-x", "NoSuchModel"),
            (409, "conflict_error", "again", "Busy"),
            (413, "request_too_large", "too many bytes", "PromptTooLong"),
            (429, "rate_limit_error", "slow down", "RateLimited"),
            (500, "api_error", "oops", "ServerError"),
            (504, "timeout_error", "late", "ServerError"),
            (529, "overloaded_error", "Overloaded", "Overloaded"),
            (400, "an_error_of_tomorrow", "new", "Protocol"),
            (503, "", "", "Busy"),
        ] {
            let error = read(&ASKED, &refused(status, name, message));
            assert_eq!(kind(&error), expect, "{status} {name}: {error}");
            let has_id = error.to_string().contains("(request req_1)");
            assert!(has_id || matches!(expect, "NoSuchModel" | "Protocol" | "Busy"), "{error}");
        }
        let ModelError::PromptTooLong { context_tokens, .. } =
            read(&ASKED, &refused(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"))
        else {
            panic!("a prompt that is too long")
        };
        assert_eq!(context_tokens, Some(200_000));
    }

    #[test]
    fn what_a_proxy_says_is_read_by_its_status() {
        for (status, body, expect) in [
            (401, "", "BadKey"),
            (403, "<html><title>no</title></html>", "Forbidden"),
            (404, "404 page not found", "Protocol"),
            (413, "<html>", "PromptTooLong"),
            (429, "slow", "RateLimited"),
            (500, "", "ServerError"),
            (502, "<html>", "Unreachable"),
            (504, "<html>", "Unreachable"),
            (529, "", "Overloaded"),
        ] {
            let refused = Refused { body: body.as_bytes().to_vec(), ..refused(status, "", "") };
            let error = read(&ASKED, &refused);
            assert_eq!(kind(&error), expect, "{status} {body}: {error}");
        }
    }

    #[test]
    fn the_cap_of_the_month_is_no_rate() {
        let body = json!({ "type": "error", "error": { "type": "rate_limit_error", "message": "cap", "details": { "error_code": SPEND_CAP_CODE } } });
        let cap = Refused { body: body.to_string().into_bytes(), ..refused(429, "", "") };
        assert_eq!(kind(&read(&ASKED, &cap)), "SpendLimit");
        assert_eq!(read(&ASKED, &cap).retry_after_ms(), None);
    }

    #[test]
    fn the_limit_that_is_full_is_named_and_says_how_long_to_wait() {
        let mut limited = refused(429, "rate_limit_error", "slow down");
        for (name, value) in [
            ("date", "Thu, 26 Nov 2026 10:00:00 GMT"),
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-limit", "2000000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-26T10:00:30Z"),
        ] {
            limited.headers.insert(name, value.parse().unwrap());
        }
        let error = read(&ASKED, &limited);
        assert!(error.to_string().contains("0 of 2000000 input tokens left until 2026-11-26T10:00:30Z"), "{error}");
        assert_eq!(error.retry_after_ms(), Some(30_000));
        let away = Refused { retry_after_ms: Some(4_000), ..refused(503, "api_error", "back soon") };
        assert_eq!(read(&ASKED, &away).retry_after_ms(), Some(4_000));
        limited.retry_after_ms = Some(9_000);
        assert_eq!(read(&ASKED, &limited).retry_after_ms(), Some(9_000), "what it asks for comes first");
    }

    #[test]
    fn no_key_and_no_end_of_words_is_passed_on() {
        let key = Key::api("sk-ant-secret").unwrap();
        let asked = Asked { key: Some(&key), ..ASKED };
        let long = format!("bad key sk-ant-secret {}", "x".repeat(5_000));
        for kind in ["authentication_error", "invalid_request_error", "none"] {
            let error = read(&asked, &refused(401, kind, &long));
            assert!(!format!("{error} {error:?}").contains("sk-ant"), "{error}");
            assert!(error.to_string().len() < 500);
        }
        assert!(!in_stream(&asked, &json!({ "message": "sk-ant-secret" }), None).to_string().contains("sk-ant"));
    }

    #[test]
    fn an_error_in_the_stream_is_read_by_its_type() {
        for (name, expect) in [
            ("overloaded_error", "Overloaded"),
            ("rate_limit_error", "RateLimited"),
            ("api_error", "ServerError"),
            ("new_error", "BrokenStream"),
        ] {
            let error = in_stream(&ASKED, &json!({ "type": name, "message": "m" }), Some("req_9"));
            assert_eq!(kind(&error), expect);
            assert!(error.to_string().contains("req_9"));
        }
        assert_eq!(kind(&in_stream(&ASKED, &json!(null), None)), "BrokenStream");
    }
}
