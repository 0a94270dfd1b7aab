//! `diff`: what a container has changed, as a layer's tar or a list; `export`: what a container sees, as a tar. On stdout.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use kapsel_storage::changes;
use serde::Serialize;

use crate::ExitCode;
use crate::error::{Error, Result};
use crate::rootless;

const USAGE: &str = "usage: kapsel-runtime diff [--list] [--source-date-epoch SECONDS] --upper DIR [--lower DIR]…, or \
                     kapsel-runtime export [--source-date-epoch SECONDS] --lower DIR…; lowers topmost first";

/// A line of the list.
#[derive(Serialize)]
struct Change<'a> {
    kind: changes::ChangeKind,
    path: &'a str,
}

/// `kapsel-runtime diff`.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let Request { list, upper, lowers, newest } = prepare(arguments)?;
    let upper = upper.ok_or_else(|| usage("--upper is missing"))?;
    let mut out = output();
    if list {
        changes::list(&upper, &lowers, |kind, path| {
            serde_json::to_writer(&mut out, &Change { kind, path: &String::from_utf8_lossy(path) })?;
            out.write_all(b"\n")
        })?;
        out.flush().map_err(|error| Error::io("cannot write to stdout", &error))?;
    } else {
        changes::write_layer(&upper, newest, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `kapsel-runtime export`.
pub fn export(arguments: &[OsString]) -> Result<ExitCode> {
    let Request { list, upper, lowers, newest } = prepare(arguments)?;
    if list || upper.is_some() || lowers.is_empty() {
        return Err(usage("an export has lowers and nothing else"));
    }
    changes::write_merged(&lowers, newest, output())?;
    Ok(ExitCode::SUCCESS)
}

fn output() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(256 << 10, io::stdout().lock())
}

#[derive(Default)]
struct Request {
    list: bool,
    upper: Option<PathBuf>,
    lowers: Vec<PathBuf>,
    newest: Option<i64>,
}

fn prepare(arguments: &[OsString]) -> Result<Request> {
    let request = parse(arguments)?;
    // A descriptor for each layer and each directory on the way down: 500 layers alone are half of what is usual.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write one structure, which lives until they return.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            // Where it cannot be raised, what is there may be enough.
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    rootless::enter()?;
    Ok(request)
}

fn parse(arguments: &[OsString]) -> Result<Request> {
    let mut request = Request::default();
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        if flag == "--list" {
            request.list = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| usage(&format!("{} needs a value", flag.display())))?;
        match flag.to_str() {
            Some("--upper") => request.upper = Some(PathBuf::from(value)),
            Some("--lower") => request.lowers.push(PathBuf::from(value)),
            Some("--source-date-epoch") => {
                let seconds = value.to_str().and_then(|value| value.parse().ok());
                request.newest =
                    Some(seconds.ok_or_else(|| usage(&format!("{} is no time", value.display())))?);
            }
            _ => return Err(usage(&format!("{} is not known", flag.display()))),
        }
    }
    Ok(request)
}

fn usage(what: &str) -> Error {
    Error::new("USAGE", format!("{what}; {USAGE}"))
}
