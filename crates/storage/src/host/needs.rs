//! From the names of programs to every file they need to start: loaders, libraries, interpreters of scripts, and the
//! few things that libraries open without saying so.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::loader::{self, Asker, Loader};
use super::tree::Tree;
use super::{DEFAULT_PATH, Source, elf, unreadable};
use crate::error::{Error, Result};

/// Longest `#!` line the kernel reads (BINPRM_BUF_SIZE).
const SHEBANG: usize = 256;

/// Terminals whose descriptions go along with programs that use them.
const TERMINALS: [&str; 9] = [
    "d/dumb",
    "l/linux",
    "r/rxvt",
    "s/screen",
    "s/screen-256color",
    "t/tmux-256color",
    "v/vt100",
    "x/xterm",
    "x/xterm-256color",
];

/// Where distributions keep them.
const TERMINFO: [&str; 3] = ["/lib/terminfo", "/usr/share/terminfo", "/etc/terminfo"];

/// Everything `programs` need; `search` is the PATH their names are looked up in.
pub fn resolve(programs: &[String], search: &[PathBuf]) -> Result<Vec<Source>> {
    let mut needs = Needs {
        tree: Tree::default(),
        loader: Loader::new(),
        done: HashSet::new(),
        asked: HashSet::new(),
        search,
    };
    for program in programs {
        needs.program(program)?;
    }
    needs.unspoken();
    Ok(needs.tree.into_sources())
}

struct Needs<'a> {
    tree: Tree,
    loader: Loader,
    /// Programs and scripts whose needs are known.
    done: HashSet<PathBuf>,
    /// Libraries whose needs are known, by what they inherit.
    asked: HashSet<(PathBuf, Vec<PathBuf>)>,
    search: &'a [PathBuf],
}

