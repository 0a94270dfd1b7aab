//! Making, entering and removing cgroups, against others who do the same and containers that resist.

use std::{path::Path, thread};

use crate::support::{Shell, create, directory, eventually, exists, has, parent, read, resources};
use kapsel_cgroups::{Cgroup, Error, Layout, LinuxResources, mounts};

#[test]
fn a_child_is_in_the_cgroup_of_every_hierarchy_before_its_first_instruction() {
    let cgroup = create(&LinuxResources::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!("cat /proc/self/cgroup > {}", file.path().display());
    assert_eq!(Shell::start(&cgroup, &script, true).wait(), 0);
    let seen = std::fs::read_to_string(file.path()).unwrap();
    let hierarchies = mounts().unwrap().1.len();
    let inside = seen.lines().filter(|line| line.ends_with(&format!(":{}", cgroup.path()))).count();
    assert_eq!(inside, hierarchies, "{seen}");
    cgroup.remove().unwrap();
}

#[test]
fn a_parent_that_was_made_hands_its_cpus_down() {
    let first = create(&LinuxResources::default());
    let places = first.directories().map(|(_, path)| path.parent().unwrap());
    for place in places.filter(|place| place.join("cpuset.cpus").exists()) {
        if !place.join("cgroup.clone_children").exists() {
            continue;
        }
        let nested = place.join("by-hand");
        std::fs::create_dir(&nested).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            assert_ne!(std::fs::read_to_string(nested.join(file)).unwrap().trim(), "", "{file}");
        }
        std::fs::remove_dir(&nested).unwrap();
    }
}

/// Where a process is, as `CONTROLLERS:PATH` of every hierarchy.
fn places(shell: &Shell) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", shell.0)).unwrap();
    text.lines().map(|line| line.split_once(':').unwrap().1.to_owned()).collect()
}

/// Makes a cgroup below another, ready for processes.
fn nest(cgroup: &Cgroup, name: &str) {
    for (_, path) in cgroup.directories() {
        let nested = path.join(name);
        std::fs::create_dir(&nested).unwrap();
        // A new cpuset of v1 is empty.
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|file| nested.join(file).exists()) {
            std::fs::copy(path.join(file), nested.join(file)).unwrap();
        }
    }
}

#[test]
fn an_exec_enters_nested_cgroups_of_all_or_some_controllers() {
    let cgroup = create(&LinuxResources::default());
    nest(&cgroup, "nested");
    let below = format!("{}/nested", cgroup.path());
    let enter = |places: &[&str]| {
        let shell = Shell::enter(&cgroup.nested_entry(places).unwrap(), "exec sleep 60", true).unwrap();
        eventually("it is in", || shell.is("sleep"));
        shell
    };
    let shell = enter(&["/nested"]);
    assert!(places(&shell).iter().all(|place| place.ends_with(&format!(":{below}"))), "{:?}", places(&shell));
    if has("memory") && has("pids") {
        let some = enter(&["memory:nested"]);
        let seen = places(&some);
        assert!(seen.contains(&format!("memory:{below}")), "{seen:?}");
        assert!(seen.contains(&format!("pids:{}", cgroup.path())), "{seen:?}");
    }
    for wrong in ["/absent", "../a", "nothing:nested"] {
        assert!(cgroup.nested_entry(&[wrong]).is_err(), "{wrong}");
    }
    cgroup.kill_all().unwrap();
    shell.wait();
    eventually("all are gone", || cgroup.processes().unwrap().is_empty());
    cgroup.remove().unwrap();
}

