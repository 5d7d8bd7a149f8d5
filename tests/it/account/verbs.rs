//! `claude-usage` and `budget` from outside, and the `jq` lines of the pages on our usage file.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::*;

const OLLMCP: &str = env!("CARGO_BIN_EXE_ollmcp");

/// A home folder with the account in it, and a folder to stand in.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = tempdir().unwrap();
        fs::create_dir(home.path().join("work")).unwrap();
        Self(home)
    }

    fn account(&self) -> std::path::PathBuf {
        self.0.path().join(".ollmcp")
    }

    fn ollmcp(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(OLLMCP);
        command.args(args).current_dir(self.0.path().join("work")).env_clear();
        command.env("HOME", self.0.path()).env("TZ", "UTC");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn says(&self, args: &[&str], expected: &str) {
        let (code, out, err) = self.ollmcp(args);
        assert_eq!((code, out.as_str()), (0, expected), "{args:?}\n{err}");
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.ollmcp(args);
        assert_eq!(code, 0, "{out}{err}");
        serde_json::from_str(&out).unwrap()
    }
}

/// Three calls that add up to the documented page, and one on the day after.
async fn documented(folder: &Path, clock: &TestClock) {
    let account = open(folder, clock).await;
    for (number, reason, input, output, cost, model) in [
        (1, Reason::Fallback, 4_000, 1_000, 31_000, "claude-sonnet-5-5"),
        (2, Reason::Critical, 2_100, 892, 10_200, "claude-opus-5-5"),
        (1, Reason::Fallback, 321, 264, 10_200, "claude-sonnet-5-5"),
        (2, Reason::UserRequested, 1_000_000, 7, 1_500_000, "claude-opus-5-5"),
    ] {
        if reason == Reason::UserRequested {
            clock.passes(24 * HOUR_MS);
        }
        let asked = Ask { reason, model: model.into(), ..ask(number, 2_000_000, Limits::default()) };
        let reservation = granted(account.reserve(&asked).await);
        let spent = Spent {
            input_tokens: input,
            output_tokens: output,
            microdollars: cost,
            is_answered: true,
            ..Spent::default()
        };
        account.settle(reservation, &spent).await.unwrap();
        clock.passes(1_001);
    }
}

#[tokio::test]
async fn claude_usage_prints_the_documented_page_and_its_relatives() {
    let home = Home::new();
    home.says(&["claude-usage"], "No Claude usage today\n");
    assert!(!home.account().join("claude_account.db").exists(), "looking makes nothing");
    let clock = TestClock::days_ago(4);
    let first = clock.date();
    documented(&home.account(), &clock).await;
    let second = clock.date();
    home.says(&["claude-usage"], "No Claude usage today\n");
    let of_day = format!(
        "Claude Usage {first}:\n  Total Calls: 3\n  Input Tokens: 6,421\n  Output Tokens: 2,156\n  Estimated Cost: \
         $0.0514\n\n  Breakdown by "
    );
    let page = |rest: &str| format!("{of_day}{rest}");
    let day = ["claude-usage", "--day", &first];
    home.says(&day, &page("Reason:\n    fallback: 2 calls ($0.0412)\n    critical: 1 calls ($0.0102)\n"));
    let by = |word| [&day[..], &["--by", word]].concat();
    let models = "Model:\n    claude-sonnet-5-5: 2 calls ($0.0412)\n    claude-opus-5-5: 1 calls ($0.0102)\n";
    home.says(&by("model"), &page(models));
    home.says(&by("day"), &page(&format!("Day:\n    {first}: 3 calls ($0.0514)\n")));
    let runs = format!("Run:\n    {}: 2 calls ($0.0412)\n    {}: 1 calls ($0.0102)\n", run(1), run(2));
    home.says(&by("run"), &page(&runs));
    home.says(
        &["claude-usage", "--since", &first, "--by", "day"],
        &format!(
            "Claude Usage Since {first}:\n  Total Calls: 4\n  Input Tokens: 1,006,421\n  Output Tokens: 2,163\n  \
             Estimated Cost: $1.5514\n\n  Breakdown by Day:\n    {first}: 3 calls ($0.0514)\n    {second}: 1 calls \
             ($1.5000)\n"
        ),
    );
    home.says(&["claude-usage", "--since", "2999-02-01"], "No Claude usage since 2999-02-01\n");
    let told = home.json(&["--json", "claude-usage", "--since", &second]);
    assert_eq!((told["v"].as_u64(), told["calls"].as_u64()), (Some(1), Some(1)));
    assert_eq!((told["cost_usd"].as_f64(), told["groups"][0]["reason"].as_str()), (Some(1.5), Some("user_requested")));
    let (code, _, err) = home.ollmcp(&["claude-usage", "--day", "January"]);
    assert!(code == 2 && err.contains("`January` is no date"), "{err}");
    assert_eq!(home.ollmcp(&["claude-usage", "--day", &first, "--since", &first]).0, 2);
}

