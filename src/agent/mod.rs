//! Roles, and one attempt from inside. In this version: agent files ([`spec`]) and the table that ties kinds of tasks,
//! roles and grants ([`roles`]). Asking models comes with the next.

pub mod calls;
mod head;
pub mod loader;
pub mod roles;
pub mod spec;

pub use loader::{AgentMiss, Agents, Source};
pub use spec::{AgentFault, AgentSpec, LadderChoice};
