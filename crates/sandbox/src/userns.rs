//! A user who is not root becomes uid 0 of a user namespace of its own.

use crate::Error;

/// Which ids the namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The user's own id as 0, and the subordinate ids of /etc/subuid and /etc/subgid from 1 on.
    Range {
        /// How many user ids there are in all.
        uids: u32,
        /// How many group ids there are in all.
        gids: u32,
    },
    /// The user's own id as 0 and no other; supplementary groups cannot be changed.
    Single,
}

/// Makes a user and a mount namespace and enters both as uid 0. The calling process must have one thread.
pub fn enter() -> Result<Granted, Error> {
    Err(Error::config("not yet"))
}
