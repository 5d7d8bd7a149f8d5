//! What stands after writing: names, types, order, replacement.

use super::*;

#[tokio::test]
async fn rows_land_in_a_table_named_by_their_headers_with_their_provenance() {
    let (_folder, database, path) = fresh();
    let wrote = job("a.pdf", 1, &["Date", "Amount (EUR)"], json!([["2024-01-02", "12.50"], ["", "7"]]));
    let written = database.write(&wrote).await.unwrap();
    let name = only_table(&path).await;
    assert!(name.starts_with("date_amount_eur_"), "{name}");
    assert_eq!((written.rows, written.rejected, written.replaced), (2, 0, 0));
    assert_eq!(written.tables[0].table, name);
    assert_eq!(
        sql(&path, &format!("select * from \"{name}\"")).await,
        [["2024-01-02", "12.5", "a.pdf", "1", "1", "1", "0.75"], ["NULL", "7.0", "a.pdf", "1", "1", "2", "0.75"]]
    );
    let types = sql(&path, &format!("select name, type from pragma_table_info('{name}')")).await;
    let types: Vec<String> = types.iter().map(|line| line.join(" ")).collect();
    assert_eq!(
        types,
        [
            "date TEXT",
            "amount_eur REAL",
            "_file TEXT",
            "_page INTEGER",
            "_table INTEGER",
            "_row INTEGER",
            "_confidence REAL"
        ]
    );
    assert_eq!(one(&path, "pragma journal_mode").await, "wal");
}

#[tokio::test]
async fn a_repeated_write_touches_no_row_and_gives_the_same_answer() {
    let (_folder, database, path) = fresh();
    let wrote = job("a.pdf", 1, &["a"], json!([["1"], ["2"]]));
    let first = database.write(&wrote).await.unwrap();
    let name = only_table(&path).await;
    sql(
        &path,
        &format!(
            "create table effects (what text);
         create trigger i after insert on \"{name}\" begin insert into effects values ('insert'); end;
         create trigger d after delete on \"{name}\" begin insert into effects values ('delete'); end;
         create trigger u after update on \"{name}\" begin insert into effects values ('update'); end;"
        ),
    )
    .await;
    let again = WriteJob { key: LedgerKey { run: run(9), ..wrote.key.clone() }, ..wrote.clone() };
    assert_eq!(database.write(&again).await.unwrap(), first);
    let other = Sqlite::new(path.clone(), Limits::default());
    assert_eq!(other.write(&again).await.unwrap(), first);
    assert_eq!(one(&path, "select count(*) from effects").await, "0");
    // The triggers do see a new item, and live through the widening that it causes.
    database.write(&job("b.pdf", 1, &["a"], json!([["x"]]))).await.unwrap();
    assert_eq!(one(&path, "select group_concat(what) from effects").await, "insert");
    assert_eq!(
        one(&path, &format!("select count(*) from sqlite_master where tbl_name = '{name}' and type = 'trigger'")).await,
        "3"
    );
}

#[tokio::test]
async fn widening_gives_the_written_text_back() {
    let (_folder, database, path) = fresh();
    let cells = ["12.50", "7", "-3.0", "1234.5", "0.10"];
    for (at, cell) in cells.iter().enumerate() {
        database.write(&job(&format!("{at}.pdf"), 1, &["v"], json!([[cell]]))).await.unwrap();
    }
    database.write(&job("bool.pdf", 1, &["v"], json!([[true], [12.0], [5], [1e300]]))).await.unwrap();
    let name = only_table(&path).await;
    assert_eq!(one(&path, &format!("select distinct typeof(v) from \"{name}\"")).await, "real");
    database.write(&job("text.pdf", 1, &["v"], json!([["00123"]]))).await.unwrap();
    let mut found: Vec<String> =
        sql(&path, &format!("select v from \"{name}\"")).await.into_iter().map(|line| line[0].clone()).collect();
    found.sort();
    let mut wanted: Vec<String> =
        cells.iter().chain(&["true", "12.0", "5", "1e+300", "00123"]).map(|c| (*c).to_owned()).collect();
    wanted.sort();
    assert_eq!(found, wanted);
    // And narrowing brings the numbers back when the text goes.
    database.write(&job("text.pdf", 2, &["v"], json!([["8"]]))).await.unwrap();
    assert_eq!(one(&path, &format!("select group_concat(distinct typeof(v)) from \"{name}\"")).await, "real");
    assert_eq!(one(&path, &format!("select type from pragma_table_info('{name}') where name = 'v'")).await, "REAL");
}

