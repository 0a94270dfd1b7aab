//! A container's networks, for as long as it lives: its namespace with the interfaces in it, what leads to its ports, what
//! serves it, and the names by which others find it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use kapsel_network::connect::{Connection, connect};
use kapsel_network::description::Interface;
use kapsel_network::namespace;
use kapsel_network::nftables::elements::Port;
use kapsel_network::nftables::filter::Filter;
use kapsel_network::services::{Description, Services};
use serde::Deserialize;

use super::epoll::{self, Epoll, Token, Watched};
use super::finish::write_atomically;
use crate::error::{Error, Result};

/// The Launch's `network`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Networking {
    /// The packet filter's table.
    table: String,
    interfaces: Vec<Interface>,
    ports: Vec<Port>,
    services: Description,
    names: Vec<Names>,
}

/// The container's names on one network.
#[derive(Clone, Debug, Deserialize)]
pub struct Names {
    /// Of the network: a file a container, as hosts(5) has it.
    directory: PathBuf,
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

/// What is held.
pub struct Network {
    namespace: OwnedFd,
    container: String,
    is_published: bool,
    /// Kept to its end: closing it waits for the kernel.
    filter: Option<Filter>,
    records: Vec<PathBuf>,
    services: Services,
    /// The services' descriptor in the monitor's epoll.
    _watched: Watched,
}

impl Network {
    /// Makes everything; nothing is left where it fails. The caller is in the host's network namespace.
    pub fn make(container: &str, networking: &Networking, epoll: &Epoll) -> Result<Self> {
        let Networking { table, interfaces, ports, services, names } = networking;
        let namespace = namespace::new()?;
        let mut filter = connect(&Connection {
            table: table.clone(),
            container: container.to_owned(),
            namespace: path(&namespace),
            interfaces: interfaces.clone(),
            ports: ports.clone(),
        })?
        .filter;
        let mut undo = || unpublish(&mut filter, container, !ports.is_empty());
        let services = Services::start(namespace.as_fd(), services).inspect_err(|_| undo())?;
        let watched = watch(epoll, &services).inspect_err(|_| undo())?;
        let mut network = Self {
            namespace,
            container: container.to_owned(),
            is_published: !ports.is_empty(),
            filter,
            records: Vec::new(),
            services,
            _watched: watched,
        };
        match network.name(names) {
            Ok(()) => Ok(network),
            Err(error) => {
                network.end();
                Err(error)
            }
        }
    }

    /// Tells the others on its networks who it is.
    fn name(&mut self, names: &[Names]) -> Result<()> {
        for names in names {
            let Names { directory, addresses, names } = names;
            let lines: Vec<_> =
                addresses.iter().map(|address| format!("{address} {}", names.join(" "))).collect();
            let path = directory.join(&self.container);
            fs::create_dir_all(directory)
                .and_then(|()| write_atomically(directory, &self.container, &lines.join("\n")))
                .map_err(|error| Error::io(format_args!("cannot write {}", path.display()), &error))?;
            self.records.push(path);
        }
        Ok(())
    }

    /// Where the container's network namespace is found while this lives.
    pub fn path(&self) -> PathBuf {
        path(&self.namespace)
    }

    /// Somebody wants something of the services.
    pub fn on_ready(&mut self) {
        self.services.on_ready();
    }

    /// Takes back what the namespace does not take with it. What cannot be taken back now, the engine's next command does.
    pub fn end(mut self) {
        for path in &self.records {
            let _ = fs::remove_file(path);
        }
        unpublish(&mut self.filter, &self.container, self.is_published);
        // The kernel closes it when the monitor is gone, for whom nobody waits.
        std::mem::forget(self.filter);
    }
}

fn unpublish(filter: &mut Option<Filter>, container: &str, is_published: bool) {
    if let Some(filter) = filter.as_mut().filter(|_| is_published) {
        let _ = filter.unpublish(container, None);
    }
}

fn path(namespace: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", namespace.as_raw_fd()))
}

fn watch(epoll: &Epoll, services: &Services) -> Result<Watched> {
    let failed = |error: io::Error| Error::io("cannot watch the container's network", &error);
    let mut watched = epoll.watch(services.as_fd().try_clone_to_owned().map_err(failed)?, Token::Network);
    watched.set(epoll::READ).map_err(failed)?;
    Ok(watched)
}
