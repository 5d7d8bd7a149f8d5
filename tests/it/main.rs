//! One test crate, many modules: each proves one room or one promise on real parts.
mod database;
