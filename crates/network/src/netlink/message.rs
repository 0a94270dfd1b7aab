//! What netlink(7) carries: messages of a header, a structure and attributes, which may hold attributes themselves.

/// Length, type, flags, number of the request, sender.
pub(crate) const HEADER: usize = 16;
/// NLA_F_NESTED.
const NESTED: u16 = 0x8000;
/// What the two highest bits of an attribute's type say is not its type.
const TYPE: u16 = 0x3fff;

/// Attributes in the making, each aligned to four bytes. One is shorter than 64 KiB.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one of these bytes.
    #[must_use]
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number of the machine's byte order.
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a number of the network's byte order, which is netfilter's.
    #[must_use]
    pub fn big(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a string with its zero byte.
    #[must_use]
    pub fn string(self, kind: u16, value: &str) -> Self {
        let zero_ended: Vec<u8> = value.bytes().chain([0]).collect();
        self.bytes(kind, &zero_ended)
    }

    /// Adds attributes in an attribute.
    #[must_use]
    pub fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// Adds attributes in an attribute, behind a structure of its own.
    #[must_use]
    pub fn nest_with(self, kind: u16, structure: &[u8], inner: &Self) -> Self {
        self.bytes(kind | NESTED, &[structure, &inner.0].concat())
    }

    /// Adds what another has.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message(pub(crate) Vec<u8>);

impl Message {
    /// Of a type (`RTM_*`), with flags beside `NLM_F_REQUEST` and the type's own structure.
    pub fn new(kind: u16, flags: i32, structure: &[u8], attributes: &Attributes) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(structure);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&attributes.0);
        let length = (bytes.len() as u32).to_ne_bytes();
        bytes[..4].copy_from_slice(&length);
        Self(bytes)
    }

    /// As it is sent, but for its number.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn add_flags(&mut self, flags: i32) {
        let had = u16::from_ne_bytes([self.0[6], self.0[7]]);
        self.0[6..8].copy_from_slice(&(had | flags as u16).to_ne_bytes());
    }

    pub(crate) fn set_number(&mut self, number: u32) {
        self.0[8..12].copy_from_slice(&number.to_ne_bytes());
    }
}

/// A message as it came.
pub(crate) struct Received<'a> {
    pub kind: i32,
    pub flags: i32,
    pub number: u32,
    pub payload: &'a [u8],
}

/// The messages of what was received; a broken one ends them.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = read_u32(bytes)? as usize;
        let received = Received {
            kind: read_u16(bytes.get(4..)?)?.into(),
            flags: read_u16(bytes.get(6..)?)?.into(),
            number: read_u32(bytes.get(8..)?)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(received)
    })
}

/// Type and value of each attribute.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(bytes)?);
        let kind = read_u16(bytes.get(2..)?)? & TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A string's value, without its zero byte.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number of the machine's byte order at the start of these bytes.
pub fn read_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

fn read_u16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|two| u16::from_ne_bytes(*two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written_and_no_further() {
        let inner = Attributes::new().number(7, 9);
        let Message(bytes) =
            Message::new(1, 0, &[0; 8], &Attributes::new().string(3, "lo").bytes(4, &[1]).nest(5, &inner));
        let message = messages(&bytes).next().unwrap();
        assert_eq!((message.kind, messages(&bytes).count()), (1, 1));
        let list = &message.payload[8..];
        let read: Vec<_> = attributes(list).map(|(kind, value)| (kind, value.len())).collect();
        assert_eq!(read, [(3, 3), (4, 1), (5, 8)]);
        assert_eq!(text(attribute(list, 3).unwrap()), "lo");
        assert_eq!(attribute(attribute(list, 5).unwrap(), 7).and_then(read_u32), Some(9));
        for end in 0..bytes.len() {
            let _ = messages(&bytes[..end]).map(|message| attributes(message.payload).count()).max();
            let _ = attributes(&bytes[..end]).count();
        }
        assert_eq!(attributes(&[0; 8]).count(), 0, "an attribute of no length would never end");
    }
}
