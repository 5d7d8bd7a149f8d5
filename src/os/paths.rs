//! Where a path really leads: links resolved as far as anything stands there, so that what lies inside a folder is not
//! decided by how it is spelled.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that are followed on the way to one path; the kernel has the same limit.
const LINKS_MAX: usize = 40;

/// The path from `base` with every link followed, one that leads to nothing yet too; what is not there is taken as
/// written.
#[must_use]
pub fn resolved(base: &Path, path: impl AsRef<Path>) -> PathBuf {
    let joined = base.join(path);
    let joined = std::path::absolute(&joined).unwrap_or(joined);
    let (mut real, mut links) = (PathBuf::new(), 0);
    let mut left = reversed(&joined);
    while let Some(part) = left.pop() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => {
                let next = real.join(name);
                match fs::read_link(&next) {
                    Ok(target) if links < LINKS_MAX => {
                        links += 1;
                        left.extend(reversed(&target));
                    }
                    _ => real = next,
                }
            }
            Some(Component::ParentDir) => {
                real.pop();
            }
            Some(root @ (Component::RootDir | Component::Prefix(_))) => real = PathBuf::from(root.as_os_str()),
            Some(Component::CurDir) | None => {}
        }
    }
    real
}

fn reversed(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether the path from `base` is one of `roots` or lies beneath one, however it and they are spelled.
#[must_use]
pub fn lies_within<'a>(base: &Path, path: impl AsRef<Path>, roots: impl IntoIterator<Item = &'a Path>) -> bool {
    let path = resolved(base, path);
    roots.into_iter().any(|root| path.starts_with(resolved(base, root)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn dots_and_links_lead_where_they_lead() {
        let outer = tempfile::tempdir().unwrap();
        let real = outer.path().canonicalize().unwrap();
        let inside = real.join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(real.join("secret"), "x").unwrap();
        symlink(&real, inside.join("up")).unwrap();
        symlink("nowhere/at/all", inside.join("dangling")).unwrap();
        symlink("../made.db", inside.join("out.db")).unwrap();
        symlink("circle", inside.join("circle")).unwrap();
        let roots = [inside.as_path()];
        for path in [".", "new/file", "./a/../b", "dangling/x", "circle/x"] {
            assert!(lies_within(&inside, path, roots), "{path}");
        }
        for path in
            ["..", "../secret", "up/secret", "up/not/there", "out.db", "a/../../secret", "/etc/passwd", "../insideout"]
        {
            assert!(!lies_within(&inside, path, roots), "{path}");
        }
        let secret = real.join("secret");
        assert!(lies_within(&inside, "up/secret", [secret.as_path()]), "exactly a file that was named");
        assert!(lies_within(&inside, "up/secret", [Path::new("../secret")]));
        assert!(!lies_within(&inside, "up/secrets", [secret.as_path()]));
    }
}
