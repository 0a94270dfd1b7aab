//! The records of a pax extended header: `LENGTH KEY=VALUE\n`. Which of them matter, and what they override.

use super::sparse::Extent;
use super::{TarError, Time, shown};

/// What the records of one `x` header said. Absent, or given empty, means: as the header block says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<i128>,
    pub gid: Option<i128>,
    pub mtime: Option<Time>,
    pub atime: Option<Time>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: PaxSparse,
}

/// GNU's three ways to tell of holes in pax records.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PaxSparse {
    /// 1.0: the map is at the start of the data.
    pub version_1: bool,
    /// The real name; the header's is a fabricated one.
    pub name: Option<Vec<u8>>,
    /// The real size.
    pub size: Option<u64>,
    /// 0.0 and 0.1: the map.
    pub map: Option<Vec<Extent>>,
    offset: Option<u64>,
}

impl Pax {
    /// Reads all records of a header's data.
    pub fn parse(mut data: &[u8]) -> Result<Self, TarError> {
        let mut pax = Pax::default();
        // Some writers pad with NULs inside the stated size.
        while !data.is_empty() && data[0] != 0 {
            let (key, value, rest) = record(data)
                .ok_or_else(|| TarError::Invalid("a pax header has a malformed record".to_owned()))?;
            pax.take(key, value).map_err(|why| match why {
                Some(error) => error,
                None => {
                    TarError::Invalid(format!("pax record {} has the value {}", shown(key), shown(value)))
                }
            })?;
            data = rest;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Option<TarError>> {
        let text = || if value.is_empty() { None } else { Some(value.to_vec()) };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = optional(value, decimal)?,
            b"uid" => self.uid = optional(value, signed)?,
            b"gid" => self.gid = optional(value, signed)?,
            b"mtime" => self.mtime = optional(value, time)?,
            b"atime" => self.atime = optional(value, time)?,
            b"GNU.sparse.major" => self.sparse.version_1 = value == b"1",
            b"GNU.sparse.name" => self.sparse.name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = optional(value, decimal)?,
            b"GNU.sparse.offset" => self.sparse.offset = optional(value, decimal)?,
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take().ok_or(None)?;
                let length = decimal(value).ok_or(None)?;
                self.sparse.map.get_or_insert_default().push(Extent { offset, length });
            }
            b"GNU.sparse.map" => {
                let mut numbers = value.split(|&c| c == b',').map(|n| decimal(n).ok_or(None));
                let map = self.sparse.map.insert(Vec::new());
                while let Some(offset) = numbers.next() {
                    let length = numbers.next().ok_or(None)??;
                    map.push(Extent { offset: offset?, length });
                }
            }
            _ => {
                if let Some(key) = key.strip_prefix(b"SCHILY.xattr.") {
                    let name = decoded(key);
                    if name.is_empty() || name.contains(&0) {
                        return Err(None);
                    }
                    // Of two records with one key the later counts (POSIX).
                    self.xattrs.retain(|(known, _)| *known != name);
                    self.xattrs.push((name, value.to_vec()));
                    if self.xattrs.len() > MAX_XATTRS {
                        let text = format!("an entry has more than {MAX_XATTRS} extended attributes");
                        return Err(Some(TarError::Limit(text)));
                    }
                }
            }
        }
        Ok(())
    }
}

/// More than any file system keeps per file with a name worth having; keeps the search above cheap.
const MAX_XATTRS: usize = 1024;

/// GNU tar writes an equals sign in a key as `%3D`, and a percent sign as `%25`.
fn decoded(mut key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    while let [first, rest @ ..] = key {
        let (byte, rest) = match key {
            [b'%', b'3', b'D', rest @ ..] => (b'=', rest),
            [b'%', b'2', b'5', rest @ ..] => (b'%', rest),
            _ => (*first, rest),
        };
        name.push(byte);
        key = rest;
    }
    name
}

fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // 2^20 is the limit of a whole header: seven digits.
    let space = data.iter().take(8).position(|&c| c == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
        return None;
    }
    let body = &data[space + 1..length - 1];
    let equals = body.iter().position(|&c| c == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &data[length..]))
}

fn optional<T>(value: &[u8], parse: fn(&[u8]) -> Option<T>) -> Result<Option<T>, Option<TarError>> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some).ok_or(None) }
}

/// Digits only, as `size` and sparse maps have them.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &c| {
        let digit = c.is_ascii_digit().then(|| u64::from(c - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn signed(text: &[u8]) -> Option<i128> {
    match text.strip_prefix(b"-") {
        Some(digits) => decimal(digits).map(|n| -i128::from(n)),
        None => decimal(text).map(i128::from),
    }
}

/// `[-]SECONDS[.FRACTION]`; digits after the ninth are cut off, towards the past.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|&c| c == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let nanoseconds =
        (0..9).fold(0, |value, i| value * 10 + fraction.get(i).map_or(0, |&c| u32::from(c - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_the_last_of_a_key_counts() {
        let pax = Pax::parse(b"9 path=a\n12 path=b/c\n15 uid=1000000\n7 gid=\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"b/c"[..]));
        assert_eq!((pax.uid, pax.gid), (Some(1_000_000), None));
    }

    #[test]
    fn values_may_hold_newlines_equal_signs_and_nuls() {
        let pax = Pax::parse(b"30 SCHILY.xattr.user.x=a=b\n\0c\n").unwrap();
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"a=b\n\0c".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in
            [&b"x"[..], b"9 path=a", b"99 path=a\n", b"1 \n", b"0 a=b\n", b"6 path\n", b"10 size=x\n\n"]
        {
            assert!(matches!(Pax::parse(data), Err(TarError::Invalid(_))), "{data:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_may_be_before_1970() {
        assert_eq!(time(b"12.5"), Some(Time { seconds: 12, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-3"), Some(Time { seconds: -3, nanoseconds: 0 }));
        assert_eq!(time(b"1.0000000019"), Some(Time { seconds: 1, nanoseconds: 1 }));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b"99999999999999999999"), None);
    }

    #[test]
    fn sparse_maps_come_in_two_forms() {
        let pair = b"23 GNU.sparse.offset=4\n25 GNU.sparse.numbytes=6\n";
        assert_eq!(Pax::parse(pair).unwrap().sparse.map, Some(vec![Extent { offset: 4, length: 6 }]));
        let list = b"26 GNU.sparse.map=0,1,5,2\n";
        let map = Pax::parse(list).unwrap().sparse.map.unwrap();
        assert_eq!(map, [Extent { offset: 0, length: 1 }, Extent { offset: 5, length: 2 }]);
        assert!(Pax::parse(b"24 GNU.sparse.map=0,1,5\n").is_err());
    }
}
