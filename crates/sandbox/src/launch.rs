//! A container's first process.

use crate::{Error, Launched, Plan};

/// Starts a container. The caller must have one thread: the child runs ordinary code on a copy of its memory.
pub fn launch(plan: &Plan) -> Result<Launched, Error> {
    let _ = plan;
    Err(Error::config("not yet"))
}
