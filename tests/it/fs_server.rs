//! The built-in `fs` server: through our own client, and driven by the official Python client.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop the test, as the tests themselves do")]

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ollmcp::domain::plan::RepeatClass;
use ollmcp::tool::connection::Connection;
use ollmcp::tool::spec::ServerSpec;
use ollmcp::tool::{ToolCall, ToolError};
use serde_json::{Value, json};

use crate::tool::{repository, test_tools};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ollmcp");

struct Workspace {
    folder: tempfile::TempDir,
    spec: ServerSpec,
}

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("work")).unwrap();
        let (work, spill) = (folder.path().join("work"), folder.path().join("spill"));
        let spec = ServerSpec::built_in("fs", Path::new(PROGRAM), &work, &spill);
        Self { folder, spec }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("work")
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn grant(&mut self, path: &Path) {
        self.spec = self.spec.clone().granting(&[path.to_owned()]);
    }

    async fn start(&self) -> Fs {
        Fs(Connection::start(self.spec.clone()).await.unwrap())
    }
}

struct Fs(Connection);

impl Fs {
    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, (String, String)> {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let (server, tool) = ("fs".into(), tool.into());
        let call = ToolCall { server, tool, arguments, call_key: "k".into(), timeout_ms: 60_000, staging: None };
        match self.0.call(&call).await {
            Ok(result) => Ok(result.value),
            Err(ToolError::Reported { message, reason }) => Err((reason.unwrap_or_default(), message)),
            Err(other) => panic!("{other}"),
        }
    }

    async fn paths(&self, arguments: Value) -> Vec<String> {
        let listed = self.call("list", arguments).await.unwrap();
        let files = listed["files"].as_array().unwrap();
        files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    }

    /// The reason of a refusal.
    async fn refused(&self, tool: &str, arguments: Value) -> String {
        self.call(tool, arguments).await.unwrap_err().0
    }
}

#[tokio::test]
async fn a_listing_is_complete_sorted_by_bytes_and_gives_paths_that_work() {
    let workspace = Workspace::new();
    for path in ["b.pdf", "a/z.pdf", "a/ü.pdf", "B.pdf", "a/b/c/d.pdf", "a.pdf", ".hidden/x.pdf", "a/n.txt", "UP.PDF"]
    {
        workspace.put(path, path);
    }
    for path in [".git/objects/x.pdf", ".ollmcp/blobs/y.pdf", "a/.git/z.pdf", "a/.ollmcp-new-1-2"] {
        workspace.put(path, "skipped");
    }
    let fs = workspace.start().await;
    let all = fs.paths(json!({ "root": ".", "pattern": "**/*.pdf" })).await;
    assert_eq!(all, [".hidden/x.pdf", "B.pdf", "a.pdf", "a/b/c/d.pdf", "a/z.pdf", "a/ü.pdf", "b.pdf"]);
    assert_eq!(fs.paths(json!({ "root": "a", "pattern": "*.pdf" })).await, ["a/z.pdf", "a/ü.pdf"]);
    assert_eq!(fs.paths(json!({ "root": ".", "pattern": "*.pdf", "ignore_case": true })).await.len(), 4);
    assert_eq!(fs.paths(json!({ "root": ".", "pattern": "a/*.{txt,pdf}" })).await.len(), 3);
    let absolute = workspace.work().join("a");
    assert_eq!(fs.paths(json!({ "root": absolute, "pattern": "n.*" })).await, ["a/n.txt"]);
    let read = fs.call("read", json!({ "path": "a/ü.pdf" })).await.unwrap();
    assert_eq!(read["text"], "a/ü.pdf");
    let listed = fs.call("list", json!({ "root": "a/b" })).await.unwrap();
    let expect = json!({ "root": "a/b", "count": 1, "truncated": false, "unreadable": [], "unreadable_count": 0,
        "files": [{ "path": "a/b/c/d.pdf", "name": "d.pdf", "bytes": 11 }] });
    assert_eq!(listed, expect);
}

