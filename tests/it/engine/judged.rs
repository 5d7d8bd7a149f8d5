//! The slot of the validator: a step that names a judge is done only with its verdict, through the unchanged engine.

use ollmcp::domain::command::Command;
use ollmcp::domain::event::{Event, RunEnd};
use ollmcp::domain::ids::TaskId;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::verdict::{Judge, Verdict};
use ollmcp::engine::supervisor::RunExit;

use super::world::{Cut, World, plan, run_id};

fn judged() -> Plan {
    let mut raw =
        plan("name: p\nsteps:\n  - { id: a, tool: box.look, with: { x: 1 } }\n  - { id: b, needs: [a], value: 1 }\n")
            .raw()
            .clone();
    raw.steps[0].judge = Some("VALIDATOR".to_owned());
    Plan::try_from(raw).unwrap()
}

async fn with_verdict(accepted: bool) -> RunExit {
    let world = World::calm();
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let exit = booted.start_as(run, &judged(), false);
    let by_checks = |event: &Event| matches!(event, Event::VerdictGiven { .. }).then_some(());
    booted.event(by_checks).await;
    let by = Judge::Validator("VALIDATOR".to_owned());
    let complaint = (!accepted).then(|| "too short".to_owned());
    let verdict = Verdict { accepted, complaint, ..Verdict::accepting(by, vec!["read it".to_owned()]) };
    booted
        .request(run, Command::Judge { task: TaskId::new(0, 0), attempt: 1, verdict, away: Vec::new() })
        .await
        .unwrap();
    exit.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_scripted_validator_accepts_and_rejects() {
    assert_eq!(with_verdict(true).await, RunExit::Ended(RunEnd::Complete));
    assert_eq!(with_verdict(false).await, RunExit::Ended(RunEnd::Failed));
}
