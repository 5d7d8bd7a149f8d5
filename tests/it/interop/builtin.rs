//! Our own servers, driven by the official Python client as any other program would.

use super::*;

fn server<'a>(name: &'a str) -> [&'a str; 3] {
    [OLLMCP, "tool-server", name]
}

#[track_caller]
fn is_error(call: &Value, words: &[&str]) {
    assert_eq!(call["isError"], true, "{call}");
    let text = call["text"].as_str().unwrap();
    for word in words {
        assert!(text.contains(word), "no `{word}` in {text}");
    }
}

/// All tools have what a client needs to use them well.
#[track_caller]
fn well_described(driven: &Value, names: &[&str]) {
    let tools = driven["tools"].as_array().unwrap();
    let found: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(found, names);
    for tool in tools {
        assert!(tool["description"].as_str().unwrap().len() > 20, "{tool}");
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
            assert!(tool["annotations"][hint].is_boolean(), "{hint}: {tool}");
        }
    }
}

#[test]
fn fs_serves_the_official_client() {
    let bench = Bench::new();
    bench.file("a/one.txt", "first\nsecond\n");
    bench.file("b.txt", "x".repeat(3 << 20));
    fs::write(bench.outside("secret.txt"), "outside").unwrap();
    std::os::unix::fs::symlink(bench.outside(""), bench.project("link")).unwrap();
    let secret = bench.outside("secret.txt").display().to_string();
    let calls = [
        ("list", json!({ "root": ".", "pattern": "**/*.txt" })),
        ("read", json!({ "path": "a/one.txt" })),
        ("write", json!({ "path": "new/file.txt", "text": "made" })),
        ("search", json!({ "root": ".", "text": "second" })),
        ("read", json!({ "path": "nowhere.txt" })),
        ("read", json!({ "paht": "a/one.txt" })),
        ("read", json!({})),
        ("read", json!({ "path": secret })),
        ("read", json!({ "path": "link/secret.txt" })),
        ("read", json!({ "path": "../outside/secret.txt" })),
        ("write", json!({ "path": "../outside/made.txt", "text": "x" })),
        ("nothing", json!({})),
        ("read", json!({ "path": "b.txt" })),
    ];
    let told = driven(&bench, &calls, &[], &server("fs"));
    well_described(&told, &["list", "read", "search", "stat", "hash", "write", "patch", "move", "delete"]);
    let calls = told["calls"].as_array().unwrap();
    assert_eq!(calls[0]["structured"]["count"], 2, "{}", calls[0]);
    assert_eq!(calls[1]["structured"]["text"], "first\nsecond\n");
    let copy: Value = serde_json::from_str(calls[1]["text"].as_str().unwrap()).unwrap();
    assert_eq!(copy, calls[1]["structured"], "clients that read only text get the same");
    assert_eq!(fs::read_to_string(bench.project("new/file.txt")).unwrap(), "made");
    assert_eq!(calls[3]["structured"]["count"], 1);
    is_error(&calls[4], &["nowhere.txt"]);
    is_error(&calls[5], &["paht"]);
    is_error(&calls[6], &["path"]);
    for call in &calls[7..10] {
        is_error(call, &["outside of the workspace", "hint: "]);
    }
    is_error(&calls[10], &["outside of the workspace", "hint: "]);
    is_error(&calls[11], &["nothing"]);
    assert!(!bench.outside("made.txt").exists());
    // What is too long for one answer comes in pieces that say where to go on.
    let read = &calls[12]["structured"];
    assert_eq!(read["truncated"], true, "{}", read["bytes"]);
    let length = read["text"].as_str().unwrap().len();
    assert!(length <= 1 << 20 && read["next_offset"] == length, "{length}");
}

#[test]
fn fs_pages_a_long_listing_and_reads_what_it_was_started_with() {
    let bench = Bench::new();
    for number in 0..10_500 {
        fs::write(bench.project(&format!("{number:05}.txt")), "").unwrap();
    }
    fs::write(bench.outside("given.txt"), "given").unwrap();
    fs::write(bench.outside("other.txt"), "other").unwrap();
    let given = bench.outside("given.txt").display().to_string();
    let calls = [
        ("list", json!({ "root": "." })),
        ("list", json!({ "root": ".", "after": "09999.txt" })),
        ("read", json!({ "path": given })),
        ("read", json!({ "path": bench.outside("other.txt") })),
        ("write", json!({ "path": given, "text": "x" })),
    ];
    let told = driven(&bench, &calls, &[], &[OLLMCP, "tool-server", "fs", &given]);
    let calls = told["calls"].as_array().unwrap();
    let first = &calls[0]["structured"];
    assert_eq!(
        (&first["count"], &first["truncated"], &first["next"]),
        (&json!(10_000), &json!(true), &json!("09999.txt"))
    );
    let second = &calls[1]["structured"];
    assert_eq!((&second["count"], &second["truncated"]), (&json!(500), &json!(false)));
    assert_eq!(calls[2]["structured"]["text"], "given");
    is_error(&calls[3], &["outside of the workspace"]);
    is_error(&calls[4], &["only inside"]);
}

