//! Layers put together at random, a fixed budget of them: what overlayfs shows of their trees is what one gets who applies
//! the tars one after the other, as the specification has it (OCI image-spec, layer.md).

mod support;

use std::collections::BTreeMap;

use support::*;

const ROUNDS: u64 = 150;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A file with its text, or a directory.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    File(String),
    Directory,
}

/// What a root directory has in it, by path.
type Tree = BTreeMap<String, Node>;

/// What a layer's entry does to a path.
#[derive(Debug, Clone)]
enum Deed {
    Put(Node),
    Whiteout,
    Opaque,
}

fn below(tree: &Tree, path: &str) -> Vec<String> {
    let start = format!("{path}/");
    tree.keys().filter(|name| name.starts_with(&start)).cloned().collect()
}

fn remove(tree: &mut Tree, path: &str) {
    for name in below(tree, path) {
        tree.remove(&name);
    }
    tree.remove(path);
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Makes a directory, in the place of what is none.
fn put_directory(tree: &mut Tree, path: &str) {
    if tree.get(path) != Some(&Node::Directory) {
        tree.insert(path.to_owned(), Node::Directory);
    }
}

/// What a layer takes from those below it, whatever the order of its entries.
fn hide(tree: &mut Tree, layer: &[(String, Deed)]) {
    for (path, deed) in layer {
        match deed {
            Deed::Whiteout => remove(tree, path),
            Deed::Opaque => below(tree, path).iter().for_each(|name| remove(tree, name)),
            Deed::Put(_) => {}
        }
    }
}

/// What it has itself, one entry after the other.
fn put(tree: &mut Tree, layer: &[(String, Deed)]) {
    for (path, deed) in layer {
        ancestors(path).for_each(|ancestor| put_directory(tree, ancestor));
        match deed {
            Deed::Put(Node::Directory) | Deed::Opaque => put_directory(tree, path),
            Deed::Put(node) => {
                remove(tree, path);
                tree.insert(path.clone(), node.clone());
            }
            Deed::Whiteout => {}
        }
    }
}

/// Few names, so that they meet.
fn path(random: &mut Random) -> String {
    let parts: Vec<_> = (0..=random.below(3)).map(|_| ["a", "b", "c"][random.below(3)]).collect();
    parts.join("/")
}

fn random_layer(random: &mut Random, text: &mut u32) -> Vec<(String, Deed)> {
    let mut layer = Vec::new();
    // What the layer itself has: nothing can be put into its own files.
    let mut own = Tree::new();
    for _ in 0..1 + random.below(7) {
        let path = path(random);
        if ancestors(&path).any(|ancestor| matches!(own.get(ancestor), Some(Node::File(_)))) {
            continue;
        }
        *text += 1;
        let deed = match random.below(6) {
            0 | 1 => Deed::Put(Node::File(text.to_string())),
            2 => Deed::Put(Node::Directory),
            3 if !matches!(own.get(&path), Some(Node::File(_))) => Deed::Opaque,
            _ => Deed::Whiteout,
        };
        // Below what the layer has just removed there is nothing to hide, and Docker makes a directory for saying so.
        let is_gone = |name: &str| {
            !own.contains_key(name)
                && layer.iter().any(|(path, deed)| path == name && matches!(deed, Deed::Whiteout))
        };
        let is_mark = !matches!(deed, Deed::Put(_));
        if is_mark && (ancestors(&path).any(is_gone) || matches!(deed, Deed::Opaque) && is_gone(&path)) {
            continue;
        }
        layer.push((path, deed));
        put(&mut own, &layer[layer.len() - 1..]);
    }
    layer
}

fn packed(layer: &[(String, Deed)]) -> Vec<u8> {
    let entries: Vec<Made> = layer
        .iter()
        .map(|(path, deed)| match deed {
            Deed::Put(Node::File(text)) => file(path, &format!("{text}\n")),
            Deed::Put(Node::Directory) => directory(path),
            Deed::Opaque => file(&format!("{path}/.wh..wh..opq"), ""),
            Deed::Whiteout => match path.rsplit_once('/') {
                Some((parent, name)) => file(&format!("{parent}/.wh.{name}"), ""),
                None => file(&format!(".wh.{path}"), ""),
            },
        })
        .collect();
    tar(&entries)
}

#[test]
fn overlayfs_shows_what_the_layers_are_one_after_the_other() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let mut rounds = Vec::new();
    for seed in 0..ROUNDS {
        let (mut random, mut text) = (Random(seed), 0);
        let layers: Vec<_> = (0..3).map(|_| random_layer(&mut random, &mut text)).collect();
        let mut expected = Tree::new();
        for (index, layer) in layers.iter().enumerate() {
            let into = top.path().join(format!("{seed:03}/{index}"));
            std::fs::create_dir_all(&into).unwrap();
            unpack_bytes(packed(layer), &options(&into)).unwrap_or_else(|error| panic!("{error}: {layer:?}"));
            hide(&mut expected, layer);
            put(&mut expected, layer);
        }
        rounds.push((layers, expected));
    }
    let script = r#"cd "$0" && mkdir merged && for round in [0-9]*; do
        mount -t overlay -o lowerdir=$round/2:$round/1:$round/0 none merged
        (cd merged && find . -mindepth 1 -printf '%y %P ' -type f -exec cat {} \; -o -mindepth 1 -printf '\n')
        echo; umount merged
        done"#;
    let shown = run("unshare", &["--mount", "sh", "-ec", script, top.path().to_str().unwrap()]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    let mut shown = shown.split("\n\n");
    for (seed, (layers, expected)) in rounds.iter().enumerate() {
        let lines = shown.next().unwrap().lines();
        // A directory that one layer alone has is read as it is: the name of a whiteout shows, though it leads nowhere.
        let mut found: Vec<_> = lines.filter(|line| !line.is_empty() && !line.starts_with("c ")).collect();
        found.sort_by_key(|line| line.split(' ').nth(1));
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, node)| match node {
                Node::File(text) => format!("f {path} {text}"),
                Node::Directory => format!("d {path} "),
            })
            .collect();
        assert_eq!(found, expected, "seed {seed}: {layers:?}");
    }
}
