//! Control of a process that owns a state folder: HTTP over a Unix socket in the folder, version 1.
//!
//! [`ROUTES`] lists the calls; the server is built from it, and so is `docs/reference/api.md`. The socket can be used
//! by the owner of the folder alone. Errors are `{"error": …}` with status 4xx or 5xx.

pub mod client;
pub mod server;
pub mod socket;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// All runs: a list of [`RunLine`](crate::report::line::RunLine).
    Runs,
    /// One run: [`RunDetail`](crate::report::detail::RunDetail).
    Run,
    /// The tasks of one item: a list of [`ItemStory`](crate::report::item::ItemStory).
    Item,
    /// Cancels a run.
    Cancel,
    /// Open questions: a list of [`AskLine`](crate::report::detail::AskLine).
    Asks,
    /// Settles a question; takes an [`Answer`].
    Answer,
    /// The supervision tree: [`TreeNode`](crate::engine::tree::TreeNode).
    Tree,
}

/// Where a call is found, and what people are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The call.
    pub call: Call,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Its path; `{id}` stands for a full id.
    pub path: &'static str,
    /// What it takes, beside the path.
    pub takes: &'static str,
    /// What it gives.
    pub gives: &'static str,
}

const fn route(
    call: Call,
    method: &'static str,
    path: &'static str,
    takes: &'static str,
    gives: &'static str,
) -> Route {
    Route { call, method, path, takes, gives }
}

/// All calls, in the order of the page.
pub const ROUTES: &[Route] = &[
    route(Call::Runs, "GET", "/v1/runs", "", "all runs, oldest first: `runs` of `ollmcp ls --json`"),
    route(Call::Run, "GET", "/v1/runs/{id}", "", "one run in full: `ollmcp show ID --json`"),
    route(
        Call::Item,
        "GET",
        "/v1/runs/{id}/items",
        "`?key=KEY`",
        "the tasks with this key: `ollmcp show ID --item KEY --json`",
    ),
    route(
        Call::Cancel,
        "POST",
        "/v1/runs/{id}/cancel",
        "`{\"by\": WHO}`",
        "`null`, once the request to cancel is durable",
    ),
    route(Call::Asks, "GET", "/v1/asks", "", "open questions: `asks` of `ollmcp inbox --json`"),
    route(
        Call::Answer,
        "POST",
        "/v1/asks/{id}",
        "`{\"answer\": \"happened\", \"output\": JSON, \"by\": WHO}`; also `again`, `skip`, `fail`, without `output`",
        "`null`, once the answer is durable",
    ),
    route(Call::Tree, "GET", "/v1/tree", "", "the supervision tree: `ollmcp show --tree --json`"),
];

/// A person's answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// `happened`, `again`, `skip` or `fail`.
    pub answer: String,
    /// What the call gave, when it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Who answers.
    pub by: String,
}

/// An error as it crosses the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What and why.
    pub error: String,
}
