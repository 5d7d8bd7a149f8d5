//! Claude behind the usage account: nothing is sent that is not reserved, and nothing is told that is not settled.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::fake::{self, FakeClaude, Forms};
use super::money;
use super::place::Standing;
use crate::account::{Account, AccountError, Ask, Decision, Limits, Reached, Reason, Spent as Paid};
use crate::domain::failure::{Failure, FailureKind};
use crate::engine::paid::{Bought, PaidModels, PaidRequest};
use crate::model::bill::{Bill, Spent};
use crate::model::claude::catalogue::Catalogue;
use crate::model::claude::{self, Claude};
use crate::model::key::Key;
use crate::model::{ModelInfo, ModelServer as _, NoNotices, Request};

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
    /// The scripted one, kept for as long as it is asked.
    _fake: Option<FakeClaude>,
}

/// The door, where Claude is switched on and has a key; what a person should know of it, one sentence each.
///
/// # Errors
/// Why it cannot be used, with what to do.
pub async fn open(standing: &Standing) -> Result<(Option<Arc<ClaudeDoor>>, Vec<String>), Failure> {
    let settings = &standing.settings.claude;
    let Some(secret) = settings.api_key.as_ref().filter(|_| settings.enabled) else { return Ok((None, Vec::new())) };
    let refused = |message: String| Failure::new(FailureKind::BadInput, message);
    let base_url = Some(settings.base_url.as_str()).filter(|text| !text.is_empty());
    let address =
        claude::address(base_url).map_err(|error| refused(format!("`claude_integration.base_url`: {error}")))?;
    let key = Key::api(secret.expose()).ok_or_else(|| {
        refused("the key of Claude cannot be sent".to_owned()).hint("it is one line of letters, digits and signs")
    })?;
    let (catalogue, model) = catalogue_and_model(standing);
    let mut lines = vec![format!(
        "Claude may be asked ({model}): what failing tasks need of the data is sent to {}",
        address.shown()
    )];
    lines.extend(catalogue.resolve(&model).note());
    let claude = Claude::new(address, Some(key), catalogue).map_err(|error| refused(error.to_string()))?;
    let account = money::open(standing).await.map_err(|error| unusable(&error))?;
    lines.extend(account.take_notices());
    let limits = money::limits(&standing.settings, None);
    let project = standing.folder().display().to_string();
    Ok((Some(Arc::new(ClaudeDoor { claude, account, limits, project, model, _fake: None })), lines))
}

/// The prices of today, and the model of the rung `claude`.
fn catalogue_and_model(standing: &Standing) -> (Arc<Catalogue>, String) {
    let today = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::system()).date();
    let catalogue = Arc::new(Catalogue::on(today));
    let model = match standing.settings.claude.model.as_str() {
        "" => catalogue.default_model().to_owned(),
        named => named.to_owned(),
    };
    (catalogue, model)
}

/// The door to the scripted Claude inside the program, whatever the configuration says of Claude: its own address, key
/// and account, the limits that are given.
///
/// # Errors
/// It cannot be started, or its account cannot be made.
pub async fn open_fake(
    standing: &Standing,
    forms: Forms,
    folder: &Path,
    limits: Limits,
) -> Result<(Arc<ClaudeDoor>, Vec<String>), Failure> {
    let refused = |why: String| Failure::new(FailureKind::Denied, format!("the fake Claude cannot be started: {why}"));
    let fake = FakeClaude::start(forms).map_err(|error| refused(error.to_string()))?;
    let address = claude::address(Some(&fake.url())).map_err(|error| refused(error.to_string()))?;
    let key = Key::api(fake.key()).ok_or_else(|| refused("its key cannot be sent".to_owned()))?;
    let (catalogue, model) = catalogue_and_model(standing);
    let claude = Claude::new(address, Some(key), catalogue.clone()).map_err(|error| refused(error.to_string()))?;
    let account = Account::open(folder).await.map_err(|error| unusable(&error))?;
    let mut lines = vec![format!("{} ({model}; its own account in {})", fake::SAID, folder.display())];
    lines.extend(catalogue.resolve(&model).note());
    let project = standing.folder().display().to_string();
    Ok((Arc::new(ClaudeDoor { claude, account, limits, project, model, _fake: Some(fake) }), lines))
}

fn unusable(error: &AccountError) -> Failure {
    let failure = Failure::new(FailureKind::Denied, format!("the usage account cannot be used: {error}"));
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn limited(reached: &Reached) -> Failure {
    Failure::new(FailureKind::Limited, reached.to_string()).hint(reached.hint()).until(reached.frees_at_ms)
}

impl ClaudeDoor {
    fn model_of(&self, rung: &str) -> String {
        rung.strip_prefix("claude:").unwrap_or(&self.model).to_owned()
    }

    async fn sell(&self, asked: PaidRequest) -> Bought {
        let model = self.model_of(&asked.rung);
        let request = Request { model: model.clone(), ..asked.request };
        let bytes = serde_json::to_vec(&request).map_or(u64::MAX, |bytes| bytes.len() as u64);
        let most =
            self.claude.catalogue().ceiling(&model, bytes / BYTES_OF_TOKEN_MIN, u64::from(request.reply_tokens_max));
        let ask = Ask {
            run: Some(asked.run),
            task: asked.task,
            project: self.project.clone(),
            agent: asked.agent,
            model: self.claude.catalogue().resolve(&model).sent,
            reason: if asked.is_critical { Reason::Critical } else { Reason::Fallback },
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
            Spent::Exactly(_) => self.account.settle(reservation, &paid).await,
            Spent::AtLeast(_) | Spent::Unknown => self.account.unknown(reservation).await,
        };
        if let Err(error) = settled {
            // It counts at its reservation until the account can be written again.
            tracing::warn!(%error, "a paid call could not be settled");
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

    fn buy(&self, request: PaidRequest) -> BoxFuture<'_, Bought> {
        self.sell(request).boxed()
    }
}
