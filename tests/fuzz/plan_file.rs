//! Plan text and expressions from strangers: no panic, no abort, always an answer.

use bolero::check;
use ollmcp::plan_file::expr::{Roots, evaluate, judge, render};
use ollmcp::plan_file::{Catalog, explain, read};
use serde_json::json;

const SEED: &str = include_str!("../fixtures/plans/good/every_word.yaml");

/// Pieces that make faults likely where they meet.
const PIECES: &[&str] = &[
    "${{",
    "}}",
    "steps.",
    "find-all",
    ".output",
    ".items",
    "inputs.",
    "item",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "'",
    "\"",
    "|",
    " | length",
    "\n",
    "\n  - ",
    ": ",
    "id: ",
    "value: ",
    "for_each: ",
    "if: ",
    "&a ",
    "*a",
    "!!x ",
    "<<: ",
    "\t",
    "\r",
    "\u{feff}",
    "é",
    "日",
    "\\",
    "%",
    "~",
    "null",
    "no",
    "012",
    "1_000",
    "1e999",
    ".inf",
    "---\n",
    "...",
    "# ",
    ">",
    "|\n",
    "? ",
    "- - - ",
    "+",
    "-",
    "*",
    "//",
    "not ",
    " and ",
    " is ",
    "defined",
    "==",
    "<",
    "0",
    "[0]",
    "[-1]",
    ",",
    ".",
    "..",
];

fn told(text: &[u8]) {
    match read(text, &Catalog::default()) {
        Ok(read) => _ = explain(&read.plan, 80),
        Err(faults) => {
            assert!(!faults.as_slice().is_empty(), "refused without a fault");
            _ = (
                faults.render("a.yaml", false),
                faults.render("a.yaml", true),
                faults.to_json("a.yaml"),
                faults.to_string(),
            );
            for fault in faults.as_slice() {
                assert!(fault.line > 0 && fault.column > 0);
                assert!(faults.source().get(fault.span.clone()).is_some(), "a span lies outside the text");
            }
        }
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    check!().with_iterations(2_000).with_type::<Vec<u8>>().for_each(|bytes| told(bytes));
}

#[test]
fn a_damaged_plan_is_read_or_refused() {
    check!().with_iterations(1_500).with_type::<Vec<(u16, u8, u8)>>().for_each(|edits| {
        let mut text: Vec<char> = SEED.chars().collect();
        for (at, piece, cut) in edits.iter().take(8) {
            let at = usize::from(*at) % (text.len() + 1);
            let end = (at + usize::from(*cut % 12)).min(text.len());
            text.splice(at..end, PIECES[usize::from(*piece) % PIECES.len()].chars());
        }
        told(text.into_iter().collect::<String>().as_bytes());
    });
}

#[test]
fn any_expression_is_evaluated_or_refused() {
    let world = Roots::default()
        .with("inputs", json!({ "a": 1, "b": [1, 2, { "c": null }], "日": "x" }))
        .with("item", json!({ "output": [1, 2], "items": {} }))
        .with_step("find-all", "output", json!([1, "a", { "x": 1.5 }]));
    check!().with_iterations(20_000).with_type::<Vec<u8>>().for_each(|choice| {
        let text: String = choice.iter().take(600).map(|at| PIECES[usize::from(*at) % PIECES.len()]).collect();
        _ = evaluate(&text, &world);
        _ = judge(&text, &world);
        _ = render(&json!({ "a": format!("${{{{ {text} }}}}"), "b": text }), &world);
    });
    check!().with_iterations(5_000).with_type::<String>().for_each(|text: &String| {
        _ = evaluate(text, &world);
        _ = render(&json!(text), &world);
    });
}
