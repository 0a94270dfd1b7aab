//! The streams that a program gets: ours as they are, or a terminal of the container's.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use kapsel_sandbox::Stdio;
use kapsel_sandbox::spec::{Config, Process};

use super::arguments::{Arguments, usage};
use crate::criu::streams;
use crate::error::Result;

/// As the process asks for. `detached`: nobody of us stays to copy between a terminal and our own streams.
pub fn of<'a>(
    process: &Process,
    arguments: &Arguments,
    detached: bool,
    own: &'a (std::io::Stdin, std::io::Stdout, std::io::Stderr),
) -> Result<Stdio<'a>> {
    let socket = arguments.value("console-socket").filter(|path| !path.is_empty()).is_some();
    match (process.terminal, socket) {
        (false, true) => Err(usage("--console-socket is given, but the process has no terminal")),
        (true, true) if !detached => {
            Err(usage("--console-socket is for create and --detach; in the foreground the terminal is ours"))
        }
        (true, false) if detached => {
            Err(usage("the process has a terminal: --console-socket must say who gets it"))
        }
        (true, _) => {
            // In the foreground the program sees our own terminal's size from its first instruction on.
            let (columns, rows) = match process.console_size {
                Some(size) => (size.width, size.height),
                None if detached => (0, 0),
                None => own_size(),
            };
            Ok(Stdio::Terminal { columns, rows })
        }
        (false, _) => Ok(Stdio::Fds { stdin: own.0.as_fd(), stdout: own.1.as_fd(), stderr: own.2.as_fd() }),
    }
}

/// What our own are, which become the program's; nothing where it has a terminal, or where they cannot be looked at: only
/// a checkpoint needs to know.
pub fn names(config: &Config) -> Vec<String> {
    if config.process.as_ref().is_none_or(|process| process.terminal) {
        return Vec::new();
    }
    let own = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    streams::of([own.0.as_fd(), own.1.as_fd(), own.2.as_fd()]).map(Vec::from).unwrap_or_default()
}

/// Columns and rows of the terminal that stdin is; zeros where it is none.
fn own_size() -> (u16, u16) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills the winsize where there is a terminal.
    unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size) };
    (size.ws_col, size.ws_row)
}

/// How many descriptors from 3 on the program inherits: those that are asked for, and those of systemd's socket
/// activation (sd_listen_fds(3)), for which the environment is told.
pub fn inherited(arguments: &Arguments, process: &mut Process) -> Result<u32> {
    let asked: u32 = arguments.number("preserve-fds")?.unwrap_or(0);
    let activated = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    if activated > 0 {
        process.env.extend([format!("LISTEN_FDS={activated}"), "LISTEN_PID=1".to_owned()]);
    }
    let count = asked.saturating_add(activated);
    for fd in 3..count.saturating_add(3) {
        // SAFETY: fcntl only looks; a number that is no descriptor is an error.
        let is_open = i32::try_from(fd).is_ok_and(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0);
        if !is_open {
            return Err(usage(format!("--preserve-fds {asked}: file descriptor {fd} is not open")));
        }
    }
    Ok(count)
}

/// A path among the arguments.
pub fn path<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a OsStr> {
    arguments.value(name).filter(|path| !path.is_empty())
}