#[tokio::test]
async fn a_listing_comes_in_pages_when_a_limit_is_said() {
    let workspace = Workspace::new();
    (0..25).for_each(|at| workspace.put(&format!("f{at:02}"), ""));
    let fs = workspace.start().await;
    let (mut after, mut all) = (Value::Null, Vec::new());
    loop {
        let mut arguments = json!({ "root": ".", "limit": 10 });
        if !after.is_null() {
            arguments["after"] = after;
        }
        let page = fs.call("list", arguments).await.unwrap();
        all.extend(page["files"].as_array().unwrap().iter().map(|file| file["path"].clone()));
        if page["truncated"] == false {
            assert!(page.get("next").is_none());
            break;
        }
        after = page["next"].clone();
    }
    assert_eq!(all, (0..25).map(|at| json!(format!("f{at:02}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hundred_thousand_files_come_through_in_one_piece() {
    let workspace = Workspace::new();
    for folder in 0..100 {
        let folder = workspace.work().join(format!("batch-{folder:03}"));
        fs::create_dir(&folder).unwrap();
        // Links of one file: making a hundred thousand files takes a minute on some machines.
        let first = folder.join("document-0000.pdf");
        fs::write(&first, "").unwrap();
        (1..1000).for_each(|at| fs::hard_link(&first, folder.join(format!("document-{at:04}.pdf"))).unwrap());
    }
    let fs = workspace.start().await;
    let listed = fs.call("list", json!({ "root": ".", "pattern": "**/*.pdf" })).await.unwrap();
    assert_eq!(listed["count"], 100_000);
    assert_eq!(listed["truncated"], false);
    let files = listed["files"].as_array().unwrap();
    assert_eq!(files.len(), 100_000);
    assert_eq!(files[99_999]["path"], "batch-099/document-0999.pdf");

    // A client that cannot take a file gets pages.
    let mut foreign = workspace.spec.clone();
    foreign.spill_dir = None;
    let foreign = Fs(Connection::start(foreign).await.unwrap());
    let page = foreign.call("list", json!({ "root": "." })).await.unwrap();
    assert_eq!((&page["count"], &page["truncated"], &page["total"]), (&json!(10_000), &json!(true), &json!(100_000)));
    assert_eq!(page["next"], "batch-009/document-0999.pdf");
}

#[tokio::test]
async fn what_cannot_be_listed_is_named_and_links_lead_nowhere_else() {
    let workspace = Workspace::new();
    workspace.put("good.pdf", "1");
    workspace.put("folder/in.pdf", "2");
    fs::write(workspace.outside().join("secret.pdf"), "secret").unwrap();
    let bad_name = std::ffi::OsStr::from_bytes(b"caf\xe9.pdf");
    fs::write(workspace.work().join(bad_name), "3").unwrap();
    symlink("good.pdf", workspace.work().join("link.pdf")).unwrap();
    symlink("../secret.pdf", workspace.work().join("leak.pdf")).unwrap();
    symlink("nowhere.pdf", workspace.work().join("dangling.pdf")).unwrap();
    symlink(".", workspace.work().join("loop")).unwrap();
    symlink("folder", workspace.work().join("again")).unwrap();
    let fs = workspace.start().await;
    let listed = fs.call("list", json!({ "root": ".", "pattern": "**/*.pdf" })).await.unwrap();
    let paths: Vec<&str> =
        listed["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["folder/in.pdf", "good.pdf", "link.pdf"]);
    assert_eq!(listed["unreadable_count"], 3, "{listed}");
    let unreadable = listed["unreadable"].to_string();
    for word in ["caf\\\\xE9.pdf", "leak.pdf", "dangling.pdf"] {
        assert!(unreadable.contains(word), "{unreadable}");
    }
    let whole = fs.call("list", json!({ "root": "folder" })).await.unwrap();
    assert_eq!((&whole["unreadable"], &whole["unreadable_count"]), (&json!([]), &json!(0)));
    assert_eq!(fs.call("read", json!({ "path": "link.pdf" })).await.unwrap()["text"], "1");
    assert_eq!(fs.refused("read", json!({ "path": "leak.pdf" })).await, "refused");
    assert_eq!(fs.refused("hash", json!({ "path": "loop/leak.pdf" })).await, "refused");
}

#[tokio::test]
async fn reasons_are_named_so_that_the_engine_knows_what_to_do() {
    let workspace = Workspace::new();
    workspace.put("a.txt", "a");
    workspace.put("b.bin", b"\0\x01\x02");
    workspace.put(".ollmcp/config.json", "{\"key\":1}");
    workspace.put(".config/config.json", "{\"key\":1}");
    workspace.put(".git/config", "[core]");
    symlink(".ollmcp", workspace.work().join("alias")).unwrap();
    let fs = workspace.start().await;
    for (tool, arguments, reason) in [
        ("list", json!({ "root": "nowhere" }), "missing"),
        ("list", json!({ "root": "/etc" }), "refused"),
        ("list", json!({ "root": "../.." }), "refused"),
        ("list", json!({ "root": ".", "pattern": "[" }), "bad_input"),
        ("list", json!({ "root": ".", "pattern": "../*" }), "bad_input"),
        ("read", json!({ "path": "nowhere.txt" }), "missing"),
        ("read", json!({ "path": "a.txt/b" }), "missing"),
        ("read", json!({ "path": "b.bin" }), "bad_input"),
        ("read", json!({ "path": "." }), "bad_input"),
        ("read", json!({ "path": "/etc/passwd" }), "refused"),
        ("read", json!({ "path": "a.txt", "offset": 5 }), "bad_input"),
        ("read", json!({ "path": ".ollmcp/config.json" }), "refused"),
        ("read", json!({ "path": "alias/config.json" }), "refused"),
        ("read", json!({ "path": ".config/config.json" }), "refused"),
        ("write", json!({ "path": ".git/hooks/pre-commit", "text": "x" }), "refused"),
        ("write", json!({ "path": "alias/config.json", "text": "x" }), "refused"),
        ("write", json!({ "path": "/tmp/outside", "text": "x" }), "refused"),
        ("write", json!({ "path": "../outside", "text": "x" }), "refused"),
        ("write", json!({ "path": ".", "text": "x" }), "refused"),
        ("patch", json!({ "path": "nowhere", "old": "a", "new": "b" }), "missing"),
        ("delete", json!({ "path": ".ollmcp/config.json" }), "refused"),
        ("move", json!({ "from": "a.txt", "to": "../a.txt" }), "refused"),
        ("move", json!({ "from": "nowhere", "to": "x" }), "missing"),
    ] {
        assert_eq!(fs.refused(tool, arguments.clone()).await, reason, "{tool} {arguments}");
    }
    assert_eq!(fs.call("read", json!({ "path": ".git/config" })).await.unwrap()["text"], "[core]");
    assert!(!workspace.outside().join("outside").exists());
}

#[tokio::test]
async fn a_granted_path_outside_is_read_and_not_written() {
    let mut workspace = Workspace::new();
    let data = workspace.outside().join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("sub/a.pdf"), "A").unwrap();
    fs::write(workspace.outside().join("near.txt"), "no").unwrap();
    symlink("../../near.txt", data.join("sub/near.pdf")).unwrap();
    symlink(&data, workspace.work().join("January")).unwrap();
    assert_eq!(workspace.start().await.refused("list", json!({ "root": "January" })).await, "refused");
    workspace.grant(&data);
    let fs = workspace.start().await;
    let path = data.join("sub/a.pdf").display().to_string();
    assert_eq!(fs.paths(json!({ "root": data })).await, [path.as_str()], "outside: absolute");
    assert_eq!(fs.call("read", json!({ "path": path })).await.unwrap()["text"], "A");
    assert_eq!(fs.paths(json!({ "root": "January", "pattern": "**/*.pdf" })).await, ["January/sub/a.pdf"]);
    assert_eq!(fs.call("read", json!({ "path": "January/sub/a.pdf" })).await.unwrap()["text"], "A");
    assert_eq!(fs.refused("read", json!({ "path": "January/sub/near.pdf" })).await, "refused");
    assert_eq!(fs.refused("write", json!({ "path": data.join("b"), "text": "x" })).await, "refused");
    assert_eq!(fs.refused("write", json!({ "path": "January/b", "text": "x" })).await, "refused");
    assert_eq!(fs.refused("delete", json!({ "path": "January/sub/a.pdf" })).await, "refused");

    // A single granted file is that file and not its folder; a client may name it as an argument.
    workspace.spec.env.clear();
    workspace.spec.args.push(path.clone());
    let fs = workspace.start().await;
    assert_eq!(fs.call("hash", json!({ "path": path })).await.unwrap()["bytes"], 1);
    assert_eq!(fs.refused("list", json!({ "root": data })).await, "refused");
}

#[tokio::test]
async fn changes_are_whole_and_the_same_call_again_changes_nothing_more() {
    let workspace = Workspace::new();
    let fs = workspace.start().await;
    let write = json!({ "path": "deep/er/a.txt", "text": "one two\n" });
    let first = fs.call("write", write.clone()).await.unwrap();
    assert_eq!((&first["created"], &first["unchanged"]), (&json!(true), &json!(false)));
    assert_eq!(fs.call("write", write).await.unwrap()["unchanged"], true);
    let patch = json!({ "path": "deep/er/a.txt", "old": "two", "new": "three" });
    assert_eq!(fs.call("patch", patch.clone()).await.unwrap()["unchanged"], false);
    assert_eq!(fs.call("patch", patch).await.unwrap()["unchanged"], true);
    let stale = json!({ "path": "deep/er/a.txt", "text": "x", "expect_sha256": first["sha256"] });
    assert_eq!(fs.refused("write", stale).await, "tool_error");
    let go = json!({ "from": "deep/er/a.txt", "to": "b.txt" });
    assert_eq!(fs.call("move", go.clone()).await.unwrap()["unchanged"], false);
    assert_eq!(fs.call("move", go).await.unwrap()["unchanged"], true);
    assert_eq!(fs::read_to_string(workspace.work().join("b.txt")).unwrap(), "one three\n");
    workspace.put("c.txt", "c");
    assert_eq!(fs.refused("move", json!({ "from": "b.txt", "to": "c.txt" })).await, "tool_error");
    let hash = fs.call("hash", json!({ "path": "c.txt" })).await.unwrap();
    assert_eq!(hash["sha256"], "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6");
    for expect in [false, true] {
        assert_eq!(fs.call("delete", json!({ "path": "b.txt" })).await.unwrap()["unchanged"], expect);
    }
    assert_eq!(fs.refused("delete", json!({ "path": "deep" })).await, "tool_error", "it is not empty");
    assert_eq!(fs.call("stat", json!({ "path": "b.txt" })).await.unwrap()["exists"], false);
    let names: Vec<_> = fs::read_dir(workspace.work()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no leftovers: {names:?}");
}

#[tokio::test]
async fn a_link_is_not_written_through() {
    let workspace = Workspace::new();
    fs::write(workspace.outside().join("target"), "safe").unwrap();
    symlink("../target", workspace.work().join("link")).unwrap();
    symlink("..", workspace.work().join("up")).unwrap();
    let fs = workspace.start().await;
    assert_eq!(fs.refused("write", json!({ "path": "link", "text": "x" })).await, "bad_input");
    assert_eq!(fs.refused("write", json!({ "path": "up/target", "text": "x" })).await, "refused");
    assert_eq!(fs.refused("write", json!({ "path": "up/new/file", "text": "x" })).await, "refused");
    assert_eq!(fs::read_to_string(workspace.outside().join("target")).unwrap(), "safe");
    assert!(!workspace.outside().join("new").exists());
}

/// Somebody swaps a folder for a link to outside, again and again, while files are written into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_turns_into_a_link_never_lets_a_write_out() {
    let workspace = Workspace::new();
    let (outside, work) = (workspace.outside().join("outside"), workspace.work());
    fs::create_dir(&outside).unwrap();
    fs::create_dir(work.join("goal")).unwrap();
    symlink(&outside, work.join("link")).unwrap();
    let fs = workspace.start().await;
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (mut written, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let (goal, link) = (work.join("goal"), work.join("link"));
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, &goal, cwd, &link, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for at in 0..500 {
                    let path = format!("goal/f{at}");
                    match fs.call("write", json!({ "path": path, "text": "x" })).await {
                        Ok(_) => written += 1,
                        Err(_) => refused += 1,
                    }
                }
            });
        });
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(written > 0 && refused > 0, "both were hit: written {written}, refused {refused}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn it_leaves_at_once_when_the_client_does() {
    let workspace = Workspace::new();
    let fs = workspace.start().await;
    let began = std::time::Instant::now();
    fs.0.close().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn texts_are_read_in_pages_and_searched() {
    let workspace = Workspace::new();
    workspace.put("t.txt", "äöü\n".repeat(1000));
    workspace.put("old.txt", b"gr\xfc\xdfe\nNeedle here\n");
    workspace.put("bin", b"\0needle");
    let fs = workspace.start().await;
    let (mut offset, mut text) = (json!(0), String::new());
    loop {
        let page = fs.call("read", json!({ "path": "t.txt", "offset": offset, "limit": 1000 })).await.unwrap();
        text.push_str(page["text"].as_str().unwrap());
        if page["truncated"] == false {
            break;
        }
        offset = page["next_offset"].clone();
    }
    assert_eq!(text, "äöü\n".repeat(1000));
    let old = fs.call("read", json!({ "path": "old.txt" })).await.unwrap();
    assert_eq!((&old["text"], &old["encoding"]), (&json!("grüße\nNeedle here\n"), &json!("windows-1252 (guessed)")));
    let found = fs.call("search", json!({ "root": ".", "text": "needle", "ignore_case": true })).await.unwrap();
    assert_eq!(found["matches"], json!([{ "path": "old.txt", "line": 2, "text": "Needle here" }]));
    let many = fs.call("search", json!({ "root": ".", "text": "ö", "limit": 5 })).await.unwrap();
    assert_eq!((&many["count"], &many["truncated"]), (&json!(5), &json!(true)));
}

#[tokio::test]
async fn classes_and_versions_of_its_tools_are_declared() {
    let workspace = Workspace::new();
    let fs = workspace.start().await;
    let tools = fs.0.tools().await.unwrap();
    for tool in tools.iter() {
        let is_read = ["list", "read", "search", "stat", "hash"].contains(&tool.name.as_str());
        let expect = if is_read { RepeatClass::Read } else { RepeatClass::Idempotent };
        assert_eq!((tool.repeat, tool.output_version.as_str()), (expect, "1"), "{}", tool.name);
        assert!(!tool.path_arguments().is_empty(), "{}", tool.name);
    }
    assert_eq!(tools.len(), 9);
}

#[test]
fn the_official_python_client_drives_it() {
    let workspace = Workspace::new();
    workspace.put("a.txt", "hello");
    let done = std::process::Command::new(test_tools().join("venv/bin/python"))
        .arg(repository().join("tests/tools/drive_server.py"))
        .args(["--cwd", workspace.work().to_str().unwrap()])
        .args(["--call", "list", r#"{"root": "."}"#, "--call", "read", r#"{"path": "nope"}"#, "--call", "nope", "{}"])
        .args(["--", PROGRAM, "tool-server", "fs"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let out: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(out["server"]["name"], "ollmcp fs");
    assert_eq!(out["tools"].as_array().unwrap().len(), 9);
    assert_eq!(out["calls"][0]["structured"]["files"][0]["path"], "a.txt");
    assert_eq!(out["calls"][0]["isError"], false);
    assert_eq!(out["calls"][1]["isError"], true);
    assert_eq!(out["calls"][1]["meta"]["ollmcp/reason"], "missing");
    assert_eq!(out["calls"][2]["isError"], true);
}

#[tokio::test]
async fn a_call_with_a_staging_folder_changes_nothing_in_the_workspace() {
    let mut workspace = Workspace::new();
    let staging = workspace.outside().join("staging");
    fs::create_dir_all(staging.join("attempt")).unwrap();
    workspace.spec = workspace.spec.clone().staging_in(&staging);
    workspace.put("a.txt", "a");
    let fs = workspace.start().await;
    let call = |tool: &str, arguments: Value, staging: Option<PathBuf>| {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        ToolCall {
            server: "fs".into(),
            tool: tool.into(),
            arguments,
            call_key: "k".into(),
            timeout_ms: 60_000,
            staging,
        }
    };
    let own = Some(staging.join("attempt"));
    fs.0.call(&call("write", json!({ "path": "a.txt", "text": "b" }), own.clone())).await.unwrap();
    let seen = fs.0.call(&call("read", json!({ "path": "a.txt" }), own)).await.unwrap();
    assert_eq!(seen.value["text"], "b");
    assert_eq!(fs.call("read", json!({ "path": "a.txt" })).await.unwrap()["text"], "a");
    for refused in [staging.clone(), workspace.work(), staging.join("../work"), PathBuf::from("attempt")] {
        fs.0.call(&call("write", json!({ "path": "a.txt", "text": "c" }), Some(refused))).await.unwrap_err();
    }
    let smuggled = json!({ "path": "a.txt", "text": "c", "_meta": { "ollmcp/staging": staging.join("attempt") } });
    let Value::Object(arguments) = smuggled else { unreachable!() };
    fs.0.call(&call("write", Value::Object(arguments), None)).await.unwrap_err();
    assert_eq!(std::fs::read_to_string(workspace.work().join("a.txt")).unwrap(), "a");
}
