//! `start`: the program of a created container.

use kapsel_sandbox::spec::Status;
use kapsel_sandbox::{Gate, Stage};

use super::arguments::Arguments;
use super::container::{self, Container};
use super::{Context, removal};
use crate::ExitCode;
use crate::error::{Error, Result};

/// Returns when the program runs, or with why it does not.
pub fn start(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let container = Container::open(&context.store, arguments.id()?)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::new("CONTAINER_NOT_RUNNING", "cannot start a container that has stopped"));
        }
        Status::Paused => {
            return Err(Error::new("CONTAINER_PAUSED", "cannot start a paused container; resume it first"));
        }
        _ => return Err(Error::new("CONTAINER_RUNNING", "cannot start an already running container")),
    }
    if !container.record.has_process {
        removal::kill(&container.process()?, libc::SIGKILL)?;
        return Err(Error::new(
            "CONFIG_INVALID",
            "cannot start a container whose config.json has no process",
        ));
    }
    if let Err(error) =
        Gate::open(&container.entry.directory).and_then(|()| container::poststart(&container.record))
    {
        if error.stage == Stage::Hook {
            // The specification wants it destroyed (runtime.md, "Lifecycle", steps 7 and 9).
            removal::remove(context, container)?;
        }
        return Err(error.into());
    }
    Ok(ExitCode::SUCCESS)
}
