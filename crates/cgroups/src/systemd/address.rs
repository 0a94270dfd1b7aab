//! Where a bus listens: `unix:path=/run/dbus/system_bus_socket`, several of them separated by semicolons.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
};

/// Connects to the first of the addresses that answers.
pub(super) fn connect(addresses: &str) -> io::Result<UnixStream> {
    let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "it is no address of a Unix socket");
    let mut first = None;
    for address in addresses.split(';') {
        match parse(address).ok_or_else(unknown).and_then(|address| UnixStream::connect_addr(&address)) {
            Ok(stream) => return Ok(stream),
            // The first error is the one to tell.
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(unknown))
}

fn parse(address: &str) -> Option<SocketAddr> {
    let pairs = address.strip_prefix("unix:")?.split(',').filter_map(|pair| pair.split_once('='));
    for (key, value) in pairs {
        match key {
            "path" => return SocketAddr::from_pathname(unescape(value)?).ok(),
            "abstract" => return SocketAddr::from_abstract_name(unescape(value)?).ok(),
            _ => {}
        }
    }
    None
}

/// `%` and two hexadecimal digits stand for a byte.
fn unescape(value: &str) -> Option<String> {
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_path_or_an_abstract_socket() {
        let path = |address| parse(address).and_then(|address| Some(address.as_pathname()?.to_owned()));
        assert_eq!(path("unix:path=/run/a%20b,guid=1"), Some("/run/a b".into()));
        let address = parse("unix:guid=1,abstract=/tmp/dbus-x").unwrap();
        assert_eq!(address.as_abstract_name(), Some(b"/tmp/dbus-x".as_slice()));
        for wrong in ["tcp:host=a", "unix:", "unix:dir=/tmp", "unix:path=%2", "unix:path=%zz"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_first_socket_that_answers_is_taken_and_the_first_error_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(connect(&format!("unix:path=/nowhere;unix:path={}", path.display())).is_ok());
        assert_eq!(connect("unix:path=/nowhere;tcp:").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
