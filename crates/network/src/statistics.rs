//! What went through the interfaces of a container.

use std::os::fd::BorrowedFd;

use serde::Serialize;

use crate::error::Result;
use crate::link::{IFLA_IFNAME, IFLA_STATS64, header};
use crate::namespace::inside;
use crate::netlink::{Attributes, Family, Message, Socket, attribute, text};

/// Since the interface was made, as the container sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the kernel's words, rtnl_link_stats64")]
pub struct Statistics {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// Those of every interface of a network namespace but the loopback one, in the order they were made.
pub fn statistics(namespace: BorrowedFd<'_>) -> Result<Vec<Statistics>> {
    inside(namespace, || {
        let request = Message::new(libc::RTM_GETLINK, 0, &header(0, false), &Attributes::new());
        let found = Socket::open(Family::Route)?.list("cannot list the network interfaces", request)?;
        Ok(found.iter().filter_map(|entry| read(entry)).collect())
    })
}

fn read(entry: &[u8]) -> Option<Statistics> {
    let (header, rest) = entry.split_first_chunk::<16>()?;
    let flags = crate::netlink::read_u32(&header[8..])?;
    if flags & libc::IFF_LOOPBACK as u32 != 0 {
        return None;
    }
    let numbers = attribute(rest, IFLA_STATS64)?;
    let number = |at: usize| numbers.get(8 * at..)?.first_chunk().map(|eight| u64::from_ne_bytes(*eight));
    Some(Statistics {
        name: text(attribute(rest, IFLA_IFNAME)?),
        rx_packets: number(0)?,
        tx_packets: number(1)?,
        rx_bytes: number(2)?,
        tx_bytes: number(3)?,
        rx_errors: number(4)?,
        tx_errors: number(5)?,
        rx_dropped: number(6)?,
        tx_dropped: number(7)?,
    })
}