#[tokio::test]
async fn a_changed_item_replaces_its_rows_and_may_change_back() {
    let (_folder, database, path) = fresh();
    let first = job("a.pdf", 1, &["a"], json!([["1"], ["2"]]));
    let second = job("a.pdf", 2, &["a"], json!([["3"]]));
    database.write(&job("b.pdf", 1, &["a"], json!([["9"]]))).await.unwrap();
    database.write(&first).await.unwrap();
    let before = dump(&path).await;
    let written = database.write(&second).await.unwrap();
    assert_eq!((written.rows, written.replaced), (1, 2));
    assert!(!database.stands(&first.key.identity).await.unwrap());
    assert!(database.stands(&second.key.identity).await.unwrap());
    let verified = database.verify(vec![expectation(&first), expectation(&second)]).await.unwrap();
    assert_eq!(verified.superseded, [("a.pdf".to_owned(), run(2))]);
    assert_eq!(verified.differences, []);
    let back = database.write(&first).await.unwrap();
    assert_eq!((back.rows, back.replaced), (2, 1));
    assert!(database.stands(&first.key.identity).await.unwrap());
    assert_eq!(dump(&path).await, before);
    // Another project or step of the same item key replaces nothing.
    let mut stranger = job("a.pdf", 3, &["a"], json!([["5"]]));
    stranger.key.project = "q".into();
    assert_eq!(database.write(&stranger).await.unwrap().replaced, 0);
}

#[tokio::test]
async fn bad_rows_are_kept_with_their_reason_and_go_with_their_item() {
    let (_folder, database, path) = fresh();
    let wrote = job("a.pdf", 1, &["a", "b"], json!([["1", "2"], ["3"], ["4", "5", "6"]]));
    let written = database.write(&wrote).await.unwrap();
    assert_eq!((written.rows, written.rejected), (1, 2));
    assert_eq!(
        sql(&path, "select item, table_number, row_number, reason, raw from _ollmcp_rejects").await,
        [
            ["a.pdf", "1", "2", "it has 1 cell, its table has 2 columns", "[\"3\"]"],
            ["a.pdf", "1", "3", "it has 3 cells, its table has 2 columns", "[\"4\",\"5\",\"6\"]"],
        ]
    );
    assert_eq!(database.verify(vec![expectation(&wrote)]).await.unwrap().differences, []);
    database.write(&job("a.pdf", 2, &["a", "b"], json!([["1", "2"]]))).await.unwrap();
    assert_eq!(one(&path, "select count(*) from _ollmcp_rejects").await, "0");
}

#[tokio::test]
async fn an_item_without_rows_stands_in_the_ledger_alone() {
    let (_folder, database, path) = fresh();
    let wrote = job_of("empty.pdf", 1, Vec::new());
    assert_eq!(database.write(&wrote).await.unwrap(), Written::default());
    assert!(database.stands(&wrote.key.identity).await.unwrap());
    assert_eq!(dump(&path).await, "");
    assert_eq!(database.verify(vec![expectation(&wrote)]).await.unwrap().differences, []);
}

#[tokio::test]
async fn hostile_names_and_very_wide_tables_are_plain_tables() {
    let (_folder, database, path) = fresh();
    let headers: Vec<String> =
        (0..1_990).map(|n| if n == 7 { "x".repeat(100_000) } else { format!("Select \"{n}\"; --") }).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let row: Vec<Value> = (0..1_990).map(Value::from).collect();
    let mut wide = job("wide.pdf", 1, &headers, Value::from(vec![Value::from(row); 40]));
    wide.target = Target::Named("drop table \"x\"; 表 — select".into());
    assert_eq!(database.write(&wide).await.unwrap().rows, 40);
    assert_eq!(one(&path, "select sum(\"select_1989\") from \"drop table \"\"x\"\"; 表 — select\"").await, "79560");
    assert_eq!(database.verify(vec![expectation(&wide)]).await.unwrap().differences, []);
    let keywords = job(
        "k.pdf",
        1,
        &["select", "rowid", "_row", "from", "ROW", "'; drop", "日付", ""],
        json!([[1, 2, 3, 4, 5, 6, 7, 8]]),
    );
    assert_eq!(database.write(&keywords).await.unwrap().rows, 1);
    assert_eq!(database.verify(vec![expectation(&keywords)]).await.unwrap().rows, 1);
}

