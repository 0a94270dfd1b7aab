//! Signals as a fresh process has them: nothing blocked, nothing ignored.

/// One more than the last signal.
const END: i32 = 65;

/// Undoes what the caller, or the Rust runtime (SIGPIPE), had set. Ignored and blocked signals survive execve: a program
/// would never notice a closed pipe or a Ctrl-C.
pub(crate) fn reset() {
    // The kernel's own structure and call: the C library refuses its signals 32 and 33, which posix_spawn leaves ignored.
    let default = [0_u64; 4];
    // SAFETY: all-zero is the kernel's sigaction for SIG_DFL with an empty mask; the pointers are to local values of the
    // right types and sizes. Signals that cannot be changed (9, 19) answer EINVAL.
    unsafe {
        for signal in 1..END {
            let old = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, size_of::<u64>());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
