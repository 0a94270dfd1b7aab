//! The OCI command line against a real kernel: `cargo test --test oci`, as root.

#[path = "../../../sandbox/tests/common/mod.rs"]
mod common;
mod console;
mod crash;
mod escape;
mod escapes;
mod exec;
mod flags;
mod foreground;
mod harness;
mod hooks;
mod life;
mod limits;
mod report;
mod rootless;
mod stdio;
mod systemd;
mod terminal;
mod tracer;
mod types;

use kapsel_cgroups::{Cgroup, LinuxResources};