#[tokio::test]
async fn a_named_table_takes_new_columns_in_an_order_of_their_own() {
    let jobs = [
        job("a.pdf", 1, &["x", "y", "z"], json!([["1", "2", "3"]])),
        job("b.pdf", 1, &["z", "w"], json!([["4.5", "q"]])),
        job("c.pdf", 1, &["y"], json!([["t"]])),
    ];
    let mut dumps = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let (_folder, database, path) = fresh();
        for at in order {
            database.write(&WriteJob { target: Target::Named("All Rows".into()), ..jobs[at].clone() }).await.unwrap();
        }
        let named = |job: &WriteJob| Expectation { target: Target::Named("all rows".into()), ..expectation(job) };
        let verified = database.verify(jobs.iter().map(named).collect()).await.unwrap();
        assert_eq!((verified.differences, verified.rows), (vec![], 3));
        dumps.push(dump(&path).await);
    }
    assert_eq!(dumps[0], dumps[1]);
    assert_eq!(dumps[0], dumps[2]);
    assert!(dumps[0].contains("(\"x\" INTEGER, \"y\" TEXT, \"z\" REAL, \"w\" TEXT, \"_file\" TEXT"), "{}", dumps[0]);
}

#[tokio::test]
async fn tables_of_other_programs_are_refused_unless_they_have_the_provenance_columns() {
    let (_folder, database, path) = fresh();
    sql(
        &path,
        "create table theirs (a integer); create view seen as select 1; create table bare (a) ;
        create table ready (id integer primary key, a integer, t text, _file, _page, _table, _row, _confidence)",
    )
    .await;
    let into = |name: &str, version| WriteJob {
        target: Target::Named(name.into()),
        ..job("a.pdf", version, &["a", "t", "new"], json!([["1", "007", "12.50"], ["01", "x", "y"]]))
    };
    for (name, part) in
        [("theirs", "_file"), ("SEEN", "a view"), ("sqlite_x", "sqlite_"), ("_ollmcp_ledger", "_ollmcp")]
    {
        let Err(DatabaseError::Target(message)) = database.write(&into(name, 1)).await else {
            panic!("{name} was taken")
        };
        assert!(message.contains(part) && message.contains("hint: "), "{message}");
    }
    let written = database.write(&into("Ready", 2)).await.unwrap();
    assert_eq!((written.rows, written.rejected), (1, 1));
    assert_eq!(sql(&path, "select id, a, t, _file, new from ready").await, [["1", "1", "007", "a.pdf", "12.5"]]);
    assert_eq!(database.verify(vec![expectation(&into("ready", 2))]).await.unwrap().differences, []);
    sql(&path, "delete from ready").await;
    let found = database.verify(vec![expectation(&into("ready", 2))]).await.unwrap().differences;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].rowid, Some(1));
}

#[tokio::test]
async fn a_persons_columns_indexes_and_triggers_live_through_a_rebuild() {
    let (_folder, database, path) = fresh();
    let wrote = job("a.pdf", 1, &["a", "b"], json!([["1", "2"]]));
    database.write(&wrote).await.unwrap();
    let name = only_table(&path).await;
    sql(
        &path,
        &format!(
            "alter table \"{name}\" add column note text not null default 'none'; update \"{name}\" set note = 'seen';
         create unique index mine on \"{name}\" (a, _file); create view w as select a from \"{name}\";
         create trigger t after insert on \"{name}\" begin select 1; end;"
        ),
    )
    .await;
    let wider = job("b.pdf", 1, &["a", "b"], json!([["1.5", "x"]]));
    database.write(&wider).await.unwrap();
    assert_eq!(
        sql(&path, &format!("select a, b, note from \"{name}\" order by _file")).await,
        [["1.0", "2", "seen"], ["1.5", "x", "none"]]
    );
    let kept = sql(&path, "select name from sqlite_master where name in ('mine', 't', 'w') order by name").await;
    assert_eq!(kept.len(), 3);
    assert_eq!(one(&path, "pragma integrity_check").await, "ok");
    assert_eq!(database.verify(vec![expectation(&wrote), expectation(&wider)]).await.unwrap().differences, []);
}

