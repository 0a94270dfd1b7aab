//! `create`: everything of a container but its program.

use super::Context;
use super::arguments::{Arguments, Flag};
use super::make::{self, Mode, make};
use crate::ExitCode;
use crate::error::Result;

/// The flags.
pub const FLAGS: &[Flag] = make::FLAGS;

/// Returns when everything is ready and the program waits for `start`.
pub fn create(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    make(context, arguments, Mode { gate: true, detached: true })?;
    Ok(ExitCode::SUCCESS)
}
