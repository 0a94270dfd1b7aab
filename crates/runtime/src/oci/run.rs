//! `run`: a container from its making to its end, or to its start with `--detach`.

use super::arguments::{Arguments, Flag, switch, value};
use super::foreground::Foreground;
use super::make::{Made, Mode, make};
use super::{Context, removal};
use crate::ExitCode;
use crate::error::Result;

/// The flags.
pub const FLAGS: &[Flag] = &[
    value("bundle").short('b'),
    value("console-socket"),
    value("pid-file"),
    value("pidfd-socket"),
    switch("no-pivot"),
    switch("no-new-keyring"),
    value("preserve-fds"),
    switch("detach").short('d'),
    switch("keep"),
    switch("no-subreaper"),
];

/// In the foreground: gives the program's own exit status, and removes the container unless it is to be kept.
pub fn run(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let detached = arguments.has("detach");
    let foreground = (!detached).then(Foreground::prepare).transpose()?;
    let Made { container, mut launched } = make(context, arguments, Mode { gate: false, detached })?;
    let Some(foreground) = foreground else { return Ok(ExitCode::SUCCESS) };
    let id = container.record.id.clone();
    // Others may look at it, join it and end it meanwhile.
    container.entry.unlock();
    let status = foreground.attend(&launched.pidfd, launched.console.take())?;
    context.trace.mark("oci: program ended");
    if !arguments.has("keep") {
        removal::remove_ended(context, &id)?;
    }
    context.trace.mark("oci: container removed");
    Ok(status.into())
}
