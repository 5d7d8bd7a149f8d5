//! Control of a process that owns a state folder: HTTP over a Unix socket in the folder, version 1.
//!
//! | call | gives |
//! | --- | --- |
//! | `GET /v1/runs` | list of [`RunLine`](crate::report::line::RunLine) |
//! | `GET /v1/runs/{id}` | [`RunDetail`](crate::report::detail::RunDetail) |
//! | `GET /v1/runs/{id}/items?key=K` | [`ItemStory`](crate::report::item::ItemStory) |
//! | `GET /v1/asks` | list of [`AskLine`](crate::report::detail::AskLine) |
//! | `POST /v1/asks/{id}` with [`Answer`] | nothing; it is durable then |
//! | `POST /v1/runs/{id}/cancel` | nothing; it is durable then |
//! | `GET /v1/tree` | [`TreeNode`](crate::engine::tree::TreeNode) |
//!
//! The socket can be used by the owner of the folder alone. Errors are `{"error": …}` with status 4xx or 5xx.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
