//! Claude, as `doctor` looks at it: switch, key, address, model, and what is left of the limits. Nothing is bought: the
//! list of models costs nothing, and no request to a model is made.

use std::time::Duration;

use super::{Finding, finding, odd};
use crate::app::place::Standing;
use crate::app::{claude, money};
use crate::cli::budget::report;
use crate::cli::error::CliError;
use crate::cli::watch::runtime;
use crate::config::{KeyPath, Origin};
use crate::domain::money::dollars;
use crate::model::address::Address;
use crate::model::claude::catalogue::{Becomes, Catalogue};
use crate::model::claude::{self as api, Claude};
use crate::model::key::Key;
use crate::model::{ModelError, ModelInfo, ModelServer as _};
use crate::report::text::{plural, seconds};

/// How long the interface may take to tell its models.
const LIST_LIMIT: Duration = Duration::from_secs(20);

const ON: &str = "ollmcp config set --user claude_integration.enabled true";
const NEW_KEY: &str =
    "export ANTHROPIC_API_KEY=sk-ant-… (or ollmcp config set --user claude_integration.api_key sk-ant-…)";

/// What there is to say of Claude. The key is in none of it, whatever a server answers.
pub(super) fn findings(standing: &Standing) -> Result<Vec<Finding>, CliError> {
    let settings = &standing.settings.claude;
    if !settings.enabled {
        let found = "switched off: a task that its local models fail has failed";
        return Ok(vec![finding("Claude", true, found, Some(ON))]);
    }
    let catalogue = claude::catalogue(standing);
    let mut findings = Vec::new();
    match &settings.api_key {
        None => findings.push(finding("Claude", false, "switched on, and there is no key", Some(NEW_KEY))),
        Some(secret) => {
            let mut of_key = key_findings(standing, secret.expose(), &catalogue)?;
            for one in &mut of_key {
                one.found = one.found.replace(secret.expose(), "(key)");
                one.hint = one.hint.take().map(|hint| hint.replace(secret.expose(), "(key)"));
            }
            findings.extend(of_key);
        }
    }
    findings.push(limits(standing));
    Ok(findings)
}

fn key_findings(standing: &Standing, secret: &str, catalogue: &Catalogue) -> Result<Vec<Finding>, CliError> {
    let settings = &standing.settings.claude;
    let base_url = Some(settings.base_url.as_str()).filter(|text| !text.is_empty());
    let whence = |key: &str| KeyPath::parse(key).and_then(|key| standing.settings.origin(&key).cloned());
    let address = match api::address(base_url) {
        Ok(address) => address,
        Err(error) => {
            return Ok(vec![finding(
                "Claude",
                false,
                error.to_string(),
                Some(&mend_address(whence("claude_integration.base_url").as_ref())),
            )]);
        }
    };
    let mut findings = Vec::new();
    if address.shown().starts_with("http://") && !address.is_loopback() {
        let hint = "use an `https://` address: ollmcp config set --user claude_integration.base_url https://…";
        findings.push(odd("Claude", format!("the key goes to {} without encryption", address.shown()), hint));
    }
    let key_whence = whence("claude_integration.api_key").unwrap_or(Origin::Default);
    let client =
        Key::api(secret).ok_or_else(|| "it is no line of letters, digits and signs".to_owned()).and_then(|key| {
            Claude::new(address.clone(), Some(key), catalogue.clone().into()).map_err(|error| error.to_string())
        });
    let client = match client {
        Ok(client) => client,
        Err(why) => {
            findings.push(finding(
                "Claude",
                false,
                format!("the key from {key_whence} cannot be sent: {why}"),
                Some(NEW_KEY),
            ));
            return Ok(findings);
        }
    };
    let model = claude::model(&standing.settings, catalogue).to_owned();
    let (list, own) = runtime()?.block_on(async {
        let list = match tokio::time::timeout(LIST_LIMIT, client.models()).await {
            Ok(list) => list,
            Err(_) => Err(ModelError::Unreachable {
                server: address.shown().to_owned(),
                message: format!("no list of models within {} s", LIST_LIMIT.as_secs()),
            }),
        };
        // An alias is in no list, and is known all the same.
        let is_listed = |list: &[ModelInfo]| list.iter().any(|info| info.name == catalogue.resolve(&model).sent);
        let own = match &list {
            Ok(list) if !is_listed(list) => tokio::time::timeout(LIST_LIMIT, client.model(&model)).await.ok(),
            _ => None,
        };
        (list, own)
    });
    match list {
        Ok(list) => {
            let found = format!(
                "{} takes the key from {key_whence} and lists {}; nothing was bought",
                address.shown(),
                plural(list.len() as u64, "model")
            );
            findings.push(finding("Claude", true, found, None));
            findings.push(model_finding(catalogue, &model, own));
        }
        Err(error) => {
            findings.push(refused(&error, &address, &key_whence, whence("claude_integration.base_url").as_ref()))
        }
    }
    Ok(findings)
}