#[test]
fn an_exec_goes_where_others_are_when_a_v2_cgroup_has_handed_its_controllers_down() {
    if mounts().unwrap().0 != Layout::Unified {
        return;
    }
    let cgroup = create(&LinuxResources::default());
    nest(&cgroup, "init");
    let first = Shell::enter(&cgroup.nested_entry(&["init"]).unwrap(), "exec sleep 60", true).unwrap();
    std::fs::write(directory(&cgroup, "").join("cgroup.subtree_control"), "+memory").unwrap();
    let refused = Shell::enter(&cgroup.entry().unwrap(), "exec sleep 60", true).err().unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY), "{refused}");
    let second = Shell::enter(&cgroup.entry_beside(first.0).unwrap(), "exec sleep 60", true).unwrap();
    assert_eq!(places(&second), places(&first));
    cgroup.kill_all().unwrap();
    first.wait();
    second.wait();
    cgroup.remove().unwrap();
}

#[test]
fn removing_takes_the_parent_that_was_made_and_leaves_one_that_was_there() {
    let made = parent();
    let cgroup = Cgroup::create(&format!("{made}/b/c"), &LinuxResources::default()).unwrap();
    assert!(exists(&made));
    cgroup.remove().unwrap();
    assert!(!exists(&made));

    let theirs = parent();
    let users = Cgroup::create(&theirs, &LinuxResources::default()).unwrap();
    Cgroup::create(&format!("{theirs}/c"), &LinuxResources::default()).unwrap().remove().unwrap();
    assert!(exists(&theirs));
    users.remove().unwrap();
    assert!(!exists(&theirs));
}

#[test]
fn many_engines_making_and_removing_one_parent_at_once_all_succeed() {
    let parent = parent();
    thread::scope(|scope| {
        for worker in 0..8 {
            let parent = &parent;
            scope.spawn(move || {
                for _ in 0..40 {
                    let path = format!("{parent}/{worker}");
                    Cgroup::create(&path, &LinuxResources::default()).unwrap().remove().unwrap();
                }
            });
        }
    });
    assert!(!exists(&parent));
}

#[test]
fn a_stale_cgroup_is_replaced_and_a_living_one_is_not() {
    let path = format!("{}/a", parent());
    let stale = Cgroup::create(&path, &LinuxResources::default()).unwrap();
    drop(stale);
    let living = Cgroup::create(&path, &LinuxResources::default()).unwrap();
    let shell = Shell::start(&living, "exec sleep 60", true);
    eventually("it is in", || {
        living.directories().all(|(name, _)| read(&living, name, "cgroup.procs") == shell.0.to_string())
    });
    let nested: Vec<_> = living.directories().map(|(_, path)| path.join("nested")).collect();
    nested.iter().for_each(|path| std::fs::create_dir(path).unwrap());
    let refused = Cgroup::create(&path, &LinuxResources::default()).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::EBUSY), "{refused}");
    assert_eq!(living.processes().unwrap(), [shell.0], "the refusal has harmed the living one");
    assert!(nested.iter().all(|path| path.exists()), "the refusal has removed what the living one nested");
    living.kill_all().unwrap();
    shell.wait();
    living.remove().unwrap();
}

#[test]
fn what_a_container_has_nested_is_removed_however_deep_and_wide() {
    let cgroup = create(&LinuxResources::default());
    for (hierarchy, _) in cgroup.directories().map(|(name, path)| (name, path.to_owned())).collect::<Vec<_>>()
    {
        if !["memory", "unified", ""].contains(&hierarchy) {
            continue;
        }
        let top = directory(&cgroup, hierarchy);
        for wide in 0..20 {
            std::fs::create_dir(top.join(format!("wide{wide}"))).unwrap();
        }
        let mut deep = top.join("deep");
        for _ in 0..60 {
            std::fs::create_dir(&deep).unwrap();
            deep.push("d");
        }
    }
    let path = cgroup.path().to_owned();
    cgroup.remove().unwrap();
    assert!(!exists(Path::new(&path).parent().unwrap().to_str().unwrap()));
}

