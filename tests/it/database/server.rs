//! The `db` tool server: it reads, and nothing makes it write.

use ollmcp::servers::db::{ANSWER_BYTES_MAX, DbServer};

use super::*;

async fn ask(server: &DbServer, tool: &str, arguments: Value) -> Result<Value, String> {
    server.answer(tool, arguments.as_object().unwrap()).await
}

#[tokio::test]
async fn the_db_server_answers_within_its_limits() {
    let (folder, database, _path) = fresh();
    let rows: Vec<Value> = (0..1_200).map(|n| json!([n, "t"])).collect();
    database.write(&job("a.pdf", 1, &["n", "t"], Value::from(rows))).await.unwrap();
    database.close().await;
    let server = DbServer::new(folder.path().to_owned());
    let schema = ask(&server, "schema", json!({"database": "sqlite:t.db"})).await.unwrap();
    assert_eq!(schema["tables"].as_array().unwrap().len(), 1);
    assert_eq!(schema["tables"][0]["rows"], 1_200);
    assert_eq!(schema["tables"][0]["columns"][0], json!({"name": "n", "type": "INTEGER"}));
    let name = schema["tables"][0]["name"].as_str().unwrap();
    let select = format!("select n from \"{name}\" where n < ?");
    let answer = ask(&server, "query", json!({"database": "t.db", "sql": select, "params": [5]})).await.unwrap();
    assert_eq!((&answer["count"], &answer["truncated"]), (&json!(5), &json!(false)));
    let answer =
        ask(&server, "query", json!({"database": "t.db", "sql": select, "params": [5], "limit": 5})).await.unwrap();
    assert_eq!(answer["truncated"], false);
    let answer = ask(&server, "query", json!({"database": "t.db", "sql": select, "params": [5_000]})).await.unwrap();
    assert_eq!((&answer["count"], &answer["truncated"]), (&json!(1_000), &json!(true)));
    let long = format!("select hex(zeroblob(1000)) as h from \"{name}\"");
    let answer = ask(&server, "query", json!({"database": "t.db", "sql": long, "limit": 10_000})).await.unwrap();
    assert_eq!(answer["truncated"], true);
    assert!(answer.to_string().len() < ANSWER_BYTES_MAX + 1_000);
    let endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select x from c";
    assert_eq!(
        ask(&server, "query", json!({"database": "t.db", "sql": endless, "limit": 3})).await.unwrap()["truncated"],
        true
    );
}

#[tokio::test]
async fn nothing_makes_the_db_server_write() {
    let (folder, database, path) = fresh();
    database.write(&job("a.pdf", 1, &["n"], json!([[1]]))).await.unwrap();
    database.close().await;
    let name = only_table(&path).await;
    let before = dump(&path).await;
    let server = DbServer::new(folder.path().to_owned());
    let other = folder.path().join("other.db");
    for sql in [
        format!("delete from \"{name}\""),
        format!("with x as (select 1) delete from \"{name}\""),
        format!("with x(a) as (values (1)) insert into \"{name}\" (n) select a from x"),
        format!("select 1; delete from \"{name}\""),
        format!("explain delete from \"{name}\""),
        format!("attach '{}' as o", other.display()),
        format!("vacuum into '{}'", other.display()),
        "pragma query_only = off".into(),
        "create temp table x (a)".into(),
        "select load_extension('/tmp/x.so')".into(),
        "select nope".into(),
        "begin".into(),
    ] {
        let error = ask(&server, "query", json!({"database": "t.db", "sql": sql})).await.unwrap_err();
        assert!(!error.is_empty(), "{sql}");
    }
    assert_eq!(dump(&path).await, before);
    assert!(!other.exists());
    for (arguments, part) in [
        (json!({"database": "none.db", "sql": "select 1"}), "does not exist"),
        (json!({"database": "postgres://x", "sql": "select 1"}), "not in this version"),
        (json!({"database": "t.db"}), "`sql` is missing"),
        (json!({"database": "t.db", "sql": "select 1", "limit": 0}), "`limit`"),
        (json!({"database": "t.db", "sql": "select 1", "rows": 3}), "`rows` is no argument"),
        (json!({"database": "t.db", "sql": "select nope"}), "hint: "),
    ] {
        let error = ask(&server, "query", arguments).await.unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    assert!(!folder.path().join("none.db").exists());
}

#[test]
fn the_tools_say_their_version_and_that_they_only_read() {
    for tool in DbServer::tools() {
        let tool = serde_json::to_value(tool).unwrap();
        assert_eq!(tool["_meta"]["ollmcp/outputVersion"], "1");
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
        assert_eq!(tool["inputSchema"]["properties"]["database"]["type"], "string");
    }
}

#[tokio::test]
async fn a_client_lists_and_calls_the_tools_over_the_protocol() {
    use rmcp::ServiceExt as _;
    use rmcp::model::CallToolRequestParams;
    let (folder, database, _path) = fresh();
    database.write(&job("a.pdf", 1, &["n"], json!([[1], [2]]))).await.unwrap();
    database.close().await;
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut tasks = tokio::task::JoinSet::new();
    let server = DbServer::new(folder.path().to_owned());
    tasks.spawn(async move { server.serve(far).await.unwrap().waiting().await.map(|_| ()) });
    let client = ().serve(near).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    assert_eq!(tools.iter().map(|tool| tool.name.as_ref()).collect::<Vec<_>>(), ["query", "schema"]);
    let call =
        |arguments: Value| CallToolRequestParams::new("query").with_arguments(arguments.as_object().unwrap().clone());
    let good = client.call_tool(call(json!({"database": "t.db", "sql": "select 1 as one"}))).await.unwrap();
    assert_eq!(good.structured_content, Some(json!({"rows": [{"one": 1}], "count": 1, "truncated": false})));
    assert_eq!(serde_json::to_value(&good).unwrap()["_meta"]["ollmcp/outputVersion"], "1");
    let bad = client.call_tool(call(json!({"database": "t.db", "sql": "drop table x"}))).await.unwrap();
    assert_eq!(bad.is_error, Some(true));
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn a_query_without_end_is_stopped() {
    let (_folder, database, path) = fresh();
    database.write(&job("a.pdf", 1, &["n"], json!([[1]]))).await.unwrap();
    let hasty = Sqlite::new(path, Limits { query_ms_max: 100, ..QUICK });
    let endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";
    let Err(DatabaseError::Failed(message)) = hasty.query(endless, &[], 1).await else { panic!("it ended") };
    assert!(message.contains("too long"), "{message}");
}
