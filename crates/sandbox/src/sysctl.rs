//! Kernel parameters, by allow-list: those that a namespace of the container owns, and no other (CRI-O CVE-2022-0811).

use crate::{
    Error,
    error::{At, Stage},
    namespaces::Namespaces,
    spec::Linux,
};
use kapsel_proc::Proc;

/// Parameters of the IPC namespace.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The parameters of the document as paths below /proc/sys, each one the container's own.
pub(crate) fn parameters(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>, Error> {
    let check = |(key, value): (&String, &String)| {
        let path = path_of(key)?;
        check_namespace(key, &path, namespaces)?;
        check_value(key, value)?;
        Ok((path, value.clone()))
    };
    linux.sysctl.iter().map(check).collect()
}

/// Writes them, in the namespaces that own them.
pub(crate) fn write(proc: &Proc, parameters: &[(String, String)]) -> Result<(), Error> {
    for (path, value) in parameters {
        proc.write(&format!("sys/{path}"), value)
            .at(Stage::Kernel, || format!("cannot set sysctl {} to {value:?}", path.replace('/', ".")))?;
    }
    Ok(())
}

/// `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` are the same (sysctl(8)): the first separator
/// decides, and the other character stands for itself.
fn path_of(key: &str) -> Result<String, Error> {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key.chars().map(swap).collect(),
        _ => key.to_owned(),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "_-./:@".contains(c);
    let parts_good = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if path.chars().all(good) && parts_good && path.contains('/') {
        return Ok(path);
    }
    Err(Error::config(format!("sysctl {key:?} is not the name of a kernel parameter")))
}

fn check_namespace(key: &str, path: &str, namespaces: &Namespaces) -> Result<(), Error> {
    let (flag, name) = match path {
        _ if path.starts_with("net/") => (libc::CLONE_NEWNET, "network"),
        _ if path.starts_with("fs/mqueue/") || IPC.contains(&path) => (libc::CLONE_NEWIPC, "ipc"),
        "kernel/domainname" => (libc::CLONE_NEWUTS, "uts"),
        "kernel/hostname" => {
            return Err(Error::config(
                "sysctl kernel.hostname is set by the container's host name, not by a sysctl",
            ));
        }
        _ => {
            return Err(Error::config(format!(
                "sysctl {key:?} is not in a separate kernel namespace: it would change the host"
            )));
        }
    };
    if namespaces.is_separate(flag) {
        return Ok(());
    }
    Err(Error::config(format!(
        "sysctl {key:?} is not allowed with the host's {name} namespace: it would change the host"
    )))
}

/// The kernel takes words and numbers; a line break, "+" or "=" is somebody's attempt to say more than one thing.
fn check_value(key: &str, value: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || " \t-_.,:/".contains(c);
    if !value.is_empty() && value.chars().all(good) {
        return Ok(());
    }
    Err(Error::config(format!("sysctl {key:?} has the impossible value {value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Config, Namespace, NamespaceKind};

    fn check(key: &str, value: &str, kinds: &[NamespaceKind]) -> Result<Vec<(String, String)>, Error> {
        let mut linux = Linux { sysctl: [(key.into(), value.into())].into(), ..Linux::default() };
        linux.namespaces = kinds.iter().map(|kind| Namespace { kind: *kind, path: None }).collect();
        linux.namespaces.push(Namespace { kind: NamespaceKind::Mount, path: None });
        let config = Config { linux: Some(linux.clone()), ..Config::default() };
        parameters(&linux, &Namespaces::open(&config).unwrap())
    }

    #[test]
    fn a_parameter_needs_the_namespace_that_owns_it() {
        assert!(check("net.ipv4.ip_forward", "1", &[NamespaceKind::Network]).is_ok());
        assert!(check("net.ipv4.ip_forward", "1", &[NamespaceKind::Ipc]).is_err());
        assert!(check("kernel.shm_rmid_forced", "1", &[NamespaceKind::Ipc]).is_ok());
        assert!(check("fs.mqueue.msg_max", "10", &[NamespaceKind::Ipc]).is_ok());
        assert!(check("kernel.domainname", "x", &[NamespaceKind::Uts]).is_ok());
    }

    #[test]
    fn what_no_namespace_owns_is_refused() {
        let all = [NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts];
        for key in [
            "kernel.core_pattern",
            "kernel.shm_rmid_forced+kernel.core_pattern",
            "vm.swappiness",
            "kernel.hostname",
        ] {
            assert!(check(key, "1", &all).is_err(), "{key}");
        }
    }

    #[test]
    fn a_name_is_no_path_to_elsewhere() {
        for key in [
            "net/../kernel/core_pattern",
            "net.ipv4",
            "net//x",
            "/net/x",
            "net.ipv4.a=b",
            "net.a\nb.c",
            "net",
        ] {
            let all = [NamespaceKind::Network];
            let result = check(key, "1", &all);
            assert!(key == "net.ipv4" || result.is_err(), "{key}");
        }
    }

    #[test]
    fn a_value_says_one_thing() {
        for value in ["1+kernel.core_pattern=|/x", "1=2", "1\n2", "", "a\0b", "|/bin/sh"] {
            assert!(check("net.ipv4.ip_forward", value, &[NamespaceKind::Network]).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_slash_in_a_dotted_name_is_a_dot() {
        assert_eq!(path_of("net.ipv4.conf.eth0/1.forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
    }
}
