//! What expressions give, and how they fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ollmcp::plan_file::expr as expr_limits;
use ollmcp::plan_file::expr::{ExprError, Lookup, Roots, evaluate, is_true, judge, render};
use serde_json::{Value, json};

fn world() -> Roots {
    Roots::default()
        .with("inputs", json!({ "folder": "January", "min": 3, "max-rows": 9, "flag": false, "text": "false" }))
        .with_step("find", "output", json!({ "files": [{ "path": "a.pdf", "size": 3 }, { "path": "b.pdf", "size": 30 }], "count": 2 }))
        .with_step("extract-all", "quarantined", json!(1))
        .with_step("extract-all", "errors", json!([]))
        .with("item", json!({ "path": "a.pdf", "big": 18_446_744_073_709_551_615_u64, "neg": -1, "f": 1.5, "nothing": null, "items": [1, 2] }))
        .with("output", json!({ "count": 0, "rows": [[1, 2], [3, 4]], "ä": 1 }))
}

#[track_caller]
fn check(text: &str, expected: Value) {
    match evaluate(text, &world()) {
        Ok(value) => assert_eq!(value, expected, "{text}"),
        Err(error) => panic!("{text}: {error} {:?}", error.hint()),
    }
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    match evaluate(text, &world()) {
        Ok(value) => panic!("{text} gives {value}"),
        Err(error) => {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            assert_eq!(format!("{error}{hint}"), expected, "{text}");
        }
    }
}

#[test]
fn paths_keep_types() {
    check("inputs.folder", json!("January"));
    check("${{ inputs.folder }}", json!("January"));
    check("steps.find.output.files", json!([{ "path": "a.pdf", "size": 3 }, { "path": "b.pdf", "size": 30 }]));
    check("steps.find.output.files[0].path", json!("a.pdf"));
    check("steps.find.output.files[-1].path", json!("b.pdf"));
    check("steps['find'].output['count']", json!(2));
    check("steps.extract-all.quarantined", json!(1));
    check("inputs['max-rows']", json!(9));
    check("item.big", json!(18_446_744_073_709_551_615_u64));
    check("item.neg", json!(-1));
    check("item.nothing", json!(null));
    check("item.items", json!([1, 2]));
    check("output['ä']", json!(1));
    check("inputs", json!({ "folder": "January", "min": 3, "max-rows": 9, "flag": false, "text": "false" }));
}

#[test]
fn operators_and_filters_keep_types_too() {
    check("steps.find.output.count > 0 and inputs.min == 3", json!(true));
    check("steps.extract-all.quarantined > 0", json!(true));
    check("steps.extract-all.quarantined - 1", json!(0));
    check("steps.find.output.files | length", json!(2));
    check("steps.find.output.files | map(attribute='path') | list", json!(["a.pdf", "b.pdf"]));
    check("steps.find.output.files | selectattr('size', '>', 10) | list", json!([{ "path": "b.pdf", "size": 30 }]));
    check("steps.find.output.files | sum(attribute='size')", json!(33));
    check("(steps.find.output.files | first).path", json!("a.pdf"));
    check("item.big + 0", json!(18_446_744_073_709_551_615_u64));
    check("item.big", json!(18_446_744_073_709_551_615_u64));
    check("7 / 7", json!(1.0));
    check("7 // 2", json!(3));
    check("item.f * 2", json!(3.0));
    check("'a' ~ 1", json!("a1"));
    check("null", json!(null));
    check("none", json!(null));
    check("true and not false", json!(true));
    check("[1, 'a', none, {'b': [2]}]", json!([1, "a", null, { "b": [2] }]));
    check("{'a': inputs.min, 'b': item}['a']", json!(3));
    check("'b.pdf' if inputs.flag else 'c.pdf'", json!("c.pdf"));
    check("steps.find.output.files == []", json!(false));
    check("steps.extract-all.errors == []", json!(true));
    check("output.rows[0] == [1, 2]", json!(true));
    check("[1, 2] in output.rows", json!(true));
    check("'count' in output", json!(true));
    check("item.path is endingwith('.pdf')", json!(true));
    check("item.nope | default('x')", json!("x"));
    check("item.nope is defined", json!(false));
    check("steps.gone.output is defined", json!(false));
    check("steps.gone.output | default([])", json!([]));
    check("'${{ x }}'", json!("${{ x }}"));
    check("output | dictsort | length", json!(3));
    check("output | items | list | length", json!(3));
    check("item.path | upper", json!("A.PDF"));
    check("steps.find.output.files | tojson | length > 10", json!(true));
    check("\"it's\" ~ '\\\\'", json!("it's\\"));
    check("inputs.min is number and inputs.min > 2", json!(true));
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    refused(
        "steps.find.output.nope",
        "`steps.find.output.nope` is not there (`steps.find.output` has `files`, `count`)",
    );
    refused("steps.find.output.file", "`steps.find.output.file` is not there (did you mean `files`?)");
    refused(
        "steps.find.output.files[2]",
        "`steps.find.output.files[2]` is not there (`steps.find.output.files` has 2 entries)",
    );
    refused("item.nothing.a", "`item.nothing.a` is not there (`item.nothing` is null)");
    refused(
        "true and item.nope",
        "`item.nope` is not there (`item` has `path`, `big`, `neg`, `f`, `nothing`, `items`)",
    );
    refused("item.nope > 3", "`item.nope` is not there (`item` has `path`, `big`, `neg`, `f`, `nothing`, `items`)");
    refused("steps.gone.output > 1", "`steps.gone.output` is not there");
    refused("'x' if false", "`'x' if false` is not there (a part of the expression is undefined)");
    refused("[] | first", "`[] | first` is not there (a part of the expression is undefined)");
    refused("nope", "`nope` is not there");
    assert!(evaluate("steps.find.output.files | map(attribute='typo') | list", &world()).is_err());
    assert!(evaluate("[item.nope]", &world()).is_err());
}

