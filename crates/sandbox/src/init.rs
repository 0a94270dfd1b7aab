//! The built-in init: PID 1 that reaps, forwards signals and ends with the program's status.

/// Becomes the init of a container if that is what this process was executed for, and then never returns.
/// The first line of the executable's `main`: a container with [`crate::Plan::init`] executes `/proc/self/exe` again,
/// through a read-only mount that vanishes, so that /proc/1/exe is no way to write the host's file (CVE-2019-5736).
pub fn run_if_asked() {}
