//! `pack`: a checkpoint and all that belongs to it as one tar on stdout, as podman, CRI-O and containerd have it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kapsel_storage::changes;
use kapsel_storage::tar::writer::Writer;
use kapsel_storage::tar::{Entry, Kind};
use serde::Deserialize;

use crate::criu::core;
use crate::error::{Error, Result};
use crate::{ExitCode, document};

/// fd 3.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pack {
    /// CRIU's images.
    images: PathBuf,
    /// What is in the archive's root, as it is to be written: name and text.
    documents: Vec<(String, String)>,
    /// Files that are copied into the archive's root, where they exist.
    files: Vec<PathBuf>,
    /// What the container has changed; absent: it is not archived.
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Changes {
    upper: PathBuf,
    /// Topmost first.
    lowers: Vec<PathBuf>,
}

/// `kapsel-runtime pack`.
pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        let message = "fd 3, the document, is not open: `pack` is started by kapsel, not by hand";
        return Err(Error::new("USAGE", message));
    }
    // SAFETY: the descriptor is open, as tested above, and nobody else in this process has it.
    let json = document::read(unsafe { OwnedFd::from_raw_fd(3) })?;
    let pack: Pack = serde_json::from_slice(&json).map_err(|error| {
        Error::new("PACK_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })?;
    let mut writer = Writer::new(BufWriter::with_capacity(256 * 1024, io::stdout().lock()));
    let failed = |error| Error::io("cannot write the archive", &error);
    for (name, text) in &pack.documents {
        add_bytes(&mut writer, name, text.as_bytes()).map_err(failed)?;
    }
    for path in &pack.files {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => file.and_then(|file| add_file(&mut writer, name, file)).map_err(failed)?,
        }
    }
    add_images(&mut writer, &pack.images)?;
    if let Some(Changes { upper, lowers }) = &pack.changes {
        // The length comes before the content: it is written down first, beside the images and without a name.
        let mut tar = unnamed(&pack.images).map_err(failed)?;
        let gone = changes::write_tar(upper, lowers, BufWriter::new(&mut tar))?;
        tar.seek(SeekFrom::Start(0)).map_err(failed)?;
        add_file(&mut writer, "rootfs-diff.tar", tar).map_err(failed)?;
        if !gone.is_empty() {
            let gone: Vec<_> = gone.iter().map(|path| String::from_utf8_lossy(path)).collect();
            let json = serde_json::to_vec(&gone).map_err(|error| Error::new("OUTPUT", error.to_string()))?;
            add_bytes(&mut writer, "deleted.files", &json).map_err(failed)?;
        }
    }
    writer.finish().map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn add_images(writer: &mut Writer<impl Write>, images: &Path) -> Result<()> {
    let failed = |error| Error::io(format_args!("cannot archive {}", images.display()), &error);
    let mut directory = Entry::new(b"checkpoint", Kind::Directory);
    directory.mode = 0o700;
    writer.entry(&directory).map_err(failed)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(images).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort_unstable();
    for name in names {
        let path = images.join(&name);
        let archived = Path::new("checkpoint").join(&name);
        let archived = archived.to_string_lossy();
        if name == core::NAME {
            let image = std::fs::read(&path).map_err(failed)?;
            let free = core::with_parent_death_signal(&image, 0).unwrap_or(image);
            add_bytes(writer, &archived, &free).map_err(failed)?;
            continue;
        }
        let file = File::open(&path).map_err(failed)?;
        add_file(writer, &archived, file).map_err(failed)?;
    }
    Ok(())
}

fn add_file(writer: &mut Writer<impl Write>, name: &str, mut file: File) -> io::Result<()> {
    let mut entry = Entry::new(name.as_bytes(), Kind::File);
    (entry.mode, entry.size) = (0o600, file.metadata()?.len());
    writer.entry(&entry)?;
    io::copy(&mut file, writer).map(drop)
}

fn add_bytes(writer: &mut Writer<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut entry = Entry::new(name.as_bytes(), Kind::File);
    (entry.mode, entry.size) = (0o600, bytes.len() as u64);
    writer.entry(&entry)?;
    writer.write_all(bytes)
}

fn unnamed(directory: &Path) -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)
}
