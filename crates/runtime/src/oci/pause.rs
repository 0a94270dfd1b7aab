//! `pause` and `resume`: the freezer of the container's cgroup.

use kapsel_sandbox::spec::Status;

use super::Context;
use super::arguments::Arguments;
use super::container::{Container, not_running};
use crate::ExitCode;
use crate::error::{Error, Result};

/// Returns when every process has stopped.
pub fn pause(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let container = Container::open(&context.store, arguments.id()?)?;
    match container.status() {
        Status::Running | Status::Created => container.own_cgroup("pause")?.freeze()?,
        Status::Paused => return Err(Error::new("CONTAINER_PAUSED", "the container is paused already")),
        Status::Stopped | Status::Creating => return Err(not_running()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets them go on.
pub fn resume(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let container = Container::open(&context.store, arguments.id()?)?;
    match container.status() {
        Status::Paused => container.own_cgroup("resume")?.thaw()?,
        Status::Stopped => return Err(not_running()),
        _ => return Err(Error::new("CONTAINER_NOT_PAUSED", "the container is not paused")),
    }
    Ok(ExitCode::SUCCESS)
}
