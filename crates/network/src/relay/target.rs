//! The container's side of what is relayed. In an ordinary user's hub, where all that comes to a port is relayed, it has the
//! client's own address for its source, so that the container sees who it is that asks.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
    },
};

use crate::hub;

/// Begins to connect a new socket to a container, for a client.
pub(super) fn reach(kind: SockType, target: SocketAddr, client: SocketAddr) -> io::Result<OwnedFd> {
    // What comes from the host's loopback could not be answered from here.
    let can_be_kept = client.is_ipv4() == target.is_ipv4() && !client.ip().is_loopback();
    begin(kind, target, Some(client).filter(|_| can_be_kept && hub::is_entered()))
}

/// Begins to connect a new socket, which has a source of another machine's where one is given.
pub(crate) fn begin(kind: SockType, target: SocketAddr, source: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if let Some(source) = source {
        allow_foreign(&fd, source.ip())?;
        // The port too, unless a connection from it to the same port of the container is there already.
        let at = |port| bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source.ip(), port)));
        at(source.port()).or_else(|_| at(0))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(errno) => Err(errno.into()),
    }
}

/// Lets a socket have an address that is not this machine's.
fn allow_foreign(fd: &OwnedFd, address: IpAddr) -> io::Result<()> {
    setsockopt(fd, sockopt::ReuseAddr, &true)?;
    let (level, option) = match address {
        IpAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
        IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as u32;
    // SAFETY: the option's value is an int that outlives the call.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const on).cast(), size) };
    Errno::result(set)?;
    Ok(())
}
