//! The one error of this crate: a stable code, one line for people, and the kernel's errno where there was one.
//! It is made where the knowledge is; nothing here decides what happens next.

use std::fmt;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Something that did not work, said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Stable name in UPPER_SNAKE, for programs.
    pub code: &'static str,
    /// One line: what was wrong, with which thing, and what would help.
    pub message: String,
    /// The kernel's error number, where it was the kernel that refused.
    pub errno: Option<i32>,
}

impl Error {
    /// An error found by this crate itself.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), errno: None }
    }

    /// An error of the kernel: `message` says what was being done, the kernel's words are added.
    /// A full disk or quota becomes `DISK_FULL` whatever `code` says.
    pub fn io(code: &'static str, message: impl fmt::Display, cause: &std::io::Error) -> Self {
        let errno = cause.raw_os_error();
        let code = match errno {
            Some(libc::ENOSPC | libc::EDQUOT) => "DISK_FULL",
            _ => code,
        };
        let hint = if code == "DISK_FULL" { "; free some disk space and try again" } else { "" };
        Error { code, message: format!("{message}: {}{hint}", plain(cause)), errno }
    }
}

/// The cause without Rust's `(os error N)`.
fn plain(cause: &std::io::Error) -> String {
    let text = cause.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
