//! Any bytes into the readers: no panic, no endless work, no silent loss. Ordinary tests here; fuzzers elsewhere.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod journal;