#[test]
fn a_reason_of_the_lookup_is_kept() {
    struct Skipped;
    impl Lookup for Skipped {
        fn step(&self, id: &str, field: &str) -> Result<Arc<Value>, ExprError> {
            Err(ExprError::Unavailable { what: format!("steps.{id}.{field}"), why: "the step was skipped".to_owned() })
        }
        fn root(&self, _: &str) -> Option<Arc<Value>> {
            None
        }
    }
    let told = |text: &str| evaluate(text, &Skipped).map_err(|error| error.to_string());
    let why = "`steps.a.output` has no value: the step was skipped".to_owned();
    assert_eq!(told("steps.a.output"), Err(why.clone()));
    assert_eq!(told("steps.a.output.count > 1"), Err(why));
    assert_eq!(told("steps.a.output is defined"), Ok(json!(false)));
    assert_eq!(told("steps.a.output | default(1)"), Ok(json!(1)));
}

#[test]
fn unlike_values_are_not_ordered() {
    refused(
        "inputs.folder > 3",
        "`inputs.folder > 3` cannot order a string (\"January\") and a number (3) (convert one side: `… | int`, `… | float`)",
    );
    refused(
        "item.nothing > 1",
        "`item.nothing > 1` cannot order null (null) and a number (1) (convert one side: `… | int`, `… | float`)",
    );
    refused(
        "true and (steps.find.output.files > 0)",
        "`true and (steps.find.output.files > 0)` cannot order a list ([]) and a number (0) (convert one side: `… | int`, `… | float`)",
    );
    check("inputs.min > 2 and inputs.folder >= 'A'", json!(true));
}

#[test]
fn text_is_neither_true_nor_false() {
    let truth = |text: &str| is_true(text, &world()).map_err(|error| error.to_string());
    assert_eq!(truth("inputs.flag"), Ok(false));
    assert_eq!(truth("steps.find.output.files"), Ok(true));
    assert_eq!(truth("steps.extract-all.errors"), Ok(false));
    assert_eq!(truth("output.count"), Ok(false));
    assert_eq!(truth("item.nothing"), Ok(false));
    assert_eq!(truth("${{ not inputs.flag }}"), Ok(true));
    assert_eq!(truth("inputs.text"), Err("`inputs.text` is \"false\", which is neither true nor false".to_owned()));
}

#[test]
fn a_judgement_says_what_it_saw() {
    let told = |text: &str| judge(text, &world()).unwrap().evidence;
    assert_eq!(told("output.count > 0"), "`output.count > 0` does not hold: output.count = 0");
    assert_eq!(
        told("output.count == 0 and inputs.min > output.count"),
        "`output.count == 0 and inputs.min > output.count` holds: output.count = 0, inputs.min = 3"
    );
    assert_eq!(told("item.nope is defined"), "`item.nope is defined` does not hold: item.nope is not there");
    assert_eq!(told("1 > 2"), "`1 > 2` does not hold");
}

