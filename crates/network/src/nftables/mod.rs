//! nf_tables, spoken without nft(8): objects as messages, and transactions of them. Numbers are those of
//! linux/netfilter/nf_tables.h.
//!
//! - [`expression`]: what rules are made of
//! - [`ruleset`]: our table
//! - [`elements`]: what its sets hold
//! - [`filter`]: the table made, kept and repaired
//! - [`reports`]: a table of bridges', for fewer packets
//! - [`table`]: how such others are written

mod conntrack;
pub mod elements;
pub(crate) mod expression;
pub mod filter;
mod reports;
mod ruleset;
pub(crate) mod table;

use crate::error::Result;
use crate::netlink::{Attributes, Batch, Message, NFNL_MSG_BATCH_BEGIN, Socket};

/// A kind of message to nf_tables.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    DeleteChain = 5,
    NewRule = 6,
    GetRule = 7,
    NewSet = 9,
    NewElement = 12,
    GetElement = 13,
    DeleteElement = 14,
    GetGeneration = 16,
}

/// NFPROTO_INET: IPv4 and IPv6.
pub(crate) const INET: u8 = 1;
/// Names that come first in most messages: of the table, and of what is in it.
pub(crate) const TABLE: u16 = 1;
pub(crate) const IN_TABLE: u16 = 2;
/// NFNL_SUBSYS_NFTABLES
const SUBSYSTEM: u16 = 10;

/// A message to nf_tables about a family's tables.
pub(crate) fn message(family: u8, kind: Kind, flags: i32, attributes: &Attributes) -> Message {
    // struct nfgenmsg: family, version, and a number in the network's byte order.
    Message::new(SUBSYSTEM << 8 | kind as u16, flags, &[family, 0, 0, 0], attributes)
}

/// Carries out all of them, or none. `generation`: only where nobody has changed any table since (`ERESTART`).
pub(crate) fn transaction(
    socket: &mut Socket,
    generation: Option<u32>,
    fill: impl FnOnce(&mut Batch),
) -> Result<()> {
    const NFNL_MSG_BATCH_END: u16 = 17;
    const NFNL_BATCH_GENID: u16 = 1;
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let bracket = |kind, attributes: &Attributes| Message::new(kind, 0, &[0, 0, high, low], attributes);
    let known = generation.map_or_else(Attributes::new, |id| Attributes::new().big(NFNL_BATCH_GENID, id));
    let mut batch = Batch::new();
    batch.push("cannot change the packet filter", bracket(NFNL_MSG_BATCH_BEGIN, &known));
    fill(&mut batch);
    batch.push("cannot change the packet filter", bracket(NFNL_MSG_BATCH_END, &Attributes::new()));
    socket.change(batch)
}
