//! The verbs that answer at once, as the engine runs them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn runtime() -> Command {
    Command::new(std::env::var_os("KAPSEL_RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_kapsel-runtime").into()))
}

fn error(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn tar(directory: &Path) -> std::path::PathBuf {
    fs::create_dir_all(directory.join("tree/etc")).unwrap();
    fs::write(directory.join("tree/etc/motd"), "hello\n").unwrap();
    let path = directory.join("layer.tar");
    let status =
        Command::new("tar").arg("-cf").arg(&path).arg("-C").arg(directory.join("tree")).arg("etc").status();
    assert!(status.unwrap().success());
    path
}

fn unpack(directory: &Path, arguments: &[&str]) -> Output {
    let into = directory.join("into");
    let _ = fs::remove_dir_all(&into);
    fs::create_dir(&into).unwrap();
    let input = File::open(directory.join("layer.tar")).unwrap();
    runtime().arg("unpack").arg("--into").arg(&into).args(arguments).stdin(input).output().unwrap()
}

#[test]
fn the_version_is_three_lines() {
    let output = runtime().arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("kapsel-runtime version ") && lines[1].starts_with("commit: "), "{text}");
    assert_eq!(lines[2..], ["spec: 1.3.0"]);
}

#[test]
fn what_is_not_a_verb_is_one_error_line_and_help_names_them() {
    let output = runtime().arg("dance").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("level=error") && error.contains("dance") && error.lines().count() == 1,
        "{error}"
    );
    for arguments in [&[][..], &["--help"]] {
        let output = runtime().args(arguments).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("checkpoint") && help.contains("--root"), "{help}");
    }
}

#[test]
fn monitor_and_reap_by_hand_are_refused() {
    for verb in ["monitor", "reap"] {
        let output = runtime().arg(verb).stdin(Stdio::null()).output().unwrap();
        assert_eq!(error(&output)["code"], "USAGE");
    }
}

#[test]
fn info_says_what_this_machine_can_do() {
    let output = runtime().arg("info").output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        info["kernel"].as_str(),
        fs::read_to_string("/proc/sys/kernel/osrelease").ok().as_deref().map(str::trim)
    );
    assert_eq!(info["overlay"], true);
    let controllers = info["cgroups"]["controllers"].as_array().unwrap();
    assert!(controllers.contains(&"memory".into()) && controllers.contains(&"pids".into()), "{info}");
}

#[test]
fn unpack_makes_a_tree_and_says_what_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let size = fs::metadata(tar(directory.path())).unwrap().len();
    let output = unpack(directory.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["size"], size);
    assert_eq!(answer["digest"], answer["diffId"]);
    assert_eq!(fs::read_to_string(directory.path().join("into/etc/motd")).unwrap(), "hello\n");
    // Once more, now that the digest is known.
    let digest = answer["digest"].as_str().unwrap();
    assert!(unpack(directory.path(), &["--digest", digest, "--diff-id", digest]).status.success());
}

#[test]
fn unpack_refuses_what_is_not_what_was_promised() {
    let directory = tempfile::tempdir().unwrap();
    tar(directory.path());
    let wrong = format!("sha256:{}", "0".repeat(64));
    for flag in ["--digest", "--diff-id"] {
        let error = error(&unpack(directory.path(), &[flag, &wrong]));
        assert!(error["code"].as_str().unwrap().contains("MISMATCH"), "{error}");
    }
    assert_eq!(error(&unpack(directory.path(), &["--digest", "md5:1"]))["code"], "DIGEST_INVALID");
    assert_eq!(error(&unpack(directory.path(), &["--mode", "zip"]))["code"], "USAGE");
}

#[test]
fn host_lists_and_packs_a_program_with_what_it_needs() {
    let output = runtime().args(["host", "--list", "ls"]).output().unwrap();
    let sources: Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths: Vec<&str> =
        sources.as_array().unwrap().iter().map(|source| source["path"].as_str().unwrap()).collect();
    assert!(
        paths.iter().any(|path| path.ends_with("/ls")) && paths.iter().any(|path| path.contains("libc.so")),
        "{paths:?}"
    );
    let archive = runtime().args(["host", "ls"]).output().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("layer.tar"), &archive.stdout).unwrap();
    assert!(unpack(directory.path(), &[]).status.success());
    assert!(directory.path().join("into/etc/passwd").exists());
    // The same again, byte for byte.
    assert!(runtime().args(["host", "ls"]).output().unwrap().stdout == archive.stdout);
}

#[test]
fn host_says_what_is_missing() {
    let output = runtime().args(["host", "no-such-program-here"]).output().unwrap();
    assert_eq!(error(&output)["code"], "HOST_PROGRAM_NOT_FOUND");
    for arguments in [&["host"][..], &["host", "--all", "ls"]] {
        assert_eq!(error(&runtime().args(arguments).output().unwrap())["code"], "USAGE");
    }
}

#[test]
fn a_machine_that_forbids_user_namespaces_is_told_how_to_allow_them() {
    // The limit is one of the user namespace that the process is in: set to none in one of our own. The outer shell waits
    // for its ids, which it needs to have rights after the next execve.
    let directory = tempfile::tempdir().unwrap();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid 1000 --regid 1000 --clear-groups \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", "read line; exec sh -c \"$@\"", "sh", script, "sh"]);
    command.arg(runtime().get_program()).args(["unpack", "--into"]).arg(directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: the closure makes one system call.
    unsafe {
        command.pre_exec(|| match libc::unshare(libc::CLONE_NEWUSER) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().unwrap();
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", child.id()), "0 0 65536").unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let error = error(&child.wait_with_output().unwrap());
    assert_eq!(error["code"], "USER_NAMESPACE_FORBIDDEN", "{error}");
    assert!(error["message"].as_str().unwrap().contains("sysctl -w user.max_user_namespaces="), "{error}");
}
