//! What differs between the trees of two stacks of layers.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kapsel_storage::compare::compare;

struct Layers(tempfile::TempDir);

impl Layers {
    fn layer(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let layer = self.0.path().join(name);
        fs::create_dir_all(&layer).unwrap();
        for (path, content) in files {
            let path = layer.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match *content {
                "whiteout" => {
                    let made = Command::new("mknod").arg(&path).args(["c", "0", "0"]).status().unwrap();
                    assert!(made.success());
                }
                content => fs::write(path, content).unwrap(),
            }
        }
        layer
    }
}

fn opaque(directory: &Path) {
    let path = CString::new(directory.as_os_str().as_bytes()).unwrap();
    // SAFETY: two strings that end, one byte, and its length.
    let set = unsafe {
        libc::setxattr(path.as_ptr(), c"trusted.overlay.opaque".as_ptr(), c"y".as_ptr().cast(), 1, 0)
    };
    assert_eq!(set, 0);
}

fn lines(first: &[&PathBuf], second: &[&PathBuf]) -> Vec<String> {
    let own = |stack: &[&PathBuf]| stack.iter().map(|path| (*path).clone()).collect::<Vec<_>>();
    let mut found = Vec::new();
    compare(&own(first), &own(second), &mut |one| {
        let size = |bytes: Option<u64>| bytes.map_or("-".into(), |bytes| bytes.to_string());
        found.push(format!("{} {} {} {}", one.kind, one.path, size(one.before), size(one.after)));
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn layers_lie_on_each_other_as_overlay_lays_them() {
    let layers = Layers(tempfile::tempdir().unwrap());
    let base = layers.layer("base", &[("a/kept", "1"), ("a/gone", "22"), ("b/old", "333"), ("c", "4")]);
    let top =
        layers.layer("top", &[("a/gone", "whiteout"), ("a/new", "55555"), ("b/only", "6"), ("c", "77")]);
    opaque(&top.join("b"));
    assert_eq!(
        lines(&[&base], &[&top, &base]),
        ["D /a/gone 2 -", "A /a/new - 5", "D /b/old 3 -", "A /b/only - 1", "C /c 1 2"],
    );
    assert_eq!(
        lines(&[&top, &base], &[&base]),
        ["A /a/gone - 2", "D /a/new 5 -", "A /b/old - 3", "D /b/only 1 -", "C /c 2 1"],
    );
    assert!(lines(&[&top, &base], &[&top, &base]).is_empty());
}

#[test]
fn the_same_content_written_anew_is_the_same() {
    let layers = Layers(tempfile::tempdir().unwrap());
    let files = [("d/same", "abc"), ("d/other", "abc"), ("d/mode", "abc"), ("d/kind", "abc")];
    let (one, two) = (layers.layer("one", &files), layers.layer("two", &files));
    fs::write(two.join("d/other"), "abd").unwrap();
    fs::set_permissions(two.join("d/mode"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::remove_file(two.join("d/kind")).unwrap();
    symlink("same", two.join("d/kind")).unwrap();
    symlink("same", one.join("link")).unwrap();
    symlink("other", two.join("link")).unwrap();
    assert_eq!(lines(&[&one], &[&two]), ["C /d/kind 3 -", "C /d/mode 3 3", "C /d/other 3 3", "C /link - -"]);
}

#[test]
fn a_directory_that_only_one_has_is_told_with_everything_in_it() {
    let layers = Layers(tempfile::tempdir().unwrap());
    let one = layers.layer("one", &[("x/y/z", "1"), ("was", "file")]);
    let two = layers.layer("two", &[("was/now", "22")]);
    assert_eq!(
        lines(&[&one], &[&two]),
        ["C /was 4 -", "A /was/now - 2", "D /x - -", "D /x/y - -", "D /x/y/z 1 -"],
    );
}
