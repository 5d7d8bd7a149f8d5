//! Plan text to a checked plan: strict YAML (and JSON), expressions, positions of faults, drawing.
//!
//! `node` text to nodes with places · `walk` nodes to a plan, every fault at once · `keys` the words of a plan file, for
//! the walker, the JSON Schema (`schema`) and the reference page · `expr` expressions · `fault` and `excerpt` what is
//! wrong, for people and programs · `inputs` what a run is given · `print` a plan back to text · `explain` the DAG as
//! text · `catalog` what a plan may name.
//!
//! Reads no file and starts no server: text and [`Catalog`] come from the caller.

mod catalog;
mod excerpt;
mod explain;
pub mod expr;
mod fault;
mod inputs;
pub mod keys;
mod node;
mod print;
mod schema;
mod walk;

use sha2::Digest as _;

use crate::domain::ids::Digest;
use crate::domain::plan::Plan;

pub use catalog::{Catalog, KnownAgent, KnownTool, ServerTools};
pub use explain::explain;
pub use fault::{FAULTS_MAX, Fault, Faults};
pub use inputs::{InputFault, resolve_inputs};
pub use node::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX};
pub use print::{to_json, to_yaml};
pub use schema::{keys_markdown, schema};

/// A plan that was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// The checked plan.
    pub plan: Plan,
    /// What is odd but not wrong.
    pub warnings: Vec<Fault>,
}

/// Reads a plan file.
///
/// # Errors
/// Everything that is wrong with it at once; a fault of the syntax hides what comes after it.
pub fn read(bytes: &[u8], catalog: &Catalog) -> Result<Read, Faults> {
    if bytes.len() > FILE_BYTES_MAX {
        let mib = FILE_BYTES_MAX >> 20;
        let fault = Fault::at(0..0, format!("a plan file is at most {mib} MiB, this one has {} bytes", bytes.len()));
        return Err(Faults::new("", vec![fault.hint("put data into files and read them with a step")]));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let readable = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            let at = readable.len();
            return Err(Faults::new(&readable, vec![Fault::at(at..at, "the text is not UTF-8 from here on")]));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = node::parse(text).map_err(|fault| Faults::new(text, vec![*fault]))?;
    let mut walker = walk::Walker::new(text, catalog);
    let digest = Digest(sha2::Sha256::digest(bytes).into()).to_string();
    let plan = walker.plan(&root, digest);
    let mut warnings = std::mem::take(&mut walker.warnings);
    let faults = std::mem::take(&mut walker.faults);
    match plan {
        Some(plan) if faults.is_empty() => {
            warnings.sort_by_key(|warning| warning.span.start);
            fault::place(text, &mut warnings);
            Ok(Read { plan, warnings })
        }
        _ => Err(Faults::new(text, faults)),
    }
}
