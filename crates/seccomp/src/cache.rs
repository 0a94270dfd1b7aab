//! Compiled programs kept in files named by the hash of everything they depend on.
//!
//! A file that is not wholly as it was written, or not by this user, is as good as none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{Architecture, Error, Kernel, LinuxSeccomp, Profile, Program, compile, profile::DOCKER_DEFAULT};

/// Where a filter comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Docker's default profile.
    Default,
    /// A profile in Docker's format or the OCI's.
    Json(&'a str),
    /// A filter with its conditions settled.
    Resolved(&'a LinuxSeccomp),
}

/// Rises whenever the compiler makes another program of the same profile; a test reminds us.
const GENERATION: u32 = 2;

/// Stands for the text of Docker's default profile; nobody can choose that, so that a cheap hash will do.
const DEFAULT: u64 = {
    // FNV-1a
    let (text, mut hash, mut at) = (DOCKER_DEFAULT.as_bytes(), 0xcbf2_9ce4_8422_2325, 0);
    while at < text.len() {
        hash = (hash ^ text[at] as u64).wrapping_mul(0x100_0000_01b3);
        at += 1;
    }
    hash
};

const MAGIC: &[u8; 8] = b"kapselBP";
const HASH: usize = 32;
/// Magic, key, flags.
const HEADER: usize = MAGIC.len() + HASH + 4;
const INSTRUCTION: usize = 8;
const LARGEST: u64 = (HEADER + 4096 * INSTRUCTION + HASH) as u64;

impl Program {
    /// The compiled form of a profile for a container with these capabilities (its bounding set, `CAP_…`), from the
    /// cache directory where it has it. The cache is only ever a help: nothing about it makes this fail.
    pub fn cached(
        directory: Option<&Path>,
        source: Source<'_>,
        capabilities: &[String],
        architecture: Architecture,
        kernel: Kernel,
    ) -> Result<Self, Error> {
        let Some(directory) = directory else { return fresh(source, capabilities, architecture, kernel) };
        let key = key(source, capabilities, architecture, kernel);
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join(name);
        if let Ok(program) = read(&path, &key) {
            return Ok(program);
        }
        let program = fresh(source, capabilities, architecture, kernel)?;
        // Without the file the next container compiles again.
        let _ = write(&path, &key, &program);
        Ok(program)
    }
}

fn fresh(
    source: Source<'_>,
    capabilities: &[String],
    architecture: Architecture,
    kernel: Kernel,
) -> Result<Program, Error> {
    let resolve = |profile: Profile| profile.resolve(capabilities, architecture, kernel);
    match source {
        Source::Default => compile(&resolve(Profile::docker_default()), architecture),
        Source::Json(json) => compile(&resolve(Profile::parse(json)?), architecture),
        Source::Resolved(filter) => compile(filter, architecture),
    }
}

fn key(
    source: Source<'_>,
    capabilities: &[String],
    architecture: Architecture,
    kernel: Kernel,
) -> [u8; HASH] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(env!("CARGO_PKG_VERSION").as_bytes());
    part(&GENERATION.to_le_bytes());
    part(&[architecture as u8]);
    match source {
        Source::Resolved(filter) => part(&serde_json::to_vec(filter).unwrap_or_default()),
        Source::Default | Source::Json(_) => {
            match source {
                Source::Json(json) => part(json.as_bytes()),
                _ => part(&DEFAULT.to_le_bytes()),
            }
            part(&kernel.major.to_le_bytes());
            part(&kernel.minor.to_le_bytes());
            let mut sorted: Vec<&str> = capabilities.iter().map(String::as_str).collect();
            sorted.sort_unstable();
            sorted.dedup();
            part(sorted.join(",").as_bytes());
        }
    }
    hash.finalize().into()
}

fn read(path: &Path, key: &[u8; HASH]) -> io::Result<Program> {
    let refused = || io::Error::from(io::ErrorKind::InvalidData);
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    let metadata = file.metadata()?;
    let ours = metadata.uid() == nix::unistd::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    if !metadata.is_file() || !ours || metadata.len() > LARGEST {
        return Err(refused());
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    Read::by_ref(&mut file).take(LARGEST).read_to_end(&mut bytes)?;
    let body = bytes.len().checked_sub(HASH).ok_or_else(refused)?;
    let (body, hash) = bytes.split_at(body);
    if Sha256::digest(body).as_slice() != hash || body.len() < HEADER {
        return Err(refused());
    }
    let (header, instructions) = body.split_at(HEADER);
    if &header[..8] != MAGIC || &header[8..8 + HASH] != key || !instructions.len().is_multiple_of(INSTRUCTION)
    {
        return Err(refused());
    }
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let instructions = instructions
        .chunks_exact(INSTRUCTION)
        .map(|bytes| libc::sock_filter {
            code: u16::from_le_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: word(&bytes[4..]),
        })
        .collect();
    Ok(Program { instructions, flags: word(&header[8 + HASH..]) })
}

fn write(path: &Path, key: &[u8; HASH], program: &Program) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER + program.instructions.len() * INSTRUCTION + HASH);
    bytes.extend(MAGIC);
    bytes.extend(key);
    bytes.extend(program.flags.to_le_bytes());
    for instruction in &program.instructions {
        bytes.extend(instruction.code.to_le_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_le_bytes());
    }
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash);
    let temporary = path.with_extension(std::process::id().to_string());
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(&bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache that outlives an upgrade must not hand out what an older compiler made.
    #[test]
    fn the_generation_rises_with_the_compiler() {
        let kernel = Kernel { major: 6, minor: 18 };
        let mut hash = Sha256::new();
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let program = fresh(Source::Default, &[], architecture, kernel).unwrap();
            for instruction in program.instructions() {
                hash.update(format!("{instruction:?}"));
            }
        }
        let digest: [u8; HASH] = hash.finalize().into();
        assert_eq!(
            (GENERATION, u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])),
            (2, 3_708_825_440),
            "the default profile compiles to another program: raise GENERATION, and put the new numbers here"
        );
    }
}
