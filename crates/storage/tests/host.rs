//! The image of this machine's programs, unpacked and used as a root.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kapsel_storage::host::{Source, resolve, write_tar};
use kapsel_storage::unpack::Options;
use support::*;

fn sources(programs: &[&str]) -> Vec<Source> {
    let programs: Vec<String> = programs.iter().map(|&program| program.to_owned()).collect();
    resolve(&programs).unwrap()
}

fn layer(sources: &[Source]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_tar(sources, &mut bytes).unwrap();
    bytes
}

/// A root made of these programs.
fn image(programs: &[&str]) -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    unpack_bytes(layer(&sources(programs)), &Options { rootless: false, ..options(top.path()) }).unwrap();
    top
}

/// Runs a command line in a root of its own, with its own mounts and processes.
fn inside(top: &Path, command: &[&str]) -> Output {
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork"])
        .arg(format!("--root={}", top.display()))
        .arg("--mount-proc")
        .args(command)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn bash_ls_ps_and_perl_run_in_a_root_made_of_themselves() {
    if !root() {
        return;
    }
    let top = image(&["bash", "ls", "ps", "perl", "id"]);
    // A container has it from the sandbox.
    run("mknod", &["-m", "666", top.path().join("dev/null").to_str().unwrap(), "c", "1", "3"]);
    let listing = inside(top.path(), &["bash", "-c", "ls /"]);
    for name in ["bin", "dev", "etc", "proc", "root", "tmp", "usr"] {
        assert!(text(&listing).lines().any(|line| line == name), "{name} in {}", text(&listing));
    }
    let processes = inside(top.path(), &["bash", "-c", "ps -e -o pid=,comm=; true"]);
    assert!(text(&processes).trim_start().starts_with("1 bash"), "{}", text(&processes));
    assert_eq!(text(&inside(top.path(), &["perl", "-e", "print 6 * 7"])), "42");
    assert_eq!(text(&inside(top.path(), &["id", "-un"])), "root\n");
    // Its terminal is described, and its locale is there.
    assert!(
        top.path().join("lib/terminfo/x/xterm").exists()
            || top.path().join("usr/share/terminfo/x/xterm").exists()
    );
    assert_eq!(text(&inside(top.path(), &["/bin/bash", "-c", "LC_ALL=C.UTF-8; x=ä; echo ${#x}"])), "1\n");
}

#[test]
fn an_interpreter_with_its_library_directory_runs() {
    if !root() || !Path::new("/usr/lib/python3.11/encodings").exists() {
        return;
    }
    let top = image(&["/usr/bin/python3", "/usr/lib/python3.11"]);
    let output = inside(top.path(), &["python3", "-c", "import json, hashlib; print(json.dumps([1]))"]);
    assert_eq!(text(&output), "[1]\n");
}

#[test]
fn the_libraries_are_those_that_the_loader_takes() {
    // ldd executes what it looks at: only here, where the program is known.
    for program in ["/usr/bin/bash", "/usr/bin/ps", "/usr/bin/perl", "/usr/bin/tar"] {
        let found: Vec<PathBuf> = sources(&[program]).into_iter().map(|source| source.path).collect();
        let listed = run("ldd", &[program]);
        let listed = text(&listed).to_owned();
        let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
        for path in paths {
            let real = Path::new(path).canonicalize().unwrap();
            assert!(found.contains(&real), "{program}: {path} is missing in {found:?}");
        }
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    for name in ["no-such-program-at-all", "/no/such/program", "relative/name", ""] {
        let error = resolve(&[name.to_owned()]).unwrap_err();
        assert_eq!(error.code, "HOST_PROGRAM_NOT_FOUND");
        assert!(error.message.contains(&format!("'{name}'")), "{error}");
    }
}

#[test]
fn the_same_sources_give_the_same_bytes_and_the_list_tells_of_changes() {
    let first = sources(&["bash", "ls"]);
    assert_eq!(first, sources(&["ls", "bash", "ls"]));
    assert_eq!(layer(&first), layer(&first));
    assert!(first.is_sorted_by(|a, b| a.path < b.path));
    let json = serde_json::to_value(&first).unwrap();
    let bash = json.as_array().unwrap().iter().find(|source| source["path"] == "/usr/bin/bash").unwrap();
    assert_eq!(bash["size"], std::fs::metadata("/usr/bin/bash").unwrap().len());
    assert!(bash["mtime"].is_string() && bash["inode"].is_u64());
}

#[test]
fn a_file_that_changes_in_between_is_told() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("file");
    std::fs::write(&path, "before").unwrap();
    let sources = sources(&[path.to_str().unwrap()]);
    std::fs::write(&path, "afterwards").unwrap();
    assert_eq!(write_tar(&sources, std::io::sink()).unwrap_err().code, "HOST_CHANGED");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(write_tar(&sources, std::io::sink()).unwrap_err().code, "HOST_UNREADABLE");
}

#[test]
fn scripts_bring_their_interpreters() {
    let top = tempfile::tempdir().unwrap();
    let make = |name: &str, text: &str| {
        let path = top.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let has = |sources: &[Source], path: &str| sources.iter().any(|source| source.path == Path::new(path));
    let direct = sources(&[&make("direct", "#!/bin/bash\nls\n")]);
    assert!(has(&direct, "/usr/bin/bash") || has(&direct, "/bin/bash"));
    let through = sources(&[&make("through", "#!/usr/bin/env -S perl -w\n")]);
    assert!(has(&through, "/usr/bin/env") && has(&through, "/usr/bin/perl"));
    let missing = make("missing", "#!/usr/bin/env no-such-interpreter\n");
    let error = resolve(&[missing]).unwrap_err();
    assert_eq!(error.code, "HOST_PROGRAM_NOT_FOUND");
    assert!(error.message.contains("'no-such-interpreter'"), "{error}");
}

#[test]
fn links_lead_the_same_way_in_the_image() {
    let top = tempfile::tempdir().unwrap();
    let base = top.path().canonicalize().unwrap();
    std::fs::create_dir_all(base.join("real/bin")).unwrap();
    std::fs::write(base.join("real/bin/tool-1"), "#!/bin/bash\n").unwrap();
    symlink("real", base.join("current")).unwrap();
    symlink(base.join("current/bin/tool-1"), base.join("tool")).unwrap();
    let found: BTreeMap<PathBuf, Source> =
        sources(&[base.join("tool").to_str().unwrap()]).into_iter().map(|s| (s.path.clone(), s)).collect();
    assert_eq!(found[&base.join("tool")].link, Some(base.join("current/bin/tool-1")));
    assert_eq!(found[&base.join("current")].link, Some("real".into()));
    assert_eq!(found[&base.join("real/bin/tool-1")].link, None);
    symlink("loop", base.join("loop")).unwrap();
    assert_eq!(
        resolve(&[base.join("loop").to_str().unwrap().to_owned()]).unwrap_err().code,
        "HOST_PROGRAM_NOT_FOUND"
    );
}

#[test]
fn rpath_and_runpath_with_origin_are_followed() {
    if !Path::new("/usr/bin/gcc").exists() {
        return;
    }
    for tags in ["--enable-new-dtags", "--disable-new-dtags"] {
        let top = tempfile::tempdir().unwrap();
        let base = top.path().canonicalize().unwrap();
        let script = format!(
            "cd {base} && mkdir -p bin lib/deep && echo 'int inner(void){{return 0;}}' > inner.c && \
             echo 'int inner(void); int outer(void){{return inner();}}' > outer.c && \
             echo 'int outer(void); int main(void){{return outer();}}' > main.c && \
             gcc -shared -o lib/deep/libinner.so inner.c && \
             gcc -shared -o lib/libouter.so outer.c -Llib/deep -linner -Wl,{tags},-rpath,'${{ORIGIN}}/deep' && \
             gcc -o bin/main main.c -Llib -louter -Wl,-rpath-link,lib/deep,{tags},-rpath,'$ORIGIN/../lib'",
            base = base.display()
        );
        run("sh", &["-c", &script]);
        let main = base.join("bin/main");
        let found = sources(&[main.to_str().unwrap()]);
        for path in ["bin/main", "lib/libouter.so", "lib/deep/libinner.so"] {
            assert!(found.iter().any(|source| source.path == base.join(path)), "{tags}: {path}");
        }
        if root() {
            inside(image(&[main.to_str().unwrap()]).path(), &[main.to_str().unwrap()]);
        }
        std::fs::remove_file(base.join("lib/deep/libinner.so")).unwrap();
        let error = resolve(&[main.to_str().unwrap().to_owned()]).unwrap_err();
        assert_eq!(error.code, "HOST_LIBRARY_NOT_FOUND");
        assert!(error.message.contains("'libinner.so'"), "{error}");
    }
}

#[test]
fn the_root_around_the_programs_is_complete() {
    if !root() {
        return;
    }
    let top = image(&["true"]);
    let all = facts(top.path());
    let mode = |path: &str| all[Path::new(path)].mode;
    assert_eq!(
        (mode("tmp"), mode("var/tmp"), mode("root"), mode("etc"), mode("")),
        (0o1777, 0o1777, 0o700, 0o755, 0o755)
    );
    assert!(std::fs::read(top.path().join("etc/passwd")).unwrap().starts_with(b"root:x:0:0:"));
    for name in ["etc/group", "etc/nsswitch.conf", "etc/os-release"] {
        assert_eq!(all[Path::new(name)].kind, '-', "{name}");
    }
    assert!(all.values().all(|facts| facts.owner == (0, 0)));
}

#[test]
fn setuid_of_others_does_not_become_roots() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let (theirs, ours) = (top.path().join("theirs"), top.path().join("ours"));
    for path in [&theirs, &ours] {
        std::fs::write(path, "x").unwrap();
    }
    nix::unistd::chown(&theirs, Some(1000.into()), Some(1000.into())).unwrap();
    for path in [&theirs, &ours] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o6755)).unwrap();
    }
    let made = image(&[theirs.to_str().unwrap(), ours.to_str().unwrap()]);
    let mode = |path: &Path| facts(made.path())[path.strip_prefix("/").unwrap()].mode;
    assert_eq!((mode(&theirs), mode(&ours)), (0o755, 0o6755));
}
