//! Why CRIU failed: its answer has no reason, its log has.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::rpc::Response;
use crate::error::{Error, Result};

/// What was asked for and not done. `what`: "cannot checkpoint the container".
pub fn failure(what: &str, log: &Path, response: &Response) -> Error {
    let reason = reason(log).or_else(|| Some(response.message.clone()).filter(|message| !message.is_empty()));
    let reason = reason.unwrap_or_else(|| match response.errno {
        0 => "CRIU gives no reason".to_owned(),
        errno => std::io::Error::from_raw_os_error(errno.abs()).to_string(),
    });
    let message = format!("{what}: {reason}; the whole log is {}", log.display());
    Error { code: "CRIU_FAILED".to_owned(), message, errno: response.errno.abs() }
}

/// An error of the conversation itself, or the log's if there is one.
pub fn explain<T>(what: &str, log: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error.code.as_str() {
        "CRIU_FAILED" => {
            let reason = reason(log).unwrap_or_else(|| error.message.clone());
            Error { message: format!("{what}: {reason}; the whole log is {}", log.display()), ..error }
        }
        _ => error,
    })
}

/// The first error in the log is the cause of the others.
fn reason(log: &Path) -> Option<String> {
    let lines = BufReader::new(File::open(log).ok()?).lines();
    lines.map_while(std::result::Result::ok).find_map(|line| {
        let (_, error) = line.split_once(" Error ")?;
        let (_, words) = error.split_once("): ").unwrap_or(("", error));
        // It tries to raise its own limit, and whether it may make a network device, and goes on without.
        let is_trial = words.starts_with("rlimit:") || words.starts_with("tun: Unable to create tun");
        (!is_trial).then(|| words.trim_end_matches(['\n', '.']).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_not_its_consequences() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("dump.log");
        let text = "(00.1) Error (criu/tun.c:85): tun: Unable to create tun: Operation not permitted\n\
            (00.1) Error (criu/util.c:1): rlimit: Can't setup\n(00.2) files\n\
            (00.3) Error (criu/files-reg.c:1790): Can't lookup mount=24 for fd=0\n(00.4) Error (criu/x.c:1): Dump failed\n";
        std::fs::write(&log, text).unwrap();
        let error = failure("cannot checkpoint", &log, &Response::default());
        assert!(error.message.starts_with("cannot checkpoint: Can't lookup mount=24 for fd=0; "), "{error}");
        let error = failure("x", Path::new("/nowhere"), &Response { errno: -17, ..Response::default() });
        assert!(error.message.starts_with("x: File exists"), "{error}");
    }
}
