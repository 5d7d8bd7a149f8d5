//! Expressions: lookups, comparisons and filters over the inputs and outputs of a run. No code, no side effects, bounded.
//!
//! `scan` cuts a text into tokens, guards the process and finds what it refers to · `template` finds `${{ … }}` in
//! text · `filters` filters and tests of our own · `path` follows plain dotted paths without an engine · `value` carries JSON into and out of minijinja ·
//! `evaluate` puts them together · `error` says what can go wrong.
//!
//! What surprises people:
//! - `7 / 7` is the float `1.0`; `//` divides whole numbers. `~` joins text and writes `True` and `None`.
//! - There are filters, no methods: `name | upper`, not `name.upper()`.
//! - A missing field is an error that names it, unless `default` or `is defined` asks about it.
//! - Ordering a number against text is an error here, not a silent `false`.
//! - Text is never taken for true or false: compare it.

mod error;
mod evaluate;
mod filters;
mod numbers;
mod path;
mod scan;
mod template;
mod value;

pub use error::ExprError;
pub use evaluate::{Judged, Lookup, Roots, evaluate, is_true, judge, render};
pub use filters::{PATTERN_BYTES_MAX, TEXT_BYTES_MAX};
pub use scan::{EXPRESSION_BYTES_MAX, FILTERS, Key, OPERATORS_MAX, Parsed, Reference, TESTS, parse};
pub use template::{Piece, bare, has_expression, sole_expression, split};
pub use value::{OUTPUT_BYTES_MAX, one_line};

pub(super) use evaluate::compiles;
pub(super) use scan::is_name;
