//! A tree → nothing, by directory fds: no link is followed, no mount crossed, no depth too deep.

use std::path::Path;

use crate::error::{Error, Result};

/// Removes `path` and all below it. What is not there (any more) is no error.
/// Codes: `TREE_BUSY` where something is mounted in it, `REMOVE_FAILED` otherwise.
pub fn remove_tree(path: &Path) -> Result<()> {
    Err(Error::new("REMOVE_FAILED", format!("cannot remove '{}' yet", path.display())))
}
