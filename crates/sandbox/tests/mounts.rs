//! Every mount option of the specification (config.md, "Linux mount options"), as the kernel shows it inside.

mod common;

use std::{
    fs,
    os::unix::fs::chown,
    process::{Command, Output},
};

use common::{Outcome, Sandbox, outcome};
use serde_json::{Value, json};

/// Runs the sandbox in a mount namespace of the test's own, after a script that mounts things there.
fn run_after(sandbox: &Sandbox, script: &str) -> Outcome {
    let inner = sandbox.command();
    let words: Vec<_> = inner.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let source = sandbox.path("source");
    fs::create_dir_all(&source).unwrap();
    let script = format!("set -e; cd {}; {script}; cd /; exec timeout {}", source.display(), words.join(" "));
    let output: Output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .output()
        .unwrap();
    outcome(output)
}

/// What /proc/self/mountinfo says of one mount.
#[derive(Debug)]
struct Shown {
    own: Vec<String>,
    propagation: String,
    superblock: Vec<String>,
}

fn shown(mountinfo: &str, place: &str) -> Shown {
    let line = mountinfo
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(place))
        .unwrap_or_else(|| panic!("nothing on {place}: {mountinfo}"));
    let (before, after) = line.split_once(" - ").unwrap();
    let fields: Vec<&str> = before.split(' ').collect();
    let words = |text: &str| text.split(',').map(str::to_owned).collect();
    Shown {
        own: words(fields[5]),
        propagation: fields[6..].join(" "),
        superblock: words(after.split(' ').nth(2).unwrap()),
    }
}

/// What each of these new file systems shows, all in one container: a start each would take its time.
fn new_filesystems<'a>(all: impl Iterator<Item = &'a [&'a str]> + Clone) -> Vec<Shown> {
    let mount = |sandbox: Sandbox, (at, options): (usize, &[&str])| {
        sandbox.mount("tmpfs", "tmpfs", &format!("/{at}"), options)
    };
    let sandbox = all.clone().enumerate().fold(Sandbox::new("cat /proc/self/mountinfo"), mount);
    let mountinfo = sandbox.output();
    (0..all.count()).map(|at| shown(&mountinfo, &format!("/{at}"))).collect()
}

