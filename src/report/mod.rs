//! Runs as people and programs see them: one fold of the state, several printers. Knows the core only.

pub mod claude_lines;
pub mod detail;
pub mod end;
pub mod escalation;
pub mod item;
pub mod line;
pub mod models;
pub mod money;
pub mod notice;
pub mod progress;
pub mod text;
pub mod usage;

/// Version of every JSON shape that a verb prints.
pub const SHAPE_VERSION: u32 = 1;