#[tokio::test]
async fn todays_page_and_the_budget_count_what_was_bought_just_now() {
    let home = Home::new();
    let (_, out, _) = home.ollmcp(&["budget"]);
    assert!(out.starts_with("this hour: 0 of 50 paid calls, 50 left\ntoday ("), "{out}");
    fs::create_dir_all(home.account()).unwrap();
    let config =
        r#"{"claude_integration": {"max_calls_per_hour": 4}, "budget": {"usd_per_run_max": 1, "warn_at_usd": 2}}"#;
    fs::write(home.account().join("config.json"), config).unwrap();
    let clock = ollmcp::account::SystemClock::new().unwrap();
    let options = Options { clock: Box::new(clock), zone: TimeZone::UTC };
    let account = Account::open_with(&home.account(), options).await.unwrap();
    bought(&account, &ask(0xabc << 100, 60_000, Limits::default()), 23_400).await;
    let held = granted(account.reserve(&ask(0xabc << 100, 60_000, Limits::default())).await);
    home.says(
        &["claude-usage"],
        "Claude Usage Today:\n  Total Calls: 1\n  Input Tokens: 1,234\n  Output Tokens: 500\n  Estimated Cost: \
         $0.0234\n\n  Breakdown by Reason:\n    fallback: 1 calls ($0.0234)\n",
    );
    let (code, out, err) = home.ollmcp(&["budget"]);
    assert_eq!((code, err.as_str()), (0, ""), "nothing of this is `not in this version`");
    for part in [
        "this hour: 1 of 4 paid calls, 2 left; the oldest leaves the hour in ",
        ": $0.0234 of $10.0000, $9.9166 left; the day ends in ",
        "said when a day passes: $2.0000\n",
        &format!("run {}: 1 paid call, $0.0234 of $1.0000, $0.9166 left\n", run(0xabc << 100)),
        "open: 1 call, at most $0.0600\n  extract[a.pdf] on claude-sonnet-5-5, at most $0.0600, for ",
        "ollmcp config set budget.usd_per_day_max DOLLARS\n",
    ] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    let told = home.json(&["--json", "budget", "0000abc0"]);
    assert_eq!((told["hour_calls_left"].as_u64(), told["runs"][0]["calls"].as_u64()), (Some(2), Some(1)));
    assert_eq!(home.ollmcp(&["budget", "ffff"]).0, 2);
    account.release(held).await.unwrap();
}

#[tokio::test]
async fn a_damaged_account_is_said_with_its_remedy() {
    let home = Home::new();
    fs::create_dir_all(home.account()).unwrap();
    fs::write(home.account().join("claude_account.db"), "a letter to a friend").unwrap();
    for verb in ["claude-usage", "budget"] {
        let (code, out, err) = home.ollmcp(&[verb]);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(
            err.contains("claude_account.db` is damaged") && err.contains("hint: ") && err.contains("mv "),
            "{err}"
        );
    }
}

/// Lines that read the usage file: the specification's own, and those of our pages.
const JQ: &[(&str, &str)] = &[
    (r#".[] | select(.timestamp > "2026-01-20") | .cost_estimate"#, "0.031\n0.0102\n0.0102\n1.5\n"),
    (r#"[.[] | select(.timestamp > "2026-01-20") | .cost_estimate] | add | . * 10000 | round"#, "15514\n"),
    (r#"[.[] | select(.timestamp >= "2026-01-28")] | length"#, "1\n"),
    (
        r#"group_by(.reason) | map({reason: .[0].reason, calls: length})"#,
        "[{\"reason\":\"critical\",\"calls\":1},{\"reason\":\"fallback\",\"calls\":2},{\"reason\":\"user_requested\",\"calls\":1}]\n",
    ),
    (r#"map(select(.success == false)) | length"#, "0\n"),
    (
        r#"group_by(.task_type) | map({(.[0].task_type): (map(.input_tokens + .output_tokens) | add)}) | add"#,
        "{\"CODER\":1008584}\n",
    ),
    (
        r#"map(keys_unsorted) | unique"#,
        "[[\"timestamp\",\"task_type\",\"reason\",\"input_tokens\",\"output_tokens\",\"cost_estimate\",\"success\"]]\n",
    ),
];

#[tokio::test]
async fn every_jq_line_about_the_usage_file_works_on_ours() {
    let home = Home::new();
    documented(&home.account(), &TestClock::new()).await;
    let file = home.account().join("claude_usage.json");
    for (line, expected) in JQ {
        let output = Command::new("jq").arg("-c").arg(line).arg(&file).output().expect("`jq` is installed (.ci/run)");
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(out, *expected, "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
