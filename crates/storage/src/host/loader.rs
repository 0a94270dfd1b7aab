//! Where the loader (ld.so) would find a library: the directories files ask for, its cache, its built-in directories.
//! `LD_LIBRARY_PATH` does not count, since it will not be set in the container; nor do the copies of libraries for newer
//! processors (glibc-hwcaps), since their plain ones always exist.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::elf::{self, Elf};

#[cfg(target_arch = "x86_64")]
const TRIPLET: &str = "x86_64-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TRIPLET: &str = "aarch64-linux-gnu";

/// Where glibc keeps what `ldconfig` found.
pub const CACHE: &str = "/etc/ld.so.cache";

/// Knows this machine's libraries.
pub struct Loader {
    cache: HashMap<String, Vec<PathBuf>>,
    /// A library outside the built-in directories was found in the cache: the container's loader needs it as well.
    pub cache_used: bool,
}

/// A program or library that asks for libraries.
pub struct Asker {
    /// Its directory: `$ORIGIN`.
    pub origin: PathBuf,
    /// What it says.
    pub elf: Elf,
    /// The rpaths it inherits from what loaded it, expanded.
    pub inherited: Vec<PathBuf>,
}

impl Asker {
    /// What its libraries inherit from it.
    pub fn rpaths(&self) -> Vec<PathBuf> {
        let own = self.elf.rpath.iter().filter(|_| self.elf.runpath.is_empty());
        let all = own.flat_map(|text| expand(text, &self.origin)).chain(self.inherited.iter().cloned());
        // Each once: libraries that need each other would inherit ever longer lists.
        let mut once = Vec::new();
        all.for_each(|path| {
            if !once.contains(&path) {
                once.push(path)
            }
        });
        once
    }
}

impl Loader {
    /// Reads the cache, if there is one.
    pub fn new() -> Self {
        let cache = std::fs::read(CACHE).map(|bytes| parse_cache(&bytes).unwrap_or_default());
        Loader { cache: cache.unwrap_or_default(), cache_used: false }
    }

    /// The first library `name` of this machine's kind in the loader's order (ld.so(8)).
    pub fn find(&mut self, name: &str, asker: &Asker) -> Option<PathBuf> {
        if name.contains('/') {
            return expand(name, &asker.origin).into_iter().find(|path| loads(path));
        }
        let mut directories = match asker.elf.runpath.is_empty() {
            true => asker.rpaths(),
            false => Vec::new(),
        };
        directories.extend(asker.elf.runpath.iter().flat_map(|text| expand(text, &asker.origin)));
        if let Some(path) = directories.iter().map(|directory| directory.join(name)).find(|path| loads(path))
        {
            return Some(path);
        }
        if let Some(path) = self.cache.get(name).into_iter().flatten().find(|path| loads(path)) {
            self.cache_used |= !path.parent().is_some_and(|parent| built_in().any(|known| known == parent));
            return Some(path.clone());
        }
        built_in().map(|directory| directory.join(name)).find(|path| loads(path))
    }
}

/// Debian's, then what others have; the last is musl's.
fn built_in() -> impl Iterator<Item = PathBuf> {
    [format!("/lib/{TRIPLET}"), format!("/usr/lib/{TRIPLET}")]
        .into_iter()
        .chain(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(str::to_owned))
        .map(PathBuf::from)
}

fn loads(path: &Path) -> bool {
    path.is_absolute() && elf::read(path).is_ok_and(|elf| elf.is_some())
}

/// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces. `$LIB` differs between distributions: all are given.
fn expand(text: &str, origin: &Path) -> Vec<PathBuf> {
    let origin = origin.to_string_lossy();
    let replaced = |lib: &str| {
        let mut text = text.to_owned();
        for (token, value) in [("ORIGIN", &origin[..]), ("LIB", lib), ("PLATFORM", std::env::consts::ARCH)] {
            text = text.replace(&format!("${{{token}}}"), value).replace(&format!("${token}"), value);
        }
        PathBuf::from(text)
    };
    match text.contains("$LIB") || text.contains("${LIB}") {
        true => [&format!("lib/{TRIPLET}")[..], "lib64", "lib"].map(replaced).to_vec(),
        false => vec![replaced("")],
    }
}

/// glibc's dl-cache.h, the format since 2.2: a header of 48 bytes, entries of 24, strings at offsets from the header.
/// An older table may stand before it.
fn parse_cache(bytes: &[u8]) -> Option<HashMap<String, Vec<PathBuf>>> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    let start = bytes.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let table = &bytes[start..];
    let u32_at = |at: usize| Some(u32::from_le_bytes(table.get(at..at + 4)?.try_into().ok()?));
    let string = |at: u32| {
        let text = table.get(at as usize..)?;
        let end = text.iter().position(|&c| c == 0)?;
        std::str::from_utf8(&text[..end]).ok()
    };
    let mut found: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for index in 0..u32_at(20)? as usize {
        let at = 48 + 24 * index;
        // Flags, key, value, OS version, hwcap: one that is not 0 is for some processors only.
        if (u32_at(at + 16)?, u32_at(at + 20)?) != (0, 0) {
            continue;
        }
        let (key, value) = (string(u32_at(at + 4)?)?, string(u32_at(at + 8)?)?);
        found.entry(key.to_owned()).or_default().push(PathBuf::from(value));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_expanded_with_and_without_braces() {
        let origin = Path::new("/opt/app/bin");
        assert_eq!(expand("$ORIGIN/../lib", origin), [Path::new("/opt/app/bin/../lib")]);
        assert_eq!(expand("${ORIGIN}/x", origin), [Path::new("/opt/app/bin/x")]);
        assert_eq!(expand("/a/$LIB", origin).len(), 3);
        assert_eq!(expand("/a", origin), [Path::new("/a")]);
    }

    #[test]
    fn the_cache_of_this_machine_knows_the_c_library() {
        let cache = parse_cache(&std::fs::read(CACHE).unwrap()).unwrap();
        assert!(cache["libc.so.6"].iter().any(|path| path.exists()));
    }

    #[test]
    fn a_damaged_cache_is_no_cache() {
        let mut bytes = std::fs::read(CACHE).unwrap();
        bytes.truncate(bytes.len() / 2);
        assert!(parse_cache(&bytes).is_none());
        assert!(parse_cache(b"rubbish").is_none());
    }
}
