//! The system calls an unpacking process may make: those that Rust's and the C library's threads, memory and files
//! need. Anything else fails with EPERM, `clone3` with ENOSYS so that the C library takes `clone`, whose flags can be seen.

use std::mem::offset_of;

use nix::errno::Errno;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Every `CLONE_NEW*` flag: no namespace for a thread.
const NAMESPACES: u32 = 0x7e02_0000;

/// No process either: what outlived this one could still write to the layer when others already share its files.
const THREAD: u32 = libc::CLONE_THREAD as u32;

const ALLOWED: &[libc::c_long] = &[
    // Files: what `extract` does.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_fsetxattr,
    463, // setxattrat
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads and the end.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Filters this thread, and those it starts. no_new_privs must be set.
pub fn install() -> nix::Result<()> {
    let mut program = program();
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to `len` instructions that live until the call returns; the kernel copies them.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter, 0, 0) };
    Errno::result(result).map(drop)
}

fn program() -> Vec<libc::sock_filter> {
    let load = |at: usize| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at as u32, 0, 0);
    let answer = |with: u32| instruction(libc::BPF_RET | libc::BPF_K, with, 0, 0);
    let skip_unless =
        |value: u32, count| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, 0, count);
    let refuse = |errno: i32| answer(libc::SECCOMP_RET_ERRNO | errno as u32);
    let mut program = vec![
        // Numbers mean other calls on other architectures.
        load(offset_of!(libc::seccomp_data, arch)),
        skip_unless(ARCH, 1),
        instruction(libc::BPF_JMP | libc::BPF_JA, 1, 0, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(offset_of!(libc::seccomp_data, nr)),
        skip_unless(libc::SYS_clone3 as u32, 1),
        refuse(libc::ENOSYS),
        skip_unless(libc::SYS_clone as u32, 5),
        // The lower half of the first argument; both architectures are little-endian.
        load(offset_of!(libc::seccomp_data, args)),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, NAMESPACES, 1, 0),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, THREAD, 1, 0),
        refuse(libc::EPERM),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    for &call in ALLOWED {
        program.extend([skip_unless(call as u32, 1), answer(libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(refuse(libc::EPERM));
    program
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}
