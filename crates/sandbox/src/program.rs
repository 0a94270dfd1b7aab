//! The program: its words, its environment, and finding it as a shell would, in the container.

use std::{
    ffi::{CStr, CString},
    os::fd::RawFd,
    path::Path,
    ptr,
};

use nix::errno::Errno;

use crate::{Error, error::Stage, spec::Process};

/// The name that an init runs under.
pub(crate) const INIT: &CStr = c"kapsel-init";

/// Docker's PATH, where the environment has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Words and environment, ready for execve(2).
#[derive(Clone)]
pub(crate) struct Program {
    words: Vec<CString>,
    environment: Vec<CString>,
    /// Where it may be, in the order of PATH.
    candidates: Vec<CString>,
}

impl Program {
    /// Prepares what the document says.
    pub(crate) fn new(process: &Process) -> Result<Self, Error> {
        let text = |word: &String| {
            CString::new(word.as_str()).map_err(|_| Error::config("process: a word contains a zero byte"))
        };
        let words = process.args.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let environment = process.env.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        if words.is_empty() {
            return Err(Error::config("process.args is empty: there is no command to run"));
        }
        let path = process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
        Ok(Self { candidates: candidates(&process.args[0], path.unwrap_or(PATH)), words, environment })
    }

    /// The program that these words of an init's command line name, in the init's own environment.
    pub(crate) fn from_words(words: Vec<String>) -> Result<Self, Error> {
        let env = std::env::vars_os()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        Self::new(&Process { args: words, env, ..Process::default() })
    }

    /// Gives HOME a value unless it has one.
    pub(crate) fn default_home(&mut self, home: &str) {
        let is_home = |entry: &CString| entry.as_bytes().starts_with(b"HOME=");
        if self.environment.iter().any(|entry| is_home(entry) && entry.as_bytes().len() > 5) {
            return;
        }
        self.environment.retain(|entry| !is_home(entry));
        // A zero byte cannot come from a line of /etc/passwd that C programs could read.
        self.environment.extend(CString::new(format!("HOME={home}")));
    }

    /// Whether the program seems to be there, for whoever has time to say so before it is to be executed. What cannot be
    /// found out (under the program's own filter, perhaps) is left to execve.
    pub(crate) fn look(&self) -> Result<(), Error> {
        let mut refused = None;
        for candidate in &self.candidates {
            // SAFETY: a C string.
            match Errno::result(unsafe { libc::access(candidate.as_ptr(), libc::X_OK) }) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => refused = Some(candidate),
                Ok(_) | Err(_) => return Ok(()),
            }
        }
        Err(self.not_found(refused))
    }

    /// Becomes the program; returns only with why not.
    ///
    /// It is tried where it may be, not looked for first: nothing can change between the two (and one system call less).
    pub(crate) fn execute(&self) -> Error {
        let (words, environment) = (pointers(&self.words), pointers(&self.environment));
        let mut refused = None;
        for candidate in &self.candidates {
            // SAFETY: the path is a C string, both arrays are of C strings and end in null.
            unsafe { libc::execve(candidate.as_ptr(), words.as_ptr(), environment.as_ptr()) };
            match Errno::last() {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => refused = Some(candidate),
                errno => return self.failed(candidate, errno),
            }
        }
        self.not_found(refused)
    }

    fn not_found(&self, refused: Option<&CString>) -> Error {
        match (refused, &self.candidates[..]) {
            (Some(candidate), _) => self.failed(candidate, Errno::EACCES),
            (None, [only]) if only == &self.words[0] => self.failed(only, Errno::ENOENT),
            _ => {
                let message = format!(
                    "exec: {:?}: executable file not found in $PATH",
                    self.words[0].to_string_lossy()
                );
                Error::new(Stage::Exec, libc::ENOENT, message)
            }
        }
    }

    /// Becomes the init behind a descriptor, with the program as its arguments. The channel goes on to the init, which
    /// says there how the program did.
    pub(crate) fn execute_through(&self, init: RawFd, channel: RawFd) -> Error {
        let number = CString::new(channel.to_string()).unwrap_or_default();
        let mut words = vec![INIT.as_ptr(), number.as_ptr()];
        words.extend(pointers(&self.words));
        let environment = pointers(&self.environment);
        // SAFETY: the flag belongs to this process's own descriptor; the path is an empty C string, both arrays are of C
        // strings and end in null.
        unsafe {
            libc::fcntl(channel, libc::F_SETFD, 0);
            let (words, environment) = (words.as_ptr(), environment.as_ptr());
            libc::syscall(libc::SYS_execveat, init, c"".as_ptr(), words, environment, libc::AT_EMPTY_PATH);
        }
        Error::system(
            Stage::Init,
            Errno::last(),
            "cannot execute the container's init (it must be linked statically)",
        )
    }

    fn failed(&self, path: &CStr, errno: Errno) -> Error {
        let name = self.words[0].to_string_lossy();
        let path = Path::new(std::ffi::OsStr::new(path.to_str().unwrap_or_default()));
        match errno {
            Errno::EACCES if path.is_dir() => {
                Error::new(Stage::Exec, libc::EISDIR, format!("exec: {name:?}: is a directory"))
            }
            Errno::ENOENT if path.exists() => {
                let message =
                    format!("exec: {name:?}: no such file or directory (its interpreter is missing)");
                Error::new(Stage::Exec, libc::ENOENT, message)
            }
            Errno::ENOEXEC => {
                let message = format!("exec: {name:?}: exec format error (a script needs a #! line)");
                Error::new(Stage::Exec, libc::ENOEXEC, message)
            }
            _ => Error::system(Stage::Exec, errno, format!("exec: {name:?}")),
        }
    }
}

/// A name with a slash is a path; any other is looked for in PATH. Relative entries of PATH are passed over, as
/// Docker does: they would mean whatever the working directory holds.
fn candidates(name: &str, path: &str) -> Vec<CString> {
    if name.contains('/') {
        return CString::new(name).into_iter().collect();
    }
    if name.is_empty() {
        return Vec::new();
    }
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories.filter_map(|directory| CString::new(format!("{directory}/{name}")).ok()).collect()
}

/// The words as execve(2) wants them.
pub(crate) fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_the_absolute_directories_of_path() {
        assert_eq!(
            candidates("sh", "/bin::.:rel:/usr/bin"),
            [c"/bin/sh".to_owned(), c"/usr/bin/sh".to_owned()]
        );
        assert_eq!(candidates("./sh", "/bin"), [c"./sh".to_owned()]);
        assert!(candidates("", "/bin").is_empty());
    }

    #[test]
    fn home_is_set_unless_it_has_a_value() {
        let environment = |env: &str| {
            let process = Process { args: vec!["x".into()], env: vec![env.into()], ..Process::default() };
            let mut program = Program::new(&process).unwrap();
            program.default_home("/root");
            program.environment
        };
        assert_eq!(environment("HOME="), [c"HOME=/root".to_owned()]);
        assert_eq!(environment("HOME=/x"), [c"HOME=/x".to_owned()]);
        assert_eq!(environment("A=b"), [c"A=b".to_owned(), c"HOME=/root".to_owned()]);
    }
}
