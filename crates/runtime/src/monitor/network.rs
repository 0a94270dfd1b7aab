//! A container's networks, for as long as it lives: its namespace with the interfaces in it, what leads to its ports, what
//! serves it, and the names by which others find it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use kapsel_network::attach;
use kapsel_network::connect::{Connection, Disconnection, connect, connect_guarded, disconnect};
use kapsel_network::description::{Cable, Interface, Uplink};
use kapsel_network::egress::Link;
use kapsel_network::hub;
use kapsel_network::namespace;
use kapsel_network::nftables::elements::{Port, Protocol};
use kapsel_network::nftables::filter::Filter;
use kapsel_network::services::{Description, Services};
use kapsel_proc::Proc;
use serde::Deserialize;

use super::epoll::{self, Epoll, Token, Watched};
use super::finish::write_atomically;
use crate::document::Lines;
use crate::error::{Error, Result};

/// What is to be made of a container's networks.
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

impl Networking {
    /// Waits for what comes after the Launch.
    pub fn read(documents: &mut Lines) -> Result<Self> {
        let json = documents.next()?.ok_or_else(|| {
            Error::new(
                "NETWORK_MISSING",
                "nothing is said of the networks: who started this monitor has gone",
            )
        })?;
        serde_json::from_slice(&json).map_err(|error| {
            Error::new("LAUNCH_INVALID", format!("the networks on fd 3 cannot be read: {error}"))
        })
    }

    /// Takes up a cable that there is already. Where no interface is to have it, it goes.
    pub fn take(&mut self, namespace: &OwnedFd, cable: Cable) -> Result<()> {
        for interface in &mut self.interfaces {
            if let Uplink::Bridge { peer, laid, .. } = &mut interface.uplink
                && *peer == cable.peer
            {
                *laid = Some(cable.name);
                return Ok(());
            }
        }
        Ok(attach::detach(namespace.as_fd(), &cable.name)?)
    }
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
    table: String,
    interfaces: Vec<Interface>,
    ports: Vec<Port>,
    /// Those that the services hold.
    held: Vec<Port>,
    /// Kept to its end: closing it waits for the kernel.
    filter: Option<Filter>,
    records: Vec<PathBuf>,
    services: Services,
    /// Whether the packet filter's table was missing, so that what others had in it is missing still.
    pub made: bool,
    /// The services' descriptor in the monitor's epoll.
    _watched: Watched,
}

