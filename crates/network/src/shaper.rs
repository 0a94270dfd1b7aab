//! A link's outgoing rate, kept by the kernel's token bucket (tc-tbf(8)).

use crate::error::Result;
use crate::netlink::{Attributes, Batch, Message, Socket};

// linux/pkt_sched.h, linux/rtnetlink.h
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// The bucket holds at least one packet as large as the kernel makes them before a device splits them.
const LEAST: u64 = 128 << 10;

/// Limits what leaves by a link to `rate` bytes a second. What comes too fast waits for up to 100 ms, then is dropped.
pub fn limit(socket: &mut Socket, name: &str, index: u32, rate: u64) -> Result<()> {
    let burst = (rate / 100).clamp(LEAST, u32::MAX.into());
    let waiting = (burst + rate / 10).min(u32::MAX.into()) as u32;
    let message = {
        // struct tcmsg: family, index, handle, parent (the root), and nothing.
        let mut structure = [0; 20];
        structure[4..8].copy_from_slice(&index.to_ne_bytes());
        structure[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        let options = Attributes::new()
            .bytes(TCA_TBF_PARMS, &parameters(rate, waiting))
            .bytes(TCA_TBF_RATE64, &rate.to_ne_bytes())
            .number(TCA_TBF_BURST, burst as u32);
        let attributes = Attributes::new().string(TCA_KIND, "tbf").nest(TCA_OPTIONS, &options);
        Message::new(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &structure, &attributes)
    };
    let mut batch = Batch::new();
    batch.push(format!("cannot limit {name} to {rate} bytes a second"), message);
    socket.change(batch)
}

/// `struct tc_tbf_qopt`: two `struct tc_ratespec`, of which the second is for peaks, the limit, and two numbers that
/// attributes of their own replace.
fn parameters(rate: u64, waiting: u32) -> [u8; 36] {
    let mut structure = [0; 36];
    structure[1] = TC_LINKLAYER_ETHERNET;
    // A rate that does not fit is in the attribute alone, and here all ones.
    let rate = u32::try_from(rate).unwrap_or(u32::MAX);
    structure[8..12].copy_from_slice(&rate.to_ne_bytes());
    structure[24..28].copy_from_slice(&waiting.to_ne_bytes());
    structure
}
