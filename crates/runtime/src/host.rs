//! `host`: programs of this machine as a tar on stdout, or the list of what would be in it.

use std::ffi::OsString;
use std::io::{BufWriter, Write};

use kapsel_storage::host::{resolve, write_tar};

use crate::ExitCode;
use crate::error::{Error, Result};
use crate::output;

/// `kapsel-runtime host`.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let usage =
        |what: &str| Error::new("USAGE", format!("{what}; usage: kapsel-runtime host [--list] PROGRAM…"));
    let mut list = false;
    let mut programs = Vec::new();
    for argument in arguments {
        match argument.to_str() {
            Some("--list") => list = true,
            Some(flag) if flag.starts_with('-') => return Err(usage(&format!("{flag} is not known"))),
            Some(program) => programs.push(program.to_owned()),
            None => return Err(usage("a program's name is not UTF-8")),
        }
    }
    if programs.is_empty() {
        return Err(usage("no program is named"));
    }
    let sources = resolve(&programs)?;
    if list {
        return output(&sources);
    }
    let mut out = BufWriter::with_capacity(256 * 1024, std::io::stdout().lock());
    write_tar(&sources, &mut out)?;
    out.flush().map_err(|error| Error::io("cannot write to stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}
