//! The container's log: Docker's json-file lines, with its rotation by size.
//!
//! Owns cutting bytes into records. A record is a line, or a piece of one longer than 16 KiB, which then has no `\n`
//! inside its `log` string; so has what is left when the container ends without one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::clock::Timestamp;

/// Docker's copier reads into a buffer of this size and logs it when it is full.
const LONGEST: usize = 16 * 1024;
/// Bytes of records that are written together. A line of one character is a record of seventy: a container must not make us
/// keep seventy times what we read.
const TOGETHER: usize = 64 * 1024;

/// Where a log goes and how large it may become: `log` of a Launch.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogOptions {
    /// The current file; older ones are `PATH.1`, `PATH.2`, ….
    pub path: PathBuf,
    /// Bytes after which a new file is begun; 0: never.
    #[serde(default)]
    pub max_size: u64,
    /// Files to keep, the current one included.
    #[serde(default = "one")]
    pub max_files: u32,
}

fn one() -> u32 {
    1
}

/// Which of the container's streams a byte came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// fd 1, or the terminal.
    Stdout,
    /// fd 2.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// An open log.
pub struct Log {
    options: LogOptions,
    file: File,
    size: u64,
    /// A line that has begun, of stdout and of stderr.
    begun: [Vec<u8>; 2],
    /// Records not yet written: one write(2) for many of them.
    records: Vec<u8>,
    /// The first thing that went wrong; from then on nothing more is logged.
    failed: Option<io::Error>,
}

impl Log {
    /// Opens the log, or goes on with it: a container that is started again appends.
    pub fn open(options: LogOptions) -> io::Result<Self> {
        let file = open(&options, false)?;
        let size = file.metadata()?.len();
        Ok(Self { options, file, size, begun: [Vec::new(), Vec::new()], records: Vec::new(), failed: None })
    }

    /// Logs what was read from a stream. A log that cannot be written must not stop the container: the first error is
    /// kept for the exit record.
    pub fn append(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let time = Timestamp::now();
        let mut begun = std::mem::take(&mut self.begun[stream as usize]);
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.line(stream, time, &mut begun, &bytes[..end]);
            self.record(stream, time, &begun, true);
            begun.clear();
            bytes = &bytes[end + 1..];
        }
        self.line(stream, time, &mut begun, bytes);
        // One that once held a long line must not keep its memory for ever.
        if begun.is_empty() {
            begun = Vec::new();
        }
        self.begun[stream as usize] = begun;
        self.flush();
    }

    /// Logs the lines that have begun and will not end.
    pub fn finish(&mut self) -> Option<&io::Error> {
        let time = Timestamp::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() && self.failed.is_none() {
                self.record(stream, time, &begun, false);
            }
        }
        self.flush();
        self.failed.as_ref()
    }

    /// Lengthens a line that has begun; what is over the limit becomes records of its own.
    fn line(&mut self, stream: Stream, time: Timestamp, begun: &mut Vec<u8>, mut bytes: &[u8]) {
        while begun.len() + bytes.len() > LONGEST {
            let (head, tail) = bytes.split_at(LONGEST - begun.len());
            begun.extend_from_slice(head);
            let cut = character_boundary(begun);
            let rest = begun.split_off(cut);
            self.record(stream, time, begun, false);
            *begun = rest;
            bytes = tail;
        }
        begun.extend_from_slice(bytes);
    }

    fn record(&mut self, stream: Stream, time: Timestamp, text: &[u8], ended: bool) {
        let start = self.records.len();
        self.records.extend_from_slice(b"{\"log\":\"");
        escape(&mut self.records, text);
        let newline = if ended { "\\n" } else { "" };
        // Writing to memory does not fail.
        let _ = writeln!(self.records, "{newline}\",\"stream\":\"{}\",\"time\":\"{time}\"}}", stream.name());
        let length = (self.records.len() - start) as u64;
        let before = self.size + start as u64;
        if self.options.max_size > 0 && before > 0 && before + length > self.options.max_size {
            let record = self.records.split_off(start);
            self.flush();
            self.rotate();
            self.records = record;
        }
        if self.records.len() >= TOGETHER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.file.write_all(&self.records)
        {
            self.failed = Some(error);
        }
        self.size += self.records.len() as u64;
        self.records.clear();
        // One record of six-fold escapes can be large; it must not stay.
        self.records.shrink_to(TOGETHER);
    }

    /// `PATH` becomes `PATH.1`, that `PATH.2`, and so on; with a single file it is emptied instead.
    fn rotate(&mut self) {
        let numbered = |number: u32| {
            let mut path = self.options.path.clone().into_os_string();
            if number > 0 {
                path.push(format!(".{number}"));
            }
            PathBuf::from(path)
        };
        for number in (1..self.options.max_files).rev() {
            // The older ones do not exist at first.
            let _ = std::fs::rename(numbered(number - 1), numbered(number));
        }
        match open(&self.options, true) {
            Ok(file) => {
                self.file = file;
                self.size = 0;
            }
            Err(error) => self.failed = Some(error),
        }
    }
}

