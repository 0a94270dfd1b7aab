//! The two system calls of i386 behind which others hide: `socketcall` and `ipc`. A rule for `socket` must hold for
//! `socketcall(SYS_SOCKET, …)` too, or a 32-bit program would walk around it.

use crate::{LinuxSeccompArg, Operator};

/// One call behind another.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// The number of the call in front, on i386.
    pub(crate) number: u32,
    /// When the call in front stands for this one.
    pub(crate) condition: LinuxSeccompArg,
}

const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// The calls behind `socketcall`, whose first argument is their number (linux/net.h).
pub(crate) fn sockets() -> Vec<Call> {
    let names = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    let condition = |value| LinuxSeccompArg { index: 0, value, value_two: 0, op: Operator::Equal };
    (1..)
        .zip(names)
        .map(|(value, name)| Call { name, number: SOCKETCALL, condition: condition(value) })
        .collect()
}

/// The calls behind `ipc`, whose first argument has their number in its low sixteen bits (linux/ipc.h).
pub(crate) fn system_v() -> Vec<Call> {
    let names = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    let condition =
        |value_two| LinuxSeccompArg { index: 0, value: 0xffff, value_two, op: Operator::MaskedEqual };
    names.into_iter().map(|(name, value)| Call { name, number: IPC, condition: condition(value) }).collect()
}
