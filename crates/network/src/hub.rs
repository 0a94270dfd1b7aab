//! The network namespace in which an ordinary user has his bridges, instead of the machine's own. Containers are reached
//! there by sockets that have their clients' addresses; what is answered is for those sockets, and must not leave.
//!
//! Who has entered it does everything as root does on the machine. What is the machine's still is done [`outside`].

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
};

use crate::{
    error::{At, Result},
    link::{local_route, marked_rule, raise},
    netlink::{Batch, Family, Socket},
    nftables::{
        INET,
        expression::Rule,
        table::{Hook, Table},
        transaction,
    },
    sysctl::{Parameters, of_interface},
};

static OUTSIDE: OnceLock<Outside> = OnceLock::new();

type Work = Box<dyn FnOnce() + Send>;

/// A thread that has stayed, with what it is to do there. Between two works it does nothing at all: the process is cloned
/// while it is there, and no lock of the C library's may be held then.
#[derive(Default)]
struct Outside {
    /// Held by the one who has given it work.
    turn: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    /// Until the thread waits for work.
    #[default]
    Busy,
    Waiting,
    Given(Work),
}

impl Outside {
    fn serve(&self) -> ! {
        let mut state = locked(&self.state);
        loop {
            *state = State::Waiting;
            self.changed.notify_all();
            state = self.wait(state, |state| matches!(state, State::Given(_)));
            if let State::Given(work) = std::mem::take(&mut *state) {
                drop(state);
                work();
                state = locked(&self.state);
            }
        }
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        until: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while !until(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the calling thread into a hub, for good: an ordinary user cannot come back. Threads made from now on are in there.
pub fn enter(hub: BorrowedFd<'_>) -> Result<()> {
    const STACK: usize = 256 << 10;
    let serve = || OUTSIDE.get_or_init(Outside::default).serve();
    // Its thread begins where the caller still is.
    thread::Builder::new().stack_size(STACK).spawn(serve).at(|| "cannot start a thread")?;
    OUTSIDE.get_or_init(Outside::default);
    // Until it waits.
    outside(|| ());
    setns(hub, CloneFlags::CLONE_NEWNET).at(|| "cannot enter the hub")
}

/// Whether this process is in a hub.
pub fn is_entered() -> bool {
    OUTSIDE.get().is_some()
}

/// Does something in the machine's network namespace, from wherever the caller is; one at a time.
pub fn outside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let Some(outside) = OUTSIDE.get() else { return work() };
    let _turn = locked(&outside.turn);
    let is_waiting = |state: &State| matches!(state, State::Waiting);
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    let mut state = outside.wait(locked(&outside.state), is_waiting);
    *state = State::Given(Box::new(move || *locked(&place) = Some(work())));
    outside.changed.notify_all();
    drop(outside.wait(state, is_waiting));
    let done = locked(&result).take();
    // It was given, and has been done.
    done.unwrap_or_else(|| std::process::abort())
}

/// Of answers, and the number of the routing table that they are delivered by.
const MARK: u32 = 0x6b;
/// Always the interface lo.
const LOOPBACK: u32 = 1;

/// A namespace made ready; its packet filter's rules go when this does.
#[derive(Debug)]
pub struct Hub {
    _divert: Socket,
}

impl Hub {
    /// Makes the calling thread's network namespace ready, which may have been that before.
    pub fn prepare() -> Result<Self> {
        let mut batch = Batch::new();
        batch.push("cannot bring the interface lo up", raise(LOOPBACK));
        let is_ipv6 = fs::exists("/proc/sys/net/ipv6").unwrap_or(false);
        let families = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        for every in families.into_iter().take(if is_ipv6 { 2 } else { 1 }) {
            let what = "cannot route answers to published ports";
            batch.tolerating(what, libc::EEXIST, marked_rule(every, MARK));
            batch.tolerating(what, libc::EEXIST, local_route(every, LOOPBACK, MARK));
        }
        Socket::open(Family::Route)?.change(batch)?;
        if is_ipv6 {
            // What leads out has nobody beside it to ask whether an address is taken: it is its own at once.
            Parameters::open()?.ensure(&of_interface("default", "accept_dad"), "0")?;
        }
        Ok(Self { _divert: divert()? })
    }
}

/// As `nft add rule inet kapsel-hub answers socket transparent 1 meta mark set 0x6b`.
fn divert() -> Result<Socket> {
    const PREROUTING: u32 = 0;
    const MANGLE: i32 = -150;
    let table = Table { family: INET, name: "kapsel-hub".to_owned() };
    let mut socket = Socket::open(Family::Netfilter)?;
    transaction(&mut socket, None, |batch| {
        table.make(batch);
        let hook = Hook { kind: "filter", number: PREROUTING, priority: MANGLE, device: None };
        table.chain(batch, "answers", Some(&hook));
        table.rule(batch, "answers", &Rule::new().transparent(1).equal(1, &[1]).marked(MARK, 1));
    })?;
    Ok(socket)
}

/// Readable when routes of the calling thread's network namespace have changed.
pub fn watch_routes() -> Result<OwnedFd> {
    const RTMGRP_IPV4_ROUTE: u32 = 0x40;
    const RTMGRP_IPV6_ROUTE: u32 = 0x400;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let what = || "cannot watch routes";
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).at(what)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)).at(what)?;
    Ok(fd)
}

/// Whether the calling thread's network namespace has a default route by this interface.
pub fn leads_out(interface: &str) -> bool {
    let routes = |family| fs::read_to_string(format!("/proc/thread-self/net/{family}")).unwrap_or_default();
    let four = routes("route").lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        fields.next() == Some(interface) && fields.next() == Some("00000000")
    });
    let everywhere = format!("{:032} 00 ", 0);
    four || routes("ipv6_route")
        .lines()
        .any(|line| line.starts_with(&everywhere) && line.split_ascii_whitespace().last() == Some(interface))
}