#[test]
fn every_option_of_a_new_file_system_shows() {
    // Options; what the mount shows, and what its file system does.
    let table: [(&[&str], &str, &str); 44] = [
        (&[], "rw,relatime", "rw"),
        (&["defaults"], "rw,relatime", "rw"),
        (&["ro"], "ro,relatime", "rw"),
        (&["ro", "rw"], "rw,relatime", "rw"),
        (&["nosuid"], "rw,nosuid,relatime", "rw"),
        (&["nosuid", "suid"], "rw,relatime", "rw"),
        (&["nodev"], "rw,nodev,relatime", "rw"),
        (&["nodev", "dev"], "rw,relatime", "rw"),
        (&["noexec"], "rw,noexec,relatime", "rw"),
        (&["noexec", "exec"], "rw,relatime", "rw"),
        (&["noatime"], "rw,noatime", "rw"),
        (&["noatime", "atime"], "rw,relatime", "rw"),
        (&["nodiratime"], "rw,nodiratime,relatime", "rw"),
        (&["nodiratime", "diratime"], "rw,relatime", "rw"),
        (&["relatime"], "rw,relatime", "rw"),
        (&["norelatime"], "rw,relatime", "rw"),
        (&["strictatime"], "rw", "rw"),
        (&["strictatime", "nostrictatime"], "rw,relatime", "rw"),
        (&["nosymfollow"], "rw,relatime,nosymfollow", "rw"),
        (&["nosymfollow", "symfollow"], "rw,relatime", "rw"),
        (&["rro"], "ro,relatime", "rw"),
        (&["rro", "rrw"], "rw,relatime", "rw"),
        (&["rnosuid"], "rw,nosuid,relatime", "rw"),
        (&["rnosuid", "rsuid"], "rw,relatime", "rw"),
        (&["rnodev"], "rw,nodev,relatime", "rw"),
        (&["rnodev", "rdev"], "rw,relatime", "rw"),
        (&["rnoexec"], "rw,noexec,relatime", "rw"),
        (&["rnoexec", "rexec"], "rw,relatime", "rw"),
        (&["rnoatime"], "rw,noatime", "rw"),
        (&["rnoatime", "ratime"], "rw,relatime", "rw"),
        (&["rnodiratime"], "rw,nodiratime,relatime", "rw"),
        (&["rnodiratime", "rdiratime"], "rw,relatime", "rw"),
        (&["rrelatime"], "rw,relatime", "rw"),
        (&["rnorelatime"], "rw,relatime", "rw"),
        (&["rstrictatime"], "rw", "rw"),
        (&["rstrictatime", "rnostrictatime"], "rw,relatime", "rw"),
        (&["rnosymfollow"], "rw,relatime,nosymfollow", "rw"),
        (&["rnosymfollow", "rsymfollow"], "rw,relatime", "rw"),
        (&["sync"], "rw,relatime", "rw,sync"),
        (&["sync", "async"], "rw,relatime", "rw"),
        (&["dirsync"], "rw,relatime", "rw,dirsync"),
        (&["lazytime"], "rw,relatime", "rw,lazytime"),
        (&["lazytime", "nolazytime"], "rw,relatime", "rw"),
        (
            &["silent", "loud", "iversion", "noiversion", "mand", "nomand", "size=4k"],
            "rw,relatime",
            "rw,size=4k",
        ),
    ];
    let all = new_filesystems(table.iter().map(|(options, ..)| *options));
    for (shown, (options, own, superblock)) in all.into_iter().zip(table) {
        assert_eq!(shown.own.join(","), own, "{options:?}");
        let kernels_own = |word: &String| !matches!(word.as_str(), "inode64" | "inode32" | "mand");
        let told: Vec<_> = shown.superblock.into_iter().filter(kernels_own).collect();
        assert_eq!(told.join(","), superblock, "{options:?}");
        assert_eq!(shown.propagation, "", "{options:?}");
    }
}

#[test]
fn propagation_is_the_words() {
    let table: [(&[&str], &str); 8] = [
        (&["shared"], "shared:"),
        (&["rshared"], "shared:"),
        (&["private"], ""),
        (&["rprivate"], ""),
        // A slave of nobody is private.
        (&["slave"], ""),
        (&["rslave"], ""),
        (&["unbindable"], "unbindable"),
        (&["runbindable"], "unbindable"),
    ];
    let all = new_filesystems(table.iter().map(|(options, _)| *options));
    for (Shown { propagation, .. }, (options, shows)) in all.into_iter().zip(table) {
        assert!(
            propagation.starts_with(shows) && (shows.is_empty() == propagation.is_empty()),
            "{options:?}: {propagation}"
        );
    }
}

/// Two mounts, one below the other, both shared. The way there is gone again: it led below the first.
const TREE: &str = "mount -t tmpfs upper .; cd /; cd $OLDPWD; mkdir below; mount -t tmpfs lower below; mount --make-rshared .";

/// What both show where the upper one is bound, once with each of these options. `more` is done to the tree before.
fn bound(more: &str, all: &[&[&str]]) -> Vec<[Shown; 2]> {
    let mut sandbox = Sandbox::new("cat /proc/self/mountinfo");
    let source = sandbox.path("source");
    for (at, options) in all.iter().enumerate() {
        sandbox = sandbox.mount("none", &source, &format!("/{at}"), options);
    }
    let outcome = run_after(&sandbox, &format!("{TREE}; {more}"));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let places = |at| [format!("/{at}"), format!("/{at}/below")];
    (0..all.len()).map(|at| places(at).map(|place| shown(&outcome.out, &place))).collect()
}

