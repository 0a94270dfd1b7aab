//! Cgroups against the kernel of this machine; as root, in cgroups of their own named kapsel-test-….

mod life;
mod limits;
mod support;
