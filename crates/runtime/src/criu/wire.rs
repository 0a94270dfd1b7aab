//! Protocol buffers as far as CRIU's messages need them: numbers, strings and messages within messages, to be written
//! and to be read.

/// A message being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

const VARINT: u64 = 0;
const BYTES: u64 = 2;

impl Message {
    /// An int32, uint32 or enum.
    pub fn number(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3 | VARINT);
        // A negative number is as long as a 64-bit one: its bits, unsigned.
        self.varint(value as u64);
        self
    }

    /// A bool.
    pub fn switch(self, field: u32, value: bool) -> Self {
        self.number(field, value.into())
    }

    /// A string.
    pub fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// A message within this one.
    pub fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// As it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes, or a message that is written already.
    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number or a bool.
    Number(u64),
    /// A string or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As a signed number; 0 where it is none.
    pub fn number(self) -> i64 {
        match self {
            Self::Number(number) => number as i64,
            Self::Bytes(_) => 0,
        }
    }

    /// As the bytes of a string or message; none where it is a number.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Number(_) => &[],
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The fields of a message, in their order; none where it is not one.
pub fn fields(mut rest: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let field = u32::try_from(key >> 3).ok()?;
        match key & 7 {
            VARINT => found.push((field, Value::Number(varint(&mut rest)?))),
            BYTES => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                found.push((field, Value::Bytes(rest.split_off(..length)?)));
            }
            // Numbers of fixed width, none of which means anything to us.
            1 => drop(rest.split_off(..8)?),
            5 => drop(rest.split_off(..4)?),
            _ => return None,
        }
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_as_the_encoding_guide_has_it() {
        // protobuf.dev, "Encoding": 150 in field 1, "testing" in field 2, a message within one.
        assert_eq!(Message::default().number(1, 150).as_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").as_bytes(), b"\x12\x07testing");
        let inner = Message::default().number(1, 150);
        assert_eq!(Message::default().message(3, &inner).as_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().number(1, -2).as_bytes().len(), 11);
    }

    #[test]
    fn what_was_written_is_read_again() {
        let message = Message::default().number(1, -5).switch(70, true).text(2, "x");
        let fields = fields(message.as_bytes()).unwrap();
        assert_eq!(
            (fields[0].1.number(), fields[1], fields[2].1.bytes()),
            (-5, (70, Value::Number(1)), &b"x"[..])
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for garbage in
            [&b"\x08"[..], b"\x12\x07test", b"\x0b", &[0x80; 11], &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert_eq!(fields(garbage), None, "{garbage:?}");
        }
        assert_eq!(fields(b"\x0d\0\0\0\0\x08\x01").unwrap(), [(1, Value::Number(1))]);
    }
}
