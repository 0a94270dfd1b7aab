//! The one error of this crate: a stable word, the kernel's answer, and a line that a person can act on.

use std::{fmt, io};

use nix::errno::Errno;

/// Why something of a network could not be made, changed or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// A stable word for programs, such as `PORT_TAKEN`.
    pub code: &'static str,
    /// The kernel's answer; 0 where the kernel was not asked.
    pub errno: i32,
    /// One line for people: what, which, and how to mend it.
    pub message: String,
}

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A description that cannot be carried out, or a state that was not expected.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, errno: 0, message: message.into() }
    }

    /// `what: strerror`, under the code that says which errno it is.
    pub fn system(errno: Errno, what: impl fmt::Display) -> Self {
        let code = match errno {
            Errno::EPERM | Errno::EACCES => "PERMISSION_DENIED",
            Errno::EEXIST => "EXISTS",
            Errno::ENOENT | Errno::ENODEV | Errno::ESRCH | Errno::EADDRNOTAVAIL => "NOT_FOUND",
            Errno::EADDRINUSE => "ADDRESS_IN_USE",
            Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => "NOT_SUPPORTED",
            _ => "NETWORK_FAILED",
        };
        Self { code, errno: errno as i32, message: format!("{what}: {}", errno.desc().to_lowercase()) }
    }

    /// The same error under another code.
    #[must_use]
    pub fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Turns an errno into an [`Error`] where the knowledge of what was done is.
pub(crate) trait At<T> {
    /// Names what was being done; the words are made only on failure.
    fn at<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> At<T> for nix::Result<T> {
    fn at<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Error::system(errno, what()))
    }
}

impl<T> At<T> for io::Result<T> {
    fn at<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| {
            Error::system(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)), what())
        })
    }
}
