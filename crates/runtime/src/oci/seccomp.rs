//! The container's system call filter, compiled or from the store's cache.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use kapsel_sandbox::spec::{Config, Process};
use kapsel_seccomp::{Architecture, Kernel, Program, Source};

use super::store::Store;
use crate::error::Result;

/// For a process of this container; none where the document has none.
pub fn program(store: &Store, config: &Config, process: &Process) -> Result<Option<Program>> {
    let Some(filter) = config.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else {
        return Ok(None);
    };
    let cache = store.seccomp_cache();
    // A cache that cannot be made is none.
    let _ = DirBuilder::new().mode(0o700).create(&cache);
    let bounding = process.capabilities.as_ref().map_or(&[][..], |capabilities| &capabilities.bounding);
    let (source, kernel) = (Source::Resolved(filter), Kernel::running());
    Ok(Some(Program::cached(Some(&cache), source, bounding, Architecture::NATIVE, kernel)?))
}
