//! Seccomp: a profile becomes a BPF program, cached by hash.
