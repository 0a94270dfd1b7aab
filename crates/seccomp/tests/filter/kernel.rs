//! Loaded filters, in a child that a filter can be tried on.

use std::os::fd::{AsRawFd, OwnedFd};

use kapsel_seccomp::{Action, Architecture, Kernel, LinuxSeccompArg, Operator, Profile, Program, compile};

use crate::machine::{filter, rule};

/// Runs in a child under a filter; gives its wait status. What runs must be async-signal-safe.
fn child(program: &Program, run: impl FnOnce(Option<&OwnedFd>) -> i32) -> i32 {
    // SAFETY: the child calls async-signal-safe functions only, and ends in _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: no memory is passed to prctl.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let code = match program.load() {
            Ok(listener) => run(listener.as_ref()),
            Err(_) => 99,
        };
        // SAFETY: ends the child without running anything of the test harness.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the status is a live integer, the process a child of ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// The errno of a raw system call without arguments that matter; 0 if it succeeds.
fn errno_of(number: libc::c_long, first: libc::c_long) -> i32 {
    // SAFETY: the calls used take no pointers but null.
    let result = unsafe { libc::syscall(number, first, 0, 0, 0, 0, 0) };
    // SAFETY: errno is this thread's own.
    if result < 0 { unsafe { *libc::__errno_location() } } else { 0 }
}

fn exit_code(status: i32) -> i32 {
    assert!(libc::WIFEXITED(status), "ended by signal {}", libc::WTERMSIG(status));
    libc::WEXITSTATUS(status)
}

#[test]
fn the_default_profile_lets_ordinary_calls_through_and_refuses_the_others() {
    let filter = Profile::docker_default().resolve(&[], Architecture::NATIVE, Kernel::running());
    let program = compile(&filter, Architecture::NATIVE).unwrap();
    let seen = |number, first| exit_code(child(&program, |_| errno_of(number, first)));
    assert_eq!(seen(libc::SYS_getpid, 0), 0);
    assert_eq!(seen(libc::SYS_mount, 0), libc::EPERM);
    assert_eq!(seen(libc::SYS_unshare, 0), libc::EPERM);
    assert_eq!(seen(libc::SYS_keyctl, 0), libc::EPERM);
    assert_eq!(seen(libc::SYS_clone3, 0), libc::ENOSYS);
    assert_eq!(seen(libc::SYS_personality, 0xffff_ffff), 0);
    assert_eq!(seen(libc::SYS_personality, 0x1234_5678), libc::EPERM);
    assert_eq!(seen(libc::SYS_clone, i64::from(libc::CLONE_NEWUSER)), libc::EPERM);
    assert_eq!(seen(libc::SYS_socket, 40), libc::EPERM, "AF_VSOCK");
    // A number that no kernel has yet.
    assert_eq!(seen(900, 0), libc::ENOSYS);
}

#[test]
fn every_action_does_what_it_says() {
    let act = |action, errno_ret| {
        let mut rule = rule(&["getsid"], action, vec![]);
        rule.errno_ret = errno_ret;
        let program = compile(&filter(Action::Allow, vec![rule]), Architecture::NATIVE).unwrap();
        child(&program, |_| errno_of(libc::SYS_getsid, 0))
    };
    assert_eq!(exit_code(act(Action::Errno, Some(77))), 77);
    assert_eq!(exit_code(act(Action::Errno, None)), libc::EPERM);
    assert_eq!(exit_code(act(Action::Log, None)), 0);
    assert_eq!(exit_code(act(Action::Trace, None)), libc::ENOSYS, "there is no tracer");
    for killing in [Action::Kill, Action::KillThread, Action::KillProcess, Action::Trap] {
        let status = act(killing, None);
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS,
            "{killing:?}: {status:#x}"
        );
    }
}

#[test]
fn arguments_are_compared_in_all_their_bits() {
    let value = 0xffff_0000_0000_0001;
    let condition = LinuxSeccompArg { index: 5, value, value_two: 0, op: Operator::Equal };
    let program = compile(
        &filter(Action::Allow, vec![rule(&["getsid"], Action::Errno, vec![condition])]),
        Architecture::NATIVE,
    )
    .unwrap();
    let seen = |last: u64| {
        exit_code(child(&program, |_| {
            // SAFETY: getsid ignores what comes after its first argument.
            let result = unsafe { libc::syscall(libc::SYS_getsid, 0, 0, 0, 0, 0, last) };
            i32::from(result < 0)
        }))
    };
    assert_eq!((seen(value), seen(1), seen(value + 1)), (1, 0, 0));
}

#[test]
fn a_rule_that_notifies_gives_a_listener() {
    let program = compile(
        &filter(Action::Allow, vec![rule(&["getsid"], Action::Notify, vec![])]),
        Architecture::NATIVE,
    )
    .unwrap();
    assert!(program.notifies());
    let status = child(&program, |listener| {
        let Some(listener) = listener else { return 1 };
        // SAFETY: no memory is passed to fcntl.
        let flags = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_GETFD) };
        i32::from(flags != libc::FD_CLOEXEC) * 2
    });
    assert_eq!(exit_code(status), 0);
}

/// A call through the gate of 32-bit programs, in a 64-bit one: the kernel calls it i386's.
#[cfg(target_arch = "x86_64")]
fn call_of_i386(number: u64) -> i64 {
    let result: u64;
    // SAFETY: getsid(0) and getpid() of i386 take no pointers; the instruction changes nothing but its result.
    unsafe {
        std::arch::asm!(
            "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
            inlateout("rax") number => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result as i32)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_another_architecture_are_filtered_where_it_is_named_and_kill_where_it_is_not() {
    const GETPID: u64 = 20;
    const GETSID: u64 = 147;
    let program = |architectures: &[Architecture]| {
        let mut filter = filter(Action::Allow, vec![rule(&["getsid"], Action::Errno, vec![])]);
        filter.architectures = architectures.to_vec();
        compile(&filter, Architecture::NATIVE).unwrap()
    };
    let both = program(&[Architecture::X86]);
    assert_eq!(exit_code(child(&both, |_| i32::from(call_of_i386(GETPID) <= 0))), 0);
    assert_eq!(exit_code(child(&both, |_| -call_of_i386(GETSID) as i32)), libc::EPERM);
    let status = child(&program(&[]), |_| i32::from(call_of_i386(GETPID) <= 0));
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS, "{status:#x}");
}
