//! `inbox`: what waits for a person.

use super::access::{Looking, look};
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::report::{SHAPE_VERSION, text};

pub(super) fn inbox(context: &Context) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let asks = look(context, &standing, Looking::asks)?;
    if context.is_json {
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "asks": asks }));
    } else if asks.is_empty() {
        output::err("nothing waits for you\n");
    } else {
        output::out(&text::asks(&asks));
    }
    Ok(Exit::Complete)
}
