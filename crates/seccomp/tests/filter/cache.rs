//! The cache of compiled programs: a hit is the same program, and what others put there is not trusted.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use kapsel_seccomp::{Architecture, Error, Kernel, Program, Source};

/// A program in a form that compares.
type Instructions = Vec<(u16, u8, u8, u32)>;

const KERNEL: Kernel = Kernel { major: 6, minor: 18 };

fn cached(directory: &Path, source: Source<'_>, capabilities: &[&str]) -> Result<Program, Error> {
    let capabilities: Vec<String> = capabilities.iter().map(|cap| (*cap).to_owned()).collect();
    Program::cached(Some(directory), source, &capabilities, Architecture::X86_64, KERNEL)
}

fn bytes(program: &Program) -> Instructions {
    program.instructions().iter().map(|it| (it.code, it.jt, it.jf, it.k)).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A directory with the default profile's program in it.
fn filled() -> (tempfile::TempDir, PathBuf, Instructions) {
    let directory = tempfile::tempdir().unwrap();
    let program = bytes(&cached(directory.path(), Source::Default, &[]).unwrap());
    let [file] = files(directory.path()).try_into().unwrap();
    (directory, file, program)
}

#[test]
fn a_hit_is_the_same_program() {
    let (directory, file, program) = filled();
    let written = file.metadata().unwrap().modified().unwrap();
    assert_eq!(bytes(&cached(directory.path(), Source::Default, &[]).unwrap()), program);
    assert_eq!(file.metadata().unwrap().modified().unwrap(), written, "it was compiled again");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(files(directory.path()).len(), 1);
}

#[test]
fn what_a_program_depends_on_is_in_its_name() {
    let (directory, _, program) = filled();
    let other = cached(directory.path(), Source::Default, &["CAP_SYS_ADMIN"]).unwrap();
    assert_ne!(bytes(&other), program);
    assert_eq!(files(directory.path()).len(), 2);
    cached(directory.path(), Source::Default, &["CAP_B", "CAP_A"]).unwrap();
    cached(directory.path(), Source::Default, &["CAP_A", "CAP_B"]).unwrap();
    assert_eq!(files(directory.path()).len(), 3);
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]}"#;
    cached(directory.path(), Source::Json(json), &[]).unwrap();
    Program::cached(Some(directory.path()), Source::Default, &[], Architecture::Aarch64, KERNEL).unwrap();
    assert_eq!(files(directory.path()).len(), 5);
}

#[test]
fn a_file_that_was_tampered_with_is_replaced() {
    let (directory, file, program) = filled();
    let good = fs::read(&file).unwrap();
    let mut allows_all = good.clone();
    let last = allows_all.len() - 32 - 4;
    allows_all[last..last + 4].copy_from_slice(&0x7fff_0000u32.to_le_bytes());
    let damages: [&[u8]; 5] = [&allows_all, &good[..good.len() - 8], &good[..40], b"", &[0; 5000]];
    for damage in damages {
        fs::write(&file, damage).unwrap();
        assert_eq!(bytes(&cached(directory.path(), Source::Default, &[]).unwrap()), program);
        assert_eq!(fs::read(&file).unwrap(), good, "the damage was left there");
    }
}

#[test]
fn a_whole_program_of_another_profile_under_this_name_is_not_taken() {
    let (directory, file, program) = filled();
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;
    cached(directory.path(), Source::Json(json), &[]).unwrap();
    let other = files(directory.path()).into_iter().find(|path| *path != file).unwrap();
    fs::copy(other, &file).unwrap();
    assert_eq!(bytes(&cached(directory.path(), Source::Default, &[]).unwrap()), program);
}

#[test]
fn a_file_that_others_own_or_may_write_or_a_link_is_not_taken() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;
    let (directory, file, program) = filled();
    let good = fs::read(&file).unwrap();
    let fresh = || bytes(&cached(directory.path(), Source::Default, &[]).unwrap());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(fresh(), program);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "replaced");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
        assert_eq!(fresh(), program);
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&file.metadata().unwrap()), 0, "replaced");
    }
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert_eq!(fresh(), program);
    assert!(!file.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read(&elsewhere).unwrap(), good);
    assert!(cached(directory.path(), Source::Json(json), &[]).is_ok());
}

#[test]
fn without_a_usable_directory_it_compiles() {
    let missing = Path::new("/nonexistent/kapsel");
    let (_, _, program) = filled();
    assert_eq!(bytes(&cached(missing, Source::Default, &[]).unwrap()), program);
    let none = Program::cached(None, Source::Default, &[], Architecture::X86_64, KERNEL).unwrap();
    assert_eq!(bytes(&none), program);
    let bad = cached(missing, Source::Json("{"), &[]).unwrap_err();
    assert_eq!(bad.code(), "SECCOMP_PROFILE_INVALID");
}
