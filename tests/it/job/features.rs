//! Every word of a plan over real runs.

use super::*;

impl Desk {
    /// Runs a plan of these steps.
    #[track_caller]
    fn steps(&self, steps: &str) -> Told {
        self.plan(&format!("name: p\nsteps:\n{steps}"));
        self.run(&[])
    }
}

fn value<'a>(report: &'a Value, step: &str) -> &'a Value {
    &report["values"][step]
}

#[track_caller]
fn reason(told: &Told, step: &str) -> String {
    let step = told.step(step);
    step["reason"].as_str().unwrap_or_else(|| panic!("no reason in {step}")).to_owned()
}

#[test]
fn steps_run_in_the_order_of_their_needs() {
    let desk = Desk::with_log(&[]);
    let steps = "
  - { id: c, needs: [b], tool: log.add_row, with: { row: 3 } }
  - { id: b, tool: log.add_row, with: { row: \"${{ steps.a.output.done ~ '!' }}\" } }
  - { id: a, tool: log.add_row, with: { row: 1 } }
";
    desk.steps(steps).exits(0);
    let rows: Vec<Value> = desk.calls().into_iter().map(|call| call["arguments"]["row"].clone()).collect();
    assert_eq!(rows, [json!(1), json!("add_row!"), json!(3)]);
}

#[test]
fn conditions_skip_a_step_and_what_needs_it() {
    let desk = Desk::new();
    let told = desk
        .steps(
            "
  - { id: n, value: 3 }
  - { id: yes, if: steps.n.output == 3, value: ran }
  - { id: no, if: \"${{ steps.n.output > 3 }}\", value: ran }
  - { id: after, value: \"${{ steps.no.output }}\" }
",
        )
        .exits(0);
    assert_eq!(told.step("yes")["state"], "done");
    assert_eq!(told.step("no")["state"], "skipped");
    assert!(reason(&told, "no").contains("steps.n.output > 3"), "{}", told.out);
    assert_eq!(told.step("after")["state"], "skipped");
    assert!(reason(&told, "after").contains("needs `no`"), "{}", told.out);
    assert_eq!(value(&told.json(), "yes"), "ran");
}

#[test]
fn items_come_from_lists_ranges_literals_and_other_items() {
    let desk = Desk::new();
    let told = desk.steps("
  - { id: list, value: [ { name: a }, { name: b } ] }
  - { id: from_list, for_each: \"${{ steps.list.output }}\", key: \"${{ item.name }}\", value: \"${{ item.name | upper }}\" }
  - { id: flow, for_each: \"${{ steps.from_list.items }}\", value: \"${{ key ~ '=' ~ item.output ~ item.item.name }}\" }
  - { id: range, for_each: { range: 3 }, value: \"${{ item * item }}\" }
  - { id: counted, for_each: { range: \"${{ steps.list.output | length }}\" }, value: \"${{ index }}\" }
  - { id: literal, for_each: [ x, y ], value: \"${{ item }}${{ index }}\" }
  - id: all
    value:
      flow: \"${{ steps.flow.items | map(attribute='output') | list }}\"
      range: \"${{ steps.range.items | map(attribute='output') | list }}\"
      counted: \"${{ steps.counted.items | map(attribute='output') | list }}\"
      literal: \"${{ steps.literal.items | map(attribute='output') | list }}\"
      keys: \"${{ steps.literal.items | map(attribute='key') | list }}\"
      numbers: [ \"${{ steps.range.count }}\", \"${{ steps.range.done }}\", \"${{ steps.range.failed }}\" ]
").exits(0);
    let expected = json!({
        "flow": ["a=Aa", "b=Bb"], "range": [0, 1, 4], "counted": [0, 1], "literal": ["x0", "y1"], "keys": ["x", "y"],
        "numbers": [3, 3, 0],
    });
    assert_eq!(value(&told.json(), "all"), &expected);
    desk.ollmcp(&["show", "last", "--item", "a"]).exits(0).says("from_list[a] done").says("flow[a] done");
    desk.steps("  - { id: none, for_each: [], value: 1 }\n").exits(0);
    let told =
        desk.steps("  - { id: a, value: 5 }\n  - { id: b, for_each: \"${{ steps.a.output }}\", value: 1 }\n").exits(1);
    assert!(reason(&told, "b").contains("needs a list, found 5"), "{}", told.out);
}

#[test]
fn two_items_with_one_key_are_a_fault_that_names_both() {
    let desk = Desk::new();
    let told = desk.steps("  - { id: a, for_each: [ { n: 1, k: x }, { n: 2, k: z }, { n: 3, k: x } ], key: \"${{ item.k }}\", value: 1 }\n");
    let told = told.exits(1);
    assert!(reason(&told, "a").contains("items 1 and 3 of the list have the same key `x`"), "{}", told.out);
}

#[test]
fn no_more_items_run_at_once_than_the_plan_allows() {
    for (allowed, wanted) in [(1, 1), (3, 3)] {
        let desk = Desk::with_log(&[]);
        desk.steps(&format!(
            "  - {{ id: a, for_each: {{ range: 9 }}, max_parallel: {allowed}, tool: log.slow, with: {{ seconds: \"${{{{ 0.05 + item * 0 }}}}\" }} }}\n"
        ))
        .exits(0);
        let spans = fs::read_to_string(desk.path("calls.spans")).unwrap();
        let (mut now, mut most) = (0, 0);
        for line in spans.lines() {
            now += if line.contains("begin") { 1 } else { -1 };
            most = most.max(now);
        }
        assert_eq!((most, now, desk.calls().len()), (wanted, 0, 9), "{spans}");
    }
}

#[test]
fn a_call_that_is_out_of_time_fails_or_waits_by_its_repeat_class() {
    let desk = Desk::with_log(&[]);
    let told = desk.steps("  - { id: a, timeout: 300ms, tool: log.hang }\n").exits(1);
    assert!(reason(&told, "a").contains("within 0.3 s"), "{}", told.out);
    // `send` says nothing of itself: whether it happened is not known, so a person is asked.
    let told = desk.steps("  - { id: a, timeout: 300ms, repeat: unsafe, tool: log.hang }\n").exits(4);
    assert!(told.err.contains("ollmcp answer"), "{}", told.err);
    let asks = desk.ollmcp(&["--json", "inbox"]).exits(0).json();
    let id = asks["asks"][0]["id"].as_str().unwrap();
    desk.ollmcp(&["answer", id, "happened", "--output", "{\"n\": 7}", "--config", "servers.json"]).exits(0);
    desk.ollmcp(&["resume", "--config", "servers.json"]).exits(0);
    desk.ollmcp(&["show"]).exits(0).says("state complete");
    assert_eq!(desk.calls().len(), 2, "a call in doubt was repeated");
}

#[test]
fn a_server_that_dies_is_started_again_and_the_call_repeated_where_that_is_safe() {
    let desk = Desk::with_log(&[]);
    let retry = "retry: { transient: 2, backoff: 10ms..20ms }";
    let told = desk.steps(&format!("  - {{ id: a, {retry}, repeat: read, tool: log.die }}\n")).exits(1);
    assert_eq!(desk.calls().len(), 3);
    assert!(reason(&told, "a").contains("was told to die"), "{}", told.out);
    // Its own word for itself is `unsafe`: one call, then a person.
    desk.steps(&format!("  - {{ id: a, {retry}, tool: log.die }}\n")).exits(4);
    assert_eq!(desk.calls().len(), 4);
    // A server that comes up at its second start costs a retry and nothing else.
    let desk = Desk::with_log(&[]);
    let mark = desk.path("mark");
    let config = fs::read_to_string(desk.path("servers.json")).unwrap();
    let config =
        config.replace("call_log_server.py\"", &format!("call_log_server.py\",\"--die-first\",\"{}\"", mark.display()));
    fs::write(desk.path("servers.json"), config).unwrap();
    desk.steps(&format!("  - {{ id: a, {retry}, tool: log.echo, with: {{ x: 1 }} }}\n")).exits(0);
    assert!(mark.exists());
    assert_eq!(desk.calls().len(), 1);
}

const THREE_OF_SIX: &str = "for_each: { range: 6 }, value: \"${{ item }}\", done_when: [ \"output % 2 == 0\" ]";

#[test]
fn a_failed_item_stops_is_passed_over_or_is_set_aside() {
    let desk = Desk::new();
    let next = "  - { id: next, for_each: \"${{ steps.a.items }}\", value: 1 }\n  - { id: alone, value: 1 }\n";
    let told = desk.steps(&format!("  - {{ id: a, max_parallel: 1, {THREE_OF_SIX} }}\n{next}")).exits(1);
    let step = told.step("a");
    assert_eq!((&step["state"], &step["done"], &step["failed"]), (&json!("failed"), &json!(1), &json!(1)));
    assert!(reason(&told, "a").contains("`output % 2 == 0` does not hold"), "{}", told.out);
    assert_eq!(told.step("alone")["state"], "done", "independent steps go on");
    let told = desk.steps(&format!("  - {{ id: a, on_error: continue, {THREE_OF_SIX} }}\n{next}")).exits(1);
    let step = told.step("a");
    assert_eq!((&step["state"], &step["done"], &step["failed"]), (&json!("failed"), &json!(3), &json!(3)));
    let told = desk.steps(&format!("  - {{ id: a, on_error: quarantine, {THREE_OF_SIX} }}\n{next}")).exits(3);
    let step = told.step("a");
    assert_eq!((&step["state"], &step["done"], &step["quarantined"]), (&json!("done"), &json!(3), &json!(3)));
    assert_eq!(told.step("next")["done"], 3);
}

#[test]
fn only_so_many_items_may_be_set_aside() {
    let desk = Desk::new();
    for (tolerate, code) in [("3", 3), ("\"50%\"", 3), ("2", 1), ("\"33%\"", 1), ("0", 1)] {
        let told =
            desk.steps(&format!("  - {{ id: a, on_error: quarantine, tolerate: {tolerate}, {THREE_OF_SIX} }}\n"));
        let told = told.exits(code);
        if code == 1 {
            assert!(reason(&told, "a").contains("set aside"), "{}", told.out);
        }
    }
    // An item that cannot be worked on by its nature does not count.
    let desk = Desk::with_log(&[]);
    let fail = "tool: log.fail, with: { message: \"a scan ${{ item }}\", reason: unworkable }";
    let told =
        desk.steps(&format!("  - {{ id: a, for_each: {{ range: 3 }}, on_error: quarantine, tolerate: 0, {fail} }}\n"));
    assert_eq!(told.exits(3).step("a")["quarantined"], 3);
}

#[test]
fn critical_steps_and_thresholds_are_accepted() {
    let desk = Desk::new();
    desk.steps("  - { id: a, critical: true, threshold: 1, value: 1 }\n").exits(0);
}

#[test]
fn what_is_reused_can_be_said() {
    let desk = Desk::with_log(&[]);
    let runs = |options: &str| {
        let steps = format!("  - {{ id: a, {options} tool: log.echo, with: {{ x: 1 }} }}\n");
        desk.steps(&steps).exits(0);
        let before = desk.calls().len();
        desk.steps(&steps).exits(0);
        desk.calls().len() - before
    };
    assert_eq!(runs(""), 1, "a plain tool step runs again in each run");
    assert_eq!(runs("reuse: true,"), 0);
    assert_eq!(runs("for_each: [ 1, 2 ], "), 0);
    assert_eq!(runs("for_each: [ 1, 2 ], reuse: false, "), 2);
}

#[test]
fn checks_look_at_outputs_files_databases_and_calls() {
    let desk = Desk::with_log(&[]);
    fs::write(desk.path("good.json"), "{}").unwrap();
    fs::write(desk.path("bad.json"), "{").unwrap();
    fs::write(desk.path("good.csv"), "a,b\r\n1,\"x,\ny\"\r\n").unwrap();
    fs::write(desk.path("bad.csv"), "a,b\n1\n").unwrap();
    fs::copy(repository("plans/samples/january/invoice_0101.pdf"), desk.path("good.pdf")).unwrap();
    let check = |check: &str| {
        desk.steps(&format!("  - {{ id: a, tool: log.echo, with: {{ n: 4 }}, done_when: [ {check} ] }}\n"))
    };
    for good in [
        "\"output.n == 4\"",
        "{ file: { path: good.json, exists: true, parses: json } }",
        "{ file: { path: \"good.${{ 'json' }}\" } }",
        "{ file: { path: none, exists: false } }",
        "{ file: { path: good.csv, parses: csv } }",
        "{ file: { path: good.pdf, parses: pdf } }",
        "{ file: { path: job.yaml, parses: yaml } }",
        "{ called: log.echo }",
    ] {
        let told = check(good).exits(0);
        let evidence = told.step("a")["evidence"].clone();
        assert_eq!(evidence.as_array().map(Vec::len), Some(1), "{good}: {evidence}");
    }
    for (bad, words) in [
        ("\"output.n == 5\"", "`output.n == 5` does not hold: output.n = 4"),
        ("{ file: { path: none } }", "file `none` does not exist"),
        ("{ file: { path: good.json, exists: false } }", "file `good.json` exists"),
        ("{ file: { path: bad.json, parses: json } }", "file `bad.json` is not json"),
        ("{ file: { path: bad.csv, parses: csv } }", "file `bad.csv` is not csv"),
        ("{ file: { path: job.yaml, parses: pdf } }", "file `job.yaml` is not pdf"),
        ("{ called: log.slow }", "log.slow was not called"),
        ("{ sql: { database: \"sqlite:none.db\", query: \"select 1\", equals: 1 } }", "select 1"),
    ] {
        let told = check(bad).exits(1);
        assert!(reason(&told, "a").contains(words), "{bad}: {}", told.out);
    }
}

#[test]
fn a_query_on_the_database_that_is_written_decides_before_the_commit() {
    let desk = Desk::new();
    let save = |wanted: u32| {
        desk.steps(&format!(
            "  - id: save
    agent: DATABASE_WRITER
    with: {{ database: \"sqlite:t.db\", table: t, rows: [ {{ a: 1 }}, {{ a: 2 }} ] }}
    done_when:
      - sql: {{ database: \"sqlite:t.db\", query: \"select count(*) from t\", equals: {wanted} }}
"
        ))
    };
    let told = save(3).exits(1);
    assert!(reason(&told, "save").contains("select count(*) from t"), "{}", told.out);
    let tables = desk.number("t.db", "select count(*) from sqlite_master where name = 't'");
    let rows = if tables == 0 { 0 } else { desk.number("t.db", "select count(*) from t") };
    assert_eq!(rows, 0, "rows of a rejected write stand");
    save(2).exits(0);
    assert_eq!(desk.number("t.db", "select count(*) from t"), 2);
    // Another step may look at it afterwards.
    let look = |wanted: u32| {
        desk.steps(&format!(
            "  - {{ id: a, value: 1, done_when: [ {{ sql: {{ database: \"sqlite:t.db\", query: \"select sum(a) from t\", equals: {wanted} }} }} ] }}\n"
        ))
    };
    look(3).exits(0);
    let told = look(4).exits(1);
    assert!(reason(&told, "a").contains("gives 3, not 4"), "{}", told.out);
}

#[test]
fn a_step_is_checked_as_a_whole_at_its_end() {
    let desk = Desk::new();
    let step = |check: &str| {
        desk.steps(&format!("  - {{ id: a, for_each: {{ range: 3 }}, value: 1, all_done_when: [ {check} ] }}\n"))
    };
    step("{ count: 3 }").exits(0);
    step("\"count == 3 and failed == 0\"").exits(0);
    step("\"items | map(attribute='output') | sum == 3\"").exits(0);
    let told = step("{ count: 4 }").exits(1);
    assert!(reason(&told, "a").contains("count"), "{}", told.out);
    step("\"failed > 0\"").exits(1);
}

#[test]
fn an_output_that_does_not_fit_its_schema_is_a_failure_that_says_where() {
    let desk = Desk::with_log(&[]);
    let schema = "output: { schema: { type: object, properties: { n: { type: array, items: { type: integer } } } } }";
    let told = desk.steps(&format!("  - {{ id: a, tool: log.echo, with: {{ n: [ 1, x ] }}, {schema} }}\n")).exits(1);
    assert!(reason(&told, "a").contains("`/n/1`"), "{}", told.out);
    desk.ollmcp(&["show", "last", "--item", "a"]).exits(0).says("1 failure counted");
    desk.steps(&format!("  - {{ id: a, tool: log.echo, with: {{ n: [ 1, 2 ] }}, {schema} }}\n")).exits(0);
}

#[test]
fn a_chain_of_many_steps_runs_to_its_end() {
    let desk = Desk::new();
    let mut steps = "  - { id: s0, value: 0 }\n".to_owned();
    for at in 1..130 {
        steps.push_str(&format!("  - {{ id: s{at}, value: \"${{{{ steps.s{}.output + 1 }}}}\" }}\n", at - 1));
    }
    let told = desk.steps(&steps).exits(0);
    assert_eq!(value(&told.json(), "s129"), 129);
    assert_eq!(told.json()["steps"].as_array().unwrap().len(), 130);
}

#[test]
fn a_thousand_items_flow_through_two_steps() {
    let desk = Desk::new();
    let told = desk
        .steps(
            "
  - { id: a, for_each: { range: 1000 }, max_parallel: 16, value: \"${{ item }}\" }
  - { id: b, for_each: \"${{ steps.a.items }}\", max_parallel: 16, value: \"${{ item.output * 2 }}\" }
  - { id: sum, value: \"${{ steps.b.items | map(attribute='output') | sum }}\" }
",
        )
        .exits(0);
    assert_eq!(value(&told.json(), "sum"), 999_000);
}

#[test]
fn a_file_that_two_steps_save_is_one_file_in_the_report() {
    let desk = Desk::new();
    let save = |id: &str, table: &str| {
        format!(
            "  - id: {id}\n    for_each: [x, y]\n    agent: DATABASE_WRITER\n    with:\n      database: \"sqlite:out.db\"\n      \
             table: {table}\n      rows: {{ file: \"${{{{ item }}}}\", rows: [ {{ name: \"${{{{ item }}}}\" }} ] }}\n"
        )
    };
    desk.plan(&format!("name: p\nsteps:\n{}{}", save("a", "people"), save("b", "animals")));
    let told = desk.ollmcp(&["run", "job.yaml"]).exits(0);
    told.says("2 items, 4 tables, 4 rows in 2 data tables");
}
