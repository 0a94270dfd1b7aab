//! One value for one file of a controller, and writing many of them in an order that the kernel accepts.

use std::borrow::Cow;

use crate::{Error, directory::Directory};

/// The kernel's own ENOTSUPP, which libc does not know: v1's kmem files answer with it.
const ENOTSUPP: i32 = 524;

/// A value for a file, made from one field of `linux.resources`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The field, in the OCI specification's spelling.
    pub(crate) name: &'static str,
    pub(crate) file: Cow<'static, str>,
    pub(crate) value: String,
    /// What to do where this kernel has not that file.
    pub(crate) absent: Absent,
}

/// What to do where this kernel has not a setting's file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The limit cannot be kept: say so, with what would help.
    Refuse(&'static str),
    /// Nothing is lost.
    Skip,
    /// Another file does the same.
    Instead(&'static str, String),
}

impl Setting {
    pub(crate) fn new(name: &'static str, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        let absent = Absent::Refuse("this kernel has no such limit; leave it out");
        Self { name, file: file.into(), value: value.to_string(), absent }
    }

    pub(crate) fn absent(self, absent: Absent) -> Self {
        Self { absent, ..self }
    }

    fn write(&self, directory: &Directory) -> Result<(), Error> {
        let (file, value) = (self.file.as_ref(), self.value.as_str());
        let (file, error) = match directory.write(file, value) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => match &self.absent {
                Absent::Skip => return Ok(()),
                Absent::Refuse(why) => return Err(self.unsupported(why)),
                Absent::Instead(other, value) => match directory.write(other, value) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                        return Err(self.unsupported("this kernel has no such limit; leave it out"));
                    }
                    Err(error) => (*other, error),
                },
            },
            Err(error) => (file, error),
        };
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | ENOTSUPP) => {
                Err(self.unsupported("this kernel no longer has this limit; leave it out"))
            }
            _ => Err(Error::io(
                format!("set {} to {:?} in {}", self.name, self.value, directory.path.join(file).display()),
                error,
            )),
        }
    }

    fn unsupported(&self, why: &str) -> Error {
        Error::Unsupported { setting: self.name.to_owned(), why: why.to_owned() }
    }
}

/// Writes settings, in passes: some depend on each other (memory ≤ memory + swap; quota ≥ burst) and which comes first
/// depends on whether they rise or fall, so what the kernel finds contradictory waits for the others to be written.
pub(crate) fn write_all(settings: &[(&Directory, Setting)]) -> Result<(), Error> {
    let mut pending: Vec<_> = settings.iter().collect();
    loop {
        let before = pending.len();
        let mut refused = None;
        pending.retain(|(directory, setting)| match setting.write(directory) {
            Ok(()) => false,
            Err(error) => {
                refused.get_or_insert(error);
                true
            }
        });
        let Some(error) = refused else { return Ok(()) };
        let contradiction = matches!(error.errno(), Some(libc::EINVAL | libc::EBUSY));
        if !contradiction || pending.len() == before {
            return Err(error);
        }
    }
}
