//! (being built)
pub mod db;
