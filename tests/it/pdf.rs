//! PDF files through the worker pool of the real binary: figures not below the reader's own, hostile files as ordinary
//! outcomes, samples equal to their truth.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not see as such")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ollmcp::domain::failure::FailureKind;
use ollmcp::pdf::{Extraction, PageSet, PdfError, ReadOptions, WorkerLimits, Workers};
use serde_json::Value;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workers(limits: WorkerLimits) -> Workers {
    Workers::new(env!("CARGO_BIN_EXE_ollmcp").into(), vec!["__pdf-worker".to_owned()], limits)
}

fn one_worker() -> WorkerLimits {
    WorkerLimits { workers_max: 1, ..WorkerLimits::default() }
}

async fn tables(workers: &Workers, path: &Path) -> Result<Extraction, PdfError> {
    workers.tables(path, &path.to_string_lossy(), ReadOptions::default()).await
}

fn pdfs_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "pdf"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

fn python(args: &[&dyn AsRef<std::ffi::OsStr>]) -> std::process::Output {
    let output = Command::new("python3").args(args.iter().map(|arg| arg.as_ref())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The attacks of `make_hostile.py`, or some of them.
fn attacks(into: &Path, only: &str) {
    let tool = top().join("tests/tools/make_hostile.py");
    if only.is_empty() {
        python(&[&tool, &into]);
    } else {
        python(&[&tool, &into, &"--only", &only]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_on_known_tables_are_not_below_those_of_the_reader_alone() {
    let (cases, predictions) = (top().join("tests/fixtures/pdf_tables/cases"), tempfile::tempdir().unwrap());
    let workers = workers(WorkerLimits::default());
    let started = Instant::now();
    let files = pdfs_in(&cases);
    for path in &files {
        if let Ok(extraction) = tables(&workers, path).await {
            let to = predictions.path().join(path.file_stem().unwrap()).with_extension("json");
            let name = to.to_string_lossy().replace(".json", "");
            std::fs::write(format!("{name}.json"), serde_json::to_vec(&extraction).unwrap()).unwrap();
        }
    }
    println!("{} files in {:?}", files.len(), started.elapsed());
    let figures = predictions.path().join("figures");
    let tool = top().join("tests/tools/score_tables.py");
    let output = python(&[&tool, &"score", &"--truth", &cases, &"--pred", &predictions.path(), &"--json", &figures]);
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let figures: Value = serde_json::from_slice(&std::fs::read(figures).unwrap()).unwrap();
    let figure = |kind: &str, name: &str| figures["summary"][kind][name].as_f64().unwrap();
    // pdfni 0.2.0 unaided on the same files.
    for (kind, name, at_least) in
        [("human", "adj_f1", 0.902), ("checked", "adj_f1", 0.898), ("ALL+", "adj_f1", 0.910), ("ALL+", "row_f1", 0.855)]
    {
        assert!(figure(kind, name) >= at_least, "{kind} {name}: {} < {at_least}", figure(kind, name));
    }
    assert!(figure("negative", "false") < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_file_ends_as_an_ordinary_outcome_and_text_is_recovered() {
    let own = tempfile::tempdir().unwrap();
    attacks(own.path(), "");
    let folder = top().join("tests/fixtures/pdf_hostile/files");
    let expect: Value = serde_json::from_slice(&std::fs::read(folder.join("expect.json")).unwrap()).unwrap();
    let workers = workers(WorkerLimits { cpu_ms: 15_000, ..WorkerLimits::default() });
    let mut lost = Vec::new();
    let files: Vec<PathBuf> = pdfs_in(&folder).into_iter().chain(pdfs_in(own.path())).collect();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let outcome = tokio::time::timeout(Duration::from_secs(60), tables(&workers, path)).await.expect(&name);
        let letters = match &outcome {
            Ok(extraction) => extraction.text.concat().chars().filter(|letter| !letter.is_whitespace()).count(),
            Err(PdfError::NoWorker { message }) => panic!("{name}: {message}"),
            Err(_) => 0,
        };
        if expect[&name]["text"] == true && letters < 3 {
            lost.push(name);
        }
    }
    assert_eq!(lost, Vec::<String>::new(), "text of these can be read");
    assert!(files.len() > 100);
    assert!(workers.started() < 20, "{} workers for {} files", workers.started(), files.len());
}

#[tokio::test]
async fn a_bomb_is_told_by_what_it_used_up() {
    let own = tempfile::tempdir().unwrap();
    attacks(own.path(), "bomb_text,form_fanout");
    let bomb = pdfs_in(own.path()).into_iter().find(|path| path.to_string_lossy().contains("bomb_text")).unwrap();
    let fanout = pdfs_in(own.path()).into_iter().find(|path| path.to_string_lossy().contains("form_fanout")).unwrap();

    let small = workers(WorkerLimits { address_space_bytes: 320 << 20, ..one_worker() });
    assert!(matches!(tables(&small, &bomb).await, Err(PdfError::Memory { mib: 320 })));

    let short = workers(WorkerLimits { cpu_ms: 200, address_space_bytes: 8 << 30, ..one_worker() });
    let error = tables(&short, &fanout).await.unwrap_err();
    assert_eq!(error, PdfError::Time { milliseconds: 200, clock: "CPU".to_owned() });
    assert_eq!(error.kind(), FailureKind::Timeout);

    let impatient = workers(WorkerLimits { wall_ms: 100, address_space_bytes: 8 << 30, ..one_worker() });
    let error = tables(&impatient, &fanout).await.unwrap_err();
    assert_eq!(error, PdfError::Time { milliseconds: 100, clock: "wall".to_owned() });

    let good = top().join("plans/samples/january/invoice_0101.pdf");
    assert_eq!(tables(&short, &good).await.unwrap().tables.len(), 1, "the pool goes on");
    assert_eq!(short.started(), 2);
}

#[tokio::test]
async fn one_worker_reads_many_files() {
    let workers = workers(one_worker());
    for path in pdfs_in(&top().join("plans/samples/january")) {
        tables(&workers, &path).await.unwrap();
    }
    assert_eq!(workers.started(), 1);
}

#[tokio::test]
async fn a_worker_that_has_grown_or_served_enough_is_replaced() {
    let good = top().join("plans/samples/january/invoice_0101.pdf");
    for limits in
        [WorkerLimits { grown_bytes: 1, ..one_worker() }, WorkerLimits { files_per_worker_max: 1, ..one_worker() }]
    {
        let workers = workers(limits);
        tables(&workers, &good).await.unwrap();
        tables(&workers, &good).await.unwrap();
        assert_eq!(workers.started(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_file_costs_that_file_only() {
    let own = tempfile::tempdir().unwrap();
    attacks(own.path(), "form_fanout");
    let slow = pdfs_in(own.path()).remove(0);
    let workers = workers(WorkerLimits { address_space_bytes: 8 << 30, ..one_worker() });
    let good = top().join("plans/samples/january/invoice_0101.pdf");
    let (outcome, ()) = tokio::join!(tables(&workers, &slow), async {
        loop {
            if let [pid] = workers.busy()[..] {
                assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let error = outcome.unwrap_err();
    assert!(matches!(&error, PdfError::Crash { message } if message.contains("killed from outside")), "{error}");
    assert_eq!(tables(&workers, &good).await.unwrap().tables.len(), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_its_worker_with_it() {
    let own = tempfile::tempdir().unwrap();
    attacks(own.path(), "form_fanout");
    let slow = pdfs_in(own.path()).remove(0);
    let workers = workers(WorkerLimits { address_space_bytes: 8 << 30, ..one_worker() });
    let pid = tokio::select! {
        outcome = tables(&workers, &slow) => panic!("{outcome:?}"),
        pid = async {
            loop {
                if let [pid] = workers.busy()[..] {
                    return pid;
                }
                tokio::task::yield_now().await;
            }
        } => pid,
    };
    assert!(workers.busy().is_empty());
    let deadline = Instant::now() + Duration::from_secs(10);
    let is_alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while is_alive() {
        assert!(Instant::now() < deadline, "worker {pid} lives on");
        tokio::task::yield_now().await;
    }
}

#[track_caller]
fn assert_kind(outcome: Result<Extraction, PdfError>, kind: FailureKind, says: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_says_why_by_its_kind() {
    let workers = workers(WorkerLimits { file_bytes_max: 3 << 20, ..one_worker() });
    let february = top().join("plans/samples/february");
    let hostile = top().join("tests/fixtures/pdf_hostile/files");
    let cases = top().join("tests/fixtures/pdf_tables/cases");
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.pdf");
    std::fs::write(&large, vec![b'%'; (3 << 20) + 1]).unwrap();
    for (path, kind, says) in [
        (february.join("invoice_0221.pdf"), FailureKind::Unworkable, "needs OCR"),
        (cases.join("neg_js_TAMReview.pdf"), FailureKind::Unworkable, "text not readable"),
        (february.join("invoice_0222.pdf"), FailureKind::ToolError, "damaged file"),
        (february.join("invoice_0223.pdf"), FailureKind::ToolError, "not a PDF"),
        (hostile.join("no_such.pdf"), FailureKind::Missing, "cannot read the file"),
        (folder.path().to_owned(), FailureKind::Missing, "not an ordinary file"),
        (large, FailureKind::TooLarge, "the limit is 3145728"),
    ] {
        assert_kind(tables(&workers, &path).await, kind, says);
    }
    let three = ReadOptions { pages: Some(PageSet::parse("3").unwrap()), ..ReadOptions::default() };
    let good = top().join("plans/samples/january/invoice_0101.pdf");
    assert_kind(workers.tables(&good, "", three).await, FailureKind::BadInput, "the file has 1 page");
    assert_eq!(workers.started(), 1, "none of these costs a worker");
}

#[tokio::test]
async fn chosen_pages_are_read_with_their_own_numbers() {
    let workers = workers(one_worker());
    let path = top().join("plans/samples/january/statement_0103.pdf");
    let all = tables(&workers, &path).await.unwrap();
    assert!(all.pages >= 2, "{}", all.pages);
    let options = ReadOptions { pages: Some(PageSet::parse("2").unwrap()), ..ReadOptions::default() };
    let second = workers.tables(&path, "x", options.clone()).await.unwrap();
    assert_eq!((second.pages, second.text.len()), (all.pages, 1));
    assert_eq!(second.text[0], all.text[1]);
    assert_eq!(second.tables[0].rows, all.tables.iter().find(|table| table.page == 2).unwrap().rows);
    assert!(second.tables.iter().all(|table| table.page == 2));
    let layer = workers.text(&path, options).await.unwrap();
    assert_eq!((layer.numbers, layer.text[0].as_str()), (vec![2], all.text[1].as_str()));
}

#[tokio::test]
async fn an_encrypted_file_opens_with_its_password_and_says_so_without() {
    let workers = workers(one_worker());
    let own = tempfile::tempdir().unwrap();
    let path = own.path().join("locked.pdf");
    std::fs::copy(top().join("tests/fixtures/pdf_locked/locked.pdf"), &path).unwrap();
    assert_kind(tables(&workers, &path).await, FailureKind::Unworkable, "needs a password");
    let with = |password: &str| ReadOptions { password: Some(password.to_owned()), ..ReadOptions::default() };
    let wrong = workers.tables(&path, "", with("wrong")).await;
    assert_kind(wrong, FailureKind::Unworkable, "password does not open it");
    let open = workers.tables(&path, "", with("sesame")).await.unwrap();
    assert_eq!(open.tables[0].headers, ["Item", "Qty", "Amount"]);
    let info = workers.info(&path, ReadOptions::default()).await.unwrap();
    assert!(info.encrypted && info.pages == 0);
    let info = workers.info(&path, with("sesame")).await.unwrap();
    assert!(info.encrypted && info.pages == 1 && info.has_text);
}

#[tokio::test]
async fn facts_of_a_scan_and_of_an_invoice_differ() {
    let workers = workers(one_worker());
    let scan =
        workers.info(&top().join("plans/samples/february/invoice_0221.pdf"), ReadOptions::default()).await.unwrap();
    assert!(!scan.has_text && scan.pictures == 1 && scan.pages == 1);
    let invoice =
        workers.info(&top().join("plans/samples/january/invoice_0101.pdf"), ReadOptions::default()).await.unwrap();
    assert!(invoice.has_text && invoice.pictures == 0 && !invoice.hidden_text);
    assert!(invoice.producer.unwrap().contains("ReportLab"));
}

/// One comma-separated line, with quotes.
fn fields(line: &str) -> Vec<String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field)),
            _ => field.push(letter),
        }
    }
    out.push(field);
    out
}

fn truth(month: &str, name: &str) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(top().join(format!("plans/samples/truth/{month}/truth_{name}.csv"))).unwrap();
    let mut lines = text.lines().map(fields);
    let head = lines.next().unwrap();
    lines.map(|line| head.iter().cloned().zip(line).collect()).collect()
}

#[tokio::test]
async fn samples_give_every_record_of_their_truth_and_no_other_rows() {
    let workers = workers(WorkerLimits::default());
    for month in ["january", "february"] {
        let mut by_file: HashMap<String, Vec<HashMap<String, String>>> = HashMap::new();
        for record in truth(month, "records") {
            by_file.entry(record["file"].clone()).or_default().push(record);
        }
        for about in truth(month, "files") {
            let path = top().join("plans/samples").join(month).join(&about["file"]);
            let extraction = tables(&workers, &path).await.unwrap();
            let plain = |cell: &str| {
                let plain = if about["layout"] == "euro" {
                    cell.replace('.', "").replace(',', ".")
                } else {
                    cell.replace(',', "")
                };
                plain.trim_start_matches('-').to_owned()
            };
            let rows: Vec<Vec<String>> = extraction
                .tables
                .iter()
                .flat_map(|table| &table.rows[table.header_rows as usize..])
                .map(|row| row.iter().flat_map(|cell| [cell.clone(), plain(cell)]).collect())
                .collect();
            assert_eq!(rows.len(), about["table_rows"].parse::<usize>().unwrap(), "{month}/{}", about["file"]);
            for record in &by_file[&about["file"]] {
                let amount = record["amount"].trim_start_matches('-').to_owned();
                let found = rows.iter().filter(|row| {
                    [&record["item"], &record["description"], &amount].iter().all(|wanted| row.contains(wanted))
                });
                assert!(found.count() >= 1, "{month}: {record:?}");
            }
            let names: Vec<&str> =
                extraction.tables.iter().flat_map(|table| &table.headers).map(String::as_str).collect();
            assert!(!names.iter().any(|name| name.starts_with("column_")), "{month}/{}: {names:?}", about["file"]);
        }
    }
}

/// A PDF with `pages` pages that all show the same lines; readers find its objects without a table of them.
fn pages_of_text(pages: usize, lines: usize, line: &str) -> Vec<u8> {
    let mut content = String::from("BT /F1 6 Tf 7 TL 10 780 Td\n");
    for number in 0..lines {
        content.push_str(&format!("({number} {line}) Tj T*\n"));
    }
    content.push_str("ET");
    let kids: String = (0..pages).map(|page| format!("{} 0 R ", 10 + page)).collect();
    let mut pdf = format!(
        "%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n\
         2 0 obj\n<< /Type /Pages /Kids [{kids}] /Count {pages} >>\nendobj\n\
         4 0 obj\n<< /Length {} >>\nstream\n{content}\nendstream\nendobj\n\
         5 0 obj\n<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>\nendobj\n",
        content.len()
    );
    for page in 0..pages {
        pdf.push_str(&format!(
            "{} 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
             /Resources << /Font << /F1 5 0 R >> >> >>\nendobj\n",
            10 + page
        ));
    }
    pdf.push_str("trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n0\n%%EOF\n");
    pdf.into_bytes()
}

#[tokio::test]
async fn a_file_of_many_pages_is_read_in_pieces_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.pdf");
    std::fs::write(&path, pages_of_text(700, 60, &"words and words ".repeat(5))).unwrap();
    // At once these pages would need about four times as much.
    let workers = workers(WorkerLimits { address_space_bytes: 640 << 20, ..one_worker() });
    let extraction = tables(&workers, &path).await.unwrap();
    assert_eq!((extraction.pages, extraction.text.len()), (700, 700));
    assert!(extraction.text.iter().all(|text| text.lines().count() == 60));
}

mod server {
    //! The same over MCP, as a client sees it.

    use ollmcp::tool::{LINE_BYTES_MAX, REASON, SPILL_DIR_VARIABLE, SPILLED_FILE};
    use rmcp::ServiceExt;
    use rmcp::model::{CallToolRequestParams, CallToolResult};
    use rmcp::service::{RoleClient, RunningService};
    use rmcp::transport::TokioChildProcess;
    use serde_json::{Map, json};

    use super::*;

    async fn client(folder: &Path, spill_dir: Option<&Path>) -> RunningService<RoleClient, ()> {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ollmcp"));
        command.args(["tool-server", "pdf_extract"]).current_dir(folder).env_remove(SPILL_DIR_VARIABLE);
        if let Some(dir) = spill_dir {
            command.env(SPILL_DIR_VARIABLE, dir);
        }
        ().serve(TokioChildProcess::new(command).unwrap()).await.unwrap()
    }

    async fn call(client: &RunningService<RoleClient, ()>, tool: &'static str, arguments: Value) -> CallToolResult {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap()
    }

    #[tokio::test]
    async fn results_fit_their_schemas_and_relative_paths_count_from_the_folder() {
        let client = client(&top().join("plans/samples"), None).await;
        let tools = client.list_all_tools().await.unwrap();
        let path = "january/statement_0103.pdf";
        for (name, arguments) in [
            ("extract_tables", json!({"path": path})),
            ("extract_text", json!({"path": path, "pages": "1"})),
            ("info", json!({"path": path})),
        ] {
            let tool = tools.iter().find(|tool| tool.name == name).unwrap();
            let result = call(&client, name, arguments.clone()).await;
            let value = result.structured_content.unwrap();
            let output = Value::Object(Map::clone(tool.output_schema.as_ref().unwrap()));
            assert!(jsonschema::is_valid(&output, &value), "{name}: {value}");
            let input = Value::Object(Map::clone(&tool.input_schema));
            assert!(jsonschema::is_valid(&input, &arguments), "{name}");
            if name == "extract_tables" {
                assert_eq!(value["tables"][0]["file"], path);
            }
        }
        client.cancel().await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_names_its_kind_and_what_to_try() {
        let client = client(&top().join("plans/samples/february"), None).await;
        for (arguments, kind, says) in [
            (json!({"path": "invoice_0221.pdf"}), "unworkable", "OCR"),
            (json!({"path": "invoice_0222.pdf"}), "tool_error", "damaged file"),
            (json!({"path": "nowhere.pdf"}), "missing", "nowhere.pdf"),
            (json!({"path": "invoice_0201.pdf", "pages": "x"}), "bad_input", "1,3-5"),
            (json!({"file": "invoice_0201.pdf"}), "bad_input", "file"),
        ] {
            let result = call(&client, "extract_tables", arguments).await;
            assert_eq!(result.is_error, Some(true));
            assert_eq!(result.meta.as_ref().unwrap().0[REASON], kind);
            let text = result.content[0].as_text().unwrap().text.clone();
            assert!(text.contains(says), "{text}");
        }
        client.cancel().await.unwrap();
    }

    #[tokio::test]
    async fn a_result_over_the_line_limit_is_spilled_or_cut() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("long.pdf"), pages_of_text(400, 100, &"some words ".repeat(3))).unwrap();
        let spill_dir = tempfile::tempdir().unwrap();

        let with_folder = client(folder.path(), Some(spill_dir.path())).await;
        let result = call(&with_folder, "extract_text", json!({"path": "long.pdf"})).await;
        let name = result.meta.as_ref().unwrap().0[SPILLED_FILE].as_str().unwrap().to_owned();
        assert!(!name.contains('/'), "{name}");
        let whole: Value = serde_json::from_slice(&std::fs::read(spill_dir.path().join(name)).unwrap()).unwrap();
        assert!(whole["text"].as_array().unwrap().len() == 400);
        assert_eq!(
            (&result.structured_content.unwrap()["spilled"], &whole["truncated"]),
            (&json!(true), &json!(false))
        );
        with_folder.cancel().await.unwrap();

        let without = client(folder.path(), None).await;
        let result = call(&without, "extract_text", json!({"path": "long.pdf"})).await;
        assert!(serde_json::to_vec(&result).unwrap().len() <= LINE_BYTES_MAX);
        assert_eq!(result.structured_content.unwrap()["truncated"], true);
        without.cancel().await.unwrap();
    }

    #[tokio::test]
    async fn many_calls_at_once_are_all_answered() {
        let client = client(&top().join("plans/samples/january"), None).await;
        let files = pdfs_in(&top().join("plans/samples/january"));
        let calls = files.iter().map(|path| call(&client, "extract_tables", json!({"path": path})));
        for result in futures::future::join_all(calls).await {
            assert_ne!(result.is_error, Some(true));
        }
        client.cancel().await.unwrap();
    }
}
