//! Sections of the document as typed values. The table of keys has checked what they hold.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Secret;
use super::check::{is_remark, whole_number};
use super::settings::{
    BudgetSettings, ClaudeSettings, Limits, ModelSettings, NotifySettings, OwnPrices, ToolSettings, WhenLimited,
};
use crate::domain::kinds::{Grant, TaskKind};
use crate::domain::plan::{ModelServerKind, ModelServerSpec, RepeatClass};
use crate::domain::sampling::Sampling;

pub(super) fn at<'a>(document: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let mut names = key.split('.');
    let first = document.get(names.next()?)?;
    names.try_fold(first, |at, name| at.get(name))
}

pub(super) fn text(document: &Map<String, Value>, key: &str) -> Option<String> {
    at(document, key)?.as_str().map(str::to_owned)
}

pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn section<'a>(
    document: &'a Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    document.get(name).and_then(Value::as_object).into_iter().flatten().filter(|(name, value)| !is_remark(name, value))
}

fn number(document: &Map<String, Value>, key: &str) -> u64 {
    let value = at(document, key).and_then(whole_number);
    value.and_then(|value| u64::try_from(value).ok()).expect("the table gives this key a default and a bound")
}

fn small(document: &Map<String, Value>, key: &str) -> u32 {
    u32::try_from(number(document, key)).expect("the table bounds this key")
}

pub(super) fn limits(document: &Map<String, Value>) -> Limits {
    Limits {
        attempts_max: small(document, "limits.attempts_max"),
        tool_start_timeout_s: number(document, "limits.tool_start_timeout_s"),
        tool_timeout_s: number(document, "limits.tool_timeout_s"),
        pdf_workers_max: at(document, "limits.pdf_workers_max").map(|_| small(document, "limits.pdf_workers_max")),
        pdf_memory_mib_max: number(document, "limits.pdf_memory_mib_max"),
        pdf_timeout_s: number(document, "limits.pdf_timeout_s"),
        park_wait_s: number(document, "limits.park_wait_s"),
        model_server_wait_s: number(document, "limits.model_server_wait_s"),
        notify_timeout_s: number(document, "limits.notify_timeout_s"),
    }
}

/// Servers that are switched on: `enabled` wins over `disabled`.
pub(super) fn servers(document: &Map<String, Value>) -> Map<String, Value> {
    let off = texts(document.get("disabledServers"));
    let is_on = |name: &String, entry: &Value| {
        let flag = |key: &str| entry.get(key).and_then(Value::as_bool);
        !off.contains(name) && flag("enabled").unwrap_or(!flag("disabled").unwrap_or(false))
    };
    section(document, "mcpServers")
        .filter(|(name, entry)| is_on(name, entry))
        .map(|(name, entry)| (name.clone(), entry.clone()))
        .collect()
}

/// Model servers with an address; the kind is Ollama's where nothing is said.
pub(super) fn model_servers(document: &Map<String, Value>) -> BTreeMap<String, ModelServerSpec> {
    let word = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
    let read = |(name, entry): (&String, &Value)| {
        let kind = match word(entry, "kind").as_deref() {
            Some("openai") => ModelServerKind::Openai,
            _ => ModelServerKind::Ollama,
        };
        let spec = ModelServerSpec {
            kind,
            url: word(entry, "url")?,
            key_env: word(entry, "key_env"),
            slots: entry.get("slots").and_then(whole_number).and_then(|slots| u32::try_from(slots).ok()),
            schema_bound: word(entry, "schema").map(|way| way == "bind"),
        };
        Some((name.clone(), spec))
    };
    section(document, "model_servers").filter_map(read).collect()
}

fn repeat_class(word: &str) -> Option<RepeatClass> {
    match word {
        "read" => Some(RepeatClass::Read),
        "idempotent" => Some(RepeatClass::Idempotent),
        "unsafe" => Some(RepeatClass::Unsafe),
        _ => None,
    }
}

pub(super) fn tools(document: &Map<String, Value>) -> BTreeMap<String, ToolSettings> {
    let read = |entry: &Value| ToolSettings {
        repeat: entry.get("repeat").and_then(|word| repeat_class(word.as_str()?)),
        grants: entry
            .get("grants")
            .filter(|grants| grants.is_array())
            .map(|grants| texts(Some(grants)).iter().filter_map(|word| Grant::from_word(word)).collect()),
        files: texts(entry.get("files")),
    };
    section(document, "tools").map(|(name, entry)| (name.clone(), read(entry))).collect()
}

/// Dollars in millionths.
fn microdollars(document: &Map<String, Value>, key: &str) -> Option<u64> {
    // The table bounds it far below what a float counts exactly.
    at(document, key).and_then(Value::as_f64).map(|usd| (usd * 1e6).round() as u64)
}

pub(super) fn budget(document: &Map<String, Value>) -> BudgetSettings {
    BudgetSettings {
        day_microdollars_max: microdollars(document, "budget.usd_per_day_max").expect("the table gives it a default"),
        run_microdollars_max: microdollars(document, "budget.usd_per_run_max"),
        warn_at_microdollars: microdollars(document, "budget.warn_at_usd"),
    }
}

/// Longest text that is put before an agent's own prompt.
const SYSTEM_PROMPT_CHARS_MAX: usize = 8_000;

