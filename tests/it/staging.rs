//! Files that wait for acceptance: what an attempt sees and does is what it would see and do in the workspace itself, and
//! what is moved into place afterwards is the same tree, wherever the mover is cut off.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ollmcp::os::staging::{Claims, Kind, Manifest, MoveError, conflicts, place, place_pacing};
use ollmcp::servers::fs::{FsOptions, FsServer};
use ollmcp::servers::host::{BuiltIn as _, Refusal};
use serde_json::{Value, json};

/// A workspace with a server on it, and a staging folder.
struct Scene {
    folder: tempfile::TempDir,
    staging: tempfile::TempDir,
    server: FsServer,
}

impl Scene {
    fn new() -> Self {
        Self::granting(&[])
    }

    /// With the staging folder where no file of the workspace can be linked; `None`: there is no such place here.
    fn apart() -> Option<Self> {
        let staging = tempfile::tempdir_in("/dev/shm").ok()?;
        let scene = Self::over(staging, &[]);
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        (device(&scene.work()) != device(&scene.staging())).then(|| scene.plants())
    }

    fn granting(granted: &[PathBuf]) -> Self {
        Self::over(tempfile::tempdir().unwrap(), granted)
    }

    /// With the staging folder beneath `staging`, on another file system perhaps.
    fn over(staging: tempfile::TempDir, granted: &[PathBuf]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, granted) = (folder.path().join("work"), granted.to_vec());
        fs::create_dir_all(staging.path().join("run/attempt")).unwrap();
        fs::create_dir(&workspace).unwrap();
        let options = FsOptions { workspace, granted, spill: None, staging: Some(staging.path().to_owned()) };
        Self { server: FsServer::new(&options).unwrap(), folder, staging }
    }

    /// A tree with something of everything.
    fn planted() -> Self {
        Self::new().plants()
    }

    fn plants(self) -> Self {
        let scene = self;
        for (path, text) in [
            ("a.txt", "one\ntwo\n"),
            ("b.txt", "bee\n"),
            ("d/x.txt", "in d\n"),
            ("d/e/z.txt", "deep\n"),
            ("run.sh", "#!/bin/sh\n"),
        ] {
            scene.plant(path, text);
        }
        fs::set_permissions(scene.work().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(scene.work().join("empty")).unwrap();
        symlink("d", scene.work().join("l")).unwrap();
        symlink("a.txt", scene.work().join("f")).unwrap();
        scene
    }

    fn plant(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn staging(&self) -> PathBuf {
        self.staging.path().join("run/attempt")
    }

    fn direct(&self, tool: &str, arguments: Value) -> Result<Value, Refusal> {
        self.server.call(tool, arguments.as_object().unwrap().clone(), None)
    }

    fn staged(&self, tool: &str, arguments: Value) -> Result<Value, Refusal> {
        self.server.call(tool, arguments.as_object().unwrap().clone(), Some(&self.staging()))
    }

    fn does(&self, tool: &str, arguments: Value) -> Value {
        self.staged(tool, arguments).unwrap()
    }

    fn manifest(&self) -> Manifest {
        Manifest::load(&self.staging()).unwrap()
    }

    fn place(&self) -> Result<(), MoveError> {
        place(&self.work(), &self.staging(), &self.manifest())
    }
}

/// All that stands in a folder: kind, rights and content by path.
fn tree(root: &Path) -> BTreeMap<String, String> {
    fn fill(root: &Path, at: &Path, out: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let rest = path.strip_prefix(root).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            if metadata.is_symlink() {
                out.insert(rest, format!("-> {}", fs::read_link(&path).unwrap().display()));
            } else if metadata.is_dir() {
                out.insert(rest, format!("folder {mode:o}"));
                fill(root, &path, out);
            } else {
                out.insert(rest, format!("{mode:o} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut out = BTreeMap::new();
    fill(root, root, &mut out);
    out
}

/// Numbers that only depend on their seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

const PATHS: &[&str] = &[
    "a.txt",
    "b.txt",
    "d/x.txt",
    "d/e/z.txt",
    "d",
    "d/e",
    "empty",
    "l",
    "l/x.txt",
    "f",
    "run.sh",
    "n/new.txt",
    "n",
    "n/m/deep.txt",
    "d/x.txt/below",
    "empty/in.txt",
    "l/e/z.txt",
    "c",
    "c/a.txt",
    "../out.txt",
    ".git/config",
    ".",
    ".ollmcp/x",
    "d/../a.txt",
];

fn operation(dice: &mut Dice) -> (&'static str, Value) {
    let path = dice.pick(PATHS);
    let text = dice.pick(&["", "one\n", "in d\n", "two three\n", "ä\n"]);
    match dice.below(16) {
        0..4 => ("write", json!({ "path": path, "text": text })),
        4 => ("patch", json!({ "path": path, "old": "one", "new": "uno" })),
        5 => ("patch", json!({ "path": path, "old": "uno", "new": "eins", "all": true })),
        6..9 => ("move", json!({ "from": path, "to": dice.pick(PATHS), "overwrite": dice.below(2) == 0 })),
        9..11 => ("delete", json!({ "path": path })),
        11 => ("read", json!({ "path": path })),
        12 => ("stat", json!({ "path": path })),
        13 => ("hash", json!({ "path": path })),
        14 => ("search", json!({ "root": path, "text": "e" })),
        _ => ("list", json!({ "root": path, "folders": dice.below(2) == 0 })),
    }
}

/// The length of a folder is the file system's business.
fn comparable(answer: Result<Value, Refusal>, folders: [&Path; 2]) -> Value {
    let [own, other] = folders.map(|folder| folder.display().to_string());
    let value = match answer {
        Ok(mut value) => {
            if value["kind"] == "folder" {
                value["bytes"] = Value::Null;
            }
            value
        }
        Err(refusal) => json!({ "kind": format!("{:?}", refusal.kind), "message": refusal.message }),
    };
    serde_json::from_str(&value.to_string().replace(&own, "WORK").replace(&other, "WORK")).unwrap()
}

/// The same calls, made at once in one tree and staged in another one.
fn both(seed: u64, count: usize, looks: bool) -> (Scene, Scene) {
    same(seed, count, looks, Scene::planted())
}

fn same(seed: u64, count: usize, looks: bool, staged: Scene) -> (Scene, Scene) {
    let plain = Scene::planted();
    let before = tree(&staged.work());
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut told = Vec::new();
    for _ in 0..count {
        let (tool, arguments) = operation(&mut dice);
        let folders = [plain.folder.path(), staged.folder.path()];
        let one = comparable(plain.direct(tool, arguments.clone()), folders);
        let other = comparable(staged.staged(tool, arguments.clone()), folders);
        told.push(format!("{tool} {arguments}"));
        assert_eq!(one, other, "seed {seed}:\n{}", told.join("\n"));
        for (tool, arguments) in looks
            .then_some([
                ("list", json!({ "root": ".", "folders": true })),
                ("search", json!({ "root": ".", "text": "o" })),
            ])
            .into_iter()
            .flatten()
        {
            let one = comparable(plain.direct(tool, arguments.clone()), folders);
            let other = comparable(staged.staged(tool, arguments.clone()), folders);
            assert_eq!(one, other, "seed {seed}:\n{}\n{tool}", told.join("\n"));
        }
    }
    assert_eq!(tree(&staged.work()), before, "seed {seed}: nothing in the workspace has changed");
    (plain, staged)
}

#[test]
fn an_attempt_sees_what_it_would_see_in_the_workspace_and_leaves_the_same_tree() {
    for seed in 0..300 {
        let (plain, staged) = both(seed, 24, true);
        let manifest = staged.manifest();
        assert_eq!(conflicts(&staged.work(), &manifest).unwrap(), Vec::<String>::new(), "seed {seed}");
        staged.place().unwrap_or_else(|error| panic!("seed {seed}: {error}: {manifest:#?}"));
        assert_eq!(tree(&staged.work()), tree(&plain.work()), "seed {seed}: {manifest:#?}");
        staged.place().unwrap();
        assert_eq!(tree(&staged.work()), tree(&plain.work()), "seed {seed}: placed again");
    }
}

#[test]
fn the_staging_folder_may_lie_on_another_file_system() {
    for seed in 1000..1060 {
        let Some(scene) = Scene::apart() else {
            println!("skipped: no second file system here");
            return;
        };
        let (plain, staged) = same(seed, 24, true, scene);
        staged.place().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(tree(&staged.work()), tree(&plain.work()), "seed {seed}");
    }
}

#[test]
fn a_mover_that_is_cut_off_anywhere_comes_to_the_same_end() {
    let mut steps = 0;
    for seed in 0..40 {
        for nth in 0.. {
            let (plain, staged) = both(seed, 16, false);
            let manifest = staged.manifest();
            let mut made = 0;
            let cut = place_pacing(&staged.work(), &staged.staging(), &manifest, &mut |_| {
                made += 1;
                if made > nth { Err(io::Error::other("cut off")) } else { Ok(()) }
            });
            let is_over = cut.is_ok();
            staged.place().unwrap_or_else(|error| panic!("seed {seed}, cut at {nth}: {error}: {manifest:#?}"));
            assert_eq!(tree(&staged.work()), tree(&plain.work()), "seed {seed}, cut at {nth}: {manifest:#?}");
            steps += 1;
            if is_over {
                break;
            }
        }
    }
    assert!(steps > 400, "{steps}");
}

#[test]
fn a_moved_file_is_never_nowhere_and_no_file_is_ever_half() {
    let whole = ["one\ntwo\n", "bee\n", "new content\n"];
    for nth in 0..40 {
        let scene = Scene::planted();
        scene.does("move", json!({ "from": "a.txt", "to": "n/a.txt" }));
        scene.does("write", json!({ "path": "b.txt", "text": "new content\n" }));
        let mut made = 0;
        let _ = place_pacing(&scene.work(), &scene.staging(), &scene.manifest(), &mut |_| {
            made += 1;
            if made > nth { Err(io::Error::other("cut off")) } else { Ok(()) }
        });
        let there = ["a.txt", "n/a.txt"].map(|path| fs::read_to_string(scene.work().join(path)).ok());
        assert!(there.iter().flatten().count() >= 1, "cut at {nth}");
        for text in there.into_iter().flatten().chain(fs::read_to_string(scene.work().join("b.txt"))) {
            assert!(whole.contains(&text.as_str()), "cut at {nth}: {text}");
        }
    }
}

#[test]
fn a_file_that_a_person_changed_stops_the_mover_before_the_first_move() {
    let scene = Scene::planted();
    scene.does("write", json!({ "path": "a.txt", "text": "mine\n" }));
    scene.does("write", json!({ "path": "b.txt", "text": "mine\n" }));
    scene.does("delete", json!({ "path": "d/x.txt" }));
    scene.plant("b.txt", "yours\n");
    let before = tree(&scene.work());
    assert_eq!(conflicts(&scene.work(), &scene.manifest()).unwrap(), ["b.txt"]);
    let error = scene.place().unwrap_err();
    assert!(matches!(&error, MoveError::Changed { path } if path == "b.txt"), "{error}");
    assert_eq!(tree(&scene.work()), before);
}

#[test]
fn what_is_in_place_may_be_changed_by_a_person_before_the_rest_follows() {
    let scene = Scene::planted();
    scene.does("write", json!({ "path": "a.txt", "text": "mine\n" }));
    scene.does("write", json!({ "path": "b.txt", "text": "mine\n" }));
    let cut = place_pacing(&scene.work(), &scene.staging(), &scene.manifest(), &mut |step| {
        if format!("{step:?}").contains("b.txt") { Err(io::Error::other("cut off")) } else { Ok(()) }
    });
    cut.unwrap_err();
    scene.plant("a.txt", "yours\n");
    scene.place().unwrap();
    let read = |path: &str| fs::read_to_string(scene.work().join(path)).unwrap();
    assert_eq!((read("a.txt").as_str(), read("b.txt").as_str()), ("yours\n", "mine\n"));
}

#[test]
fn a_change_rests_on_what_was_read_not_on_what_stands_there_when_it_is_made() {
    let scene = Scene::planted();
    scene.does("read", json!({ "path": "a.txt" }));
    scene.does("stat", json!({ "path": "new.txt" }));
    scene.does("search", json!({ "root": ".", "text": "bee" }));
    scene.plant("a.txt", "somebody else\n");
    scene.plant("new.txt", "somebody else\n");
    scene.plant("b.txt", "somebody else\n");
    scene.plant("d/x.txt", "somebody else\n");
    scene.does("write", json!({ "path": "b.txt", "text": "mine\n" }));
    scene.does("write", json!({ "path": "d/x.txt", "text": "mine\n" }));
    scene.does("write", json!({ "path": "a.txt", "text": "mine\n" }));
    scene.does("write", json!({ "path": "new.txt", "text": "mine\n" }));
    let changed = conflicts(&scene.work(), &scene.manifest()).unwrap();
    assert_eq!(changed, ["a.txt", "b.txt", "new.txt"], "and `d/x.txt` was never read");
}

#[test]
fn a_folder_that_somebody_put_something_into_is_not_taken_away() {
    let scene = Scene::planted();
    scene.does("move", json!({ "from": "d", "to": "elsewhere" }));
    scene.plant("d/stranger.txt", "x");
    assert_eq!(conflicts(&scene.work(), &scene.manifest()).unwrap(), ["d"]);
    assert!(matches!(scene.place(), Err(MoveError::Changed { .. })));
    assert!(scene.work().join("d/x.txt").exists() && !scene.work().join("elsewhere").exists());
}

#[test]
fn changes_are_listed_as_a_person_says_them() {
    let scene = Scene::planted();
    scene.does("write", json!({ "path": "n/new.txt", "text": "12345" }));
    scene.does("write", json!({ "path": "a.txt", "text": "x" }));
    scene.does("delete", json!({ "path": "b.txt" }));
    scene.does("move", json!({ "from": "d/e", "to": "g" }));
    scene.does("write", json!({ "path": "never.txt", "text": "x" }));
    scene.does("delete", json!({ "path": "never.txt" }));
    let listed = scene.manifest().listed();
    let listed: Vec<_> =
        listed.iter().map(|line| (line.path.as_str(), line.kind, line.from.as_deref(), line.bytes)).collect();
    assert_eq!(
        listed,
        [
            ("a.txt", Kind::Changed, None, 1),
            ("b.txt", Kind::Deleted, None, 0),
            ("g/z.txt", Kind::Moved, Some("d/e/z.txt"), 5),
            ("n/new.txt", Kind::Created, None, 5),
        ]
    );
    let manifest = scene.manifest();
    for (path, is_changed) in
        [("a.txt", true), ("b.txt", true), ("d/e", true), ("d/x.txt", false), ("never.txt", false), ("n", true)]
    {
        assert_eq!(manifest.changes_path(path), is_changed, "{path}");
    }
    assert_eq!(Manifest::from_value(manifest.to_value()).unwrap().changes, manifest.changes);
}

#[test]
fn staged_writes_keep_the_rules_of_paths() {
    let outside = tempfile::tempdir().unwrap();
    let scene = Scene::granting(&[outside.path().to_owned()]);
    fs::write(outside.path().join("granted.txt"), "g").unwrap();
    scene.plant("a.txt", "x");
    symlink(outside.path(), scene.work().join("away")).unwrap();
    fs::create_dir_all(scene.work().join(".git")).unwrap();
    symlink(".git", scene.work().join("hooks")).unwrap();
    for path in ["../x", "/etc/x", "away/x", ".git/x", "hooks/x", ".ollmcp/x", ".config/config.json", "away"] {
        let refusal = scene.staged("write", json!({ "path": path, "text": "x" })).unwrap_err();
        assert_eq!(
            format!("{:?}", refusal.kind),
            if path == "away" { "BadInput" } else { "Refused" },
            "{path}: {}",
            refusal.message
        );
        if path != "away" {
            scene.staged("move", json!({ "from": "a.txt", "to": path })).unwrap_err();
        }
    }
    let absolute = outside.path().join("granted.txt");
    assert_eq!(scene.does("read", json!({ "path": absolute }))["text"], "g");
    assert_eq!(scene.does("read", json!({ "path": "away/granted.txt" }))["text"], "g");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(scene.manifest().changes.len(), 0);
}

#[test]
fn a_folder_that_is_no_attempts_is_refused() {
    let scene = Scene::planted();
    let call = |staging: &Path| {
        let arguments = json!({ "path": "a.txt", "text": "x" }).as_object().unwrap().clone();
        scene.server.call("write", arguments, Some(staging))
    };
    let staging = scene.staging.path();
    for folder in [scene.work(), staging.to_owned(), staging.join("../work"), staging.join("none")] {
        call(&folder).unwrap_err();
    }
    let untold = FsServer::new(&FsOptions { workspace: scene.work(), granted: Vec::new(), spill: None, staging: None });
    let arguments = json!({ "path": "a.txt" }).as_object().unwrap().clone();
    let refusal = untold.unwrap().call("read", arguments, Some(&scene.staging())).unwrap_err();
    assert!(refusal.message.contains("was not told"), "{}", refusal.message);
    assert_eq!(fs::read_to_string(scene.work().join("a.txt")).unwrap(), "one\ntwo\n");
}

#[test]
fn of_two_attempts_on_one_path_the_first_to_be_accepted_has_it() {
    let scene = Scene::planted();
    let other = scene.staging.path().join("run/other");
    fs::create_dir(&other).unwrap();
    for (folder, text) in [(scene.staging(), "first\n"), (other.clone(), "second\n")] {
        for path in ["a.txt", "new/own.txt"] {
            let path = if path == "a.txt" { path.to_owned() } else { format!("new/{}", &text[..5]) };
            let arguments = json!({ "path": path, "text": text }).as_object().unwrap().clone();
            scene.server.call("write", arguments, Some(&folder)).unwrap();
        }
    }
    let claims: Claims<u32> = Claims::default();
    let second = Manifest::load(&other).unwrap();
    assert_eq!(claims.take(1, &scene.work(), &scene.manifest()).unwrap(), Ok(()));
    assert_eq!(claims.take(2, &scene.work(), &second).unwrap(), Err(vec!["a.txt".to_owned()]), "not the new folder");
    scene.place().unwrap();
    claims.release(&1);
    assert_eq!(claims.take(2, &scene.work(), &second).unwrap(), Err(vec!["a.txt".to_owned()]), "it stands otherwise");
}

#[test]
fn a_list_that_leads_out_of_the_tree_is_none() {
    for path in ["../x", "/etc/x", ""] {
        let text =
            json!({ "version": 1, "changes": { path: { "base": { "is": "absent" }, "now": { "is": "absent" } } } });
        Manifest::from_value(text).unwrap_err();
    }
    let newer = json!({ "version": 2, "changes": {} });
    assert!(Manifest::from_value(newer).unwrap_err().to_string().contains("newer"));
}
