//! DNS messages (RFC 1035, RFC 6891), as far as one who answers for a few names and forwards the rest must know them:
//! the question of a query, answers that point at it, and the addresses of somebody else's answer. Bytes in, bytes out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A query's and an answer's first twelve bytes.
pub const HEADER: usize = 12;
/// The longest name, in bytes as it is sent.
const LONGEST_NAME: usize = 255;
/// What we can take in one datagram: RFC 9715.
const OUR_SIZE: u16 = 1232;
/// What everybody can take in one datagram.
const SMALLEST: usize = 512;

/// Types of records.
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A name, for an address.
    pub const PTR: u16 = 12;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS: no record, but a header's continuation.
    pub const OPT: u16 = 41;
    /// Whatever there is.
    pub const ANY: u16 = 255;
}

/// What an answer says of how it went (RCODE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// There is an answer, or the name has nothing of this type.
    Good = 0,
    /// The query cannot be understood.
    Malformed = 1,
    /// Whoever could have answered did not.
    Failed = 2,
    /// There is no such name.
    NoSuchName = 3,
    /// This kind of query is not known here.
    NotImplemented = 4,
    /// The name may not be asked for.
    Refused = 5,
}

/// A name as it is sent, without compression, in lower case: two names are the same where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Reads `a.name`, with or without its last dot.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
            bytes.push(length);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        (bytes.len() <= LONGEST_NAME).then(|| Self(bytes.into()))
    }

    /// Whether this name is one below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        let mut rest = &self.0[..];
        while let Some((&length, after)) = rest.split_first() {
            rest = after.get(usize::from(length)..).unwrap_or_default();
            if *rest == *other.0 {
                return true;
            }
        }
        false
    }

    fn labels(&self) -> Vec<&[u8]> {
        let (mut labels, mut rest) = (Vec::new(), &self.0[..]);
        while let Some((&length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
            let (label, next) = after.split_at(usize::from(length).min(after.len()));
            labels.push(label);
            rest = next;
        }
        labels
    }

    /// The address that this name of `in-addr.arpa` or `ip6.arpa` stands for.
    pub fn reversed(&self) -> Option<IpAddr> {
        let labels = self.labels();
        let (rest, [zone, b"arpa"]) = labels.split_last_chunk()? else { return None };
        let text = |label: &[u8]| std::str::from_utf8(label).ok().map(str::to_owned);
        match *zone {
            b"in-addr" if rest.len() == 4 => {
                let mut octets = [0; 4];
                for (octet, label) in octets.iter_mut().rev().zip(rest) {
                    *octet = text(label)?.parse().ok()?;
                }
                Some(Ipv4Addr::from(octets).into())
            }
            b"ip6" if rest.len() == 32 => {
                let nibble = |label: &&[u8]| match label {
                    [digit] => char::from(*digit).to_digit(16),
                    _ => None,
                };
                let digits: Option<Vec<u32>> = rest.iter().rev().map(nibble).collect();
                let number = digits?.iter().fold(0_u128, |number, digit| number << 4 | u128::from(*digit));
                Some(Ipv6Addr::from(number).into())
            }
            _ => None,
        }
    }
}

/// What a query asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type of record.
    pub kind: u16,
    /// Where the question ends in the query.
    pub end: usize,
    /// The longest datagram that the asker takes.
    pub size: usize,
    /// Whether the asker speaks EDNS, and the flags that it said in it.
    pub edns: Option<u16>,
}

/// Reads a query. `Err(None)`: it is none, and nothing is answered.
pub fn question(query: &[u8]) -> Result<Question, Option<Outcome>> {
    let header: &[u8; HEADER] = query.first_chunk().ok_or(None)?;
    // An answer to an answer would go on for ever.
    if header[2] & 0x80 != 0 {
        return Err(None);
    }
    if header[2] >> 3 & 15 != 0 {
        return Err(Some(Outcome::NotImplemented));
    }
    let counts: Vec<u16> = header[4..].chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
    let [1, 0, 0, additional] = counts[..] else { return Err(Some(Outcome::Malformed)) };
    read_question(query, additional).ok_or(Some(Outcome::Malformed))
}

fn read_question(query: &[u8], additional: u16) -> Option<Question> {
    let mut at = HEADER;
    let mut bytes = Vec::new();
    loop {
        let length = *query.get(at)?;
        // A pointer: there is nothing before the question that it could point at.
        if length > 63 {
            return None;
        }
        let label = query.get(at..=at + usize::from(length))?;
        bytes.push(length);
        bytes.extend(label[1..].iter().map(u8::to_ascii_lowercase));
        at += label.len();
        if length == 0 {
            break;
        }
    }
    if bytes.len() > LONGEST_NAME {
        return None;
    }
    let kind = u16_at(query, at)?;
    u16_at(query, at + 2)?;
    let end = at + 4;
    let mut question = Question { name: Name(bytes.into()), kind, end, size: SMALLEST, edns: None };
    let mut at = end;
    for _ in 0..additional {
        let record = Record::read(query, at)?;
        if record.kind == kind::OPT {
            question.size = usize::from(record.class).max(SMALLEST);
            question.edns = Some(record.ttl as u16);
        }
        at = record.end;
    }
    Some(question)
}

