//! rtnetlink(7): one request, and its answers. Nothing here knows what a container is.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

/// Length, type, flags, number of the request, sender.
const HEADER: usize = 16;

/// A request in the making; all lengths are below 64 KiB.
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// Begins with its type (`RTM_*`), its flags beside `NLM_F_REQUEST`, and the type's own structure.
    pub(crate) fn new(kind: u16, flags: i32, structure: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(structure);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.0.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let length = (self.0.len() as u32).to_ne_bytes();
        self.0[..4].copy_from_slice(&length);
        self.0
    }
}

/// A socket in the caller's network namespace.
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one.
    pub(crate) fn open() -> nix::Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map(Self)
    }

    /// Asks for a change and waits until it is made.
    pub(crate) fn change(&self, mut request: Request) -> nix::Result<()> {
        request.0[6] |= libc::NLM_F_ACK as u8;
        self.ask(request, |_| ())
    }

    /// Asks for a list; `each` gets the type's structure and the attributes of each entry.
    pub(crate) fn list(&self, mut request: Request, each: impl FnMut(&[u8])) -> nix::Result<()> {
        request.0[7] |= (libc::NLM_F_DUMP >> 8) as u8;
        self.ask(request, each)
    }

    fn ask(&self, request: Request, mut each: impl FnMut(&[u8])) -> nix::Result<()> {
        send(self.0.as_raw_fd(), &request.finish(), MsgFlags::empty())?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some((kind, payload, next)) = message(rest) {
                match kind {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let errno =
                            payload.first_chunk().map_or(-libc::EPROTO, |four| i32::from_ne_bytes(*four));
                        return if errno == 0 { Ok(()) } else { Err(Errno::from_raw(-errno)) };
                    }
                    libc::NLMSG_NOOP | libc::NLMSG_OVERRUN => {}
                    _ => each(payload),
                }
                rest = next;
            }
        }
    }
}

/// The first message's type and payload, and what follows it.
fn message(bytes: &[u8]) -> Option<(i32, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let payload = bytes.get(HEADER..length)?;
    Some((kind.into(), payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Type and value of each attribute.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written_and_no_further() {
        let request = Request::new(1, 0, &[0; 8]).attribute(3, b"lo\0").attribute(7, &[1, 2, 3, 4]).finish();
        assert_eq!(request.len(), 16 + 8 + 8 + 8);
        let (kind, payload, rest) = message(&request).unwrap();
        assert_eq!((kind, rest), (1, &[][..]));
        let read: Vec<_> = attributes(&payload[8..]).collect();
        assert_eq!(read, [(3, &b"lo\0"[..]), (7, &[1, 2, 3, 4][..])]);
        for end in 0..request.len() {
            let _ = message(&request[..end]).map(|(_, payload, _)| attributes(payload).count());
            let _ = attributes(&request[..end]).count();
        }
        assert_eq!(attributes(&[0; 8]).count(), 0, "an attribute of no length would never end");
    }
}
