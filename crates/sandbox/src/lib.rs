//! The sandbox: an OCI config becomes a process ready to exec.