#[test]
fn templates_keep_types_alone_and_make_text_among_text() {
    let template = json!({
        "list": "${{ steps.find.output.files }}",
        "text": "n=${{ steps.find.output.count }} f=${{ item.f }} t=${{ inputs.flag }} z=${{ item.nothing }} l=${{ item.items }} s=${{ inputs.folder }}",
        "deep": [{ "a": "${{ inputs.min + 1 }}" }, 1, null, "plain {{ x }}"],
        "braces": "${{ {'a': {'b': 1}} }}",
        "quoted": "${{ '}}' ~ \"}}\" }}",
        "literal": "${{ '${{' }}",
        "block": "${{ inputs.min }}\n",
    });
    let expected = json!({
        "list": [{ "path": "a.pdf", "size": 3 }, { "path": "b.pdf", "size": 30 }],
        "text": "n=2 f=1.5 t=false z=null l=[1,2] s=January",
        "deep": [{ "a": 4 }, 1, null, "plain {{ x }}"],
        "braces": { "a": { "b": 1 } },
        "quoted": "}}}}",
        "literal": "${{",
        "block": 3,
    });
    assert_eq!(render(&template, &world()), Ok(expected));
    assert!(matches!(render(&json!("${{ inputs.min"), &world()), Err(ExprError::Syntax { .. })));
}

#[test]
fn long_flat_and_deep_expressions_are_refused_before_the_engine_sees_them() {
    // On a thread with the stack of a test or tokio worker; an overflow would abort the process.
    let texts = [
        vec!["1"; 2_000].join("+"),
        format!("item{}", "|list".repeat(800)),
        format!("item{}", ".a".repeat(2_000)),
        format!("{}true", "not ".repeat(1_000)),
        format!("{}1", "-".repeat(4_000)),
        format!("{}1{}", "(".repeat(2_000), ")".repeat(2_000)),
        format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000)),
        format!("{}1{}", "{'a':".repeat(800), "}".repeat(800)),
        format!("1{}", " if true else 1".repeat(270)),
        format!("x{}", "[0]".repeat(1_300)),
    ];
    for text in &texts {
        let error = evaluate(text, &world()).expect_err("too long");
        assert!(
            matches!(error, ExprError::TooManyOperators | ExprError::TooLong | ExprError::Syntax { .. }),
            "{error}: {}",
            &text[..20]
        );
    }
    // The most that passes the guard does pass the engine on a small stack.
    for text in [
        vec!["1"; 256].join("+"),
        format!("item{}", "|list".repeat(250)),
        format!("{}true", "not ".repeat(255)),
        format!("{}1", "-".repeat(256)),
        format!("{}1{}", "(".repeat(140), ")".repeat(140)),
        format!("{}1{}", "[".repeat(120), "]".repeat(120)),
        vec!["1"; 256].join("~"),
        format!("1{}", " if true else 1".repeat(127)),
        vec!["1"; 250].join(" and "),
        vec!["1"; 250].join(" == "),
        "'a'".repeat(1_300),
        vec!["'a'"; 800].join(" "),
    ] {
        let _ = evaluate(&text, &world());
    }
    assert_eq!(evaluate(&"a".repeat(5_000), &world()), Err(ExprError::TooLong));
}

