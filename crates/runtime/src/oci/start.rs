//! `start`: the program of a created container.

use std::process::ExitCode;

use kapsel_sandbox::spec::Status;
use kapsel_sandbox::{Gate, hooks};

use super::Context;
use super::arguments::Arguments;
use super::container::Container;
use crate::error::{Error, Result};

/// Returns when the program runs, or with why it does not.
pub fn start(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let container = Container::open(&context.store, arguments.id()?)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::new("CONTAINER_NOT_RUNNING", "cannot start a container that has stopped"));
        }
        _ => return Err(Error::new("CONTAINER_RUNNING", "cannot start an already running container")),
    }
    Gate::open(&container.entry.directory)?;
    let poststart = container.record.config.hooks.as_ref().map_or(&[][..], |hooks| &hooks.poststart);
    hooks::run("poststart", poststart, &container.state(Status::Running))?;
    Ok(ExitCode::SUCCESS)
}