#[test]
fn an_r_before_a_word_reaches_the_mounts_below_and_no_other_word_does() {
    let table: [(&[&str], &str, [bool; 2]); 15] = [
        (&["rbind", "ro"], "ro", [true, false]),
        (&["rbind", "rro"], "ro", [true, true]),
        (&["rbind", "nosuid"], "nosuid", [true, false]),
        (&["rbind", "rnosuid"], "nosuid", [true, true]),
        (&["rbind", "nodev"], "nodev", [true, false]),
        (&["rbind", "rnodev"], "nodev", [true, true]),
        (&["rbind", "noexec"], "noexec", [true, false]),
        (&["rbind", "rnoexec"], "noexec", [true, true]),
        (&["rbind", "noatime"], "noatime", [true, false]),
        (&["rbind", "rnoatime"], "noatime", [true, true]),
        (&["rbind", "nodiratime"], "nodiratime", [true, false]),
        (&["rbind", "rnodiratime"], "nodiratime", [true, true]),
        (&["rbind", "nosymfollow"], "nosymfollow", [true, false]),
        (&["rbind", "rnosymfollow"], "nosymfollow", [true, true]),
        (&["rbind", "rstrictatime"], "relatime", [false, false]),
    ];
    let all = bound(":", &table.map(|(options, ..)| options));
    for (both, (options, word, expected)) in all.into_iter().zip(table) {
        assert_eq!(both.map(|shown| shown.own.iter().any(|own| own == word)), expected, "{options:?}");
    }
}

