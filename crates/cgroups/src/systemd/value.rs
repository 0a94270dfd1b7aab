//! Values as D-Bus marshals them: aligned, of this machine's byte order, described by a signature.
//! As many of its types as systemd's calls need.

/// Deeper than any value of systemd's; a signature that nests deeper is somebody's attack.
const DEPTH: usize = 16;

/// A value; its first letter in a signature stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Boolean(bool),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `s`
    String(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a` and the signature of the elements, which an empty one has too.
    Array(String, Vec<Self>),
    /// `(…)`
    Struct(Vec<Self>),
    /// `v`
    Variant(Box<Self>),
}

impl Value {
    pub(super) fn string(value: impl Into<String>) -> Self {
        Self::String(value.into())
    }

    pub(super) fn array(element: &str, values: Vec<Self>) -> Self {
        Self::Array(element.to_owned(), values)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Path(text) | Self::Signature(text) => Some(text),
            Self::Variant(inside) => inside.as_str(),
            _ => None,
        }
    }

    pub(super) fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".to_owned(),
            Self::Boolean(_) => "b".to_owned(),
            Self::U32(_) => "u".to_owned(),
            Self::U64(_) => "t".to_owned(),
            Self::String(_) => "s".to_owned(),
            Self::Path(_) => "o".to_owned(),
            Self::Signature(_) => "g".to_owned(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => format!("({})", fields.iter().map(Self::signature).collect::<String>()),
            Self::Variant(_) => "v".to_owned(),
        }
    }
}

/// Where a value of this type may begin.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b't' | b'(') => 8,
        _ => 4,
    }
}

pub(super) fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

/// Appends a value; the buffer begins where the message, or its body, does.
pub(super) fn write(bytes: &mut Vec<u8>, value: &Value) {
    let signature = value.signature();
    pad(bytes, alignment(&signature));
    match value {
        Value::Byte(byte) => bytes.push(*byte),
        Value::Boolean(boolean) => bytes.extend(u32::from(*boolean).to_ne_bytes()),
        Value::U32(number) => bytes.extend(number.to_ne_bytes()),
        Value::U64(number) => bytes.extend(number.to_ne_bytes()),
        Value::String(text) | Value::Path(text) => {
            bytes.extend((text.len() as u32).to_ne_bytes());
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        Value::Signature(text) => write_signature(bytes, text),
        Value::Array(element, values) => write_array(bytes, element, values),
        Value::Struct(fields) => fields.iter().for_each(|field| write(bytes, field)),
        Value::Variant(inside) => {
            write_signature(bytes, &inside.signature());
            write(bytes, inside);
        }
    }
}

fn write_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend(signature.as_bytes());
    bytes.push(0);
}

/// The length counts the elements, but not what is between it and the first.
fn write_array(bytes: &mut Vec<u8>, element: &str, values: &[Value]) {
    let length = bytes.len();
    bytes.extend([0; 4]);
    pad(bytes, alignment(element));
    let start = bytes.len();
    values.iter().for_each(|value| write(bytes, value));
    let written = (bytes.len() - start) as u32;
    bytes[length..length + 4].copy_from_slice(&written.to_ne_bytes());
}

/// Reads values from bytes of which nothing is taken for granted: `None` where they are not what the signature says.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// All values of a signature.
    pub(super) fn all(&mut self, mut signature: &str) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = split(signature)?;
            values.push(self.value(first, DEPTH)?);
            signature = rest;
        }
        Some(values)
    }

    fn value(&mut self, signature: &str, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        self.align(alignment(signature))?;
        Some(match signature.as_bytes().first()? {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => match self.number()? {
                0 => Value::Boolean(false),
                1 => Value::Boolean(true),
                _ => return None,
            },
            b'u' => Value::U32(self.number()?),
            b't' => Value::U64(u64::from_ne_bytes(self.take(8)?.try_into().ok()?)),
            b's' => Value::String(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'a' => {
                let end = self.number()? as usize;
                self.align(alignment(&signature[1..]))?;
                let end = self.at.checked_add(end).filter(|end| *end <= self.bytes.len())?;
                let mut values = Vec::new();
                while self.at < end {
                    values.push(self.value(&signature[1..], depth)?);
                }
                if self.at != end {
                    return None;
                }
                Value::Array(signature[1..].to_owned(), values)
            }
            b'(' => {
                let mut fields = signature.strip_prefix('(')?.strip_suffix(')')?;
                let mut values = Vec::new();
                while !fields.is_empty() {
                    let (first, rest) = split(fields)?;
                    values.push(self.value(first, depth)?);
                    fields = rest;
                }
                Value::Struct(values)
            }
            b'v' => {
                let inside = self.signature()?;
                let (first, "") = split(&inside)? else { return None };
                Value::Variant(Box::new(self.value(first, depth)?))
            }
            _ => return None,
        })
    }

    fn align(&mut self, alignment: usize) -> Option<()> {
        let padding = self.at.next_multiple_of(alignment) - self.at;
        self.take(padding)?.iter().all(|byte| *byte == 0).then_some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.take(1)?[0].into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Option<String> {
        let text = self.take(length)?;
        (self.take(1)? == [0] && !text.contains(&0)).then(|| String::from_utf8(text.to_vec()).ok())?
    }
}

/// The first complete type of a signature, and the rest.
fn split(signature: &str) -> Option<(&str, &str)> {
    let mut open = 0usize;
    for (index, letter) in signature.char_indices() {
        match letter {
            'a' => continue,
            '(' => open += 1,
            ')' => open = open.checked_sub(1)?,
            _ if !letter.is_ascii() => return None,
            _ => {}
        }
        if open == 0 {
            return Some(signature.split_at(index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| write(&mut bytes, value));
        bytes
    }

    fn read(signature: &str, bytes: &[u8]) -> Option<Vec<Value>> {
        Reader::new(bytes).all(signature)
    }

    #[test]
    fn everything_is_read_as_it_was_written() {
        let pair =
            |name: &str| Value::Struct(vec![Value::string(name), Value::Variant(Box::new(Value::U64(7)))]);
        let values = [
            Value::Byte(1),
            Value::Boolean(true),
            Value::U32(2),
            Value::Path("/a".to_owned()),
            Value::Signature("a(sv)".to_owned()),
            Value::array("(sv)", vec![pair("x"), pair("longer")]),
            Value::array("t", vec![]),
        ];
        let signature: String = values.iter().map(Value::signature).collect();
        assert_eq!(signature, "ybuoga(sv)at");
        assert_eq!(read(&signature, &written(&values)), Some(values.to_vec()));
    }

    #[test]
    fn bytes_are_where_the_specification_has_them() {
        let seen = written(&[Value::Byte(9), Value::array("t", vec![Value::U64(1)])]);
        let expected = [[9, 0, 0, 0].as_slice(), &8u32.to_ne_bytes(), &1u64.to_ne_bytes()].concat();
        assert_eq!(seen, expected);
        assert_eq!(written(&[Value::string("ab")]), [2u32.to_ne_bytes().as_slice(), b"ab\0"].concat());
    }

    #[test]
    fn what_is_cut_off_or_wrong_is_not_read() {
        let whole = written(&[Value::array(
            "(sv)",
            vec![Value::Struct(vec![
                Value::string("name"),
                Value::Variant(Box::new(Value::array("s", vec![Value::string("x")]))),
            ])],
        )]);
        assert!(read("a(sv)", &whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(read("a(sv)", &whole[..length]), None, "{length} bytes");
        }
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0xff;
            // Whatever it is taken for, nothing breaks.
            let _ = read("a(sv)", &bytes);
        }
        assert_eq!(read("b", &2u32.to_ne_bytes()), None);
        assert_eq!(read("s", &[0xff; 8]), None);
        for signature in ["a", "(s", "s)", "(", "z", "é"] {
            assert_eq!(read(signature, &[0; 64]), None, "{signature}");
        }
        let nested =
            |depth| [1, b'v', 0].repeat(depth).into_iter().chain([1, b'y', 0, 7]).collect::<Vec<u8>>();
        assert!(read("v", &nested(DEPTH - 2)).is_some());
        assert_eq!(read("v", &nested(DEPTH)), None);
    }
}