pub(super) fn models(document: &Map<String, Value>, warnings: &mut Vec<String>) -> ModelSettings {
    let option = |name: &str| at(document, "modelConfig").and_then(|section| section.get(name));
    let whole = |name: &str| option(name).and_then(whole_number);
    let number = |name: &str| option(name).and_then(Value::as_f64);
    let positive =
        |value: Option<i64>| value.filter(|value| *value > 0).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
    let filled = |key: &str| text(document, key).filter(|text| !text.trim().is_empty());
    let stop = match option("stop") {
        Some(Value::String(text)) => vec![text.clone()],
        list => texts(list),
    };
    let spellings = (filled("systemPrompt"), filled("modelConfig.system_prompt"));
    let system_prompt = match spellings {
        (Some(one), Some(other)) => {
            if one != other {
                warnings.push(
                    "`systemPrompt` counts; `modelConfig.system_prompt` says something else and is left out".to_owned(),
                );
            }
            Some(one)
        }
        (one, other) => one.or(other),
    };
    let system_prompt = system_prompt.map(|text| {
        let text = text.trim();
        let count = text.chars().count();
        if count > SYSTEM_PROMPT_CHARS_MAX {
            warnings.push(format!(
                "`systemPrompt` has {count} characters; only the first {SYSTEM_PROMPT_CHARS_MAX} are sent"
            ));
        }
        text.chars().take(SYSTEM_PROMPT_CHARS_MAX).collect()
    });
    ModelSettings {
        first: filled("model").map(|name| name.trim().to_owned()),
        system_prompt,
        context_tokens: positive(whole("num_ctx")),
        // Below zero means "without end" there; here every reply has one.
        reply_tokens_max: positive(whole("num_predict")),
        sampling: Sampling {
            num_keep: whole("num_keep"),
            seed: whole("seed"),
            top_k: whole("top_k"),
            top_p: number("top_p"),
            min_p: number("min_p"),
            typical_p: number("typical_p"),
            repeat_last_n: whole("repeat_last_n"),
            temperature: number("temperature"),
            repeat_penalty: number("repeat_penalty"),
            presence_penalty: number("presence_penalty"),
            frequency_penalty: number("frequency_penalty"),
            stop: stop.into_iter().filter(|text| !text.is_empty()).collect(),
            num_batch: whole("num_batch"),
        },
        thinks: at(document, "modelSettings.thinkingMode").and_then(Value::as_bool),
        turns_max: positive(at(document, "agentSettings.loopLimit").and_then(whole_number)),
    }
}

/// A text is a line for the shell, a list is a program with its arguments; an empty one is none.
pub(super) fn notify(document: &Map<String, Value>) -> NotifySettings {
    let command = match document.get("notify") {
        Some(Value::String(line)) if !line.trim().is_empty() => {
            Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec())
        }
        Some(list @ Value::Array(_)) => {
            Some(texts(Some(list))).filter(|words| words.iter().any(|word| !word.is_empty()))
        }
        _ => None,
    };
    NotifySettings { command, env_passed: texts(document.get("notify_env_passed")) }
}

pub(super) fn claude(document: &Map<String, Value>, api_key: Option<Secret>) -> ClaudeSettings {
    let critical = at(document, "claude_integration.critical_tasks").filter(|list| list.is_array());
    ClaudeSettings {
        enabled: at(document, "claude_integration.enabled") == Some(&Value::Bool(true)),
        api_key,
        base_url: text(document, "claude_integration.base_url").unwrap_or_default(),
        model: text(document, "claude_integration.model").unwrap_or_default(),
        escalation_threshold: small(document, "claude_integration.escalation_threshold"),
        calls_per_hour_max: small(document, "claude_integration.max_calls_per_hour"),
        critical_tasks: critical
            .map(|list| texts(Some(list)).iter().filter_map(|word| TaskKind::from_word(word)).collect()),
        escalate_when_unreachable: at(document, "claude_integration.escalate_when_unreachable")
            == Some(&Value::Bool(true)),
        when_limited: match text(document, "claude_integration.when_limited").as_deref() {
            Some("fail") => Some(WhenLimited::Fail),
            Some("park") => Some(WhenLimited::Park),
            _ => None,
        },
        prices: own_prices(document),
    }
}

/// Prices by model id; the table of keys has seen to it that both of the needed ones are there.
pub(super) fn own_prices(document: &Map<String, Value>) -> BTreeMap<String, OwnPrices> {
    let price =
        |entry: &Value, name: &str| entry.get(name).and_then(Value::as_f64).map(|usd| (usd * 1e6).round() as u64);
    let read = |(id, entry): (&String, &Value)| {
        let prices = OwnPrices {
            input: price(entry, "input")?,
            output: price(entry, "output")?,
            cache_write_5m: price(entry, "cache_write_5m"),
            cache_write_1h: price(entry, "cache_write_1h"),
            cache_read: price(entry, "cache_read"),
        };
        Some((id.clone(), prices))
    };
    let all = at(document, "claude_integration.prices").and_then(Value::as_object).into_iter().flatten();
    all.filter(|(id, entry)| !is_remark(id, entry)).filter_map(read).collect()
}