#[tokio::test]
async fn sql_checks_see_the_rows_and_roll_them_back() {
    let (_folder, database, path) = fresh();
    let check = |query: &str, equals: Value| Check::Sql { database: "sqlite:t.db".into(), query: query.into(), equals };
    let mut wrote = job("a.pdf", 1, &["a"], json!([["1"], ["2"]]));
    wrote.target = Target::Named("t".into());
    wrote.checks = vec![check("select sum(a) from t", json!(3)), check("select count(*) from t", json!(7))];
    let Err(DatabaseError::Check(message)) = database.write(&wrote).await else { panic!("it passed") };
    assert!(message.contains("gave 2, expected 7"), "{message}");
    assert!(!database.stands(&wrote.key.identity).await.unwrap());
    assert_eq!(dump(&path).await, "");
    for bad in [
        "delete from t",
        "select 1; commit",
        "commit",
        "select nope from t",
        "select 1 where 0",
        "pragma query_only = off",
        "with x as (select 1) insert into t (a) select 1",
    ] {
        wrote.checks = vec![check(bad, json!(1))];
        assert!(matches!(database.write(&wrote).await, Err(DatabaseError::Check(_))), "{bad}");
        assert!(!database.stands(&wrote.key.identity).await.unwrap());
    }
    wrote.checks = vec![check("select sum(a), 9 from t;", json!("3")), check("select max(a) = 2 from t", json!(true))];
    assert_eq!(database.write(&wrote).await.unwrap().rows, 2);
}

#[tokio::test]
async fn rows_and_queries_are_read_back() {
    let (_folder, database, path) = fresh();
    let a = job("a.pdf", 1, &["n", "t"], json!([["1", "x"], ["2", null]]));
    let b = job("b.pdf", 1, &["n", "t"], json!([["3", "y"]]));
    assert_eq!(database.rows(&[a.key.identity], None, 10).await.unwrap(), []);
    database.write(&a).await.unwrap();
    database.write(&b).await.unwrap();
    let name = only_table(&path).await;
    let pages = database.rows(&[a.key.identity], None, 10).await.unwrap();
    assert_eq!(pages.len(), 1);
    assert_eq!(pages[0].table, name);
    assert_eq!(pages[0].columns[..3], ["n", "t", "_file"]);
    assert_eq!(pages[0].rows.len(), 2);
    assert_eq!(pages[0].rows[0][..3], [json!(1), json!("x"), json!("a.pdf")]);
    assert_eq!(database.rows(&[a.key.identity, b.key.identity], Some(&name), 2).await.unwrap()[0].rows.len(), 2);
    assert_eq!(database.rows(&[a.key.identity], Some("other"), 2).await.unwrap(), []);
    let found = database
        .query(&format!("select n, t, n from \"{name}\" where n >= ? order by n"), &[json!(2)], 1)
        .await
        .unwrap();
    assert_eq!(Value::from(found[0].clone()), json!({"n": 2, "t": null, "n_2": 2}));
    for bad in [
        format!("delete from \"{name}\""),
        "select 1; select 2".into(),
        "select load_extension('x')".into(),
        format!("with x as (select 1) delete from \"{name}\""),
    ] {
        assert!(database.query(&bad, &[], 1).await.is_err(), "{bad}");
    }
    assert_eq!(one(&path, &format!("select count(*) from \"{name}\"")).await, "3");
}

