//! Good plans give the right types; broken ones all their faults, with places and exact words.

use std::time::{Duration, Instant};

use ollmcp::domain::ids::StepId;
use ollmcp::domain::plan::{ForEach, OnError, Part, Reference, StepKind, Tolerate};
use ollmcp::plan_file::{Catalog, read};
use serde_json::json;

use super::{catalog, faults, fixtures, good, same_as_file};

#[test]
fn the_main_plan_reads_without_faults() {
    let text = std::fs::read_to_string(fixtures().join("good/pdf_tables.yaml")).unwrap();
    let read = good(&text);
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    let steps = read.plan.steps();
    let ids: Vec<_> = steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["find", "extract", "save", "review"]);
    let whole = |step: &str| Reference { step: StepId::from(step), part: Part::Whole };
    assert_eq!(steps[1].refs, [whole("find")]);
    assert_eq!(steps[1].tolerate, Some(Tolerate::BasisPoints(1_000)));
    assert_eq!(steps[1].on_error, OnError::Quarantine);
    assert_eq!(steps[1].max_parallel, 8);
    assert_eq!(steps[2].refs, [Reference { step: StepId::from("extract"), part: Part::Flow }]);
    assert_eq!(steps[2].for_each, Some(ForEach::Items(StepId::from("extract"))));
    assert_eq!(steps[2].critical, Some(true));
    assert_eq!(steps[3].condition.as_deref(), Some("steps.extract.quarantined > 0"));
    assert_eq!(steps[3].refs, [whole("extract")]);
    assert_eq!(read.plan.raw().source_digest.len(), 64);
}

#[test]
fn every_good_plan_reads_without_faults() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures().join("good")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.display().to_string();
        read(&bytes, &catalog()).unwrap_or_else(|faults| panic!("{}", faults.render(&name, false)));
        count += 1;
    }
    assert!(count >= 4, "found only {count}");
}

#[test]
fn every_broken_plan_gives_all_its_faults_with_places_and_words() {
    let mut paths: Vec<_> = std::fs::read_dir(fixtures().join("broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "json"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 40, "found only {}", paths.len());
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        let told = match read(&bytes, &catalog()) {
            Ok(_) => panic!("{} reads without faults", path.display()),
            Err(faults) => faults,
        };
        same_as_file(&path.with_extension("expect"), &format!("{told}\n"));
        // Every rendering survives every fault.
        let _ = (told.render("plan.yaml", false), told.render("plan.yaml", true), told.to_json("plan.yaml"));
    }
}

#[test]
fn twenty_thousand_steps_are_read_in_a_second() {
    let mut text = String::from("name: large\nsteps:\n  - { id: s0, value: 1 }\n");
    for at in 1..20_000 {
        text.push_str(&format!(
            "  - id: s{at}\n    needs: [s{}]\n    if: \"steps.s{}.output > {at}\"\n    value: {{ n: \"${{{{ steps.s{}.output }}}}\" }}\n",
            at - 1,
            at / 2,
            at - 1
        ));
    }
    let start = Instant::now();
    let read = good(&text);
    let took = start.elapsed();
    println!("20,000 steps, {} bytes: {took:?}", text.len());
    assert_eq!(read.plan.steps().len(), 20_000);
    assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 }), "{took:?}");
}

#[test]
fn faults_are_shown_with_an_excerpt_and_as_json() {
    let told = faults("name: a\nsteps:\n  - id: a\n    value: 1\n    done_whn: [output]\n");
    insta::assert_snapshot!(told.render("plans/a.yaml", false), @r"
    error: unknown key `done_whn` in a step
     --> plans/a.yaml:5:5
      |
    5 |     done_whn: [output]
      |     ^^^^^^^^ steps[0].done_whn
      |
      = help: did you mean `done_when`?

    1 fault in plans/a.yaml
    ");
    let json = told.to_json("plans/a.yaml");
    assert_eq!(json["faults"][0]["line"], 5);
    assert_eq!(json["faults"][0]["column"], 5);
    assert_eq!(json["faults"][0]["path"], "steps[0].done_whn");
    assert_eq!(json["faults"][0]["nearest"], "done_when");
}

#[test]
fn words_that_other_readers_take_for_booleans_and_numbers_stay_text() {
    let plan = good(&std::fs::read_to_string(fixtures().join("good/yaml_traps.yaml")).unwrap()).plan;
    let StepKind::Value { template } = &plan.steps()[0].kind else { panic!("no value") };
    let expected = json!({
        "country": "no", "number": "1_000", "code": "012", "on": "off", "date": "2024-01-01", "octal": 15,
        "version": 1.1, "tilde": null, "empty": null,
    });
    assert_eq!(template, &expected);
    assert_eq!((plan.name(), plan.steps()[1].id.as_str()), ("yes", "on"));
}

#[test]
fn what_is_odd_but_not_wrong_is_a_warning() {
    let read = good(
        "name: a\ninputs: { x: 1 }\nsteps:\n  - id: b\n    value: \"{{ inputs.x }}\"\n    max_parallel: 3\n  - id: c\n    tool: fs.read\n    with: { path: a, encoding: utf8 }\n",
    );
    let told: Vec<_> = read.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "5:12: `{{ … }}` without `$` is plain text (expressions are written `${{ … }}`)",
            "6:5: `max_parallel` does nothing without `for_each`",
            "9:22: `fs.read` has no argument `encoding` (it takes `path`)",
        ]
    );
}

#[test]
fn what_the_catalog_does_not_know_is_not_checked() {
    let text =
        "name: a\nsteps:\n  - { id: b, tool: any.thing, with: { x: 1 } }\n  - { id: c, agent: ANYONE, ladder: none }\n";
    assert!(read(text.as_bytes(), &Catalog::default()).is_ok());
    assert_eq!(faults(text).as_slice().len(), 3);
}