impl Network {
    /// Makes everything in a network namespace; nothing is left where it fails. The caller is in the host's.
    pub fn make(container: &str, namespace: OwnedFd, networking: &Networking, epoll: &Epoll) -> Result<Self> {
        let Networking { table, interfaces, ports, services, names } = networking;
        if hub::is_entered() && ports.iter().any(|port| port.protocol == Protocol::Sctp) {
            return Err(Error::new("NOT_SUPPORTED", "an ordinary user cannot publish ports of SCTP"));
        }
        let mut connected = connect(&Connection {
            table: table.clone(),
            container: container.to_owned(),
            namespace: path(&namespace),
            interfaces: interfaces.clone(),
            ports: ports.clone(),
        })?;
        let mut undo = || unpublish(&mut connected.filter, container, !ports.is_empty());
        let held = services.ports.clone();
        let services = Services::start(namespace.as_fd(), services).inspect_err(|_| undo())?;
        let watched = watch(epoll, &services).inspect_err(|_| undo())?;
        let mut network = Self {
            namespace,
            container: container.to_owned(),
            table: table.clone(),
            interfaces: interfaces.clone(),
            ports: ports.clone(),
            held,
            filter: connected.filter,
            records: Vec::new(),
            services,
            made: connected.made,
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

    /// Makes of what is there what is wanted, while the container runs. What goes, goes first: it may be in the way. What
    /// comes, comes wholly or not at all.
    pub fn change(&mut self, wanted: Networking) -> Result<()> {
        let Networking { interfaces, ports, services, names, .. } = wanted;
        let Description { names: server, ports: held, .. } = services;
        self.let_go(&interfaces, &ports, &held)?;
        let before = self.interfaces.len();
        self.take(&interfaces, &ports, &held)?;
        for (interface, was) in self.interfaces[..before].iter_mut().filter_map(|interface| {
            let wanted = interfaces.iter().find(|wanted| is_same(interface, wanted))?;
            (interface.gateways != wanted.gateways).then_some((interface, wanted))
        }) {
            attach::route(self.namespace.as_fd(), &was.name, &was.gateways)?;
            interface.gateways.clone_from(&was.gateways);
        }
        if let Some(server) = server {
            let near = interfaces.iter().flat_map(|interface| interface.addresses.clone()).collect();
            self.services.set_networks(server, near);
        }
        let stale = std::mem::take(&mut self.records);
        let result = self.name(&names);
        for path in stale.into_iter().filter(|path| !self.records.contains(path)) {
            let _ = fs::remove_file(path);
        }
        result
    }

    fn let_go(&mut self, interfaces: &[Interface], ports: &[Port], held: &[Port]) -> Result<()> {
        let released = missing(&self.held, held);
        self.services.release(&released);
        self.held.retain(|port| !released.contains(port));
        // A repair goes by what the engine has written down, and may have put a port back that was closed already.
        let published = match &mut self.filter {
            Some(filter) => filter.published()?,
            None => Filter::open(&self.table)?.published()?,
        };
        let own = published.iter().filter(|published| published.container == self.container);
        let had: Vec<_> = self.ports.iter().copied().chain(own.map(|published| published.port)).collect();
        let lost = missing(&had, ports);
        let goes = |interface: &&Interface| !interfaces.iter().any(|wanted| is_same(interface, wanted));
        let gone: Vec<_> = self.interfaces.iter().filter(goes).cloned().collect();
        disconnect(&Disconnection {
            table: self.table.clone(),
            container: self.container.clone(),
            namespace: path(&self.namespace),
            interfaces: gone.iter().map(|interface| interface.name.clone()).collect(),
            ports: lost.clone(),
        })?;
        self.ports.retain(|port| !lost.contains(port));
        self.interfaces.retain(|interface| interfaces.iter().any(|wanted| is_same(interface, wanted)));
        for link in gone.iter().filter_map(link_of) {
            self.services.unguard(&link)?;
        }
        Ok(())
    }

    fn take(&mut self, interfaces: &[Interface], ports: &[Port], held: &[Port]) -> Result<()> {
        let comes = |interface: &&Interface| !self.interfaces.iter().any(|had| is_same(had, interface));
        let new: Vec<_> = interfaces.iter().filter(comes).cloned().collect();
        let (ports, held) = (missing(ports, &self.ports), missing(held, &self.held));
        self.services.hold(&held)?;
        let services = &mut self.services;
        let connection = Connection {
            table: self.table.clone(),
            container: self.container.clone(),
            namespace: path(&self.namespace),
            interfaces: new,
            ports,
        };
        let guard =
            &mut |interface: &Interface| link_of(interface).map_or(Ok(()), |link| services.guard(&link));
        let connected = match connect_guarded(&connection, guard) {
            Ok(connected) => connected,
            Err(error) => {
                self.services.release(&held);
                return Err(error.into());
            }
        };
        self.filter = self.filter.take().or(connected.filter);
        self.held.extend(held);
        self.ports.extend(connection.ports);
        self.interfaces.extend(connection.interfaces);
        Ok(())
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
        unpublish(&mut self.filter, &self.container, !self.ports.is_empty());
        // The kernel closes it when the monitor is gone, for whom nobody waits.
        std::mem::forget(self.filter);
    }
}

fn unpublish(filter: &mut Option<Filter>, container: &str, is_published: bool) {
    if let Some(filter) = filter.as_mut().filter(|_| is_published) {
        let _ = filter.unpublish(container, None);
    }
}

/// Whether two descriptions are of one interface, whose other end has a new name in each.
fn is_same(one: &Interface, other: &Interface) -> bool {
    (&one.name, one.mac, &one.addresses) == (&other.name, other.mac, &other.addresses)
}

/// What the guard of an interface at a bridge has to know.
fn link_of(interface: &Interface) -> Option<Link> {
    let Uplink::Bridge { peer, .. } = &interface.uplink else { return None };
    Some(Link { peer: peer.clone(), mac: interface.mac, addresses: interface.addresses.clone() })
}

/// The ports of one list that another lacks.
fn missing(ports: &[Port], others: &[Port]) -> Vec<Port> {
    ports.iter().filter(|port| !others.contains(port)).copied().collect()
}

/// Where this process finds a network namespace that it has open.
pub fn path(namespace: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", namespace.as_raw_fd()))
}

/// Takes out of a container's settings those of its network namespace, and makes them there.
pub fn set(namespace: &Path, settings: &mut BTreeMap<String, String>) -> Result<()> {
    let names: Vec<_> = settings.keys().filter(|name| name.starts_with("net.")).cloned().collect();
    if names.is_empty() {
        return Ok(());
    }
    let proc = Proc::open().map_err(|errno| Error::io("cannot open /proc", &errno.into()))?;
    let namespace = namespace::open_path(namespace)?;
    for name in names {
        let value = settings.remove(&name).unwrap_or_default();
        let path = format!("sys/{}", name.replace('.', "/"));
        namespace::inside(namespace.as_fd(), || Ok(proc.write(&path, &value)))?.map_err(|errno| {
            Error::io(format_args!("cannot set sysctl {name} to {value:?}"), &errno.into())
        })?;
    }
    Ok(())
}

fn watch(epoll: &Epoll, services: &Services) -> Result<Watched> {
    let failed = |error: io::Error| Error::io("cannot watch the container's network", &error);
    let mut watched = epoll.watch(services.as_fd().try_clone_to_owned().map_err(failed)?, Token::Network);
    watched.set(epoll::READ).map_err(failed)?;
    Ok(watched)
}
