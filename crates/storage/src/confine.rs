//! What makes a process fit to parse hostile bytes: nothing but the target in sight, and no right it does not need.

use std::path::Path;

use crate::error::{Error, Result};

/// Confines this process, for good, to `dir`: it becomes `/` and the working directory; fds from 3 up are closed;
/// capabilities but those that unpacking needs are dropped; no_new_privs and a system call filter are set.
/// Call it while there is one thread. `rootless` as in [`crate::unpack::Options`].
pub fn confine(dir: &Path, rootless: bool) -> Result<()> {
    let _ = rootless;
    Err(Error::new("CONFINE_FAILED", format!("cannot confine to '{}' yet", dir.display())))
}
