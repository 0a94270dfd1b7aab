//! What a verb says when it cannot do its work: one JSON line on stderr, exit status 1.
//! Errors of the other crates are turned into this one here, once, and nowhere else.

use std::fmt;

use serde::Serialize;

/// A failure as the engine reads it: `{"code","message","errno"}`.
#[derive(Debug, Clone, Serialize)]
pub struct Error {
    /// A stable name in UPPER_SNAKE.
    pub code: String,
    /// One line: what was wrong, with what, and how to mend it.
    pub message: String,
    /// The kernel's error number, 0 where there is none.
    pub errno: i32,
}

/// The result of everything in this executable.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that no system call gave.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), errno: 0 }
    }

    /// What a system call gave, with what it was asked to do.
    pub fn io(what: impl fmt::Display, cause: &std::io::Error) -> Self {
        Self {
            code: "SYSTEM".to_owned(),
            message: format!("{what}: {cause}"),
            errno: cause.raw_os_error().unwrap_or(0),
        }
    }

    /// Like [`Error::io`], from the calling thread's `errno`.
    pub fn last(what: impl fmt::Display) -> Self {
        Self::io(what, &std::io::Error::last_os_error())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<kapsel_sandbox::Error> for Error {
    fn from(error: kapsel_sandbox::Error) -> Self {
        Self { code: error.code.to_owned(), message: error.message, errno: error.errno }
    }
}

impl From<kapsel_cgroups::Error> for Error {
    fn from(error: kapsel_cgroups::Error) -> Self {
        Self { code: error.code().to_owned(), message: error.to_string(), errno: error.errno().unwrap_or(0) }
    }
}

impl From<kapsel_seccomp::Error> for Error {
    fn from(error: kapsel_seccomp::Error) -> Self {
        Self { code: error.code().to_owned(), message: error.to_string(), errno: 0 }
    }
}

impl From<kapsel_storage::Error> for Error {
    fn from(error: kapsel_storage::Error) -> Self {
        Self { code: error.code.to_owned(), message: error.message, errno: error.errno.unwrap_or(0) }
    }
}

impl From<kapsel_network::error::Error> for Error {
    fn from(error: kapsel_network::error::Error) -> Self {
        Self { code: error.code.to_owned(), message: error.message, errno: error.errno }
    }
}
