//! `kapsel-runtime`: the static executable behind every container. This file is the table of its verbs.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

mod clock;
mod compare;
mod criu;
mod diff;
mod document;
mod error;
mod host;
mod info;
mod launch;
mod layer;
mod monitor;
mod network;
mod oci;
mod pack;
mod reap;
mod rootless;
mod share;
mod unpack;
mod usage;

use error::{Error, Result};

/// Takes the arguments after the verb.
type Verb = fn(&[OsString]) -> Result<ExitCode>;

/// What the engine asks for, and what answers.
const VERBS: [(&str, Verb); 13] = [
    ("monitor", monitor::run),
    ("unpack", unpack::run),
    ("layer", layer::run),
    ("diff", diff::run),
    ("export", diff::export),
    ("host", host::run),
    ("pack", pack::run),
    ("reap", reap::run),
    ("usage", usage::run),
    ("share", share::run),
    ("compare", compare::run),
    ("info", info::run),
    ("network", network::run),
];

fn main() -> ExitCode {
    // A container with an init of its own executes us again as its PID 1.
    kapsel_sandbox::init::run_if_asked();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let verb = arguments.first().and_then(|verb| VERBS.iter().find(|(name, _)| verb == name));
    // Everything else is the command line of an OCI runtime.
    let Some((_, run)) = verb else { return oci::main(&arguments) };
    run(&arguments[1..]).unwrap_or_else(|error| {
        let line = serde_json::to_string(&error).unwrap_or_default() + "\n";
        // Nobody may be listening.
        let _ = std::io::stderr().write_all(line.as_bytes());
        ExitCode::FAILURE
    })
}

/// Three lines as other OCI runtimes print them: some callers read the word after `version`.
fn version() -> Result<ExitCode> {
    let commit = option_env!("KAPSEL_COMMIT").unwrap_or("unknown");
    let text =
        format!("kapsel-runtime version {}\ncommit: {commit}\nspec: 1.3.0\n", env!("CARGO_PKG_VERSION"));
    print(text.as_bytes())
}

/// A verb's answer: one JSON document.
fn output(answer: &impl Serialize) -> Result<ExitCode> {
    let mut text = serde_json::to_vec(answer).map_err(|error| Error::new("OUTPUT", error.to_string()))?;
    text.push(b'\n');
    print(&text)
}

fn print(text: &[u8]) -> Result<ExitCode> {
    std::io::stdout().write_all(text).map_err(|error| Error::io("cannot write to stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}
