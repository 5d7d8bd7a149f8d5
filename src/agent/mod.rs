//! Roles, and one attempt from inside: agent files ([`spec`]), the table that ties kinds of tasks, roles and grants
//! ([`roles`]), the messages of a first request ([`prompt`]) and the budget of every request ([`budget`]).

pub mod agreement;
pub mod budget;
pub mod calls;
mod claude_code;
pub mod echo;
pub mod grounding;
mod head;
pub mod import;
pub mod loader;
pub mod prompt;
pub mod roles;
pub mod spec;
pub mod turns;

pub use loader::{AgentMiss, Agents, Source};
pub use spec::{AgentFault, AgentSpec, LadderChoice};