impl Needs<'_> {
    fn program(&mut self, name: &str) -> Result<()> {
        if Path::new(name).is_dir() && name.starts_with('/') {
            let top = self.tree.add(Path::new(name))?;
            return self.directory(&top);
        }
        let path = find(name, self.search).ok_or_else(|| not_found(name))?;
        let real = self.file(&path, true)?;
        // The container searches Docker's PATH: a program that lives elsewhere gets a name there.
        let standard = DEFAULT_PATH.split(':').any(|known| path.parent() == Some(Path::new(known)));
        if !name.starts_with('/') && !standard {
            self.tree.link(Path::new("/usr/local/bin").join(name), real);
        }
        Ok(())
    }

    /// A whole directory, asked for as such: what is in it and, where it can be found, what that needs.
    fn directory(&mut self, top: &Path) -> Result<()> {
        let mut left = vec![top.to_owned()];
        while let Some(directory) = left.pop() {
            let refused = |cause: std::io::Error| unreadable(&directory, &cause);
            for entry in std::fs::read_dir(&directory).map_err(refused)? {
                let entry = entry.map_err(refused)?;
                let kind = entry.file_type().map_err(refused)?;
                if kind.is_dir() {
                    left.push(entry.path());
                } else if kind.is_file() {
                    self.file(&entry.path(), false)?;
                } else if kind.is_symlink() && entry.path().is_file() {
                    self.tree.add(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// A file and what it needs. `strict`: what it needs must be there.
    fn file(&mut self, path: &Path, strict: bool) -> Result<PathBuf> {
        let real = self.tree.add(path)?;
        if !self.done.insert(real.clone()) {
            return Ok(real);
        }
        match elf::read(&real).map_err(|cause| unreadable(&real, &cause))? {
            Some(elf) => {
                if let Some(interpreter) = &elf.interpreter {
                    self.missing_is(strict, &real, interpreter, |needs| {
                        needs.tree.add(Path::new(interpreter)).ok()
                    })?;
                }
                let origin = real.parent().unwrap_or(Path::new("/")).to_owned();
                self.libraries(Asker { origin, elf, inherited: Vec::new() }, &real, strict)?;
            }
            None => self.script(&real, strict)?,
        }
        Ok(real)
    }

    /// The libraries of one program, with theirs.
    fn libraries(&mut self, program: Asker, path: &Path, strict: bool) -> Result<()> {
        let mut left = vec![program];
        while let Some(asker) = left.pop() {
            let inherited = asker.rpaths();
            for name in &asker.elf.needed {
                let found = self.loader.find(name, &asker);
                let Some(found) = self.missing_is(strict, path, name, |_| found)? else { continue };
                let real = self.tree.add(&found)?;
                // With other rpaths to inherit, the same library may find its own elsewhere.
                if !self.asked.insert((real.clone(), inherited.clone())) {
                    continue;
                }
                let elf = elf::read(&real).map_err(|cause| unreadable(&real, &cause))?.unwrap_or_default();
                let origin = found.parent().unwrap_or(Path::new("/")).to_owned();
                left.push(Asker { origin, elf, inherited: inherited.clone() });
            }
        }
        Ok(())
    }

    fn missing_is<T>(
        &mut self,
        strict: bool,
        path: &Path,
        name: &str,
        find: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<Option<T>> {
        match find(self) {
            None if strict => {
                let text =
                    format!("'{}' needs '{name}', which is not on this machine: install it", path.display());
                Err(Error::new("HOST_LIBRARY_NOT_FOUND", text))
            }
            found => Ok(found),
        }
    }

    /// A script's interpreter, and the one it names to `env`.
    fn script(&mut self, path: &Path, strict: bool) -> Result<()> {
        let mut start = Vec::new();
        let refused = |cause| unreadable(path, &cause);
        File::open(path).map_err(refused)?.take(SHEBANG as u64).read_to_end(&mut start).map_err(refused)?;
        for name in interpreters(&start) {
            match find(&name, self.search) {
                Some(interpreter) => drop(self.file(&interpreter, strict)?),
                None if strict => {
                    let text = format!(
                        "'{}' is a script for '{name}', which is not on this machine: install it",
                        path.display()
                    );
                    return Err(Error::new("HOST_PROGRAM_NOT_FOUND", text));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// What no ELF file names. None of it is needed to start, so that none of it has to be there.
    fn unspoken(&mut self) {
        let names: HashSet<String> =
            self.tree.paths().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        if names.contains("libc.so.6") {
            let asker = Asker { origin: "/".into(), elf: elf::Elf::default(), inherited: Vec::new() };
            // Thread cancellation opens the first, looking up users before glibc 2.34 the second.
            for library in ["libgcc_s.so.1", "libnss_files.so.2"] {
                if let Some(path) = self.loader.find(library, &asker) {
                    let _ = self.file(&path, false);
                }
            }
            let _ =
                Path::new("/usr/lib/locale/C.utf8").is_dir().then(|| self.program("/usr/lib/locale/C.utf8"));
        }
        if names.iter().any(|name| name.starts_with("libtinfo") || name.starts_with("libncurses")) {
            for terminal in TERMINALS {
                let found =
                    TERMINFO.iter().map(|top| Path::new(top).join(terminal)).find(|path| path.exists());
                let _ = found.map(|path| self.tree.add(&path));
            }
        }
        if self.loader.cache_used {
            let _ = self.tree.add(Path::new(loader::CACHE));
        }
        // Where /bin is a link to usr/bin, it is one in the image too, whichever name found a program.
        for link in ["/bin", "/sbin", "/lib", "/lib64"] {
            let Ok(target) = std::fs::read_link(link) else { continue };
            if self.tree.reaches(&Path::new("/").join(target)) {
                let _ = self.tree.add(Path::new(link));
            }
        }
    }
}

/// The names that a `#!` line needs: the interpreter, and for `env` what it looks up.
fn interpreters(start: &[u8]) -> Vec<String> {
    let Some(line) = start.strip_prefix(b"#!") else { return Vec::new() };
    let line = line.split(|&c| c == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let Some(interpreter) = words.next() else { return Vec::new() };
    let mut names = vec![interpreter.to_owned()];
    if Path::new(interpreter).file_name() == Some(OsStr::new("env")) {
        names.extend(words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned));
    }
    names
}

/// A name in `search`, or an absolute path.
fn find(name: &str, search: &[PathBuf]) -> Option<PathBuf> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return (path.is_absolute() && path.is_file()).then_some(path);
    }
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let absolute = search.iter().filter(|directory| directory.is_absolute() && !name.is_empty());
    absolute.map(|directory| directory.join(name)).find(executable)
}

fn not_found(name: &str) -> Error {
    let text = match name.contains('/') {
        true => format!("no program '{name}' on this machine: give an absolute path of a file that exists"),
        false => format!("no program '{name}' in this machine's PATH: install it, or give its absolute path"),
    };
    Error::new("HOST_PROGRAM_NOT_FOUND", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_their_interpreters() {
        assert_eq!(interpreters(b"#!/bin/sh -e\nrest"), ["/bin/sh"]);
        assert_eq!(interpreters(b"#! /usr/bin/env python3\n"), ["/usr/bin/env", "python3"]);
        assert_eq!(interpreters(b"#!/usr/bin/env -S A=b node --x\n"), ["/usr/bin/env", "node"]);
        assert!(interpreters(b"#!").is_empty() && interpreters(b"text").is_empty());
    }
}
