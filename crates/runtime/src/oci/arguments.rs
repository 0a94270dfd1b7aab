//! Command-line flags as data. What callers of runc write is understood: `--flag value`, `--flag=value`, `-flag`, short
//! letters, `--switch=false`, and `--` before words that only look like flags.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Its name without dashes.
    pub name: &'static str,
    /// Its letter, where it has one.
    pub short: Option<char>,
    /// What follows it.
    pub takes: Takes,
}

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or `=true` or `=false`.
    Nothing,
    /// A value; the last one counts.
    Value,
    /// A value; all of them count.
    Values,
}

/// A flag that is there or not.
pub const fn switch(name: &'static str) -> Flag {
    Flag { name, short: None, takes: Takes::Nothing }
}

/// A flag with a value.
pub const fn value(name: &'static str) -> Flag {
    Flag { name, short: None, takes: Takes::Value }
}

/// A flag that may be repeated.
pub const fn values(name: &'static str) -> Flag {
    Flag { name, short: None, takes: Takes::Values }
}

impl Flag {
    /// The same with a letter.
    pub const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }
}

/// What was written.
#[derive(Debug, Default)]
pub struct Arguments {
    given: BTreeMap<&'static str, Vec<OsString>>,
    /// What is no flag.
    pub words: Vec<OsString>,
}

impl Arguments {
    /// Reads the flags of `table` from `arguments`. After `most` words everything is a word, dashes or not: what follows
    /// is another program's command line, or another verb's.
    pub fn parse(table: &[&[Flag]], most: usize, arguments: &[OsString]) -> Result<Self> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                break;
            }
            if !bytes.starts_with(b"-") || bytes == b"-" {
                parsed.words.push(argument.clone());
                if parsed.words.len() == most {
                    break;
                }
                continue;
            }
            let (name, attached) = match bytes.iter().position(|byte| *byte == b'=') {
                Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
                None => (bytes, None),
            };
            let flag = find(table, name)
                .ok_or_else(|| usage(format!("unknown flag {:?}; see --help", argument.display())))?;
            let value = match (flag.takes, attached) {
                (_, Some(value)) => value,
                (Takes::Nothing, None) => OsString::from("true"),
                (_, None) => {
                    rest.next().cloned().ok_or_else(|| usage(format!("--{} needs a value", flag.name)))?
                }
            };
            parsed.take(flag, value)?;
        }
        parsed.words.extend(rest.cloned());
        Ok(parsed)
    }

    fn take(&mut self, flag: &Flag, value: OsString) -> Result<()> {
        let given = self.given.entry(flag.name).or_default();
        if flag.takes != Takes::Values {
            given.clear();
        }
        match (flag.takes, truth(value.as_bytes())) {
            (Takes::Nothing, Some(false)) => {}
            (Takes::Nothing, None) => {
                return Err(usage(format!("--{}={} is neither true nor false", flag.name, value.display())));
            }
            _ => given.push(value),
        }
        Ok(())
    }

    /// Whether a switch is on.
    pub fn has(&self, name: &str) -> bool {
        self.given.get(name).is_some_and(|given| !given.is_empty())
    }

    /// A flag's value.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.given.get(name)?.last().map(OsString::as_os_str)
    }

    /// A flag's value as text.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        self.value(name)
            .map(|value| value.to_str().ok_or_else(|| usage(format!("--{name} is not UTF-8"))))
            .transpose()
    }

    /// A flag's value as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.text(name)?
            .map(|text| {
                text.parse().map_err(|_| usage(format!("--{name}: {text:?} is not a number it can be")))
            })
            .transpose()
    }

    /// All values of a flag as text.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        let given = self.given.get(name).map_or(&[][..], Vec::as_slice);
        let text = |value: &OsString| {
            value.to_str().map(str::to_owned).ok_or_else(|| usage(format!("--{name} is not UTF-8")))
        };
        given.iter().map(text).collect()
    }

    /// The only word: a container's id.
    pub fn id(&self) -> Result<&str> {
        match &self.words[..] {
            [id] => word(id),
            [] => Err(usage("the container's id is missing")),
            [_, more, ..] => Err(usage(format!("{:?} is one word too many", more.display()))),
        }
    }

    /// The first word, which is a container's id, and those after it.
    pub fn id_and_words(&self) -> Result<(&str, &[OsString])> {
        match &self.words[..] {
            [id, words @ ..] => Ok((word(id)?, words)),
            [] => Err(usage("the container's id is missing")),
        }
    }
}

/// Go's words for truth (strconv.ParseBool).
pub fn truth(word: &[u8]) -> Option<bool> {
    match word {
        b"true" | b"1" | b"t" | b"T" | b"TRUE" | b"True" => Some(true),
        b"false" | b"0" | b"f" | b"F" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

fn find<'a>(table: &[&'a [Flag]], written: &[u8]) -> Option<&'a Flag> {
    let name = written.strip_prefix(b"--").or_else(|| written.strip_prefix(b"-"))?;
    let is_letter = |flag: &&Flag| {
        let mut buffer = [0; 4];
        flag.short.is_some_and(|letter| letter.encode_utf8(&mut buffer).as_bytes() == name)
    };
    let mut flags = table.iter().flat_map(|flags| flags.iter());
    flags.find(|flag| flag.name.as_bytes() == name || is_letter(flag))
}

fn word(word: &OsStr) -> Result<&str> {
    word.to_str().ok_or_else(|| usage(format!("{:?} is not UTF-8", word.display())))
}

/// What was typed cannot be understood.
pub fn usage(message: impl Into<String>) -> Error {
    Error::new("USAGE", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] =
        &[switch("force").short('f'), value("bundle").short('b'), values("env").short('e')];

    fn parse(most: usize, line: &str) -> Result<Arguments> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Arguments::parse(&[TABLE], most, &arguments)
    }

    #[test]
    fn values_may_be_attached_or_follow() {
        for line in [
            "--bundle=/b -f x",
            "--bundle /b --force x",
            "-b /b x --force",
            "-bundle /b -f=true x",
            "-b=/b -f -- x",
        ] {
            let parsed = parse(usize::MAX, line).unwrap();
            assert_eq!(
                (parsed.value("bundle"), parsed.has("force")),
                (Some(OsStr::new("/b")), true),
                "{line}"
            );
            assert_eq!(parsed.id().unwrap(), "x", "{line}");
        }
        let parsed = parse(usize::MAX, "-e A=1 --env B= --force=false x").unwrap();
        assert_eq!(
            (parsed.texts("env").unwrap(), parsed.has("force")),
            (vec!["A=1".into(), "B=".into()], false)
        );
    }

    #[test]
    fn another_programs_flags_are_its_own() {
        let parsed = parse(1, "-f id sh -c --force").unwrap();
        assert_eq!(parsed.id_and_words().unwrap().1.len(), 3);
        assert!(parsed.has("force"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in ["--unknown x", "-z", "x --bundle", "--force=maybe x"] {
            assert_eq!(parse(usize::MAX, line).unwrap_err().code, "USAGE", "{line}");
        }
        assert!(parse(usize::MAX, "a b").unwrap().id().is_err());
    }
}
