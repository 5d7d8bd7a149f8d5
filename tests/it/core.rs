//! The core of a run, proven without any shell around it: tables, properties, scale.

mod models;
mod paid_stories;
mod properties;
mod refusals;
mod scale;
mod stories;
mod story;
mod table;

pub(crate) use story::{Plans, Story, quarantine};
