//! A plan that is printed and read again is the same plan; the published pages are those of the code.

use std::collections::BTreeMap;
use std::path::Path;

use ollmcp::domain::ids::StepId;
use ollmcp::domain::kinds::Grant;
use ollmcp::domain::kinds::TaskKind;
use ollmcp::domain::ladder::WhenLimited;
use ollmcp::domain::plan::{
    Agree, Check, ForEach, Input, InputKind, ModelServerKind, ModelServerSpec, OnError, Plan, RawPlan, RepeatClass,
    Retry, Step, StepKind, Tolerate,
};
use ollmcp::plan_file::keys::{KEYS, Place, example};
use ollmcp::plan_file::{Catalog, explain, keys_markdown, read, resolve_inputs, schema, to_json, to_yaml};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{catalog, fixtures, good, same_as_file};

fn without_digest(plan: &RawPlan) -> RawPlan {
    RawPlan { source_digest: String::new(), ..plan.clone() }
}

#[track_caller]
fn survives(plan: &RawPlan, catalog: &Catalog) {
    let expected = without_digest(plan);
    for text in [to_yaml(plan), to_json(plan).to_string(), format!("{:#}", to_json(plan))] {
        // JSON allows these characters as they are, YAML does not; the YAML printer escapes them.
        if text.contains(|c: char| matches!(c, '\u{7f}'..='\u{9f}')) {
            continue;
        }
        let again = read(text.as_bytes(), catalog)
            .unwrap_or_else(|faults| panic!("{}\n{text}", faults.render("printed", false)));
        assert_eq!(without_digest(again.plan.raw()), expected, "{text}");
    }
}

#[test]
fn every_good_plan_survives_printing() {
    for entry in std::fs::read_dir(fixtures().join("good")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        survives(read(&bytes, &catalog()).unwrap().plan.raw(), &catalog());
    }
}

#[test]
fn a_plan_survives_the_journal() {
    let plan = good(&std::fs::read_to_string(fixtures().join("good/every_word.yaml")).unwrap()).plan;
    let text = serde_json::to_string(plan.raw()).unwrap();
    assert_eq!(&serde_json::from_str::<RawPlan>(&text).unwrap(), plan.raw());
}

/// Any JSON without expressions in it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1.0e9..1.0e9_f64).prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{0,8}",
        "\\PC{0,12}",
        Just("no".to_owned()),
        Just("1_000".to_owned()),
        Just("012".to_owned()),
        Just("null".to_owned()),
        Just("- a: b # c".to_owned()),
        Just("a\nb\t\"c\" \\ 'd'".to_owned()),
        Just(" lead and trail ".to_owned()),
        Just("\u{7f}\u{85}\u{2028}\u{feff}\r".to_owned()),
        Just("&a *b !c |d >e %f @g `h".to_owned()),
    ]
    .prop_filter("expressions are other tests' affair", |text| !text.contains("${{") && !text.contains('\0'))
}