#[test]
fn a_word_that_clears_takes_nothing_from_what_is_bound_but_with_an_r_from_the_mounts_below_too() {
    let pairs = [
        ("rw", "ro"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
        ("exec", "noexec"),
        ("atime", "noatime"),
        ("diratime", "nodiratime"),
        ("symfollow", "nosymfollow"),
    ];
    let restricted = pairs.map(|(_, word)| word).join(",");
    let restrict = format!("for mount in below .; do mount -o remount,bind,{restricted} $mount; done");
    let recursive = pairs.map(|(word, _)| format!("r{word}"));
    let words = pairs.iter().map(|(word, clears)| (*word, *clears, true));
    let words =
        words.chain(recursive.iter().zip(pairs).map(|(word, (_, clears))| (word.as_str(), clears, false)));
    let options: Vec<[&str; 2]> = words.clone().map(|(word, ..)| ["rbind", word]).collect();
    let all = bound(&restrict, &options.iter().map(<[&str; 2]>::as_slice).collect::<Vec<_>>());
    for (both, (word, clears, stays)) in all.into_iter().zip(words) {
        for (shown, (_, other)) in both.iter().flat_map(|shown| pairs.map(|pair| (shown, pair))) {
            let expected = stays || other != clears;
            assert_eq!(shown.own.iter().any(|own| own == other), expected, "{word} {other}: {shown:?}");
        }
    }
}

#[test]
fn a_bind_mount_takes_on_the_propagation_that_it_is_given() {
    let table: [(&[&str], [&str; 2]); 6] = [
        (&["rbind"], ["", ""]),
        (&["rbind", "rprivate"], ["", ""]),
        (&["rbind", "rslave"], ["master:", "master:"]),
        (&["rbind", "rshared"], ["shared:", "shared:"]),
        (&["rbind", "runbindable"], ["unbindable", "unbindable"]),
        (&["rbind", "slave"], ["master:", "shared:"]),
    ];
    let all = bound(":", &table.map(|(options, _)| options));
    for (both, (options, expected)) in all.into_iter().zip(table) {
        for (Shown { propagation, .. }, word) in both.into_iter().zip(expected) {
            assert!(
                propagation.contains(word) && (word.is_empty() == propagation.is_empty()),
                "{options:?}: {propagation}"
            );
        }
    }
}

#[test]
fn the_roots_propagation_is_the_documents() {
    let seen = |word: Value| {
        let sandbox = Sandbox::new("cat /proc/self/mountinfo");
        let image = sandbox.path("image");
        let sandbox =
            sandbox.on_directory().config(|config| config["linux"]["rootfsPropagation"] = word.clone());
        let script = format!("mount --bind {0} {0}; mount --make-shared {0}", image.display());
        let outcome = run_after(&sandbox, &script);
        assert_eq!(outcome.status, 0, "{word}: {outcome:?}");
        shown(&outcome.out, "/").propagation
    };
    for (word, shows) in [
        (Value::Null, ""),
        (json!("rprivate"), ""),
        (json!("shared"), "shared:"),
        (json!("rslave"), "master:"),
        (json!("unbindable"), "unbindable"),
    ] {
        let propagation = seen(word.clone());
        assert!(
            propagation.starts_with(shows) && (shows.is_empty() == propagation.is_empty()),
            "{word}: {propagation}"
        );
    }
}

#[test]
fn without_rbind_the_mounts_below_stay_behind() {
    let sandbox = Sandbox::new("ls /bound; ls /bound/below | wc -l");
    let source = sandbox.path("source");
    let script = format!("{TREE}; touch below/deep");
    assert_eq!(run_after(&sandbox.mount("bind", source, "/bound", &[]), &script).out, "below\n0\n");
}

#[test]
fn a_remount_gives_all_attributes_anew() {
    let remount = |options: &[&str]| {
        Sandbox::new("cat /proc/self/mountinfo")
            .mount("tmpfs", "tmpfs", "/mounted", &["nosuid", "noatime"])
            .mount("none", "", "/mounted", options)
    };
    let own = |options: &[&str]| shown(&remount(options).output(), "/mounted").own.join(",");
    assert_eq!(own(&["remount", "ro"]), "ro,relatime");
    assert_eq!(own(&["remount", "bind", "nodev", "noexec"]), "rw,nodev,noexec,relatime");
    assert!(remount(&["remount", "size=1m"]).refusal().contains("size=1m"));
    let nothing = Sandbox::new("true").mount("none", "", "/etc", &["remount", "ro"]).refusal();
    assert!(nothing.contains("cannot remount /etc"), "{nothing}");
}

#[test]
fn tmpcopyup_begins_with_what_the_image_has_there_also_read_only() {
    for (options, writable) in [(&["tmpcopyup"][..], "yes"), (&["tmpcopyup", "ro"], "no")] {
        let out = Sandbox::new("cat /etc/group | head -1; touch /etc/new 2>/dev/null && echo yes || echo no")
            .mount("tmpfs", "tmpfs", "/etc", options)
            .output();
        assert_eq!(out, format!("root:x:0:\n{writable}"));
    }
    let directory = std::env::temp_dir();
    let refusal = Sandbox::new("true").mount("bind", directory, "/etc", &["tmpcopyup"]).refusal();
    assert!(refusal.contains("tmpcopyup"), "it would write to the host: {refusal}");
}

#[test]
fn a_word_that_would_say_nothing_is_refused() {
    let directory = std::env::temp_dir();
    let refusal = Sandbox::new("true").mount("bind", directory, "/x", &["nosiud"]).refusal();
    assert!(refusal.contains("nosiud"), "{refusal}");
    let directory = std::env::temp_dir();
    let refusal = Sandbox::new("true").mount("bind", directory, "/x", &["idmap=uids=0-1-10"]).refusal();
    assert!(refusal.contains("idmap=uids"), "{refusal}");
    let refusal = Sandbox::new("true").mount("cgroup", "cgroup", "/sys/fs/cgroup", &["nosiud"]).refusal();
    assert!(refusal.contains("nosiud"), "{refusal}");
    let refusal = Sandbox::new("true").mount("tmpfs", "tmpfs", "/x", &["nosiud"]).refusal();
    assert!(refusal.contains("/x (tmpfs: Unknown parameter 'nosiud')"), "{refusal}");
    let refusal = Sandbox::new("true").mount("moonfs", "none", "/x", &[]).refusal();
    assert!(refusal.contains("moonfs"), "{refusal}");
}

#[test]
fn a_destination_is_meant_from_the_root_and_is_not_the_root() {
    let out =
        Sandbox::new("cat /proc/self/mountinfo").mount("tmpfs", "tmpfs", "relative/place", &[]).output();
    shown(&out, "/relative/place");
    for root in ["/", "", "/../..", "."] {
        let refusal = Sandbox::new("true").mount("tmpfs", "tmpfs", root, &[]).refusal();
        assert!(refusal.contains("below /"), "{refusal}");
    }
}

fn mapping(container: u32, host: u32, size: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": size}])
}

/// The owners of a file and of one on the mount below, where the first is bound with these options and mappings.
fn owners(options: &[&str], maps: Option<Value>, change: impl FnOnce(&mut Value)) -> Outcome {
    let sandbox = Sandbox::new("stat -c %u:%g /bound/file /bound/below/file");
    let source = sandbox.path("source");
    let sandbox = sandbox.mount("bind", source, "/bound", options).config(|config| {
        if let Some(maps) = maps {
            let mount = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
            mount["uidMappings"] = maps.clone();
            mount["gidMappings"] = maps;
        }
        change(config);
    });
    // No tmpfs: one can be mapped from Linux 6.3 on only.
    let tree = "mkdir below ../other; mount --bind ../other below";
    run_after(&sandbox, &format!("{tree}; touch file below/file; chown 7:7 file below/file"))
}

#[test]
fn a_mounts_own_mappings_show_other_owners_and_below_it_only_if_asked() {
    let seen = |options: &[&str]| owners(options, Some(mapping(7, 70, 1)), |_| ()).out;
    assert_eq!(seen(&["rbind", "idmap"]), "70:70\n7:7\n");
    assert_eq!(seen(&["rbind", "ridmap"]), "70:70\n70:70\n");
    // Mappings speak for themselves.
    assert_eq!(seen(&["rbind"]), "70:70\n7:7\n");
}

fn with_user_namespace(config: &mut Value) {
    let linux = &mut config["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    linux["uidMappings"] = mapping(0, 100_000, 1000);
    linux["gidMappings"] = mapping(0, 100_000, 1000);
}

#[test]
fn in_a_user_namespace_idmap_shows_the_owners_as_it_maps_them() {
    for (options, expected) in [
        (&["rbind", "ridmap"][..], "7:7\n7:7\n"),
        (&["rbind", "idmap"], "7:7\n65534:65534\n"),
        (&["rbind"], "65534:65534\n65534:65534\n"),
    ] {
        let outcome = owners(options, None, with_user_namespace);
        assert_eq!(outcome.out, expected, "{options:?}: {outcome:?}");
    }
}

#[test]
fn mappings_that_cannot_be_are_refused() {
    let refusal = |options: &[&str], maps: Option<Value>| {
        let outcome = owners(options, maps, |_| ());
        assert_eq!(outcome.status, 125, "{outcome:?}");
        outcome.err
    };
    assert!(refusal(&["rbind", "idmap"], None).contains("idmap needs mappings"));
    assert!(refusal(&["rbind"], Some(mapping(0, 0, 0))).contains("size 0"));
    let overlapping = json!([
        {"containerID": 0, "hostID": 0, "size": 10}, {"containerID": 9, "hostID": 100, "size": 1}]);
    assert!(refusal(&["rbind"], Some(overlapping)).contains("container id 9"));
    let tmpfs = Sandbox::new("true").mount("tmpfs", "tmpfs", "/x", &["idmap"]).refusal();
    assert!(tmpfs.contains("bind mounts only"), "{tmpfs}");
}

#[test]
fn a_mount_of_a_device_that_cannot_be_written_is_read_only_all_through() {
    let sandbox = Sandbox::new("cat /mounted/file; cat /proc/self/mountinfo");
    let (tree, image) = (sandbox.path("tree"), sandbox.path("image.ext4"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "found\n").unwrap();
    chown(&tree, Some(0), Some(0)).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    let made = mke2fs.args(["-q", "-t", "ext2", "-d"]).args([&tree, &image]).arg("512k").output();
    assert!(made.expect("the package e2fsprogs").status.success());
    let device = Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(&image).output();
    let Some(device) = device.ok().filter(|device| device.status.success()) else {
        // No loop devices here.
        return;
    };
    let device = String::from_utf8(device.stdout).unwrap().trim().to_owned();
    let outcome = sandbox.mount("ext4", &device, "/mounted", &["ro"]).run();
    Command::new("losetup").args(["--detach", &device]).status().unwrap();
    assert!(outcome.out.starts_with("found\n"), "{outcome:?}");
    assert!(shown(&outcome.out, "/mounted").superblock.contains(&"ro".to_owned()));
}
