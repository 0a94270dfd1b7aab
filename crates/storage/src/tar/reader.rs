//! Blocks → entries and their data, as a state machine fed with slices of any length.
//! It holds one block, one extended header and one sparse map: its memory has a bound whatever the tar says.

use super::header::{Dialect, Header, number, text};
use super::pax::Pax;
use super::sparse::{self, Extent, TextMap};
use super::{BLOCK, Entry, Kind, TarError, shown};

/// Longest data of an extended header, the same as Go's archive/tar has: what others wrote can be read.
const MAX_EXTENDED: u64 = 1 << 20;

/// What the reader found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An entry begins.
    Entry(Box<Entry>),
    /// Bytes of the current file; between them there may be holes.
    Data {
        /// Where in the file they belong.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The current entry is complete.
    EntryEnd,
}

/// Reads one tar.
pub struct Reader {
    block: [u8; BLOCK],
    filled: usize,
    state: State,
    overrides: Overrides,
    /// What a message names: the entry being read or the last one.
    current: Vec<u8>,
}

/// What extended headers said of the entry that follows them.
#[derive(Default)]
struct Overrides {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

enum State {
    /// The next block is a header.
    Header,
    /// In the data of an extended header of this type.
    Extended { flag: u8, left: usize, data: Vec<u8> },
    /// The next block extends an old GNU sparse map.
    OldSparse { entry: Box<Entry>, map: Vec<Extent> },
    /// The next block is part of a 1.0 sparse map.
    TextMap { entry: Box<Entry>, reader: TextMap },
    /// In the data of an entry: `done` bytes of `map[0]` have been given. The map is in reverse order.
    Data { map: Vec<Extent>, done: u64, stored: u64 },
    /// Skipping what nobody needs.
    Skip(u64),
    /// One block of zeros was seen.
    Zeros,
    /// The end was seen; anything may follow.
    End,
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            block: [0; BLOCK],
            filled: 0,
            state: State::Header,
            overrides: Overrides::default(),
            current: Vec::new(),
        }
    }
}

impl Reader {
    /// Takes bytes off the front of `input` until something was found; `None`: all of it is used up.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, TarError> {
        loop {
            match &mut self.state {
                State::Data { map, done, stored } => {
                    let Some(extent) = map.last().copied() else {
                        self.state = skip(padding(*stored));
                        return Ok(Some(Event::EntryEnd));
                    };
                    let left = extent.length - *done;
                    if left == 0 {
                        map.pop();
                        *done = 0;
                        continue;
                    }
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let bytes = take(input, left);
                    let offset = extent.offset + *done;
                    *done += bytes.len() as u64;
                    return Ok(Some(Event::Data { offset, bytes }));
                }
                State::Skip(left) => {
                    *left -= take(input, *left).len() as u64;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header;
                }
                State::Extended { left, data, .. } => {
                    let bytes = take(input, *left as u64);
                    data.extend_from_slice(bytes);
                    *left -= bytes.len();
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.extended()?;
                }
                State::End => {
                    *input = &[];
                    return Ok(None);
                }
                State::Header | State::Zeros | State::OldSparse { .. } | State::TextMap { .. } => {
                    let bytes = take(input, (BLOCK - self.filled) as u64);
                    self.block[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
                    self.filled += bytes.len();
                    if self.filled < BLOCK {
                        return Ok(None);
                    }
                    self.filled = 0;
                    if let Some(entry) = self.whole_block()? {
                        return Ok(Some(Event::Entry(entry)));
                    }
                }
            }
        }
    }

    /// Says whether the tar may end here. Many writers leave out the end mark.
    pub fn finish(&self) -> Result<(), TarError> {
        let clean = match self.state {
            State::End | State::Zeros => true,
            State::Header => self.filled == 0 && self.overrides.is_empty(),
            _ => false,
        };
        if clean {
            return Ok(());
        }
        Err(TarError::Truncated(match self.current.is_empty() {
            true => "the tar ends in its first header".to_owned(),
            false => format!("the tar ends in or right after entry {}", shown(&self.current)),
        }))
    }

    fn whole_block(&mut self) -> Result<Option<Box<Entry>>, TarError> {
        let zeros = self.block == [0; BLOCK];
        match std::mem::replace(&mut self.state, State::Header) {
            State::OldSparse { entry, mut map } => {
                if sparse::old_gnu(&mut map, &self.block, true)? {
                    self.state = State::OldSparse { entry, map };
                    return Ok(None);
                }
                self.begin(entry, map).map(Some)
            }
            State::TextMap { mut entry, mut reader } => {
                let left = entry.stored.checked_sub(BLOCK as u64);
                entry.stored = left.ok_or_else(|| self.bad("has no room for its sparse map"))?;
                if reader.block(&self.block)? {
                    return self.begin(entry, reader.map).map(Some);
                }
                self.state = State::TextMap { entry, reader };
                Ok(None)
            }
            State::Zeros if zeros => {
                self.state = State::End;
                Ok(None)
            }
            State::Header if zeros => {
                self.state = State::Zeros;
                Ok(None)
            }
            _ => self.header(),
        }
    }

