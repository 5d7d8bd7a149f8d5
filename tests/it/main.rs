//! One test crate, many modules: each proves one room or one promise on real parts.
mod journal;

mod pdf;

mod plan_file;

mod fs_server;
mod tool;