struct Record<'a> {
    kind: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
    end: usize,
}

impl<'a> Record<'a> {
    fn read(message: &'a [u8], at: usize) -> Option<Self> {
        let at = skip_name(message, at)?;
        let ttl = u32::from(u16_at(message, at + 4)?) << 16 | u32::from(u16_at(message, at + 6)?);
        let end = at + 10 + usize::from(u16_at(message, at + 8)?);
        let data = message.get(at + 10..end)?;
        Some(Self { kind: u16_at(message, at)?, class: u16_at(message, at + 2)?, ttl, data, end })
    }
}

/// Where a name ends, which is at its zero or at its first pointer: nobody has to follow one.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A or AAAA.
    Address(IpAddr),
    /// PTR.
    Name(Name),
}

/// An answer to a query that has a question. One that does not fit into `limit` bytes says so and nothing else: the asker
/// comes back with a connection. Nobody may keep it: a name dies with its container.
pub fn reply(
    query: &[u8],
    question: &Question,
    outcome: Outcome,
    answers: &[Answer],
    limit: usize,
) -> Vec<u8> {
    let mut reply = query[..question.end].to_vec();
    // An answer, authoritative, of a server that recurses.
    reply[2] = 0x84 | query[2] & 0x01;
    reply[3] = 0x80 | outcome as u8;
    reply[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    for answer in answers {
        let (kind, data) = match answer {
            Answer::Address(IpAddr::V4(address)) => (kind::A, address.octets().to_vec()),
            Answer::Address(IpAddr::V6(address)) => (kind::AAAA, address.octets().to_vec()),
            Answer::Name(name) => (kind::PTR, name.0.to_vec()),
        };
        // The name is the question's.
        reply.extend([0xc0, HEADER as u8]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 0]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    reply[6..8].copy_from_slice(&(answers.len() as u16).to_be_bytes());
    let opt = if question.edns.is_some() { 11 } else { 0 };
    if reply.len() + opt > limit {
        reply.truncate(question.end);
        reply[2] |= 0x02;
        reply[6..8].fill(0);
    }
    if let Some(flags) = question.edns {
        reply[HEADER - 1] = 1;
        reply.push(0);
        reply.extend(kind::OPT.to_be_bytes());
        reply.extend(OUR_SIZE.to_be_bytes());
        // Of the flags, only DO is to be repeated.
        reply.extend([0, 0, (flags >> 8) as u8 & 0x80, 0, 0, 0]);
    }
    reply
}

/// An answer to what is no proper query: its header alone.
pub fn complaint(query: &[u8], outcome: Outcome) -> Option<Vec<u8>> {
    let mut header = query.first_chunk::<HEADER>()?.to_vec();
    header[2] = 0x80 | header[2] & 0x79;
    header[3] = 0x80 | outcome as u8;
    header[4..].fill(0);
    Some(header)
}

/// Whether this is an answer to that query: the same number and the same question.
pub fn answers(reply: &[u8], query: &[u8], question: &Question) -> bool {
    reply.len() >= question.end
        && reply[2] & 0x80 != 0
        && reply[..2] == query[..2]
        && reply[4..6] == query[4..6]
        && reply[HEADER..question.end].eq_ignore_ascii_case(&query[HEADER..question.end])
}

/// Whether an answer says that whoever sent it could not or would not help: another may.
pub fn is_unhelpful(reply: &[u8]) -> bool {
    matches!(reply.get(3), Some(flags) if [Outcome::Failed as u8, Outcome::Refused as u8].contains(&(flags & 15)))
}

/// The addresses that an answer gives and for how many seconds they are good. What is broken ends it.
pub fn addresses<'a>(reply: &'a [u8], question: &Question) -> impl Iterator<Item = (IpAddr, u32)> + use<'a> {
    let mut left = u16_at(reply, 6).unwrap_or(0);
    let mut at = question.end;
    std::iter::from_fn(move || {
        while left > 0 {
            left -= 1;
            let record = Record::read(reply, at)?;
            at = record.end;
            let address = match (record.kind, record.data.len()) {
                (kind::A, 4) => IpAddr::from(*record.data.first_chunk::<4>()?),
                (kind::AAAA, 16) => IpAddr::from(*record.data.first_chunk::<16>()?),
                _ => continue,
            };
            if record.class == 1 {
                return Some((address, record.ttl));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests;