#[test]
fn pdf_extract_serves_the_official_client() {
    let bench = Bench::new();
    for name in ["january/statement_0103.pdf", "february/invoice_0221.pdf", "february/invoice_0222.pdf"] {
        bench.file(name.rsplit('/').next().unwrap(), fs::read(repository().join("plans/samples").join(name)).unwrap());
    }
    let locked = repository().join("tests/fixtures/pdf_locked/locked.pdf").display().to_string();
    let calls = [
        ("extract_tables", json!({ "path": "statement_0103.pdf" })),
        ("extract_text", json!({ "path": "statement_0103.pdf", "pages": "1" })),
        ("info", json!({ "path": "statement_0103.pdf" })),
        ("extract_tables", json!({ "path": "invoice_0221.pdf" })),
        ("extract_tables", json!({ "path": "invoice_0222.pdf" })),
        ("extract_tables", json!({ "path": "nowhere.pdf" })),
        ("extract_tables", json!({ "path": "statement_0103.pdf", "pages": "first" })),
        ("extract_tables", json!({ "file": "statement_0103.pdf" })),
        ("extract_tables", json!({ "path": locked })),
    ];
    let told = driven(&bench, &calls, &[], &server("pdf_extract"));
    well_described(&told, &["extract_tables", "extract_text", "info"]);
    let calls = told["calls"].as_array().unwrap();
    assert!(!calls[0]["structured"]["tables"][0]["rows"].as_array().unwrap().is_empty());
    assert_eq!(calls[1]["structured"]["text"].as_array().unwrap().len(), 1);
    assert!(calls[2]["structured"]["pages"].as_u64().unwrap() >= 1);
    is_error(&calls[3], &["invoice_0221.pdf", "OCR", "hint: "]);
    is_error(&calls[4], &["invoice_0222.pdf", "damaged"]);
    is_error(&calls[5], &["nowhere.pdf"]);
    is_error(&calls[6], &["1,3-5"]);
    is_error(&calls[7], &["file"]);
    is_error(&calls[8], &["password"]);
    assert_eq!(calls[3]["meta"]["ollmcp/reason"], "unworkable");
}

#[test]
fn db_serves_the_official_client_and_only_reads() {
    let bench = Bench::new();
    bench.steps(
        "  - { id: rows, value: [ { a: 1, b: x }, { a: 2, b: y } ] }
  - { id: save, agent: DATABASE_WRITER, with: { database: 'sqlite:t.db', rows: '${{ steps.rows.output }}', table: t } }\n",
    );
    bench.ollmcp(["run", "p.yaml"]).exits(0);
    let query = |sql: &str| ("query", json!({ "database": "sqlite:t.db", "sql": sql }));
    let many = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 5000) select x from n";
    let calls = [
        ("schema", json!({ "database": "t.db" })),
        query("select a, b from t order by a"),
        ("query", json!({ "database": "sqlite:t.db", "sql": "select b from t where a = ?", "params": [2] })),
        query(many),
        query("delete from t"),
        query("select 1; drop table t"),
        query("select nothing from t"),
        ("query", json!({ "database": "sqlite:none.db", "sql": "select 1" })),
        ("query", json!({ "database": "postgres://h/db", "sql": "select 1" })),
        ("query", json!({ "database": "sqlite:t.db" })),
        query("select hex(zeroblob(2000000)) as big"),
    ];
    let told = driven(&bench, &calls, &[], &server("db"));
    well_described(&told, &["query", "schema"]);
    let calls = told["calls"].as_array().unwrap();
    let tables = calls[0]["structured"]["tables"].as_array().unwrap();
    assert!(tables.iter().any(|table| table["name"] == "t"), "{}", calls[0]);
    assert_eq!(calls[1]["structured"]["rows"], json!([{ "a": 1, "b": "x" }, { "a": 2, "b": "y" }]));
    assert_eq!(calls[2]["structured"]["rows"], json!([{ "b": "y" }]));
    let page = &calls[3]["structured"];
    assert_eq!((&page["count"], &page["truncated"]), (&json!(1000), &json!(true)));
    for call in &calls[4..11] {
        is_error(call, &["hint: "]);
    }
    assert!(!bench.project("none.db").exists());
    let left =
        bench.ollmcp(["call", "db.query", "database=t.db", "sql=select count(*) as n from t", "--json"]).exits(0);
    assert_eq!(left.json()["rows"], json!([{ "n": 2 }]));
}

#[test]
fn an_unknown_server_is_told_with_the_known_ones() {
    let bench = Bench::new();
    bench.ollmcp(["tool-server", "pdf"]).exits(2).says("no built-in tool server is called `pdf`").says("pdf_extract");
    bench.ollmcp(["tool-server"]).exits(2);
    // A client that goes away at once is no fault.
    for name in ["fs", "pdf_extract", "db"] {
        bench.ollmcp(["tool-server", name]).exits(0);
    }
}
