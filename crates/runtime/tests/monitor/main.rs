//! `kapsel-runtime monitor` as the engine drives it: descriptors 3, 4 and 5, real containers, real cgroups.
//!
//! Needs root and Debian's busybox-static; each test has its own directories and its own cgroup, and leaves neither.

mod control;
mod crash;
mod escape;
mod harness;
mod hostile;
mod limits;
mod notify;
mod peer;
mod rootless;
mod run;
mod spare;
mod streams;
#[path = "../../../sandbox/tests/supervisor/mod.rs"]
mod supervisor;