    fn header(&mut self) -> Result<Option<Box<Entry>>, TarError> {
        let block = self.block;
        let Some(header) = Header::parse(&block) else {
            return Err(TarError::Invalid(match self.current.is_empty() {
                true => "this is not a tar: its first header has a wrong checksum".to_owned(),
                false => format!("the header after entry {} has a wrong checksum", shown(&self.current)),
            }));
        };
        if let flag @ (b'x' | b'X' | b'g' | b'L' | b'K') = header.flag() {
            let size = header.size()?;
            if size > MAX_EXTENDED {
                let text = format!("an extended header of {size} bytes; {MAX_EXTENDED} are allowed");
                return Err(TarError::Limit(text));
            }
            // Nothing a global header says is of use in a layer; Docker ignores it too.
            self.state = match flag {
                b'g' => skip(size + padding(size)),
                _ => State::Extended { flag, left: size as usize, data: Vec::new() },
            };
            return Ok(None);
        }
        self.entry(&header)
    }

    /// The data of an extended header is complete.
    fn extended(&mut self) -> Result<(), TarError> {
        let State::Extended { flag, data, .. } = std::mem::replace(&mut self.state, State::Header) else {
            return Ok(());
        };
        self.state = skip(padding(data.len() as u64));
        match flag {
            b'L' => self.overrides.name = Some(text(&data).to_vec()),
            b'K' => self.overrides.link = Some(text(&data).to_vec()),
            _ => self.overrides.pax = Some(Pax::parse(&data)?),
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header<'_>) -> Result<Option<Box<Entry>>, TarError> {
        let Overrides { pax, name, link } = std::mem::take(&mut self.overrides);
        let pax = pax.unwrap_or_default();
        let path = pax.sparse.name.or(pax.path).or(name).unwrap_or_else(|| header.path());
        self.current.clone_from(&path);
        let flag = header.flag();
        let kind = match flag {
            // Before POSIX, a name with a slash at its end was all that made a directory.
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err(self.bad(&format!("is of type {}, which is none of a layer's", shown(&[flag])))),
        };
        let id = |id: i128| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
        let (uid, gid) =
            (pax.uid.map_or_else(|| header.uid(), Ok)?, pax.gid.map_or_else(|| header.gid(), Ok)?);
        // The size of all else means nothing: no data follows (GNU tar and Go agree).
        let stored = if kind == Kind::File { pax.size.map_or_else(|| header.size(), Ok)? } else { 0 };
        if stored > i64::MAX as u64 || pax.sparse.size.is_some_and(|size| size > i64::MAX as u64) {
            return Err(self.bad("has a size that no file can have"));
        }
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => header.device()?,
            _ => (0, 0),
        };
        let link = match kind {
            Kind::HardLink | Kind::Symlink => pax.link.or(link).unwrap_or_else(|| header.link()),
            _ => Vec::new(),
        };
        let mut entry = Box::new(Entry {
            kind,
            mode: header.mode()?,
            uid: id(uid).ok_or_else(|| self.bad("has an owner that no file can have"))?,
            gid: id(gid).ok_or_else(|| self.bad("has a group that no file can have"))?,
            size: stored,
            stored,
            mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
            atime: pax.atime,
            link,
            device,
            xattrs: pax.xattrs,
            path,
        });
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(self.bad("has a NUL in its name or link target"));
        }
        if kind != Kind::File {
            return self.begin(entry, Vec::new()).map(Some);
        }
        if flag == b'S' && header.dialect == Dialect::Gnu {
            entry.size = self.real_size()?;
            let mut map = Vec::new();
            if sparse::old_gnu(&mut map, header.block(), false)? {
                self.state = State::OldSparse { entry, map };
                return Ok(None);
            }
            return self.begin(entry, map).map(Some);
        }
        if let Some(size) = pax.sparse.size {
            entry.size = size;
            if pax.sparse.version_1 {
                self.state = State::TextMap { entry, reader: TextMap::default() };
                return Ok(None);
            }
            return self.begin(entry, pax.sparse.map.unwrap_or_default()).map(Some);
        }
        let whole = Extent { offset: 0, length: stored };
        self.begin(entry, vec![whole]).map(Some)
    }

    fn real_size(&self) -> Result<u64, TarError> {
        let size = number(&self.block[483..495]).and_then(|size| i64::try_from(size).ok());
        size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| self.bad("has no size"))
    }

    fn begin(&mut self, entry: Box<Entry>, mut map: Vec<Extent>) -> Result<Box<Entry>, TarError> {
        sparse::check(&map, entry.size, entry.stored).map_err(|error| match error {
            TarError::Invalid(text) => self.bad(&format!("cannot be laid out: {text}")),
            other => other,
        })?;
        map.reverse();
        self.state = State::Data { map, done: 0, stored: entry.stored };
        Ok(entry)
    }

    fn bad(&self, what: &str) -> TarError {
        TarError::Invalid(format!("entry {} {what}", shown(&self.current)))
    }
}

impl Overrides {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

/// What fills the last block of `size` bytes.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn skip(bytes: u64) -> State {
    if bytes == 0 { State::Header } else { State::Skip(bytes) }
}

fn take<'a>(input: &mut &'a [u8], most: u64) -> &'a [u8] {
    let count = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
    let (taken, rest) = input.split_at(count);
    *input = rest;
    taken
}
