//! `unpack`: a tar on stdin becomes a tree, in a process that sees nothing but that tree. Its recipe goes to fd 3.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::path::PathBuf;

use kapsel_storage::Digest;
use kapsel_storage::confine::confine;
use kapsel_storage::unpack::{Limits, Mode, Options, unpack};

use crate::error::{Error, Result};
use crate::{ExitCode, output, rootless};

const USAGE: &str = "usage: kapsel-runtime unpack --into DIR [--digest sha256:HEX] [--diff-id sha256:HEX] [--mode layer|archive] [--recipe]";

/// Bytes that wait in the pipe for the reader, the most that an ordinary user may ask for (pipe(7)): whoever feeds several
/// layers is woken seldom.
const PIPE: libc::c_int = 1 << 20;

/// `kapsel-runtime unpack`.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let rootless = rootless::enter()?;
    let Request { into, options, recipe } = parse(arguments, rootless)?;
    // SAFETY: no pointer is passed.
    if recipe && unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        return Err(Error::new("USAGE", format!("fd 3, where the recipe goes, is not open; {USAGE}")));
    }
    // It may be no pipe, or the user's pipes may have too much already: then it stays as it is.
    // SAFETY: no pointer is passed.
    unsafe { libc::fcntl(0, libc::F_SETPIPE_SZ, PIPE) };
    confine(&into, rootless, if recipe { 4 } else { 3 })?;
    // The descriptors themselves: confine has closed every other.
    // SAFETY: descriptor 0 is open (std sees to that), and nothing else in this process reads or closes it.
    let input = unsafe { File::from_raw_fd(0) };
    // SAFETY: as above; that it is open was tested.
    let recipe = recipe.then(|| unsafe { File::from_raw_fd(3) });
    output(&unpack(input, &options, recipe)?)
}

/// What the arguments ask for.
#[derive(Debug)]
struct Request {
    into: PathBuf,
    options: Options,
    recipe: bool,
}

fn parse(arguments: &[OsString], rootless: bool) -> Result<Request> {
    let usage = |what: &str| Error::new("USAGE", format!("{what}; {USAGE}"));
    let mut directory = None;
    let mut options = Options {
        into: PathBuf::from("/"),
        mode: Mode::Layer,
        digest: None,
        diff_id: None,
        rootless,
        limits: Limits::default(),
    };
    let mut recipe = false;
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        if flag == "--recipe" {
            recipe = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| usage(&format!("{} needs a value", flag.display())))?;
        let digest = || value.to_string_lossy().parse::<Digest>();
        match (flag.to_str(), value.to_str()) {
            (Some("--into"), _) => directory = Some(PathBuf::from(value)),
            (Some("--digest"), _) => options.digest = Some(digest()?),
            (Some("--diff-id"), _) => options.diff_id = Some(digest()?),
            (Some("--mode"), Some("layer")) => options.mode = Mode::Layer,
            (Some("--mode"), Some("archive")) => options.mode = Mode::Archive,
            _ => return Err(usage(&format!("{} {} is not known", flag.display(), value.display()))),
        }
    }
    let into = directory.ok_or_else(|| usage("--into is missing"))?;
    Ok(Request { into, options, recipe })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Request> {
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>(), false)
    }

    #[test]
    fn every_flag_is_understood_and_nothing_else() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let words =
            ["--into", "/x", "--recipe", "--digest", &digest, "--diff-id", &digest, "--mode", "archive"];
        let Request { into, options, recipe } = parse_words(&words).unwrap();
        assert_eq!((into, options.mode, recipe), (PathBuf::from("/x"), Mode::Archive, true));
        assert_eq!(options.digest.unwrap().to_string(), digest);
        for words in [
            &[][..],
            &["--into"],
            &["--mode", "layer"],
            &["--into", "/x", "--mode", "zip"],
            &["--onto", "/x"],
        ] {
            assert_eq!(parse_words(words).unwrap_err().code, "USAGE", "{words:?}");
        }
    }
}
