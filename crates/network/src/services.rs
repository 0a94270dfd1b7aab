//! What serves a container for as long as it lives, as one descriptor of its monitor's loop: the guard of what it reaches,
//! the server of its names, and the ports that are held for it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    description::Cidr,
    egress::{Guard, Link},
    error::{At, Result},
    names::{Filter, Server, Settings, Sockets},
    namespace::inside,
    nftables::elements::{Port, Protocol},
    poll::{Poll, READ},
    relay::{self, Relay, Transport},
};

/// Where a container asks for names, in its own network namespace.
const NAMES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// How long each upstream has: half of what the C library waits for us.
const PATIENCE: Duration = Duration::from_millis(2500);

/// What is to serve a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Description {
    /// Who answers for names; left out: nobody.
    pub names: Option<Names>,
    /// What it may reach; left out: everything.
    pub egress: Option<Egress>,
    /// Ports of the host that are held for it. One of IPv6 may lead to an address of IPv4, and is relayed then.
    #[serde(default)]
    pub ports: Vec<Port>,
}

/// From what names are answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Names {
    /// Directories of the container's networks, with a file a container in the format of hosts(5).
    pub records: Vec<PathBuf>,
    /// Who is asked for other names, from the host's network namespace; nobody: there are none.
    pub upstreams: Vec<SocketAddr>,
    /// Whether the container's own programs use port 53: they must find it free. It costs tracking its connections.
    #[serde(default)]
    pub aside: bool,
}

/// What a container may reach.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Egress {
    /// A name for the guard's table that nobody else uses.
    pub table: String,
    /// The container's interfaces at bridges.
    pub links: Vec<Link>,
    /// Addresses that it may reach.
    #[serde(default)]
    pub allowed: Vec<Cidr>,
    /// Names that it may ask for and then reach; left out: it may ask for every name.
    pub names: Option<Vec<String>>,
}

/// What serves a container; dropped, it is gone.
#[derive(Debug)]
pub struct Services {
    poll: Poll,
    guard: Option<Arc<Mutex<Guard>>>,
    server: Option<Server>,
    relay: Option<Relay>,
}

impl Services {
    /// Begins to serve. The caller is in the host's network namespace, the container's interfaces are there, and its program
    /// does not run yet. `PORT_TAKEN`, `NAME_INVALID`.
    pub fn start(namespace: BorrowedFd<'_>, description: &Description) -> Result<Self> {
        let poll = Poll::new().at(|| "cannot serve the container's network")?;
        let mut services = Self { poll, guard: None, server: None, relay: None };
        services.hold(&description.ports)?;
        if let Some(Egress { table, links, allowed, .. }) = &description.egress {
            let mut guard = Guard::new(table, allowed)?;
            links.iter().try_for_each(|link| guard.add(link))?;
            services.guard = Some(Arc::new(Mutex::new(guard)));
        }
        if let Some(names) = &description.names {
            let filter = services.filter(description.egress.as_ref())?;
            let Names { records, upstreams, aside } = names.clone();
            let open = || if aside { Sockets::aside(NAMES) } else { Sockets::open((NAMES, 53).into()) };
            let sockets = inside(namespace, open)?;
            let server = Server::new(sockets, Settings { records, upstreams, patience: PATIENCE, filter })?;
            services.watch(&server)?;
            services.server = Some(server);
        }
        Ok(services)
    }

    fn filter(&self, egress: Option<&Egress>) -> Result<Option<Filter>> {
        let (Some(egress), Some(guard)) = (egress, &self.guard) else { return Ok(None) };
        let Some(names) = &egress.names else { return Ok(None) };
        let near = egress.links.iter().flat_map(|link| link.addresses.clone()).collect();
        let guard = Arc::clone(guard);
        let pin = move |address, good| locked(&guard).pin(address, good);
        Filter::new(names, near, Box::new(pin)).map(Some)
    }

    fn watch(&self, part: &impl AsFd) -> Result<()> {
        // Which of them it is does not matter: each looks for itself.
        self.poll.add(part, 0, READ).at(|| "cannot serve the container's network")
    }

    /// Does what there is to do; to be called when the descriptor is readable. It never waits.
    pub fn on_ready(&mut self) {
        if let Some(server) = &mut self.server {
            server.on_ready();
        }
        if let Some(relay) = &mut self.relay {
            relay.on_ready();
        }
    }

    /// Holds ports, all of them or none. `PORT_TAKEN`, `ADDRESS_NOT_AVAILABLE`.
    pub fn hold(&mut self, ports: &[Port]) -> Result<()> {
        let ports: Vec<_> = ports.iter().filter_map(relayed).collect();
        if ports.is_empty() {
            return Ok(());
        }
        if self.relay.is_none() {
            let relay = Relay::new()?;
            self.watch(&relay)?;
            self.relay = Some(relay);
        }
        let Some(relay) = &mut self.relay else { return Ok(()) };
        for (held, port) in ports.iter().enumerate() {
            if let Err(error) = relay.hold(*port) {
                ports[..held].iter().for_each(|port| relay.release(port.transport, port.host));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Lets go of ports. Connections that are relayed already go on.
    pub fn release(&mut self, ports: &[Port]) {
        let Some(relay) = &mut self.relay else { return };
        ports.iter().filter_map(relayed).for_each(|port| relay.release(port.transport, port.host));
    }

    /// Answers for the names of these networks from now on. `near`: the container's addresses on them.
    pub fn set_networks(&mut self, Names { records, upstreams, .. }: Names, near: Vec<Cidr>) {
        if let Some(server) = &mut self.server {
            server.set_networks(records, upstreams, near);
        }
    }

    /// Guards another interface, where there is a guard.
    pub fn guard(&mut self, link: &Link) -> Result<()> {
        self.guard.as_ref().map_or(Ok(()), |guard| locked(guard).add(link))
    }

    /// Guards an interface no more, which is gone.
    pub fn unguard(&mut self, link: &Link) -> Result<()> {
        self.guard.as_ref().map_or(Ok(()), |guard| locked(guard).remove(link))
    }
}

impl AsFd for Services {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

fn locked(guard: &Mutex<Guard>) -> std::sync::MutexGuard<'_, Guard> {
    guard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is held for a port; nothing for SCTP, which is not relayed.
fn relayed(port: &Port) -> Option<relay::Port> {
    let transport = match port.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => return None,
    };
    let every: IpAddr = match port.address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Some(relay::Port {
        transport,
        host: (port.host_address.unwrap_or(every), port.host_port).into(),
        target: (port.address, port.container_port).into(),
    })
}
