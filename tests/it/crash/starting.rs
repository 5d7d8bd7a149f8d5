//! Which run a person means: unfinished ones of the same plan, ended ones, beginnings of ids.

use std::collections::BTreeSet;

use super::place::{Place, until};

const PLAN: &str = r#"
name: starts
inputs:
  word: { type: string, default: one }
steps:
  - id: say
    tool: log.slow
    with: { seconds: "${{ 30 if inputs.word == 'long' else 0 }}" }
"#;

/// A run that was killed while its only call was under way.
fn cut_off() -> Place {
    let place = Place::with_calls(PLAN);
    let running = place.start(&["run", "plan.yaml", "-i", "word=long"]);
    place.until_calls(1);
    running.kill();
    place
}

fn runs(place: &Place) -> Vec<String> {
    let listed = place.run(&["ls", "--json"]).exits(0).json();
    listed["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_unfinished_run_of_the_same_plan_and_inputs_is_named_and_nothing_starts() {
    let place = cut_off();
    let said = place.run(&["run", "plan.yaml", "-i", "word=long"]).exits(2);
    let short = &runs(&place)[0][..18];
    assert!(said.err.contains(&format!("ollmcp resume {short}")), "{said:#?}");
    assert!(said.err.contains("ollmcp run --new plan.yaml -i word=long"), "{said:#?}");
    assert_eq!((place.calls().len(), runs(&place).len()), (1, 1));
    // Other inputs are another job.
    place.run(&["run", "plan.yaml", "-i", "word=short"]).exits(0);
    assert_eq!(runs(&place).len(), 2);
    // A run that waits or is unfinished stays so when another is started on purpose.
    let running = place.start(&["run", "plan.yaml", "-i", "word=long", "--new"]);
    place.until_calls(3);
    running.kill();
    let all = runs(&place);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3);
    let said = place.run(&["run", "plan.yaml", "-i", "word=long"]).exits(2);
    assert!(said.err.contains(&format!("ollmcp resume {}", &all[0][..18])), "the newest is named: {said:#?}");
    for run in [&all[0], &all[2]] {
        place.run(&["cancel", run]).exits(0);
    }
    let running = place.start(&["run", "plan.yaml", "-i", "word=long"]);
    place.until_calls(4);
    running.kill();
}

#[test]
fn resume_of_an_ended_run_says_so_and_gives_its_exit_code() {
    let place = Place::with_calls(PLAN);
    place.run(&["run", "plan.yaml"]).exits(0);
    let said = place.run(&["resume", "last"]).exits(0);
    assert!(said.err.contains("has ended: complete (exit code 0)"), "{said:#?}");
    place.write("fails.yaml", "name: f\nsteps:\n  - { id: a, tool: log.fail, with: { message: no } }\n");
    place.run(&["run", "fails.yaml", "--name", "sad"]).exits(1);
    let said = place.run(&["resume", "sad"]).exits(1);
    assert!(said.err.contains("has ended: failed (exit code 1)"), "{said:#?}");
    assert_eq!(place.calls().len(), 2);
}

#[test]
fn names_that_mean_no_run_or_several_are_refused_with_what_there_is() {
    let place = Place::with_calls(PLAN);
    for verb in ["resume", "show", "ls"] {
        let said = place.run(&[verb]).exits(2);
        assert!(said.err.contains("no project here") && said.err.contains("ollmcp init"), "{said:#?}");
    }
    assert!(!place.state().exists(), "a question makes no project");
    place.run(&["init"]).exits(0);
    for verb in ["resume", "show", "cancel"] {
        let said = place.run(&[verb]).exits(2);
        assert!(said.err.contains("there are no runs") && said.err.contains("ollmcp run"), "{said:#?}");
    }
    place.run(&["ls"]).exits(0);
    place.run(&["run", "plan.yaml"]).exits(0);
    place.run(&["run", "plan.yaml"]).exits(0);
    let all = runs(&place);
    let common: String = all[0].chars().zip(all[1].chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    for verb in ["resume", "show", "cancel"] {
        let said = place.run(&[verb, "zzzz"]).exits(2);
        assert!(said.err.contains("no run is called `zzzz`") && said.err.contains("ollmcp ls"), "{said:#?}");
        let said = place.run(&[verb, &common]).exits(2);
        assert!(said.err.contains("beginning of 2 runs") && all.iter().all(|run| said.err.contains(run)), "{said:#?}");
    }
    let unique = &all[0][..common.len() + 1];
    place.run(&["show", unique]).exits(0);
    place.run(&["resume", &all[0]]).exits(0);
}

#[test]
fn two_runs_cut_off_are_resumed_one_by_one_as_they_are_named() {
    let place = cut_off();
    let running = place.start(&["run", "plan.yaml", "-i", "word=long", "--new"]);
    place.until_calls(2);
    running.kill();
    let all = runs(&place);
    let running = place.start(&["resume", &all[1]]);
    place.until_calls(3);
    let states = until("the older one alone", || {
        let listed = place.run(&["ls", "--json"]).exits(0).json();
        let states: Vec<_> = listed["runs"].as_array().unwrap().iter().map(|run| run["state"].clone()).collect();
        (states == ["interrupted", "running"]).then_some(states)
    });
    assert_eq!(states.len(), 2);
    assert_eq!(place.calls().len(), 3);
    running.kill();
}
