//! The engine with scripted ports: no process, no disk but payload files, and time that stands still until all wait.

mod asks;
mod broker;
mod durable;
mod interrupted;
mod judged;
mod limits;
mod own_files;
mod panics;
mod twice;
mod world;
