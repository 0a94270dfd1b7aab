//! The two system calls of i386 behind which others hide: `socketcall` and `ipc`. A rule for `socket` must hold for
//! `socketcall(SYS_SOCKET, …)` too, or a 32-bit program would walk around it.

use crate::{LinuxSeccompArg, Operator};

/// One call behind another.
pub(crate) struct Call {
    name: &'static str,
    /// The number of the call in front, on i386.
    pub(crate) number: u32,
    /// When the call in front stands for this one.
    pub(crate) condition: LinuxSeccompArg,
}

/// The call in front of a call, if there is one.
pub(crate) fn in_front_of(name: &str) -> Option<&'static Call> {
    CALLS.binary_search_by(|call| call.name.cmp(name)).ok().map(|index| &CALLS[index])
}

/// Behind `socketcall`, whose first argument is the number (linux/net.h).
const fn socket(name: &'static str, value: u64) -> Call {
    let condition = LinuxSeccompArg { index: 0, value, value_two: 0, op: Operator::Equal };
    Call { name, number: 102, condition }
}

/// Behind `ipc`, whose first argument has the number in its low sixteen bits (linux/ipc.h).
const fn ipc(name: &'static str, value_two: u64) -> Call {
    let condition = LinuxSeccompArg { index: 0, value: 0xffff, value_two, op: Operator::MaskedEqual };
    Call { name, number: 117, condition }
}

/// Sorted by name, in byte order.
static CALLS: [Call; 32] = [
    socket("accept", 5),
    socket("accept4", 18),
    socket("bind", 2),
    socket("connect", 3),
    socket("getpeername", 7),
    socket("getsockname", 6),
    socket("getsockopt", 15),
    socket("listen", 4),
    ipc("msgctl", 14),
    ipc("msgget", 13),
    ipc("msgrcv", 12),
    ipc("msgsnd", 11),
    socket("recv", 10),
    socket("recvfrom", 12),
    socket("recvmmsg", 19),
    socket("recvmsg", 17),
    ipc("semctl", 3),
    ipc("semget", 2),
    ipc("semop", 1),
    ipc("semtimedop", 4),
    socket("send", 9),
    socket("sendmmsg", 20),
    socket("sendmsg", 16),
    socket("sendto", 11),
    socket("setsockopt", 14),
    ipc("shmat", 21),
    ipc("shmctl", 24),
    ipc("shmdt", 22),
    ipc("shmget", 23),
    socket("shutdown", 13),
    socket("socket", 1),
    socket("socketpair", 8),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TABLE;

    #[test]
    fn the_tables_are_sorted_and_every_name_is_found() {
        assert!(CALLS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(
            CALLS.iter().all(|call| in_front_of(call.name).is_some_and(|found| found.number == call.number))
        );
    }
}
