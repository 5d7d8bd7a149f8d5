//! Claude behind the usage account: nothing is sent that is not reserved, and nothing is told that is not settled.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::fake::{FAKE_SAID, FakeClaude, Forms};
use super::money;
use super::notify::Notifier;
use super::place::Standing;
use crate::account::{Account, AccountError, Ask, Decision, Limits, Reached, Reason, Spent as Paid};
use crate::config::{OwnPrices, Settings};
use crate::domain::failure::{Failure, FailureKind, NEVER_MS};
use crate::domain::ladder::{PaidReason, Unpaid};
use crate::domain::money::{Today, dollars};
use crate::engine::paid::{Bought, PaidModels, PaidRequest};
use crate::model::bill::{Bill, Spent};
use crate::model::claude::catalogue::Catalogue;
use crate::model::claude::prices::{Prices, Rate};
use crate::model::claude::{self, Claude};
use crate::model::key::Key;
use crate::model::{ModelInfo, ModelServer as _, NoNotices, Request};
use crate::report::claude_lines;
use crate::report::text::plural;

/// Bytes of a prompt that make one token at least: no text of ours has fewer.
const BYTES_OF_TOKEN_MIN: u64 = 2;
/// Window of a model that the table does not know, in tokens.
const CONTEXT_TOKENS_UNKNOWN: u32 = 200_000;

/// Claude, with the limits of the configuration.
#[derive(Debug)]
pub struct ClaudeDoor {
    claude: Claude,
    account: Account,
    limits: Limits,
    project: String,
    /// For the rung `claude`.
    model: String,
    today: Mutex<Option<Today>>,
    /// Who is told that the day's cost has passed the amount at which it is said.
    notifier: OnceLock<Arc<Notifier>>,
    /// The scripted one, kept for as long as it is asked.
    _fake: Option<FakeClaude>,
}

/// Claude as a run finds it.
#[derive(Debug)]
pub struct Opened {
    /// The door, where Claude is switched on and has a key.
    pub door: Option<Arc<ClaudeDoor>>,
    /// Why there is none.
    pub unpaid: Option<Unpaid>,
    /// What a person should know of it, one line each; the documented one first.
    pub lines: Vec<String>,
}

/// What is known of Claude from the configuration alone: nothing is opened and nothing asked.
#[must_use]
pub fn look(standing: &Standing) -> Opened {
    let settings = &standing.settings.claude;
    let unpaid = match (settings.enabled, &settings.api_key) {
        (false, _) => Some(Unpaid::Off),
        (true, None) => Some(Unpaid::NoKey),
        (true, Some(_)) => None,
    };
    let mut lines = Vec::new();
    match &unpaid {
        None => {
            let catalogue = catalogue(standing);
            let model = model(&standing.settings, &catalogue);
            lines.push(claude_lines::enabled(model, settings.escalation_threshold));
            lines.extend(catalogue.resolve(model).note());
        }
        Some(Unpaid::NoKey) => lines.push(format!(
            "warning: Claude is switched on and has no key, so it is left out: {}",
            Unpaid::NoKey.hint().unwrap_or_default()
        )),
        Some(_) => {}
    }
    Opened { door: None, unpaid, lines }
}

/// The models of Claude with the prices that count here today: the one table that all money is counted with.
#[must_use]
pub fn catalogue(standing: &Standing) -> Catalogue {
    let own = standing.settings.claude.prices.iter();
    own.fold(Catalogue::on(today()), |catalogue, (id, own)| catalogue.with_prices(id, prices(own)))
}

/// The model of the rung `claude`, as it is configured.
#[must_use]
pub fn model<'a>(settings: &'a Settings, catalogue: &'a Catalogue) -> &'a str {
    match settings.claude.model.trim() {
        "" => catalogue.default_model(),
        named => named,
    }
}

/// The local date.
#[must_use]
pub fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::system()).date()
}

fn prices(own: &OwnPrices) -> Prices {
    let usual = Prices::usual(Rate::from_microdollars(own.input), Rate::from_microdollars(own.output));
    let or = |own: Option<u64>, usual: Rate| own.map_or(usual, Rate::from_microdollars);
    Prices {
        cache_write_5m: or(own.cache_write_5m, usual.cache_write_5m),
        cache_write_1h: or(own.cache_write_1h, usual.cache_write_1h),
        cache_read: or(own.cache_read, usual.cache_read),
        ..usual
    }
}

