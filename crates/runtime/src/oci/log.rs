//! What goes wrong, said where the caller reads it: containerd's shim takes the last error of a JSON log, a person the
//! line on stderr. The formats are those of logrus, which runc writes.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde::Serialize;

use super::arguments::usage;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Where and how.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

/// One line; its members have logrus's names, in its order.
#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: Timestamp,
}

impl Log {
    /// `path`: absent, stderr. `format`: `text` or `json`.
    pub fn open(path: Option<&OsStr>, format: Option<&str>, debug: bool) -> Result<Self> {
        let json = match format {
            None | Some("text" | "") => false,
            Some("json") => true,
            Some(other) => return Err(usage(format!("--log-format {other:?} is neither text nor json"))),
        };
        // runc's word for its own stderr too.
        let path = path.filter(|path| !path.is_empty() && *path != "/dev/stderr");
        let open = |path: &OsStr| {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(0o644).open(path);
            file.map_err(|error| Error::io(format_args!("cannot open the log {}", path.display()), &error))
        };
        Ok(Self { file: path.map(open).transpose()?, json, debug })
    }

    /// The last word of a command that failed.
    pub fn error(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            // A person may be looking, too.
            say(&format!("{message}\n"));
        }
    }

    /// What is not as it was asked for.
    pub fn warning(&self, message: &str) {
        self.write("warning", message);
    }

    /// What only an investigator wants to know.
    pub fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message);
        }
    }

    fn write(&self, level: &str, msg: &str) {
        let line = Line { level, msg, time: Timestamp::now() };
        let line = if self.json {
            serde_json::to_string(&line).unwrap_or_default() + "\n"
        } else {
            format!("time=\"{}\" level={level} msg={}\n", line.time, quoted(msg))
        };
        match &self.file {
            // A full disk loses the line, not the command.
            Some(file) => drop((&*file).write_all(line.as_bytes())),
            None => say(&line),
        }
    }
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A message in quotes, on one line.
fn quoted(message: &str) -> String {
    serde_json::to_string(message).unwrap_or_default()
}
