//! The supervision tree as one table: order, restart, limits of restarts, time to stop.
//!
//! Started from the top down, stopped from the bottom up. `rest_for_one`: when a permanent actor dies, those after it
//! are stopped and started again with it. ractor gives neither restarts nor their limits: `root` reads this table.

/// What happens when an actor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is started again.
    Permanent,
    /// It is started again unless it ended by itself.
    Transient,
    /// Its end is an outcome for its parent.
    Temporary,
}

impl Restart {
    /// The word that people see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Temporary => "temporary",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in the tree.
    pub name: &'static str,
    /// Name of its parent; empty for the children of the root.
    pub parent: &'static str,
    /// What happens when it ends.
    pub restart: Restart,
    /// Restarts within [`RESTART_WINDOW_MS`] before its parent gives up.
    pub restarts_max: u32,
    /// How long it may take to stop before it is killed.
    pub shutdown_ms: u64,
    /// Whether this version has it; the others are places that are kept.
    pub is_built: bool,
    /// What it is for.
    pub purpose: &'static str,
}

/// Window of the restart limits.
pub const RESTART_WINDOW_MS: u64 = 60_000;

/// The tree, in order of start.
pub const TREE: &[Row] = &[
    Row {
        name: "journal-writer",
        parent: "",
        restart: Restart::Permanent,
        restarts_max: 0,
        shutdown_ms: 10_000,
        is_built: true,
        purpose: "makes events durable, one flush for all that wait; its death ends the process",
    },
    Row {
        name: "tool-host",
        parent: "",
        restart: Restart::Permanent,
        restarts_max: 3,
        shutdown_ms: 7_000,
        is_built: true,
        purpose: "keeps the MCP servers, restarts them with back-off",
    },
    Row {
        name: "model-broker",
        parent: "",
        restart: Restart::Permanent,
        restarts_max: 3,
        shutdown_ms: 5_000,
        is_built: true,
        purpose: "shares out model servers",
    },
    Row {
        name: "model-server",
        parent: "model-broker",
        restart: Restart::Permanent,
        restarts_max: 3,
        shutdown_ms: 2_000,
        is_built: true,
        purpose: "one model server: its slots, the calls that wait, what is loaded, its breaker",
    },
    Row {
        name: "claude",
        parent: "",
        restart: Restart::Permanent,
        restarts_max: 3,
        shutdown_ms: 5_000,
        is_built: true,
        purpose: "the only door to paid calls: lets them go, many at once, or says why not",
    },
    Row {
        name: "run-registry",
        parent: "",
        restart: Restart::Permanent,
        restarts_max: 3,
        shutdown_ms: 10_000,
        is_built: true,
        purpose: "starts run supervisors and answers for them",
    },
    Row {
        name: "run",
        parent: "run-registry",
        restart: Restart::Transient,
        restarts_max: 3,
        shutdown_ms: 5_000,
        is_built: true,
        purpose: "owns one run: counts failures, climbs, starts attempts",
    },
    Row {
        name: "attempt",
        parent: "run",
        restart: Restart::Temporary,
        restarts_max: 0,
        shutdown_ms: 0,
        is_built: true,
        purpose: "one role, one rung, one try",
    },
    Row {
        name: "doors",
        parent: "",
        restart: Restart::Permanent,
        restarts_max: 3,
        shutdown_ms: 5_000,
        is_built: true,
        purpose: "the control socket",
    },
];

/// The row of a name in the table.
#[must_use]
pub fn row(name: &str) -> &'static Row {
    TREE.iter().find(|row| row.name == name).expect("actors are named after rows of the table")
}

/// Counts restarts within the window.
#[derive(Clone, Debug, Default)]
pub struct Intensity {
    at_ms: std::collections::VecDeque<u64>,
}

impl Intensity {
    /// Notes a restart; false when there have been more than `restarts_max` within the window.
    pub fn allows(&mut self, now_ms: u64, restarts_max: u32) -> bool {
        self.at_ms.push_back(now_ms);
        while self.at_ms.front().is_some_and(|first| first + RESTART_WINDOW_MS < now_ms) {
            self.at_ms.pop_front();
        }
        self.at_ms.len() <= restarts_max as usize
    }
}

/// One actor as `show --tree` prints it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TreeNode {
    /// Its name.
    pub name: String,
    /// `permanent`, `transient` or `temporary`; for a tool server, `process`.
    pub kind: String,
    /// Restarts so far.
    pub restarts: u32,
    /// What it does or waits for now.
    pub state: String,
    /// Its children.
    pub children: Vec<Self>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_stand_before_their_children_and_names_are_unique() {
        for (at, row) in TREE.iter().enumerate() {
            assert!(row.parent.is_empty() || TREE[..at].iter().any(|parent| parent.name == row.parent), "{}", row.name);
            assert!(TREE[..at].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }

    #[test]
    fn intensity_counts_within_its_window_only() {
        let mut intensity = Intensity::default();
        assert!([0, 1, 2].iter().all(|at| intensity.allows(*at, 3)));
        assert!(!intensity.allows(3, 3));
        assert!(intensity.allows(RESTART_WINDOW_MS + 10, 3));
    }
}