fn any_step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        any_json().prop_map(|template| StepKind::Value { template }),
        prop::collection::vec((any_text(), any_json()), 0..3)
            .prop_map(|with| StepKind::Tool { name: "web.get".to_owned(), with: with.into_iter().collect() }),
        (prop::option::of(any_text()), prop::collection::vec((any_text(), any_json()), 0..3)).prop_map(
            |(prompt, with)| StepKind::Agent {
                name: "CODER".to_owned(),
                prompt: prompt.map(|prompt| format!("do this:\n  {prompt}")),
                with: with.into_iter().collect(),
            }
        ),
    ];
    let for_each = prop::option::of(prop_oneof![
        prop::collection::vec(any_json(), 0..3).prop_map(|list| ForEach::List(Value::from(list))),
        (0..1_000_u64).prop_map(|count| ForEach::Range(json!(count))),
    ]);
    let tolerate = prop::option::of(prop_oneof![
        (0..1_000_u32).prop_map(Tolerate::Count),
        (0..=10_000_u32).prop_map(Tolerate::BasisPoints),
    ]);
    let options = (1..=1_024_u32, 1..=604_800_000_u64, 0..=100_u32, 1..1_000_u64, 1_000..86_400_000_u64);
    let on_error = prop_oneof![Just(OnError::Stop), Just(OnError::Continue), Just(OnError::Quarantine)];
    let flags = (prop::option::of(any::<bool>()), prop::option::of(1..=100_u32), prop::option::of(any::<bool>()));
    let checks = prop::collection::vec(
        prop_oneof![
            Just(Check::Expression("output.a == 'b' and inputs.n > 1".to_owned())),
            any_text().prop_map(|path| Check::File { path, exists: Some(false), parses: None, changed: None }),
            (any_text(), any_json()).prop_map(|(query, equals)| Check::Sql {
                database: "sqlite:x.db".to_owned(),
                query,
                equals
            }),
        ],
        0..3,
    );
    (kind, for_each, tolerate, options, on_error, flags, checks, any_asking()).prop_map(
        |(kind, for_each, tolerate, options, on_error, flags, mut done_when, asking)| {
            let asking = asking.filter(|_| matches!(kind, StepKind::Agent { prompt: Some(_), .. }));
            let (agree, tools, grants, idle_timeout_ms, changed) = asking.unwrap_or_default();
            if changed.is_some() {
                done_when.push(Check::File { path: "out/a.rs".to_owned(), exists: None, parses: None, changed });
            }
            let uses_input = done_when.iter().any(|check| matches!(check, Check::Expression(_)));
            let input_refs = if uses_input { vec!["n".to_owned()] } else { Vec::new() };
            Step {
                id: StepId::from("x"),
                repeat: matches!(kind, StepKind::Tool { .. }).then_some(RepeatClass::Idempotent),
                kind,
                needs: Vec::new(),
                refs: Vec::new(),
                condition: flags.0.map(|flag| flag.to_string()),
                key: for_each.as_ref().map(|_| "k ${{ index }}".to_owned()),
                max_parallel: if for_each.is_some() { options.0 } else { 1 },
                for_each,
                timeout_ms: options.1,
                retry: Retry { transient_max: options.2, backoff_first_ms: options.3, backoff_max_ms: options.4 },
                on_error,
                tolerate: tolerate.filter(|_| on_error == OnError::Quarantine),
                critical: flags.0,
                threshold: flags.1,
                ladder: flags.1.map(|_| "default".to_owned()),
                done_when,
                all_done_when: Vec::new(),
                output_schema: flags.2.map(|_| json!({ "type": "object" })),
                reuse: flags.2,
                files: Vec::new(),
                agree,
                tools,
                grants,
                idle_timeout_ms,
                judge: None,
                task_kind: flags.1.map(|n| TaskKind::ALL[n as usize % TaskKind::ALL.len()]),
                claude: flags.0,
                local_only: flags.2.filter(|_| flags.0 != Some(true)),
                when_limited: flags.2.map(|parks| if parks { WhenLimited::Park } else { WhenLimited::Fail }),
                input_refs,
            }
        },
    )
}

type Asking = (Option<Agree>, Option<Vec<String>>, Option<Vec<Grant>>, Option<u64>, Option<bool>);

/// What goes with a prompt.
fn any_asking() -> impl Strategy<Value = Option<Asking>> {
    let with = prop::option::of("[a-z]{1,6}:[a-z0-9.:/_-]{1,12}")
        .prop_filter("a second model is local", |with| with.as_deref().is_none_or(|rung| !rung.starts_with("claude:")));
    let agree = prop::option::of(with.prop_map(|with| Agree { with }));
    let tools = prop::option::of(prop::sample::subsequence(vec!["fs.read", "fs.*", "web.get", "a.b.c"], 0..4));
    let tools = tools.prop_map(|tools| tools.map(|tools| tools.into_iter().map(str::to_owned).collect()));
    let grants = prop::option::of(prop::sample::subsequence(Grant::ALL.to_vec(), 0..=6));
    let idle = prop::option::of(1..=604_800_000_u64);
    prop::option::of((agree, tools, grants, idle, prop::option::of(any::<bool>())))
}