fn open(options: &LogOptions, empty: bool) -> io::Result<File> {
    OpenOptions::new()
        .append(!empty)
        .write(true)
        .create(true)
        .truncate(empty)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&options.path)
}

/// The last place at which `bytes` can be cut without cutting a UTF-8 character; the end where that is no UTF-8.
fn character_boundary(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

/// The inside of a JSON string; what is no UTF-8 becomes U+FFFD, as in Docker's log.
fn escape(into: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let bytes = chunk.valid().as_bytes();
        let mut copied = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if byte >= b' ' && byte != b'"' && byte != b'\\' {
                continue;
            }
            into.extend_from_slice(&bytes[copied..at]);
            copied = at + 1;
            match byte {
                b'"' | b'\\' => into.extend_from_slice(&[b'\\', byte]),
                b'\r' => into.extend_from_slice(b"\\r"),
                b'\t' => into.extend_from_slice(b"\\t"),
                _ => {
                    let _ = write!(into, "\\u{byte:04x}");
                }
            }
        }
        into.extend_from_slice(&bytes[copied..]);
        if !chunk.invalid().is_empty() {
            into.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max_size: u64, max_files: u32) -> (tempfile::TempDir, Log) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        (directory, Log::open(LogOptions { path, max_size, max_files }).unwrap())
    }

    fn records(directory: &tempfile::TempDir, name: &str) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["time"].as_str().unwrap().len(), 30);
                (value["log"].as_str().unwrap().to_owned(), value["stream"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn a_line_is_a_record_however_it_arrives() {
        let (directory, mut log) = log(0, 1);
        log.append(Stream::Stdout, b"one\ntw");
        log.append(Stream::Stderr, b"other\n");
        log.append(Stream::Stdout, b"o\n\nrest");
        assert!(log.finish().is_none());
        let expected = [
            ("one\n", "stdout"),
            ("other\n", "stderr"),
            ("two\n", "stdout"),
            ("\n", "stdout"),
            ("rest", "stdout"),
        ];
        assert_eq!(records(&directory, "log"), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn any_byte_survives_as_json_and_broken_text_is_replaced() {
        let (directory, mut log) = log(0, 1);
        log.append(Stream::Stdout, b"\"\\\x00\x1b[1m\t\r\x7f\xc3\xa4\xff\xc3\n");
        log.finish();
        assert_eq!(records(&directory, "log")[0].0, "\"\\\0\u{1b}[1m\t\r\u{7f}\u{e4}\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn a_long_line_is_cut_at_16_kib_and_never_inside_a_character() {
        let (directory, mut log) = log(0, 1);
        let mut line = vec![b'x'; LONGEST - 1];
        line.extend_from_slice("ä".as_bytes());
        line.extend_from_slice(&vec![b'y'; 2 * LONGEST]);
        line.push(b'\n');
        for piece in line.chunks(1000) {
            log.append(Stream::Stdout, piece);
        }
        log.finish();
        let records = records(&directory, "log");
        assert!(records.iter().all(|(text, _)| text.len() <= LONGEST + 1 && !text.contains('\u{fffd}')));
        assert!(records.iter().rev().skip(1).all(|(text, _)| !text.ends_with('\n')));
        let joined: String = records.into_iter().map(|(text, _)| text).collect();
        assert_eq!(joined.as_bytes(), line);
    }

    #[test]
    fn a_full_log_is_rotated_and_the_oldest_file_forgotten() {
        let (directory, mut log) = log(200, 3);
        for number in 0..20 {
            log.append(Stream::Stdout, format!("line {number}\n").as_bytes());
        }
        log.finish();
        let mut text = String::new();
        for name in ["log.2", "log.1", "log"] {
            assert!(directory.path().join(name).metadata().unwrap().len() <= 200);
            records(&directory, name).iter().for_each(|(line, _)| text.push_str(line));
        }
        assert!(!directory.path().join("log.3").exists());
        assert_eq!(text, "line 14\nline 15\nline 16\nline 17\nline 18\nline 19\n");
    }

    #[test]
    fn a_single_file_is_emptied_when_full() {
        let (directory, mut log) = log(200, 1);
        (0..20).for_each(|number| log.append(Stream::Stdout, format!("line {number}\n").as_bytes()));
        log.finish();
        assert!(directory.path().join("log").metadata().unwrap().len() <= 200);
        assert!(!directory.path().join("log.1").exists());
        assert_eq!(records(&directory, "log").last().unwrap().0, "line 19\n");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_reported_once_and_harms_nothing() {
        let (_directory, mut log) = log(0, 1);
        log.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        log.append(Stream::Stdout, b"lost\n");
        log.append(Stream::Stdout, b"lost too\n");
        assert_eq!(log.finish().unwrap().raw_os_error(), Some(libc::ENOSPC));
    }
}
