//! For a container that has port 53 itself: what it asks at 127.0.0.11 is led to another port, in its own network namespace.

use std::net::Ipv4Addr;

use crate::{
    error::Result,
    netlink::{Attributes, Family, Socket},
    nftables::{
        expression::{Base, Meta, Rule, data},
        table::{Hook, Table},
        transaction,
    },
};

/// NFPROTO_IPV4
const IPV4: u8 = 2;

/// The table that leads there; dropped, it is gone, and its container cannot take it away.
#[derive(Debug)]
pub(super) struct Redirect {
    _socket: Socket,
}

impl Redirect {
    /// In the calling thread's network namespace, port 53 of an address leads to another port of it.
    pub fn new(address: Ipv4Addr, port: u16) -> Result<Self> {
        const OUTPUT: u32 = 3;
        const DESTINATION: u32 = 16;
        const DNAT_PRIORITY: i32 = -100;
        let table = Table { family: IPV4, name: "kapsel-names".to_owned() };
        let mut socket = Socket::open(Family::Netfilter)?;
        let value = |register: u32, bytes: &[u8]| Attributes::new().big(1, register).nest(2, &data(bytes));
        transaction(&mut socket, None, |batch| {
            table.make(batch);
            let hook = Hook { kind: "nat", number: OUTPUT, priority: DNAT_PRIORITY, device: None };
            table.chain(batch, "output", Some(&hook));
            for protocol in [libc::IPPROTO_UDP, libc::IPPROTO_TCP] {
                let rule = Rule::new()
                    .payload(Base::Network, DESTINATION, 4, 1)
                    .equal(1, &address.octets())
                    .meta(Meta::Protocol, 1)
                    .equal(1, &[protocol as u8])
                    .payload(Base::Transport, 2, 2, 1)
                    .equal(1, &53_u16.to_be_bytes())
                    .expression("immediate", &value(1, &address.octets()))
                    .expression("immediate", &value(9, &port.to_be_bytes()))
                    .dnat(IPV4, 1, 9);
                table.rule(batch, "output", &rule);
            }
        })?;
        Ok(Self { _socket: socket })
    }
}