/// Cells that pull a column every way.
fn cells() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!("12")), 3 => Just(json!("12.50")), 1 => Just(json!("3.0")), 2 => Just(json!("")),
        1 => Just(json!("00123")), 1 => Just(json!("1.234")), 1 => Just(json!("text")), 1 => Just(json!(true)),
        1 => Just(json!(12.0)), 1 => Just(json!(0.1)), 1 => Just(json!(-0.0)), 1 => Just(json!("9007199254740993")),
        1 => Just(json!("true")), 1 => Just(json!(1e300)), 1 => Just(json!(1.234)), 1 => Just(json!("0.1")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The data tables are a function of the items that stand: not of their order, nor of versions that are gone.
    #[test]
    fn any_history_of_the_same_items_gives_the_same_tables(
        items in proptest::collection::vec(
            (proptest::collection::vec(proptest::collection::vec((cells(), cells()), 1..3), 1..3), any::<bool>()), 1..6),
        order in any::<prop::sample::Index>(),
        swap in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let make = |at: usize, version: usize| {
                let (versions, wide) = &items[at];
                let headers: &[&str] = if *wide { &["N", "V", "Empty"] } else { &["N", "V"] };
                let rows: Vec<Value> = versions[version]
                    .iter()
                    .map(|(a, b)| if *wide { json!([a, b, ""]) } else { json!([a, b]) })
                    .collect();
                job(&format!("{at}.pdf"), u32::try_from(version).unwrap(), headers, Value::from(rows))
            };
            let (_one, plain, plain_path) = fresh();
            let (_two, mixed, mixed_path) = fresh();
            for (at, item) in items.iter().enumerate() {
                plain.write(&make(at, item.0.len() - 1)).await.unwrap();
            }
            let shift = order.index(items.len());
            let mut places: Vec<usize> = (0..items.len()).map(|at| (at + shift) % items.len()).collect();
            if swap {
                places.reverse();
            }
            for version in 0..2 {
                for &at in &places {
                    if version < items[at].0.len() {
                        mixed.write(&make(at, version)).await.unwrap();
                    }
                }
            }
            let one = dump(&plain_path).await;
            let two = dump(&mixed_path).await;
            prop_assert_eq!(one, two);
            let expected: Vec<Expectation> = (0..items.len()).map(|at| expectation(&make(at, items[at].0.len() - 1))).collect();
            let verified = mixed.verify(expected).await.unwrap();
            prop_assert_eq!(verified.differences, vec![]);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn an_item_that_a_person_took_out_of_the_ledger_is_written_again_and_not_doubled() {
    let (_folder, database, path) = fresh();
    let wrote = job("a.pdf", 1, &["a"], json!([["1"], ["2.50"], ["3", "bad"]]));
    database.write(&wrote).await.unwrap();
    let before = dump(&path).await;
    sql(&path, "delete from _ollmcp_ledger").await;
    assert!(!database.stands(&wrote.key.identity).await.unwrap());
    assert_eq!(database.write(&wrote).await.unwrap().replaced, 2);
    assert_eq!(dump(&path).await, before);
    assert_eq!(one(&path, "select count(*) from _ollmcp_rejects").await, "1");
    assert_eq!(database.verify(vec![expectation(&wrote)]).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_column_that_a_person_added_with_capitals_is_taken_over_once() {
    let (_folder, database, path) = fresh();
    let named = |item: &str, headers: &[&str], rows| WriteJob {
        target: Target::Named("t".into()),
        ..job(item, 1, headers, rows)
    };
    database.write(&named("a.pdf", &["a"], json!([["1"]]))).await.unwrap();
    sql(&path, "alter table t add column Note integer").await;
    let jobs =
        [named("b.pdf", &["a", "note"], json!([["2", "7.50"]])), named("c.pdf", &["note"], json!([["x"], ["8"]]))];
    for job in &jobs {
        database.write(job).await.unwrap();
    }
    assert_eq!(
        sql(&path, "select a, note from t order by _file, _row").await,
        [["1", "NULL"], ["2", "7.50"], ["NULL", "x"], ["NULL", "8"]]
    );
    assert_eq!(database.verify(jobs.iter().map(expectation).collect()).await.unwrap().differences, []);
}

#[tokio::test]
async fn a_hundred_thousand_rows_of_one_item_are_one_transaction() {
    let (_folder, database, path) = fresh();
    let rows: Vec<Value> =
        (0..100_000).map(|n| json!([n.to_string(), "2024-01-02", format!("{n}.50"), "words"])).collect();
    let wrote = job("big.pdf", 1, &["n", "d", "v", "t"], Value::from(rows));
    let start = std::time::Instant::now();
    assert_eq!(database.write(&wrote).await.unwrap().rows, 100_000);
    println!("wrote 100,000 rows in {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let verified = database.verify(vec![expectation(&wrote)]).await.unwrap();
    println!("verified them in {:?}", start.elapsed());
    assert_eq!((verified.rows, verified.differences), (100_000, vec![]));
    let start = std::time::Instant::now();
    database.write(&job("small.pdf", 1, &["n", "d", "v", "t"], json!([["x", "", "y", ""]]))).await.unwrap();
    println!("widened two columns of them to text in {:?}", start.elapsed());
    let name = only_table(&path).await;
    assert_eq!(one(&path, &format!("select v from \"{name}\" where n = '77'")).await, "77.50");
}