#[test]
fn opening_finds_what_is_there_and_says_what_is_not() {
    let cgroup = create(&LinuxResources::default());
    let again = Cgroup::open(cgroup.path()).unwrap();
    assert_eq!(again.directories().count(), cgroup.directories().count());
    cgroup.remove().unwrap();
    assert!(matches!(Cgroup::open(again.path()), Err(Error::NotFound { .. })));
    again.remove().expect("gone already is no error");
}

#[test]
fn a_limit_without_its_controller_is_refused_by_name_and_nothing_is_left() {
    let parent = parent();
    let unified = mounts().unwrap().0 == Layout::Unified;
    let some = [
        ("net_cls", r#"{"network": {"classID": 1}}"#),
        ("rdma", r#"{"rdma": {"mlx5_0": {"hcaHandles": 1}}}"#),
    ];
    // v2 has the first nowhere; a v1 machine usually lacks one or the other.
    let Some((controller, asked)) = some.into_iter().find(|(name, _)| !has(name)) else { return };
    let error = Cgroup::create(&format!("{parent}/a"), &resources(asked)).unwrap_err();
    let expected = if unified { "CGROUP_LIMIT_UNSUPPORTED" } else { "CGROUP_CONTROLLER_MISSING" };
    assert_eq!(error.code(), expected);
    assert!(unified || error.to_string().contains(controller), "{error}");
    assert!(!exists(&parent));
}

#[test]
fn a_user_without_permission_is_told_apart() {
    let path = parent();
    let refused = thread::spawn(move || {
        // SAFETY: a raw system call changes the credentials of this thread alone.
        unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        Cgroup::create(&path, &LinuxResources::default()).map(|cgroup| cgroup.path().to_owned())
    });
    let error = refused.join().unwrap().unwrap_err();
    assert_eq!(error.code(), "CGROUP_PERMISSION_DENIED", "{error}");
}

#[test]
fn a_fork_bomb_is_killed_whole() {
    // On the v2 tree by cgroup.kill, in v1 alone by freezing first.
    for into_unified in [true, false] {
        if mounts().unwrap().0 == Layout::Unified && !into_unified {
            continue;
        }
        let cgroup = create(&resources(r#"{"pids": {"limit": 100}}"#));
        let bomb = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do while :; do (:); done & done; wait";
        let shell = Shell::start(&cgroup, bomb, into_unified);
        eventually("the bomb goes off", || cgroup.processes().unwrap().len() > 12);
        cgroup.kill_all().unwrap();
        shell.wait();
        eventually("all are gone", || cgroup.processes().unwrap().is_empty());
        cgroup.remove().unwrap();
    }
}

#[test]
fn a_frozen_cgroup_stands_still_goes_on_and_can_be_killed() {
    let cgroup = create(&LinuxResources::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    let shell = Shell::start(&cgroup, &format!("while :; do echo >> {}; done", file.path().display()), true);
    let length = || file.path().metadata().unwrap().len();
    eventually("it runs", || length() > 10);
    cgroup.freeze().unwrap();
    let frozen = length();
    thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(length(), frozen);
    cgroup.thaw().unwrap();
    eventually("it goes on", || length() > frozen);
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    assert_eq!(shell.wait() & 0x7f, libc::SIGKILL);
    cgroup.remove().unwrap();
}

#[test]
fn a_process_that_freezes_itself_deeper_down_dies_all_the_same() {
    let (hierarchy, file, value) =
        if has("freezer") { ("freezer", "freezer.state", "FROZEN") } else { ("", "cgroup.freeze", "1") };
    let cgroup = create(&LinuxResources::default());
    let nested = directory(&cgroup, hierarchy).join("a/b");
    std::fs::create_dir_all(&nested).unwrap();
    let shell = Shell::start(&cgroup, "exec sleep 60", true);
    std::fs::write(nested.join("cgroup.procs"), shell.0.to_string()).unwrap();
    std::fs::write(nested.join(file), value).unwrap();
    cgroup.kill_all().unwrap();
    assert_eq!(shell.wait() & 0x7f, libc::SIGKILL);
    cgroup.remove().unwrap();
}
