//! What differs between the trees of two stacks of layers.

use std::ffi::{CStr, CString};
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
    set(directory, c"trusted.overlay.opaque", b"y");
}

fn set(path: &Path, name: &CStr, value: &[u8]) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: two strings that end, some bytes, and their number.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(set, 0);
}

fn lines(first: &[&PathBuf], second: &[&PathBuf]) -> Vec<String> {
    let own = |stack: &[&PathBuf]| stack.iter().map(|path| (*path).clone()).collect::<Vec<_>>();
    let mut found = Vec::new();
    compare(&own(first), &own(second), false, &mut |one| {
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

#[test]
fn what_differs_is_told_and_times_only_where_they_matter() {
    let layers = Layers(tempfile::tempdir().unwrap());
    let files = [("d/time", "abc"), ("d/attributes", "abc"), ("d/much", "abc"), ("e/in", "abc")];
    let (one, two) = (layers.layer("one", &files), layers.layer("two", &files));
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in ["d", "d/time", "d/attributes", "d/much", "e", "e/in"] {
        for root in [&one, &two] {
            fs::File::open(root.join(path)).unwrap().set_modified(old).unwrap();
        }
    }
    set(&two.join("d/attributes"), c"user.mine", b"x");
    set(&two.join("e"), c"user.mine", b"x");
    // Overlayfs's say nothing of the directory itself.
    set(&one.join("d"), c"trusted.overlay.origin", b"x");
    fs::write(two.join("d/much"), "abcd").unwrap();
    fs::set_permissions(two.join("d/much"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::File::open(two.join("d/much")).unwrap().set_modified(old).unwrap();
    let later = old + std::time::Duration::from_nanos(1000);
    fs::File::open(two.join("d/time")).unwrap().set_modified(later).unwrap();
    let told = |times| {
        let mut found = Vec::new();
        compare(std::slice::from_ref(&one), std::slice::from_ref(&two), times, &mut |one| {
            found.push(format!("{} {}", one.path, one.what.join(",")));
            Ok(())
        })
        .unwrap();
        found
    };
    let always = ["/d/attributes attributes", "/d/much mode,content", "/e attributes"];
    assert_eq!(told(false), always);
    assert_eq!(told(true), [always[0], always[1], "/d/time time", always[2]]);
}
