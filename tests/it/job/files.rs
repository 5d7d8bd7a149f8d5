//! Agents that write files, from outside: the real binary, its own `fs` server, a scripted model.

use super::*;
use crate::model_server::{Answer, Asked, ModelServer};

fn turn(asked: &Asked) -> usize {
    asked.messages.iter().filter(|said| said.role == "tool").count()
}

/// A project whose model writes `out/summary.md`, wrongly at first, and moves `note.txt` away.
fn desk() -> (Desk, ModelServer) {
    let desk = Desk::new();
    let server = ModelServer::start(["m:8b"]);
    let folder = desk.project.clone();
    server.respond("m:8b", move |asked| {
        assert!(!folder.join("out").exists(), "nothing is there before it is accepted");
        let is_first = !asked.seen().contains("summary.md` is not json");
        match (is_first, turn(asked)) {
            (true, 0) => Answer::tool("fs_write", json!({ "path": "out/summary.md", "text": "no json" })),
            (false, 0) => Answer::tool("fs_write", json!({ "path": "out/summary.md", "text": "[1, 2]" })),
            (_, 1) => Answer::tool("fs_move", json!({ "from": "note.txt", "to": "out/note.txt" })),
            (_, 2) => Answer::tool("fs_list", json!({ "root": "out" })),
            _ => {
                assert!(asked.last().contains("out/note.txt"), "its own reads see it: {}", asked.last());
                Answer::text("{\"done\": true}")
            }
        }
    });
    fs::write(desk.path("note.txt"), "a note\n").unwrap();
    desk.config(&json!({ "ollama": { "url": server.url() } }));
    desk.plan(
        "name: p\nladders: { default: [\"ollama:m:8b\"] }\nsteps:\n  - id: a\n    agent: CODER\n    tools: [fs.*]\n    threshold: 2\n    \
         prompt: Write out/summary.md and move note.txt to out/note.txt.\n    done_when:\n      \
         - file: { path: out/summary.md, parses: json, changed: true }\n",
    );
    (desk, server)
}

fn left_waiting(desk: &Desk) -> usize {
    fs::read_dir(desk.path(".ollmcp/staging")).map_or(0, Iterator::count)
}

#[test]
fn an_agents_files_are_in_place_when_they_are_accepted_and_told_one_by_one() {
    let (desk, server) = desk();
    desk.run(&[]).exits(0);
    assert_eq!(fs::read_to_string(desk.path("out/summary.md")).unwrap(), "[1, 2]");
    assert_eq!(fs::read_to_string(desk.path("out/note.txt")).unwrap(), "a note\n");
    assert!(!desk.path("note.txt").exists());
    assert_eq!(left_waiting(&desk), 0);
    let told = desk.ollmcp(&["show", "last", "--item", "a"]).exits(0);
    told.says("files that were not kept: moved note.txt to out/note.txt (7 bytes), created out/summary.md (7 bytes)")
        .says("files: moved note.txt to out/note.txt (7 bytes), created out/summary.md (6 bytes)")
        .says("is json and was changed by the attempt");
    let story = desk.ollmcp(&["--json", "show", "last", "--item", "a"]).exits(0).json();
    assert_eq!(story["items"][0]["tried"][1]["files"][1]["path"], "out/summary.md");
    drop(server);
}

#[test]
fn finished_files_are_taken_over_only_as_long_as_they_stand() {
    let (desk, server) = desk();
    desk.run(&[]).exits(0);
    let asked = server.count("m:8b");
    desk.run(&["--new"]).exits(0);
    assert_eq!(server.count("m:8b"), asked, "the files stand: nobody is asked");
    fs::remove_dir_all(desk.path("out")).unwrap();
    fs::write(desk.path("note.txt"), "a note\n").unwrap();
    desk.run(&["--new"]).exits(0);
    assert!(server.count("m:8b") > asked, "they are gone: they are made again");
    assert_eq!(fs::read_to_string(desk.path("out/summary.md")).unwrap(), "[1, 2]");
}

#[test]
fn what_a_dead_run_left_is_swept_by_the_next_start() {
    let (desk, server) = desk();
    desk.ollmcp(&["init"]);
    let left = desk.path(".ollmcp/staging/0192f000-0000-7000-8000-000000000001/0-0-1");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("content"), "x").unwrap();
    desk.run(&[]).exits(0);
    assert_eq!(left_waiting(&desk), 0);
    drop(server);
}
