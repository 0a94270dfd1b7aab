//! Cgroups against the kernel of this machine; as root, in cgroups of their own below /kapsel-test, which stays.

mod accounting;
mod life;
mod limits;
mod rare;
mod support;
