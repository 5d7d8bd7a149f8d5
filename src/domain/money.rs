//! Amounts in millionths of a US dollar, and what is on record of them.

/// What is on record for today, over all runs and projects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Today {
    /// Paid calls.
    pub calls: u64,
    /// What they cost, in millionths of a dollar.
    pub microdollars: u64,
}

/// Money with the decimals that it needs, at least two: `0.10`, `0.0234`.
#[must_use]
pub fn dollars(microdollars: u64) -> String {
    let text = format!("{}.{:06}", microdollars / 1_000_000, microdollars % 1_000_000);
    let least = text.len() - 4;
    let kept = text.trim_end_matches('0').len().max(least);
    text[..kept].to_owned()
}