/// The door for a run, where Claude is switched on and has a key. `budget_microdollars` is what the person gave this run.
///
/// # Errors
/// Why it cannot be used, with what to do.
pub async fn open(standing: &Standing, budget_microdollars: Option<u64>) -> Result<Opened, Failure> {
    let settings = &standing.settings.claude;
    let opened = look(standing);
    let Some(secret) = settings.api_key.as_ref().filter(|_| opened.unpaid.is_none()) else { return Ok(opened) };
    let refused = |message: String| Failure::new(FailureKind::BadInput, message);
    let base_url = Some(settings.base_url.as_str()).filter(|text| !text.is_empty());
    let address =
        claude::address(base_url).map_err(|error| refused(format!("`claude_integration.base_url`: {error}")))?;
    let key = Key::api(secret.expose()).ok_or_else(|| {
        refused("the key of Claude cannot be sent".to_owned()).hint("it is one line of letters, digits and signs")
    })?;
    let catalogue = Arc::new(catalogue(standing));
    let model = model(&standing.settings, &catalogue).to_owned();
    let claude = Claude::new(address, Some(key), catalogue).map_err(|error| refused(error.to_string()))?;
    let account = money::open(standing).await.map_err(|error| unusable(&error))?;
    let limits = money::limits(&standing.settings, budget_microdollars);
    let mut lines = opened.lines;
    lines.push(format!(
        "Claude may be asked: what tasks need of the data is then sent to {}; {}",
        claude.address(),
        limits_text(&limits)
    ));
    lines.extend(account.take_notices());
    let project = standing.folder().display().to_string();
    let door = ClaudeDoor::new(claude, account, limits, project, model);
    Ok(Opened { door: Some(Arc::new(door)), unpaid: None, lines })
}

/// The door to the scripted Claude inside the program, whatever the configuration says of Claude: it has its own address,
/// key and account, and keeps to the limits that are given.
///
/// # Errors
/// It cannot be started, or its account cannot be made.
pub async fn open_fake(standing: &Standing, forms: Forms, folder: &Path, limits: Limits) -> Result<Opened, Failure> {
    let refused = |why: String| Failure::new(FailureKind::Denied, format!("the fake Claude cannot be started: {why}"));
    let fake = FakeClaude::start(forms).map_err(|error| refused(error.to_string()))?;
    let address = claude::address(Some(&fake.url())).map_err(|error| refused(error.to_string()))?;
    let key = Key::api(fake.key()).ok_or_else(|| refused("its key cannot be sent".to_owned()))?;
    let catalogue = Arc::new(catalogue(standing));
    let model = model(&standing.settings, &catalogue).to_owned();
    let mut lines = vec![format!("{FAKE_SAID} ({model}; {})", limits_text(&limits))];
    lines.extend(catalogue.resolve(&model).note());
    lines.push(format!("its calls are counted in an account of the run's own: {}", folder.display()));
    let claude = Claude::new(address, Some(key), catalogue).map_err(|error| refused(error.to_string()))?;
    let account = Account::open(folder).await.map_err(|error| unusable(&error))?;
    let project = standing.folder().display().to_string();
    let door = ClaudeDoor { _fake: Some(fake), ..ClaudeDoor::new(claude, account, limits, project, model) };
    Ok(Opened { door: Some(Arc::new(door)), unpaid: None, lines })
}

/// `at most 50 calls an hour and $10.00 a day, $2.00 this run`.
fn limits_text(limits: &Limits) -> String {
    let day = limits.day_microdollars_max.map_or_else(String::new, |max| format!(" and ${} a day", dollars(max)));
    let run = limits.run_microdollars_max.map_or_else(String::new, |max| format!(", ${} this run", dollars(max)));
    format!("at most {} an hour{day}{run}", plural(limits.calls_per_hour_max, "call"))
}