fn any_model_servers() -> impl Strategy<Value = BTreeMap<String, ModelServerSpec>> {
    let kind = prop_oneof![Just(ModelServerKind::Ollama), Just(ModelServerKind::Openai)];
    let url = "https?://[a-z0-9.-]{1,12}(:[1-9][0-9]{0,3})?(/[a-z0-9%._-]{0,8}){0,2}";
    let rest =
        (prop::option::of("[A-Z_][A-Z0-9_]{0,8}"), prop::option::of(1..=256_u32), prop::option::of(any::<bool>()));
    let server = (kind, url, rest).prop_map(|(kind, url, (key_env, slots, schema_bound))| ModelServerSpec {
        kind,
        url,
        key_env,
        slots,
        schema_bound,
    });
    let server = prop_oneof![4 => server, 1 => Just(ModelServerSpec::stand_in())];
    prop::collection::btree_map("[a-z_][a-z0-9_-]{0,6}", server, 0..4)
}

fn any_plan() -> impl Strategy<Value = RawPlan> {
    let default = any_json().prop_filter("null is no default", |value| !value.is_null());
    (
        prop::collection::vec(any_step(), 1..6),
        prop::collection::vec(any::<prop::sample::Index>(), 6),
        default,
        any_text(),
        any_model_servers(),
    )
        .prop_map(|(mut steps, needs, default, description, model_servers)| {
            for at in 0..steps.len() {
                steps[at].id = StepId::from(format!("step-{at}").as_str());
                if at > 0 {
                    steps[at].needs = vec![steps[needs[at].index(at)].id.clone()];
                }
            }
            let kind = match &default {
                Value::Bool(_) => InputKind::Boolean,
                Value::Number(number) if number.is_f64() => InputKind::Number,
                Value::Number(_) => InputKind::Integer,
                Value::Array(_) => InputKind::List,
                Value::Object(_) => InputKind::Object,
                _ => InputKind::String,
            };
            let input = Input {
                name: "n".to_owned(),
                kind,
                default: Some(default),
                description: description.clone(),
                local_only: false,
            };
            RawPlan {
                name: "plan".to_owned(),
                description,
                inputs: vec![input],
                steps,
                ladders: [("default".to_owned(), vec!["a:b".to_owned()])].into(),
                model_servers,
                source_digest: String::new(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_plan_reads_as_the_same_plan(plan in any_plan()) {
        survives(&plan, &Catalog::default());
        let plan = Plan::try_from(plan).unwrap();
        prop_assert!(!explain(&plan, 80).is_empty());
    }
}

#[test]
fn the_published_schema_and_reference_page_are_those_of_the_code() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    same_as_file(&docs.join("plan.schema.json"), &format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap()));
    same_as_file(&docs.join("reference/plan-keys.md"), &keys_markdown());
}

#[test]
fn the_schema_accepts_every_good_plan_and_knows_every_word() {
    let schema = jsonschema::draft202012::options().offline().build(&schema()).unwrap();
    for entry in std::fs::read_dir(fixtures().join("good")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let options = serde_saphyr::options! {
            strict_booleans: true, leading_zero_numbers_as_strings: true, underscored_numbers_as_strings: true,
        };
        let value: Value = serde_saphyr::from_str_with_options(&text, options).unwrap();
        let faults: Vec<_> =
            schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
    }
    assert!(!schema.is_valid(&json!({ "name": "a", "steps": [{ "id": "a", "value": 1, "done_whn": [] }] })));
    assert!(!schema.is_valid(&json!({ "name": "a", "steps": [{ "id": "a", "value": 1, "agree": true }] })));
    assert!(!schema.is_valid(&json!({ "name": "a", "steps": [{ "id": "a", "value": 1, "tool": "a.b" }] })));
}

/// A plan in which the example of one key stands where the key belongs.
fn plan_with(place: Place, name: &str, value: Value) -> Value {
    let mut step = json!({ "id": "a", "tool": "fs.list", "with": { "root": "x", "path": "y" } });
    let mut plan = json!({ "name": "p", "inputs": { "x": 1 } });
    let one = json!({ name: value });
    match place {
        Place::Plan => plan[name] = value,
        Place::Input => {
            plan["inputs"]["y"] = one;
            if matches!(name, "description" | "local_only") {
                plan["inputs"]["y"]["type"] = json!("string");
            }
        }
        Place::Defaults => plan["defaults"] = one,
        Place::Retry => step["retry"] = one,
        Place::Output => step["output"] = one,
        Place::ForEach => step["for_each"] = one,
        Place::Check if name == "count" => {
            step["for_each"] = json!([1]);
            step["all_done_when"] = json!([one]);
        }
        Place::Check => step["done_when"] = json!([one]),
        Place::FileCheck => {
            if name == "changed" {
                step = json!({ "id": "a", "agent": "CODER", "prompt": "p" });
            }
            step["done_when"] = json!([{ "file": { "path": "p" } }]);
            step["done_when"][0]["file"][name] = value;
        }
        Place::SqlCheck => {
            step["done_when"] = json!([{ "sql": { "database": "sqlite:x", "query": "select 1", "equals": 1 } }]);
            step["done_when"][0]["sql"][name] = value;
        }
        Place::Agree => step = json!({ "id": "a", "agent": "CODER", "prompt": "p", "agree": one }),
        Place::ModelServer => {
            plan["model_servers"] = json!({ "box": { "kind": "ollama", "url": "http://box" } });
            plan["model_servers"]["box"][name] = value;
        }
        Place::Step => {
            match name {
                "value" | "agent" => step = json!({ "id": "a" }),
                "prompt" | "agree" | "tools" | "grants" | "idle_timeout" => {
                    step = json!({ "id": "a", "agent": "CODER", "prompt": "p" });
                }
                "tolerate" => step["on_error"] = json!("quarantine"),
                "key" | "all_done_when" | "max_parallel" => step["for_each"] = json!([1]),
                _ => {}
            }
            step[name] = value;
        }
    }
    if plan.get("steps").is_none_or(|steps| steps == &json!([])) {
        plan["steps"] = json!([step, { "id": "b", "value": 1 }]);
    }
    plan
}

#[test]
fn the_table_of_keys_and_the_reader_agree_on_every_word() {
    let compiled = jsonschema::draft202012::options().offline().build(&schema()).unwrap();
    for key in KEYS {
        let plan = plan_with(key.place, key.name, example(key));
        let told = read(plan.to_string().as_bytes(), &Catalog::default());
        if key.is_built {
            if let Err(faults) = told {
                panic!("{}", faults.render(key.name, false));
            }
            assert!(compiled.is_valid(&plan), "the schema refuses the example of `{}`", key.name);
        } else {
            let told = told.expect_err(key.name).to_string();
            assert!(told.contains("not in this version"), "{}: {told}", key.name);
            assert!(!compiled.is_valid(&plan), "the schema accepts `{}`", key.name);
        }
    }
}

#[test]
fn inputs_of_a_run_are_read_by_type_and_all_faults_are_told() {
    let plan = good(
        "name: a\ninputs:\n  folder: { type: path }\n  n: { type: integer, default: 3 }\n  r: { type: number, default: 1 }\n  b: { type: boolean, default: false }\n  l: { type: list, default: [] }\n  o: { type: object, default: {} }\n  s: { type: string }\nsteps: [ { id: a, value: 1 } ]\n",
    )
    .plan;
    let given = |pairs: &[(&str, &str)]| {
        let given: Vec<_> = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        resolve_inputs(plan.raw(), &given).map_err(|faults| {
            faults
                .iter()
                .map(|fault| format!("{fault}{}", fault.hint().map(|hint| format!(" ({hint})")).unwrap_or_default()))
                .collect::<Vec<_>>()
        })
    };
    let values = given(&[
        ("folder", "Jan"),
        ("s", "007"),
        ("n", "18446744073709551615"),
        ("r", "1.50"),
        ("l", "[a, 1]"),
        ("o", "{\"a\": 1}"),
        ("b", "true"),
    ]);
    assert_eq!(
        Value::Object(values.unwrap()),
        json!({ "folder": "Jan", "n": 18_446_744_073_709_551_615_u64, "r": 1.5, "b": true, "l": ["a", 1], "o": { "a": 1 }, "s": "007" })
    );
    assert_eq!(
        given(&[
            ("foldr", "x"),
            ("n", "3.5"),
            ("b", "yes"),
            ("l", "{}"),
            ("o", "a: 1: 2"),
            ("n", "4"),
            ("r", "NaN"),
            ("zzz", "")
        ])
        .unwrap_err(),
        [
            "the plan has no input `foldr` (did you mean `folder`?)",
            "input `n` is a whole number, not `3.5`",
            "input `b` is `true` or `false`, not `yes`",
            "input `l` is a list, not `{}` (write JSON or YAML: `[1, 2]`)",
            "input `o` is a map, not `a: 1: 2` (write JSON or YAML: `{\"a\": 1}`)",
            "input `n` is given twice",
            "input `r` is a number, not `NaN`",
            "the plan has no input `zzz`",
            "these inputs must be given: `folder`, `s` (add -i folder=… -i s=…)",
        ]
    );
}

#[test]
fn a_plan_is_explained_as_a_drawing_or_by_level() {
    let plan = good(&std::fs::read_to_string(fixtures().join("good/pdf_tables.yaml")).unwrap()).plan;
    insta::assert_snapshot!(explain(&plan, 100), @r#"
    pdf_tables · 4 steps
    Every table of every PDF in a folder, into a database, once.
      input folder: path, default "plans/samples/january"
      input database: string, default "sqlite:tables.db"

                       ┌→[save ×]
                       │
    [find]─→[extract ×]┤
                       │
                       └→[review]

    find     tool fs.list · timeout 10m · checked by 1 done_when
    extract  tool pdf_extract.extract_tables · for each of steps.find.output.files · after find · 8 at once · timeout 10m · on_error quarantine, tolerate 10% · checked by schema
    save     agent DATABASE_WRITER · follows extract item by item · 4 at once · timeout 10m · critical · unchecked
    review   value · if steps.extract.quarantined > 0 · after extract · timeout 10m · unchecked
    "#);
    insta::assert_snapshot!(explain(&plan, 20), @r#"
    pdf_tables · 4 steps
    Every table of every PDF in a folder, into a database, once.
      input folder: path, default "plans/samples/january"
      input database: string, default "sqlite:tables.db"

    level 1 · 1 of 4 steps
      find  tool fs.list · timeout 10m · checked by 1 done_when
    level 2 · 1 of 4 steps
      extract  tool pdf_extract.extract_tables · for each of steps.find.output.files · after find · 8 at once · timeout 10m · on_error quarantine, tolerate 10% · checked by schema
    level 3 · 2 of 4 steps
      save  agent DATABASE_WRITER · follows extract item by item · 4 at once · timeout 10m · critical · unchecked
      review  value · if steps.extract.quarantined > 0 · after extract · timeout 10m · unchecked
    "#);
}

#[test]
fn twenty_thousand_steps_are_explained_quickly_and_shortly() {
    let mut text = String::from("name: large\nsteps:\n  - { id: s0, value: 1 }\n");
    for at in 1..20_000 {
        text.push_str(&format!("  - {{ id: s{at}, value: 1, needs: [s{}] }}\n", at / 2));
    }
    let plan = good(&text).plan;
    let start = std::time::Instant::now();
    let told = explain(&plan, 100);
    println!("explained in {:?}", start.elapsed());
    assert!(start.elapsed() < std::time::Duration::from_secs(2));
    assert!(told.lines().count() < 260, "{}", told.lines().count());
    assert!(told.ends_with("… and 19800 more steps on 16 levels\n"), "{}", &told[told.len() - 200..]);
}
