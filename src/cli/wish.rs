//! What a person asks of Claude for one run: that it is asked first, and what it may cost.

use super::error::CliError;

/// Most dollars of one run.
const DOLLARS_MAX: u64 = 1_000_000;

/// The words `--claude` and `--budget`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Claude is asked first.
    pub(super) claude: bool,
    /// What paid calls may cost, in millionths of a dollar.
    pub(super) budget_microdollars: Option<u64>,
    /// Its place is taken by the scripted one, and nothing is paid.
    pub(super) fake: bool,
}

impl Wish {
    /// From the words of the command line.
    ///
    /// # Errors
    /// A budget that is no amount of dollars.
    pub(super) fn of(claude: bool, budget: Option<&str>) -> Result<Self, CliError> {
        let budget_microdollars = match budget {
            Some(text) => Some(microdollars(text).ok_or_else(|| {
                CliError::usage(format!("`--budget {text}` is no amount of dollars"))
                    .hint(format!("write a number from 0 to {DOLLARS_MAX}, with at most six decimals: --budget 2.50"))
            })?),
            None => None,
        };
        Ok(Self { claude, budget_microdollars, fake: false })
    }
}

/// `10`, `0.5`, `$2.50`.
fn microdollars(text: &str) -> Option<u64> {
    let text = text.strip_prefix('$').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) || part.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= DOLLARS_MAX)?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    Some(whole * 1_000_000 + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_dollars_to_the_millionth() {
        for (text, amount) in [
            ("10", Some(10_000_000)),
            ("$2.50", Some(2_500_000)),
            ("0.000001", Some(1)),
            ("0", Some(0)),
            ("1000000", Some(1_000_000_000_000)),
            ("1000001", None),
            ("0.0000001", None),
            ("-1", None),
            ("1e3", None),
            ("ten", None),
            (".5", None),
            ("5.", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(microdollars(text), amount, "{text}");
        }
    }
}