#[test]
fn work_and_results_are_bounded() {
    let start = Instant::now();
    for text in [
        "'x' * 500000000",
        "[0] * 500000000",
        "('x' * 1000) * 1000000",
        "range(100000000) | list",
        "(item.items * 100000) | map('string') | join(',') | length",
        "debug()",
        "'%1000000000d' | format(1)",
    ] {
        assert!(evaluate(text, &world()).is_err(), "{text}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn large_values_are_not_copied_to_look_at_them() {
    let files: Vec<Value> = (0..100_000).map(|at| json!({ "path": format!("{at}.pdf"), "size": at })).collect();
    let world = Roots::default().with_step("find", "output", json!({ "files": files, "count": 100_000 }));
    let start = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(evaluate("steps.find.output.count > 0", &world), Ok(json!(true)));
        assert_eq!(evaluate("steps.find.output.files[99999].size", &world), Ok(json!(99_999)));
        assert_eq!(evaluate("steps.find.output.files | length", &world), Ok(json!(100_000)));
    }
    let looked = start.elapsed();
    assert!(looked < Duration::from_secs(2), "{looked:?}");
    let start = Instant::now();
    let large = evaluate("steps.find.output.files | selectattr('size', '>=', 50000) | list", &world).unwrap();
    println!("3,000 looks {looked:?}, filter 100,000: {:?}", start.elapsed());
    assert_eq!(large.as_array().unwrap().len(), 50_000);
}

#[test]
fn arithmetic_at_its_edges_gives_a_value_or_an_error() {
    for text in [
        "1 / 0",
        "1 // 0",
        "1 % 0",
        "1.0 // 0",
        "0 ** -1",
        "2 ** 100000",
        "9223372036854775807 + 1",
        "-9223372036854775807 - 2",
        "(-9223372036854775807 - 1) // -1",
        "(-9223372036854775807 - 1) % -1",
        "-(-9223372036854775807 - 1)",
        "(-9223372036854775807 - 1) | abs",
        "item.big * item.big",
        "item.big ** 3",
        "1e308 * 10",
        "0.1 | round(400)",
        "0.1 | round(-400)",
        "item.items | batch(0) | list",
        "item.items | slice(0) | list",
        "'a' * -1",
        "item.items[9223372036854775807]",
        "item.items[-9223372036854775807]",
        "item.items[99999999999999999999]",
        "'%s' | format",
        "'%*d' | format(1, 2)",
        "'abc'[1:99999999999]",
        "'abc'[::0]",
        "item.items | sort(attribute='x') | list",
        "item | dictsort(by='nope')",
        "'x' | replace('', 'y')",
        "'x' | int",
        "item | int",
        "[1, 'a', none] | sort",
        "[1, 'a'] | max",
        "{1: 2, none: 3}",
        "item.items is divisibleby(0)",
        "3 is divisibleby(0)",
    ] {
        match evaluate(text, &world()) {
            Ok(value) => assert!(value.to_string().len() < 1_000, "{text}"),
            Err(error) => assert!(!error.to_string().is_empty(), "{text}"),
        }
    }
}

#[test]
fn each_name_is_asked_for_once() {
    struct Counted(std::cell::Cell<u32>);
    impl Lookup for Counted {
        fn step(&self, _: &str, _: &str) -> Result<Arc<Value>, ExprError> {
            self.0.set(self.0.get() + 1);
            Ok(Arc::new(json!({ "a": 1, "b": 2 })))
        }
        fn root(&self, _: &str) -> Option<Arc<Value>> {
            None
        }
    }
    let lookup = Counted(std::cell::Cell::new(0));
    let template = json!([
        "${{ steps.x.output.a }}",
        "${{ steps.x.output.a + steps.x.output.b }}",
        "${{ steps.x.output.a < steps.x.output.b }} ${{ steps.x.output }}",
    ]);
    assert_eq!(render(&template, &lookup), Ok(json!([1, 3, "true {\"a\":1,\"b\":2}"])));
    assert_eq!(lookup.0.get(), 1);
}

#[test]
fn sums_are_those_of_the_numbers_as_they_are_written() {
    let lines = json!([{ "net": 0.1, "n": 1, "at": { "x": 1 } }, { "net": 0.2, "n": 2, "at": { "x": 2.5 } }]);
    let world = Roots::default().with(
        "output",
        json!({
            "lines": lines,
            "total": 0.3,
            "prices": [19.99, 0.01, 5, -3.5],
            "gap": [{ "net": 1 }, { "nett": 2 }],
            "hole": [{ "net": 1 }, { "net": null }],
            "texts": ["1", "2"],
            "nested": [[1], [2, 3]],
            "tiny": [1e-30, 1.0],
            "huge": [1e300, 1e300],
        }),
    );
    let of = |text: &str| evaluate(text, &world);
    for (text, expected) in [
        ("output.lines | sum(attribute='net')", json!(0.3)),
        ("output.lines | sum(attribute='net') == output.total", json!(true)),
        ("output.lines | sum('n')", json!(3)),
        ("output.lines | sum(attribute='at.x')", json!(3.5)),
        ("output.lines | sum(attribute='net', start=1)", json!(1.3)),
        ("output.prices | sum", json!(21.5)),
        ("[] | sum", json!(0)),
        ("[18446744073709551615, -1] | sum", json!(18_446_744_073_709_551_614_u64)),
        ("output.tiny | sum", json!(1.0)),
        ("output.huge | sum", json!(2e300)),
        ("output.nested | sum(start=[])", json!([1, 2, 3])),
        ("output.lines | map(attribute='net') | sum", json!(0.3)),
        ("(output.lines | sum(attribute='net') - 0.31) | abs < 0.011", json!(true)),
        ("2.345 | round(1)", json!(2.3)),
    ] {
        assert_eq!(of(text), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("output.gap | sum(attribute='net')", "entry 2 of the list has no `net` to sum up"),
        ("output.hole | sum(attribute='net')", "`sum` is for numbers, entry 2 (`net`) is null"),
        ("output.texts | sum", "`sum` is for numbers, entry 1 is a string"),
        ("[true] | sum", "`sum` is for numbers, entry 1 is a bool"),
        ("output.total | sum", "`sum` is for lists, not for a number"),
        ("output.nope | sum", "`output.nope` is not there"),
    ] {
        assert_eq!(of(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn dates_patterns_and_names_can_be_checked() {
    let world = Roots::default().with(
        "output",
        json!({
            "date": "2024-02-29", "no_date": "2023-02-29", "number": "INV-0042", "digits": 42, "none": null,
            "name": "  Müller &\u{a0}Co.\tGmbH ", "same": "MÜLLER & CO. GMBH", "ligature": "o\u{fb03}ce",
            "lines": [{ "d": "2024-01-31", "s": "a1" }, { "d": "31.01.2024", "s": "b" }, { "s": "c3" }],
        }),
    );
    let of = |text: &str| evaluate(text, &world);
    for (text, expected) in [
        ("output.date | is_date", json!(true)),
        ("output.date is date and output.no_date is not date", json!(true)),
        ("output.digits | is_date or output.none | is_date", json!(false)),
        ("output.lines | rejectattr('d', 'date') | list | length", json!(2)),
        ("output.lines | selectattr('s', 'matching', '^[a-z][0-9]$') | map(attribute='s') | list", json!(["a1", "c3"])),
        ("output.number | matches('^INV-[0-9]{4}$')", json!(true)),
        ("output.number | matches('\\d+')", json!(true)),
        ("output.number is matching('inv')", json!(false)),
        ("output.number is matching('(?i)inv')", json!(true)),
        ("output.number is not matching '^x'", json!(true)),
        ("output.digits | matches('^4')", json!(true)),
        ("output.none | matches('.*')", json!(false)),
        ("output.nope is matching('.*')", json!(false)),
        ("output.name | squeeze", json!("müller&co.gmbh")),
        ("output.name | squeeze == output.same | squeeze", json!(true)),
        ("output.ligature | squeeze", json!("office")),
        ("'co.' in output.name | squeeze", json!(true)),
        ("output.none | squeeze == ''", json!(true)),
        ("output.digits | squeeze", json!("42")),
        ("'Net 1.020,00 and -5' | numbers", json!([1020.0, -5.0])),
        ("1020 in 'Net 1.020,00' | numbers", json!(true)),
        ("102 in 'Net 1.020,00' | numbers", json!(false)),
        ("[5, 7] | reject('in', '-5 and 6' | numbers | map('abs') | list) | list", json!([7])),
        ("output.none | numbers", json!([])),
    ] {
        assert_eq!(of(text), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("output.nope | is_date", "`output.nope` is not there"),
        ("output.nope | matches('x')", "`output.nope` is not there"),
        ("output.nope | squeeze", "`output.nope` is not there"),
        ("output.lines | numbers", "`numbers` is for text, not for a sequence"),
        ("output.lines | squeeze", "`squeeze` is for text, not for a sequence"),
        ("output.number | matches('(' ~ 'a')", "the pattern `(a` cannot be read: unclosed group"),
        ("output.number | matches('\\bINV')", "`\\b` in quotes is a backspace: write `\\\\b` for the edge of a word"),
    ] {
        assert_eq!(of(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn patterns_take_time_in_proportion_to_the_text() {
    // Ruinous for engines that go back; here a text of the full size takes a moment.
    let text = "a".repeat(expr_limits::TEXT_BYTES_MAX);
    let world = Roots::default().with("output", json!({ "text": text, "long": format!("{text}a") }));
    let start = Instant::now();
    assert_eq!(evaluate("output.text | matches('^(a+)+$')", &world), Ok(json!(true)));
    assert_eq!(evaluate("output.text | matches('(a*)*b')", &world), Ok(json!(false)));
    println!("two hostile patterns over 4 MiB: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    for filter in ["matches('a')", "squeeze"] {
        let told = evaluate(&format!("output.long | {filter}"), &world).unwrap_err().to_string();
        assert!(told.ends_with("takes at most 4 MiB of text"), "{told}");
    }
    let long = "a".repeat(expr_limits::PATTERN_BYTES_MAX + 1);
    let told = evaluate(&format!("'a' | matches('{long}')"), &world).unwrap_err().to_string();
    assert_eq!(told, "a pattern has at most 1000 bytes");
}
