//! `kapsel-runtime`: the static executable behind every container. This file is the table of its verbs.

#![cfg_attr(not(test), no_main)]

use std::ffi::{OsString, c_char, c_int};
use std::io::Write;

use serde::Serialize;

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
mod c_library;
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
mod start;
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

/// The exit status of a verb. The standard library's own cannot be read, and [`main`] must give it to the C library.
#[derive(Clone, Copy)]
struct ExitCode(u8);

impl ExitCode {
    const SUCCESS: Self = Self(0);
    const FAILURE: Self = Self(1);
}

impl From<u8> for ExitCode {
    fn from(status: u8) -> Self {
        Self(status)
    }
}

/// What the C library calls. Not by way of the standard library, which would first find out where the stack ends and
/// prepare to say that it has overflowed: half of the system calls before this line.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main(_count: c_int, _words: *const *const c_char) -> c_int {
    start::prepare();
    // A container with an init of its own executes us again as its PID 1.
    kapsel_sandbox::init::run_if_asked();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let ExitCode(status) = run(&arguments);
    // Nobody may be listening.
    let _ = std::io::stdout().flush();
    status.into()
}

fn run(arguments: &[OsString]) -> ExitCode {
    let verb = arguments.first().and_then(|verb| VERBS.iter().find(|(name, _)| verb == name));
    // Everything else is the command line of an OCI runtime.
    let Some((_, run)) = verb else { return oci::main(arguments) };
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
