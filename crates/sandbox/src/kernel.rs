//! What a new namespace needs before anybody lives in it: the host name, the loopback interface.

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use std::os::fd::AsRawFd;

use crate::{
    Error,
    error::{At, Stage},
    namespaces::Namespaces,
    spec::Config,
};

/// Refuses a name for a namespace that is the host's: it would rename the host.
pub(crate) fn check_names(config: &Config, namespaces: &Namespaces) -> Result<(), Error> {
    let named = config.hostname.is_some() || config.domainname.is_some();
    if named && !namespaces.is_separate(libc::CLONE_NEWUTS) {
        return Err(Error::config(
            "a host name needs a uts namespace: without one the host would be renamed",
        ));
    }
    Ok(())
}

/// Gives the container its names.
pub(crate) fn set_names(config: &Config) -> Result<(), Error> {
    if let Some(name) = &config.hostname {
        nix::unistd::sethostname(name).at(Stage::Kernel, || format!("cannot set the host name {name:?}"))?;
    }
    if let Some(name) = &config.domainname {
        // SAFETY: the pointer and the length are those of a string that outlives the call.
        Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })
            .at(Stage::Kernel, || format!("cannot set the domain name {name:?}"))?;
    }
    Ok(())
}

/// Brings up `lo`, which is down in a new network namespace.
pub(crate) fn raise_loopback() -> Result<(), Error> {
    let what = || "cannot bring up the loopback interface";
    let socket = match socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None) {
        // A kernel without IPv4 has no loopback to bring up.
        Err(Errno::EAFNOSUPPORT) => return Ok(()),
        other => other.at(Stage::Kernel, what)?,
    };
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
        .at(Stage::Kernel, what)?;
    Ok(())
}
