//! A static program with the executable's substitutes for parts of the C library still says what has happened to it.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The example, linked statically as the executable is.
fn say(word: &str) -> Output {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let program = PATH.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["rustc", "--quiet", "--offline", "-p", "kapsel-runtime", "--example", "c_library"]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo
            .args(["--", "-C", "target-feature=+crt-static", "-C", "link-arg=-Wl,-z,muldefs"])
            .status()
            .unwrap();
        assert!(built.success(), "the example does not build");
        profile.join("examples/c_library")
    });
    Command::new(program).arg(word).env("RUST_BACKTRACE", "0").output().unwrap()
}

#[test]
fn errors_have_their_words() {
    let words = String::from_utf8(say("errors").stdout).unwrap();
    let expected = "No such file or directory (os error 2)\nNo space left on device (os error 28)\n\
                    Unknown error 9999 (os error 9999)\n";
    assert_eq!(words, expected);
}

#[test]
fn a_panic_is_told() {
    let said = String::from_utf8(say("panic").stderr).unwrap();
    assert!(said.contains("c_library.rs") && said.contains("in 3 words"), "{said}");
}

#[test]
fn a_failed_assertion_of_the_c_library_is_told_and_is_the_end() {
    let output = say("assert");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "kapsel-runtime: malloc.c:7: assertion \"top != NULL\" failed in the C library\n");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
}

#[test]
fn threads_begin_and_end() {
    let output = say("thread");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Ok(Some(\"worker\"))\n");
}
