//! What trees take, and what goes when they go.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use kapsel_storage::usage::{Usage, measure};

fn file(path: &Path, bytes: usize) -> u64 {
    fs::write(path, vec![b'x'; bytes]).unwrap();
    blocks(path)
}

fn blocks(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().blocks() * 512
}

fn directory(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_file_counts_once_and_goes_with_its_last_name() {
    let root = tempfile::tempdir().unwrap();
    let one = directory(root.path().join("one"));
    let two = directory(root.path().join("two"));
    let alone = file(&one.join("alone"), 10_000);
    let both = file(&one.join("both"), 20_000);
    fs::hard_link(one.join("both"), two.join("both")).unwrap();
    fs::hard_link(one.join("both"), one.join("again")).unwrap();
    let spare = file(&two.join("spare"), 30_000);
    fs::hard_link(two.join("spare"), root.path().join("elsewhere")).unwrap();
    let (first, second) = (blocks(&one), blocks(&two));
    let sets = [vec![one.clone()], vec![two.clone()], vec![one.clone(), two.clone(), one.clone()]];
    let usage = |size, freed| Usage { size, freed };
    assert_eq!(
        measure(&sets).unwrap(),
        [
            usage(first + alone + both, first + alone),
            usage(second + both + spare, second),
            usage(first + second + alone + both + spare, first + second + alone + both),
        ],
    );
}

#[test]
fn holes_links_and_depth_are_what_they_are() {
    let root = tempfile::tempdir().unwrap();
    let tree = directory(root.path().join("tree"));
    fs::File::create(tree.join("hole")).unwrap().set_len(1 << 40).unwrap();
    let outside = directory(root.path().join("outside"));
    file(&outside.join("large"), 1 << 20);
    symlink(&outside, tree.join("link")).unwrap();
    let mut expected = blocks(&tree) + blocks(&tree.join("link")) + blocks(&tree.join("hole"));
    let mut deep = tree.clone();
    for _ in 0..200 {
        deep = directory(deep.join("d"));
        fs::create_dir(deep.join("e")).unwrap();
        expected += blocks(&deep) + blocks(&deep.join("e"));
    }
    let missing = root.path().join("missing");
    let single = root.path().join("single");
    let bytes = file(&single, 5000);
    let found = measure(&[vec![tree], vec![missing], vec![single]]).unwrap();
    assert_eq!(found.iter().map(|usage| usage.size).collect::<Vec<_>>(), [expected, 0, bytes]);
}
