//! What waits for the disk and what does not: effects and words do, reads do not.

use std::time::Duration;

use ollmcp::domain::event::{Event, RunEnd};
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::world::{Cut, Reply, World, echo, plan, run_id};

#[tokio::test(start_paused = true)]
async fn the_end_of_a_step_and_the_start_of_the_next_share_one_append() {
    let mut text = "name: chain\nsteps:\n  - { id: s0, value: 0 }\n".to_owned();
    for step in 1..20 {
        text.push_str(&format!("  - {{ id: s{step}, value: \"${{{{ steps.s{}.output }}}}\" }}\n", step - 1));
    }
    let world = World::calm();
    let booted = world.boot(Vec::new(), Cut::Never).await;
    assert_eq!(booted.start(&plan(&text)).await.unwrap(), RunExit::Ended(RunEnd::Complete));
    assert!(booted.appends() <= 22, "{} appends for 20 steps", booted.appends());
    assert_eq!(booted.state().steps.iter().map(|step| step.counts.done).sum::<u32>(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_read_does_not_wait_for_the_disk_and_an_effect_does() {
    let plan = plan(
        "name: p\nsteps:\n  - { id: look, tool: box.look, with: { x: 1 } }\n  - { id: keep, needs: [look], tool: box.keep, with: { x: 1 } }\n  - { id: send, tool: box.send, with: { x: 1 } }\n",
    );
    let world = World::calm();
    // Not even the beginning of the run reaches the disk.
    let booted = world.boot(Vec::new(), Cut::Before(1)).await;
    let _left = booted.start(&plan);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let called: Vec<String> = world.calls().into_iter().map(|call| call.tool).collect();
    assert_eq!(called, ["box.look"]);
}

#[tokio::test(start_paused = true)]
async fn the_beginning_of_a_long_read_is_durable_soon() {
    let world = World::new(|_, _| Reply::Hang, |_, _| Reply::Value(json!(1)));
    let plan = plan("name: p\nsteps:\n  - { id: a, tool: box.look, with: { x: 1 } }\n");
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let _left = booted.start_as(run_id(), &plan, false);
    let started = booted.event(|event| matches!(event, Event::AttemptStarted { .. }).then_some(()));
    tokio::time::timeout(Duration::from_secs(1), started).await.expect("who looks sees that it runs");
    assert_eq!(booted.state().open_attempts().count(), 1);
}

/// The readers of this harness hold each state that they are shown against the events that they were shown.
#[tokio::test(start_paused = true)]
async fn readers_see_every_event_soon_and_no_state_that_is_ahead_of_them() {
    let world = World::new(
        |call, number| match number % 3 {
            0 => Reply::Later(Duration::from_millis(30), serde_json::Value::Object(call.arguments.clone())),
            1 => Reply::Transient,
            _ => echo(call),
        },
        |_, _| Reply::Value(json!(1)),
    );
    let plan = plan(
        r#"
name: p
steps:
  - { id: a, for_each: { range: 40 }, max_parallel: 8, tool: box.look, with: { x: "${{ item }}" }, retry: { transient: 9, backoff: 1ms..5ms } }
  - { id: b, for_each: "${{ steps.a.items }}", max_parallel: 8, value: "${{ item.output }}" }
"#,
    );
    let mut booted = world.boot(Vec::new(), Cut::Slow(Duration::from_millis(15))).await;
    assert_eq!(booted.start(&plan).await.unwrap(), RunExit::Ended(RunEnd::Complete));
    booted.event(|event| matches!(event, Event::RunEnded { .. }).then_some(())).await;
    assert_eq!(booted.shown(), booted.state().head.seq);
}
