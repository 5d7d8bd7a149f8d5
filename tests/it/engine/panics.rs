//! A panic in an attempt of each role is one failed attempt; the others go on. A call that must not be repeated is in
//! doubt after it.

use ollmcp::domain::event::{RunEnd, TaskEnd};
use ollmcp::domain::failure::FailureKind;
use ollmcp::domain::run::TaskPhase;
use ollmcp::engine::roles::{ROLES, Role};
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::world::{Cut, Reply, World, echo, plan, run_id, task};

const EVERY_ROLE: &str = r#"
name: roles
defaults: { on_error: quarantine }
steps:
  - id: evaluator
    for_each: { range: 3 }
    value: "${{ item }}"
    done_when: [ { sql: { database: "sqlite:${{ item }}.db", query: "select 1", equals: 1 } } ]
  - { id: file_executor, for_each: { range: 3 }, tool: fs.read, with: { item: "${{ item }}" } }
  - { id: shell_executor, for_each: { range: 3 }, tool: shell.x, repeat: idempotent, with: { item: "${{ item }}" } }
  - { id: coder, for_each: { range: 3 }, tool: fs.write, with: { item: "${{ item }}" } }
  - id: database_writer
    for_each: { range: 3 }
    agent: DATABASE_WRITER
    with: { database: "sqlite:w${{ item }}.db", rows: [ { a: 1 } ], table: t }
  - { id: after, needs: [evaluator, file_executor, shell_executor, coder, database_writer], value: 1 }
"#;

#[tokio::test(start_paused = true)]
async fn a_panic_in_each_role_is_one_failed_attempt_with_its_message() {
    let world = World::new(
        |call, _| if call.arguments["item"] == json!(1) { Reply::Panic("boom in a tool") } else { echo(call) },
        |op, _| match op {
            "query sqlite:1.db" => Reply::Panic("boom in a check"),
            "write sqlite:w1.db" => Reply::Panic("boom in a write"),
            _ => Reply::Value(json!(1)),
        },
    );
    let plan = plan(EVERY_ROLE);
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Partial));
    let mut roles = Vec::new();
    for step in plan.steps().iter().filter(|step| step.for_each.is_some()) {
        let role = Role::of(step).name();
        assert_eq!(role.to_lowercase(), step.id.as_str());
        roles.push(role);
        let failed = task(&state, step.id.as_str(), 1);
        let TaskPhase::Ended(TaskEnd::Quarantined(failure)) = &failed.phase else {
            panic!("{role}: {:?}", failed.phase)
        };
        assert_eq!((failure.kind, failed.attempts, failed.standing.failures), (FailureKind::Panic, 1, 1), "{role}");
        assert!(failure.message.contains("boom in a"), "{role}: {}", failure.message);
        for item in [0, 2] {
            let phase = &task(&state, step.id.as_str(), item).phase;
            assert!(matches!(phase, TaskPhase::Done { .. }), "{role}: {phase:?}");
        }
    }
    let built: Vec<&str> = ROLES.iter().filter(|row| row.is_built).map(|row| row.name).collect();
    assert_eq!(roles, built, "every role that is built has a step in this plan");
    assert!(matches!(task(&state, "after", 0).phase, TaskPhase::Done { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_call_that_panics_is_in_doubt_and_the_others_go_on() {
    let world = World::new(
        |call, _| if call.arguments["item"] == json!(1) { Reply::Panic("boom") } else { echo(call) },
        |_, _| Reply::Value(json!(1)),
    );
    let plan = plan(
        "name: p\nsteps:\n  - { id: send, for_each: { range: 3 }, tool: shell.x, with: { item: \"${{ item }}\" } }\n  - { id: other, value: 1 }\n",
    );
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let exit = booted.start_as(run_id(), &plan, true).await.unwrap();
    assert_eq!(exit, RunExit::Waiting);
    let state = booted.state();
    assert!(matches!(task(&state, "send", 1).phase, TaskPhase::InDoubt { .. }));
    for (step, item) in [("send", 0), ("send", 2), ("other", 0)] {
        assert!(matches!(task(&state, step, item).phase, TaskPhase::Done { .. }), "{step}[{item}]");
    }
    let asked: Vec<&str> = state.head.asks.values().map(|ask| ask.what.as_str()).collect();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains("shell.x") && asked[0].contains("send[1]") && asked[0].contains("boom"), "{asked:?}");
    assert_eq!(world.calls().len(), 3, "nothing is repeated");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_step_is_judged_or_opened_fails_that_step_alone() {
    let world = World::new(
        |call, _| echo(call),
        |op, _| if op.starts_with("query") { Reply::Panic("boom") } else { Reply::Value(json!(1)) },
    );
    let plan = plan(
        r#"
name: p
steps:
  - id: a
    for_each: { range: 2 }
    value: 1
    all_done_when: [ { sql: { database: "sqlite:x.db", query: "select 1", equals: 1 } } ]
  - { id: b, value: 1 }
"#,
    );
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let failed = serde_json::to_string(&state.steps[0].phase).unwrap();
    assert!(failed.contains("boom"), "{failed}");
    assert!(matches!(task(&state, "b", 0).phase, TaskPhase::Done { .. }));
}
