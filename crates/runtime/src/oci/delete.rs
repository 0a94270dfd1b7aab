//! `delete`: a container that has stopped, or any with `--force`.

use kapsel_sandbox::spec::Status;

use super::arguments::{Arguments, Flag, switch};
use super::container::{self, Container};
use super::{Context, removal};
use crate::ExitCode;
use crate::error::{Error, Result};

/// The flags.
pub const FLAGS: &[Flag] = &[switch("force").short('f')];

/// `delete [--force] ID`. With `--force` one that does not exist is no error.
pub fn delete(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let (id, force) = (arguments.id()?, arguments.has("force"));
    let entry = match context.store.open(id) {
        Err(error) if force && error.code == "CONTAINER_UNKNOWN" => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    let record = match entry.read() {
        // Damaged, or never written: what else there was has been removed by name, or never was.
        Err(error) if force && error.code == "RECORD_DAMAGED" => None,
        other => other?.or_else(|| entry.draft()),
    };
    let Some(record) = record else {
        // Its maker was killed before it wrote a record: there is nothing else yet.
        entry.remove()?;
        return Ok(ExitCode::SUCCESS);
    };
    let container = Container { entry, record };
    match container.status() {
        Status::Stopped => {}
        _ if force => {}
        status => {
            let message = format!(
                "cannot delete container {id} that is not stopped: {}; stop it first, or use --force",
                container::word(status)
            );
            return Err(Error::new("CONTAINER_RUNNING", message));
        }
    }
    removal::remove(context, container)?;
    Ok(ExitCode::SUCCESS)
}
