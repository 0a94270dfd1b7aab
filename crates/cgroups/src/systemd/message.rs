//! D-Bus messages: a header of known fields, and a body that is read only by who wants it.

use std::io::{self, Read};

use super::value::{Reader, Value, pad, write};

/// Larger than any message of systemd's that we ask for.
const LARGEST: usize = 1 << 24;

#[cfg(target_endian = "little")]
const BYTE_ORDER: u8 = b'l';
#[cfg(target_endian = "big")]
const BYTE_ORDER: u8 = b'B';

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) serial: u32,
    pub(super) path: Option<String>,
    pub(super) interface: Option<String>,
    pub(super) member: Option<String>,
    pub(super) error_name: Option<String>,
    pub(super) reply_serial: Option<u32>,
    pub(super) destination: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// A call of a method.
    pub(super) fn call(destination: &str, path: &str, interface: &str, member: &str) -> Self {
        Self {
            path: Some(path.to_owned()),
            interface: Some(interface.to_owned()),
            member: Some(member.to_owned()),
            destination: Some(destination.to_owned()),
            ..Self::default()
        }
    }

    /// A call of the bus itself.
    pub(super) fn call_of_bus(member: &str) -> Self {
        Self::call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member)
    }

    /// The same with a body.
    pub(super) fn with(self, values: &[Value]) -> Self {
        let mut body = Vec::new();
        values.iter().for_each(|value| write(&mut body, value));
        Self { signature: values.iter().map(Value::signature).collect(), body, ..self }
    }

    /// The values of the body; none where it is malformed.
    pub(super) fn values(&self) -> Option<Vec<Value>> {
        Reader::new(&self.body).all(&self.signature)
    }

    /// The body's only value, a text.
    pub(super) fn text(&self) -> Option<String> {
        let [value] = self.values()?.try_into().ok()?;
        value.as_str().map(str::to_owned)
    }

    /// Whether it is a signal of that name.
    pub(super) fn is_signal(&self, interface: &str, member: &str) -> bool {
        self.kind == Kind::Signal
            && self.interface.as_deref() == Some(interface)
            && self.member.as_deref() == Some(member)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let text = |code, text: &Option<String>, value: fn(String) -> Value| {
            text.as_ref().map(|text| field(code, value(text.clone())))
        };
        let signature = Some(self.signature.clone()).filter(|signature| !signature.is_empty());
        let fields = [
            text(1, &self.path, Value::Path),
            text(2, &self.interface, Value::String),
            text(3, &self.member, Value::String),
            text(4, &self.error_name, Value::String),
            self.reply_serial.map(|serial| field(5, Value::U32(serial))),
            text(6, &self.destination, Value::String),
            text(7, &self.sender, Value::String),
            text(8, &signature, Value::Signature),
        ];
        let mut bytes = vec![BYTE_ORDER, self.kind as u8, 0, 1];
        bytes.extend((self.body.len() as u32).to_ne_bytes());
        bytes.extend(self.serial.to_ne_bytes());
        write(&mut bytes, &Value::array("(yv)", fields.into_iter().flatten().collect()));
        pad(&mut bytes, 8);
        bytes.extend(&self.body);
        bytes
    }

    /// Reads one from a stream. `InvalidData` where it is malformed: nothing behind it can be understood.
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut bytes = vec![0; 16];
        stream.read_exact(&mut bytes)?;
        let number = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (body, fields) = (number(4) as usize, number(12) as usize);
        if bytes[0] != BYTE_ORDER || bytes[3] != 1 || body > LARGEST || fields > LARGEST {
            return Err(Self::malformed());
        }
        let head = (16 + fields).next_multiple_of(8);
        bytes.resize(head + body, 0);
        stream.read_exact(&mut bytes[16..])?;
        Self::parse(&bytes[..16 + fields], &bytes[head..]).ok_or_else(Self::malformed)
    }

    pub(super) fn malformed() -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "a malformed D-Bus message")
    }

    fn parse(head: &[u8], body: &[u8]) -> Option<Self> {
        let kind = match head[1] {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return None,
        };
        let fixed = Reader::new(head).all("yyyyuua(yv)")?;
        let [.., Value::U32(serial), Value::Array(_, fields)] = fixed.as_slice() else { return None };
        let mut message = Self { kind, serial: *serial, body: body.to_vec(), ..Self::default() };
        for field in fields {
            let Value::Struct(field) = field else { return None };
            let [Value::Byte(code), Value::Variant(value)] = field.as_slice() else { return None };
            let text = || value.as_str().map(str::to_owned);
            match (code, value.as_ref()) {
                (1, Value::Path(_)) => message.path = text(),
                (2, Value::String(_)) => message.interface = text(),
                (3, Value::String(_)) => message.member = text(),
                (4, Value::String(_)) => message.error_name = text(),
                (5, Value::U32(serial)) => message.reply_serial = Some(*serial),
                (6, Value::String(_)) => message.destination = text(),
                (7, Value::String(_)) => message.sender = text(),
                (8, Value::Signature(signature)) => message.signature.clone_from(signature),
                (1..=8, _) => return None,
                _ => {}
            }
        }
        Some(message)
    }
}

fn field(code: u8, value: Value) -> Value {
    Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal() -> Message {
        Message {
            kind: Kind::Signal,
            serial: 7,
            path: Some("/org/example".to_owned()),
            interface: Some("org.example.Interface".to_owned()),
            member: Some("Happened".to_owned()),
            reply_serial: Some(3),
            sender: Some(":1.2".to_owned()),
            ..Message::default()
        }
        .with(&[Value::string("what"), Value::U32(1)])
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let bytes = signal().to_bytes();
        let read = Message::read(&mut bytes.as_slice()).unwrap();
        assert_eq!(read, signal());
        assert_eq!(read.values(), Some(vec![Value::string("what"), Value::U32(1)]));
        assert!(read.is_signal("org.example.Interface", "Happened"));
    }

    #[test]
    fn a_malformed_message_is_an_error_and_no_panic() {
        let whole = signal().to_bytes();
        for length in 0..whole.len() {
            assert!(Message::read(&mut &whole[..length]).is_err(), "{length} bytes");
        }
        for index in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[index] ^= 1 << bit;
                // Whatever it is taken for, nothing breaks.
                if let Ok(message) = Message::read(&mut bytes.as_slice()) {
                    let _ = message.values();
                }
            }
        }
        let mut huge = whole.clone();
        huge[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(Message::read(&mut huge.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
