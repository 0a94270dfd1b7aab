//! Who has a port: found in /proc, and only when somebody else wanted it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::ffi::OsStrExt,
};

use super::Transport;

/// A program of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// What the kernel calls it.
    pub name: String,
}

/// Who has this port, or one that stands in its way, in the calling thread's network namespace.
pub fn holder(transport: Transport, host: SocketAddr) -> Option<Holder> {
    let tables = match transport {
        Transport::Tcp => ["tcp", "tcp6"],
        Transport::Udp => ["udp", "udp6"],
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok())
        .flat_map(|text| text.lines().filter_map(|line| inode(line, transport, host)).collect::<Vec<_>>())
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|link| {
                sockets.iter().any(|socket| link.as_os_str().as_bytes() == socket.as_bytes())
            })
        })
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    Some(Holder { pid, name })
}

/// The inode of a line's socket, where it stands in the way: the same port at the same address or at all of them.
fn inode(line: &str, transport: Transport, host: SocketAddr) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    // Connections that were accepted at the port do not stand in the way.
    const LISTEN: &str = "0A";
    if transport == Transport::Tcp && *state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let address = address_of(address)?;
    let clashes = address.is_unspecified()
        || host.ip().is_unspecified() && (address.is_ipv4() == host.is_ipv4())
        || address.to_canonical() == host.ip().to_canonical();
    (u16::from_str_radix(port, 16).ok()? == host.port() && clashes).then(|| (*inode).to_owned())
}

/// An address as /proc/net has it: words of four bytes, each as the machine would print it.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..hex.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proc_are_read() {
        assert_eq!(address_of("0100007F"), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(address_of("00000000000000000000000001000000"), Some("::1".parse().unwrap()));
        assert_eq!(address_of("0100"), None);
    }
}
