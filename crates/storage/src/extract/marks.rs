//! Deletions, from the words of a layer's tar (`.wh.`) to those of overlayfs: a 0:0 character device for what is gone,
//! an xattr on a directory for "nothing of the lower layers shows here".

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat};

use super::attributes::set_xattr;
use crate::error::{Error, Result};
use crate::tar::shown;

/// Marks a directory opaque, as root's overlayfs reads it.
pub const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// What a name beginning with `.wh.` says (OCI image-spec, layer.md).
#[derive(Debug, PartialEq, Eq)]
pub enum Mark {
    /// `.wh.NAME`: lower layers have no NAME any more.
    Whiteout(Vec<u8>),
    /// `.wh..wh..opq`: nor anything else in this directory.
    Opaque,
    /// AUFS's housekeeping, without meaning outside it.
    Ignored,
}

/// `None`: an ordinary name.
pub fn parse(name: &[u8], entry: &[u8]) -> Result<Option<Mark>> {
    let Some(target) = name.strip_prefix(b".wh.") else { return Ok(None) };
    match target {
        b"" | b"." | b".." => {
            let text = format!("entry {} is a whiteout of nothing: the image is broken", shown(entry));
            Err(Error::new("LAYER_INVALID", text))
        }
        b".wh..opq" => Ok(Some(Mark::Opaque)),
        _ if target.starts_with(b".wh.") => Ok(Some(Mark::Ignored)),
        _ => Ok(Some(Mark::Whiteout(target.to_vec()))),
    }
}

/// Whether this is overlayfs's whiteout.
pub fn whiteout(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() && stat.st_rdev == 0
}

/// Whether `name` in `directory` is one.
pub fn is_whiteout(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| whiteout(&stat))
}

/// Whether an xattr that came in a tar would speak to overlayfs, or to us, in our own voice.
pub fn reserved(xattr: &[u8]) -> bool {
    [&b"trusted.overlay."[..], b"user.overlay.", b"user.containers.override_stat"]
        .iter()
        .any(|prefix| xattr.starts_with(prefix))
}

/// Makes `directory` opaque. In a user namespace overlayfs reads `user.*` (mount option `userxattr`, Linux 5.11).
pub fn set_opaque(directory: BorrowedFd<'_>, path: &[u8], rootless: bool) -> Result<()> {
    let name = if rootless { c"user.overlay.opaque" } else { OPAQUE };
    set_xattr(directory, name, b"y").map_err(|errno| {
        let what =
            format!("cannot mark {} opaque: does this file system have extended attributes?", shown(path));
        Error::io("UNPACK_FAILED", what, &errno.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_layer_are_understood() {
        let mark = |name: &[u8]| parse(name, name).unwrap();
        assert_eq!(mark(b"wh.x"), None);
        assert_eq!(mark(b".whx"), None);
        assert_eq!(mark(b".wh.x"), Some(Mark::Whiteout(b"x".to_vec())));
        assert_eq!(mark(b".wh..x"), Some(Mark::Whiteout(b".x".to_vec())));
        assert_eq!(mark(b".wh..wh..opq"), Some(Mark::Opaque));
        assert_eq!(mark(b".wh..wh.plnk"), Some(Mark::Ignored));
        for name in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(parse(name, name).unwrap_err().code, "LAYER_INVALID");
        }
    }
}
