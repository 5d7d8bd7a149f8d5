//! What the scripted servers of our tests have in common: answers with every fault, a socket that can do them, a record of
//! what was asked, and scripts. A server adds its protocol ([`steps::Dialect`]) and its routes ([`connection::House`]).

#![allow(dead_code, reason = "each server uses one part")]

pub(crate) mod answer;
pub(crate) mod asked;
pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod plain;
pub(crate) mod record;
pub(crate) mod script;
pub(crate) mod steps;
