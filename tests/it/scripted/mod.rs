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

/// Asks a server by hand.
pub(crate) fn client() -> reqwest::Client {
    static ONCE: std::sync::OnceLock<reqwest::Client> = std::sync::OnceLock::new();
    let build = || {
        // The client wants a provider even where nothing is encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Tests have a runtime each, and a connection belongs to one: none is kept for the next.
        reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
    };
    ONCE.get_or_init(build).clone()
}
