//! The quality of `ollmcp call pdf_extract.extract_tables` on real documents, and its patience with hostile ones: judged
//! by the scripts that judge any other program.

use super::*;

/// The command line as a person types it, from a folder that is not the files'.
fn typed() -> String {
    format!("{OLLMCP} call pdf_extract.extract_tables path={{pdf}} --json")
}

fn python(bench: &Bench, script: &str, args: &[&str]) -> Told {
    let script = repository().join("tests/tools").join(script).display().to_string();
    bench.foreign("python3", std::iter::once(script.as_str()).chain(args.iter().copied())).output().unwrap().into()
}

fn fixtures(inside: &str) -> String {
    repository().join("tests/fixtures").join(inside).display().to_string()
}

#[test]
fn tables_are_found_at_least_as_well_as_by_the_engine_alone() {
    let bench = Bench::new();
    let (cases, found) = (fixtures("pdf_tables/cases"), bench.project("found").display().to_string());
    let scores = bench.project("scores.json").display().to_string();
    let run = ["run", "--truth", &cases, "--cmd", &typed(), "--out", &found, "--jobs", "2"];
    python(&bench, "score_tables.py", &run).exits(0);
    let score = ["score", "--truth", &cases, "--pred", &found, "--json", &scores];
    let told = python(&bench, "score_tables.py", &score).exits(0);
    let scores: Value = serde_json::from_slice(&fs::read(scores).unwrap()).unwrap();
    // Adjacency and whole rows of pdfni 0.2.0 unaided on the same half of the documents.
    for (group, measure, bar) in
        [("human", "adj_f1", 0.902), ("checked", "adj_f1", 0.898), ("ALL+", "adj_f1", 0.910), ("ALL+", "row_f1", 0.855)]
    {
        let reached = scores[group][measure].as_f64().unwrap_or_else(|| panic!("no {group} {measure} in {scores}"));
        assert!(reached >= bar, "{group} {measure}: {reached} is below {bar}\n{}", told.out);
    }
    assert_eq!(scores["negative"]["false_tables"], 0, "{scores}");
}

#[test]
fn no_hostile_file_is_late_crashes_or_takes_the_memory() {
    let bench = Bench::new();
    let results = bench.project("results.json").display().to_string();
    let files = fixtures("pdf_hostile/files");
    let args = ["--cmd", &typed(), &files, "--own", "--json", &results];
    let told = python(&bench, "run_hostile.py", &args).exits(0);
    let results: Value = serde_json::from_slice(&fs::read(results).unwrap()).unwrap();
    assert!(results.as_object().unwrap().len() > 90, "{}", told.out);
    told.says(", 0 failed; ").says("text recovered from 24 of 24");
    assert_eq!(results["own_bomb_text.pdf"]["rc"], 1);
}

#[test]
fn a_hostile_file_in_a_batch_costs_one_item_and_is_named_with_its_reason() {
    let bench = Bench::new();
    let hostile = ["bomb_text", "form_fanout", "grid_flood", "pages_deep", "zeros", "truncated"];
    let only = format!("--only={}", hostile.join(","));
    python(&bench, "make_hostile.py", &[&bench.project("in").display().to_string(), &only]).exits(0);
    for name in ["invoice_0101.pdf", "invoice_0104.pdf", "statement_0107.pdf"] {
        bench.file(&format!("in/{name}"), fs::read(repository().join("plans/samples/january").join(name)).unwrap());
    }
    let plan = fs::read_to_string(repository().join("plans/pdf_tables.yaml")).unwrap();
    bench.file("p.yaml", plan.replace("tolerate: \"10%\"", "tolerate: \"90%\""));
    let report = bench.ollmcp(["--json", "run", "p.yaml", "-i", "folder=in"]).exits(3).json();
    println!("{report}");
}
