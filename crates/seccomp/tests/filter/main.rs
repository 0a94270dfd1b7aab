//! Compiled filters against an interpreter, a model of what rules mean, libseccomp, and the kernel.

mod cache;
mod kernel;
mod libseccomp;
mod machine;
mod model;
mod semantics;
