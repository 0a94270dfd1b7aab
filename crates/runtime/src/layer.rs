//! `layer`: a layer's tar on stdout, put together from its tree and its recipe, in a process that sees nothing else.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::path::PathBuf;

use kapsel_storage::Digest;
use kapsel_storage::confine::confine;
use kapsel_storage::layer::write;

use crate::ExitCode;
use crate::error::{Error, Result};
use crate::rootless;

const USAGE: &str = "usage: kapsel-runtime layer --tree DIR --recipe FILE [--diff-id sha256:HEX]";

/// Where the verdict goes, and where the recipe is while the rest of the host is out of sight.
const VERDICT: i32 = 3;
const RECIPE: i32 = 4;

/// `kapsel-runtime layer`.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let rootless = rootless::enter()?;
    let (tree, recipe, diff_id) = parse(arguments)?;
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(VERDICT, libc::F_GETFD) } < 0 {
        return Err(Error::new("USAGE", format!("fd 3, where the verdict goes, is not open; {USAGE}")));
    }
    let opened = File::open(&recipe)
        .map_err(|error| Error::io(format_args!("cannot open the recipe {}", recipe.display()), &error))?;
    if opened.as_raw_fd() != RECIPE {
        // SAFETY: takes numbers only; whatever had this one is given up.
        if unsafe { libc::dup2(opened.as_raw_fd(), RECIPE) } < 0 {
            return Err(Error::last("cannot keep the recipe"));
        }
    } else {
        let _ = opened.into_raw_fd();
    }
    confine(&tree, rootless, 5)?;
    // SAFETY: it was put there above, and nothing else in this process reads or closes it.
    let recipe = unsafe { File::from_raw_fd(RECIPE) };
    let tree = File::open("/").map_err(|error| Error::io("cannot open the layer's directory", &error))?;
    // SAFETY: it is open, as tested above, and nothing else in this process has it.
    let mut verdict = unsafe { File::from_raw_fd(VERDICT) };
    let written = write(tree.into(), recipe, diff_id, &mut std::io::stdout().lock())?;
    let text = serde_json::to_vec(&written).map_err(|error| Error::new("OUTPUT", error.to_string()))?;
    verdict.write_all(&text).map_err(|error| Error::io("cannot write the verdict", &error))?;
    Ok(ExitCode::SUCCESS)
}

fn parse(arguments: &[OsString]) -> Result<(PathBuf, PathBuf, Option<Digest>)> {
    let usage = |what: &str| Error::new("USAGE", format!("{what}; {USAGE}"));
    let (mut tree, mut recipe, mut diff_id) = (None, None, None);
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| usage(&format!("{} needs a value", flag.display())))?;
        match flag.to_str() {
            Some("--tree") => tree = Some(PathBuf::from(value)),
            Some("--recipe") => recipe = Some(PathBuf::from(value)),
            Some("--diff-id") => diff_id = Some(value.to_string_lossy().parse()?),
            _ => return Err(usage(&format!("{} is not known", flag.display()))),
        }
    }
    let tree = tree.ok_or_else(|| usage("--tree is missing"))?;
    let recipe = recipe.ok_or_else(|| usage("--recipe is missing"))?;
    Ok((tree, recipe, diff_id))
}