fn unusable(error: &AccountError) -> Failure {
    let failure = Failure::new(FailureKind::Denied, format!("the usage account cannot be used: {error}"));
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn limited(reached: &Reached) -> Failure {
    let failure = Failure::new(FailureKind::Limited, reached.to_string()).of_check(Some(reached.bound()));
    failure.hint(reached.hint()).until(Some(reached.frees_at_ms.unwrap_or(NEVER_MS)))
}

impl ClaudeDoor {
    /// Has this one told when the day's cost passes the amount at which it is said.
    pub fn tell(&self, notifier: Arc<Notifier>) {
        // The first one stays.
        let _ = self.notifier.set(notifier);
    }

    /// A door of these parts: the project pays within the limits, and `model` is the one of the rung `claude`.
    #[must_use]
    pub fn new(claude: Claude, account: Account, limits: Limits, project: String, model: String) -> Self {
        Self {
            claude,
            account,
            limits,
            project,
            model,
            today: Mutex::default(),
            notifier: OnceLock::new(),
            _fake: None,
        }
    }

    fn model_of(&self, rung: &str) -> String {
        rung.strip_prefix("claude:").unwrap_or(&self.model).to_owned()
    }

    async fn sell(&self, asked: PaidRequest) -> Bought {
        let (run, model) = (asked.run, self.model_of(&asked.rung));
        let request = Request { model: model.clone(), ..asked.request };
        let bytes = serde_json::to_vec(&request).map_or(u64::MAX, |bytes| bytes.len() as u64);
        let most =
            self.claude.catalogue().ceiling(&model, bytes / BYTES_OF_TOKEN_MIN, u64::from(request.reply_tokens_max));
        let ask = Ask {
            run: Some(run),
            task: asked.task,
            project: self.project.clone(),
            agent: asked.agent,
            model: self.claude.catalogue().resolve(&model).sent,
            reason: match asked.reason {
                PaidReason::Fallback => Reason::Fallback,
                PaidReason::Critical => Reason::Critical,
                PaidReason::UserRequested => Reason::UserRequested,
            },
            microdollars: most.microdollars,
            limits: self.limits,
        };
        let reservation = match self.account.reserve(&ask).await {
            Ok(Decision::Granted(reservation)) => reservation,
            Ok(Decision::Reached(reached)) => return Bought::Refused(limited(&reached)),
            Err(error) => return Bought::Refused(unusable(&error)),
        };
        let billed = self.claude.chat_billed(&request, &NoNotices).await;
        let paid = self.paid(&model, &billed.bill, billed.outcome.is_ok());
        let settled = match billed.bill.spent {
            Spent::Nothing => self.account.release(reservation).await,
            // A request that was turned away is a call that cost nothing, and stands on record.
            Spent::TurnedAway | Spent::Exactly(_) => self.account.settle(reservation, &paid).await,
            Spent::AtLeast(_) | Spent::Unknown => self.account.unknown(reservation).await,
        };
        match settled {
            Ok(settled) => {
                let today = Today { calls: settled.today_calls, microdollars: settled.today_microdollars };
                *self.today.lock().unwrap_or_else(PoisonError::into_inner) = Some(today);
                if let (Some(warn_at), Some(notifier)) = (settled.warns_at_microdollars, self.notifier.get()) {
                    notifier.budget_passed(run, settled.today_microdollars, warn_at);
                }
            }
            // It counts at its reservation until the account can be written again.
            Err(error) => tracing::warn!(%error, "a paid call could not be settled"),
        }
        match billed.outcome {
            Ok(reply) => Bought::Reply(Box::new(reply), paid.microdollars),
            Err(error) => Bought::Failed(error),
        }
    }

    fn paid(&self, model: &str, bill: &Bill, is_answered: bool) -> Paid {
        let tokens = bill.spent.tokens();
        Paid {
            input_tokens: tokens.uncached(),
            cache_write_5m_tokens: tokens.cache_write_5m,
            cache_write_1h_tokens: tokens.cache_write_1h,
            cache_read_tokens: tokens.cache_read,
            output_tokens: tokens.reply,
            microdollars: self.claude.catalogue().cost(model, &tokens).microdollars,
            request_id: bill.request_id.clone(),
            is_answered,
        }
    }
}

impl PaidModels for ClaudeDoor {
    fn info(&self, rung: &str) -> ModelInfo {
        let name = self.claude.catalogue().resolve(&self.model_of(rung)).sent;
        let card = self.claude.catalogue().card(&name);
        ModelInfo {
            family: "claude".to_owned(),
            context_tokens_max: Some(card.map_or(CONTEXT_TOKENS_UNKNOWN, |card| card.context_tokens)),
            tools: Some(true),
            chat: true,
            is_remote: true,
            name,
            ..ModelInfo::default()
        }
    }

    fn today(&self) -> Option<Today> {
        *self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buy(&self, request: PaidRequest) -> BoxFuture<'_, Bought> {
        self.sell(request).boxed()
    }
}