/// The configured model: known to the account, retired, or unknown. `own`: what was said of it alone, where no list has it.
fn model_finding(catalogue: &Catalogue, model: &str, own: Option<Result<ModelInfo, ModelError>>) -> Finding {
    const WHAT: &str = "Claude's model";
    let resolved = catalogue.resolve(model);
    let choose = "ollmcp models claude lists them; ollmcp config set --user claude_integration.model ID";
    match (own, resolved.becomes) {
        (Some(Err(ModelError::NoSuchModel { .. })), _) => {
            let sent = if resolved.sent == model { String::new() } else { format!(", which is sent for `{model}`") };
            finding(WHAT, false, format!("the account has no model `{}`{sent}", resolved.sent), Some(choose))
        }
        (Some(Err(error)), _) => {
            odd(WHAT, format!("whether the account has `{}` is not known: {error}", resolved.sent), choose)
        }
        (_, Becomes::Itself) => finding(WHAT, true, format!("{model}, and the account has it"), None),
        (_, Becomes::Unknown) => odd(
            WHAT,
            format!("{model} is there; its prices are not known, so money is counted at those of the dearest model"),
            format!("ollmcp config set --user claude_integration.prices.{model} '{{\"input\": 3, \"output\": 15}}'"),
        ),
        (_, Becomes::Replaced(_) | Becomes::Corrected) => {
            let hint = format!("ollmcp config set --user claude_integration.model {}", resolved.sent);
            odd(WHAT, resolved.note().unwrap_or_default(), hint)
        }
    }
}

/// Why the list did not come, each with what mends it.
fn refused(error: &ModelError, address: &Address, key: &Origin, base_url: Option<&Origin>) -> Finding {
    const WHAT: &str = "Claude";
    let said = error.to_string();
    let later = |wait_ms: Option<u64>| {
        let wait = wait_ms.map_or_else(|| "in a minute".to_owned(), |ms| format!("in {}", seconds(ms as f64 / 1000.0)));
        format!("look again {wait}: ollmcp doctor")
    };
    match error {
        ModelError::BadKey { .. } | ModelError::Denied { .. } => {
            finding(WHAT, false, format!("the key from {key} is not taken: {said}"), Some(NEW_KEY))
        }
        ModelError::Forbidden { .. } => finding(
            WHAT,
            false,
            format!("the key from {key} is good and has no permission: {said}"),
            Some(&format!(
                "give the key's workspace the right to use models in Anthropic's console, or take another key: {NEW_KEY}"
            )),
        ),
        ModelError::SpendLimit { .. } | ModelError::Unpaid { .. } => finding(
            WHAT,
            false,
            said,
            Some(
                "raise the limit or add credit under Billing in Anthropic's console; until then: ollmcp config set --user claude_integration.enabled false",
            ),
        ),
        ModelError::RateLimited { retry_after_ms, .. } => {
            odd(WHAT, format!("the key is known, and its rate is limited right now: {said}"), later(*retry_after_ms))
        }
        ModelError::Overloaded { retry_after_ms, .. } | ModelError::Busy { retry_after_ms, .. } => {
            odd(WHAT, format!("whether the key is good is not known: {said}"), later(*retry_after_ms))
        }
        ModelError::ServerError { .. } => {
            odd(WHAT, format!("whether the key is good is not known: {said}"), later(None))
        }
        ModelError::Unreachable { .. } => {
            let hint = format!("look at the network and at HTTPS_PROXY; {}", mend_address(base_url));
            finding(WHAT, false, format!("{} cannot be reached: {said}", address.shown()), Some(&hint))
        }
        _ => {
            let hint = mend_address(base_url);
            finding(
                WHAT,
                false,
                format!("{} does not list models as Anthropic's interface does: {said}", address.shown()),
                Some(&hint),
            )
        }
    }
}

fn mend_address(base_url: Option<&Origin>) -> String {
    match base_url {
        Some(Origin::Variable(name)) => format!("correct {name}, or take it away: unset {name}"),
        _ => "the address: ollmcp config set --user claude_integration.base_url https://api.anthropic.com".to_owned(),
    }
}

/// What is left of the hour and the day.
fn limits(standing: &Standing) -> Finding {
    const WHAT: &str = "limits of paid calls";
    let limits = money::limits(&standing.settings, None);
    let now = match runtime().map(|runtime| runtime.block_on(report(standing, None))) {
        Ok(Ok((now, _))) => now,
        Ok(Err(error)) => {
            let hint = error.hint();
            return Finding { hint, ..finding(WHAT, false, error.to_string(), None) };
        }
        Err(error) => return finding(WHAT, false, error.message, None),
    };
    let (calls, money) = now.left();
    let found = format!(
        "{calls} of {} left in this hour, ${} of ${} left today",
        plural(limits.calls_per_hour_max, "call"),
        dollars(money),
        dollars(now.day_microdollars_max)
    );
    match (calls, money) {
        (0, _) if now.hour_calls_max == 0 => odd(
            WHAT,
            format!("{found}: Claude is never asked"),
            "ollmcp config set --user claude_integration.max_calls_per_hour 50",
        ),
        (0, _) => {
            let when = now
                .hour_frees_in_ms
                .map_or_else(String::new, |ms| format!("; the next is free in {}", seconds(ms as f64 / 1000.0)));
            odd(
                WHAT,
                format!("{found}{when}"),
                "wait, or: ollmcp config set --user claude_integration.max_calls_per_hour CALLS",
            )
        }
        (_, 0) => odd(WHAT, found, "wait for tomorrow, or: ollmcp config set --user budget.usd_per_day_max DOLLARS"),
        _ => finding(WHAT, true, found, None),
    }
}
