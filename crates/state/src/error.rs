//! What can go wrong, as a stable code and one line for people.

use rusqlite::ErrorCode;
use serde::Serialize;

/// The result of anything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with everything a face needs to show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// Stable, UPPER_SNAKE, e.g. `CONTAINER_NOT_FOUND`.
    pub code: &'static str,
    /// One line: what was wrong, with what.
    pub message: String,
    /// What would help, where something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
    /// The positive errno of the system call that failed; 0 where none did.
    pub errno: i32,
}

impl Error {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, errno: 0 }
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// A system call that failed while `doing` something.
    pub(crate) fn system(doing: &str, error: &std::io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        let code = if matches!(errno, libc::ENOSPC | libc::EDQUOT) { "DISK_FULL" } else { "STORAGE_FAILED" };
        let reason = error.to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default();
        Self { code, message: format!("cannot {doing}: {reason}"), hint: None, errno }
    }

    /// The errno is the connection's to tell, see `Database::with_errno`.
    pub(crate) fn is_io(&self) -> bool {
        self.code == "DATABASE_FAILED"
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return Self::new("DATABASE_FAILED", format!("the database refuses a statement: {error}"));
        };
        match failure.code {
            ErrorCode::DiskFull => disk_full(),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Self::new("DATABASE_BUSY", "another process has been writing to the database for ten seconds")
                    .hint("try again; if it stays so, a stopped kapsel process holds the database")
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Self::new("DATABASE_CORRUPT", format!("the database is damaged: {error}"))
                    .hint("move kapsel.db, kapsel.db-wal and kapsel.db-shm away to start afresh")
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
                Self::new("DATABASE_READ_ONLY", "this user may not write to the database")
                    .hint("use --root to name a directory of your own")
            }
            ErrorCode::CannotOpen => Self::new("DATABASE_UNREADABLE", "the database cannot be opened"),
            _ => Self::new("DATABASE_FAILED", format!("the database failed: {error}")),
        }
    }
}

pub(crate) fn disk_full() -> Error {
    Error {
        code: "DISK_FULL",
        message: "the disk that holds the database is full; nothing was changed".into(),
        hint: Some("free some space: `kapsel rm` and `kapsel rmi` give back what they used"),
        errno: libc::ENOSPC,
    }
}
