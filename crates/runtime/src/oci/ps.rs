//! `ps`: the processes of a container, by their ids in our own PID namespace.

use std::ffi::OsString;
use std::process::Command;

use super::Context;
use super::arguments::{Arguments, Flag, usage, value};
use super::container::Container;
use crate::error::{Error, Result};
use crate::{ExitCode, output, print};

/// The flags.
pub const FLAGS: &[Flag] = &[value("format").short('f')];

/// As a list of ids (JSON), or those lines of ps(1) that speak of them.
pub fn ps(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let (id, options) = arguments.id_and_words()?;
    let container = Container::open(&context.store, id)?;
    let processes = match container.cgroup()? {
        Some(cgroup) => cgroup.processes()?,
        None => container
            .record
            .process
            .filter(|process| process.is_alive())
            .map(|process| process.pid)
            .into_iter()
            .collect(),
    };
    match arguments.text("format")? {
        Some("json") => output(&processes),
        None | Some("table" | "") => table(&processes, options),
        Some(other) => Err(usage(format!("--format {other:?} is neither table nor json"))),
    }
}

fn table(processes: &[i32], options: &[OsString]) -> Result<ExitCode> {
    let mut command = Command::new("ps");
    if options.is_empty() {
        command.arg("-ef")
    } else {
        command.args(options)
    };
    let listed = command.output().map_err(|error| Error::io("cannot run ps", &error))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| usage("ps prints no column PID with these options"))?;
    let own = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid: i32| processes.contains(&pid))
    };
    let lines: String = lines.filter(own).map(|line| format!("{line}\n")).collect();
    print(format!("{head}\n{lines}").as_bytes())
}
