//! Compiled programs kept in files named by the hash of everything they depend on.

use std::path::Path;

use crate::{Architecture, Error, Kernel, LinuxSeccomp, Program};

/// Where a filter comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Docker's default profile.
    Default,
    /// A profile in Docker's format or the OCI's.
    Json(&'a str),
    /// A filter with its conditions settled.
    Resolved(&'a LinuxSeccomp),
}

impl Program {
    /// The compiled form of a profile for a container with these capabilities (its bounding set, `CAP_…`), from the
    /// cache directory where it has it. The cache is only ever a help: nothing about it makes this fail.
    pub fn cached(
        _directory: Option<&Path>,
        _source: Source<'_>,
        _capabilities: &[String],
        _architecture: Architecture,
        _kernel: Kernel,
    ) -> Result<Self, Error> {
        Err(Error::Unsupported { why: String::new() })
    }
}
