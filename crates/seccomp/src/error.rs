//! Why a profile could not become a program.

use std::fmt;

/// Why a profile could not become a program.
#[derive(Debug)]
pub enum Error {
    /// Neither Docker's format nor the OCI's.
    InvalidProfile {
        /// What the parser said.
        why: String,
    },
    /// A profile that asks for what this kernel or kapsel cannot do.
    Unsupported {
        /// What, and what would help.
        why: String,
    },
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidProfile { .. } => "SECCOMP_PROFILE_INVALID",
            Self::Unsupported { .. } => "SECCOMP_PROFILE_UNSUPPORTED",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidProfile { why } => write!(f, "invalid seccomp profile: {why}"),
            Self::Unsupported { why } => write!(f, "unsupported seccomp profile: {why}"),
        }
    }
}

impl std::error::Error for Error {}
