//! A container connected: the packet filter, its bridges, its interfaces and its ports, in an order that leaves nothing where
//! one of them fails.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crate::description::{Bridge, Interface, Uplink};
use crate::error::Result;
use crate::netlink::{Family, Socket};
use crate::nftables::elements::{Port, Published};
use crate::nftables::filter::{Filter, State};
use crate::sysctl::Parameters;
use crate::{attach, bridge, namespace};

/// What a container is to have beside what it has.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The packet filter's table.
    pub table: String,
    /// Id of the container, which its ports are marked with.
    pub container: String,
    /// Its network namespace: `/proc/PID/ns/net`, or where one is mounted.
    pub namespace: PathBuf,
    /// Its interfaces. Where there is none, it has still its loopback interface.
    pub interfaces: Vec<Interface>,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// What a running container loses.
#[derive(Clone, Debug)]
pub struct Disconnection {
    /// The packet filter's table.
    pub table: String,
    /// Id of the container.
    pub container: String,
    /// Its network namespace.
    pub namespace: PathBuf,
    /// Names of its interfaces.
    pub interfaces: Vec<String>,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// What a connection found.
#[derive(Debug)]
pub struct Connected {
    /// The table was missing, or had been changed by others, and has been made: the caller gives [`Filter::repair`] all that
    /// should be in it, unless there is nothing else.
    pub made: bool,
    /// Where the container has a bridge or ports. To be dropped when nobody waits: closing it waits until the kernel has freed
    /// what anybody has changed of the packet filter (an RCU grace period; nf_tables since Linux 6.1).
    pub filter: Option<Filter>,
}

/// Connects a container; the caller is in the host's network namespace. `PORT_IN_USE`, `INTERFACE_EXISTS`. Nothing of the
/// container is left where it fails; bridges stay, as they are the networks'.
pub fn connect(connection: &Connection) -> Result<Connected> {
    connect_guarded(connection, &mut |_| Ok(()))
}

/// As [`connect`], for a container that may run already: `guard` is called for each interface at a bridge when its ends are
/// there and before anything passes.
pub fn connect_guarded(
    connection: &Connection,
    guard: &mut dyn FnMut(&Interface) -> Result<()>,
) -> Result<Connected> {
    let Connection { table, container, namespace, interfaces, ports } = connection;
    let namespace = namespace::open_path(namespace)?;
    let bridges: Vec<_> = interfaces.iter().filter_map(bridge_of).collect();
    if bridges.is_empty() && ports.is_empty() {
        let host = &mut Socket::open(Family::Route)?;
        attach_all(host, &Parameters::open()?, &namespace, interfaces, guard)?;
        return Ok(Connected { made: false, filter: None });
    }
    let mut filter = Filter::open(table)?;
    let found = filter.ensure()?;
    let published = published(container, ports);
    // What can be refused comes first: it costs nothing to take back.
    filter.admit(&bridges, &published)?;
    let mut attached = || {
        let parameters = &Parameters::open()?;
        if !bridges.is_empty() {
            bridge::forward(parameters, bridges.iter().any(|bridge| bridge.is_ipv6()))?;
        }
        attach_all(&mut Socket::open(Family::Route)?, parameters, &namespace, interfaces, guard)
    };
    if let Err(error) = attached() {
        if !ports.is_empty() {
            let _ = filter.unpublish(container, Some(&published));
        }
        return Err(error);
    }
    Ok(Connected { made: found != State::Whole, filter: Some(filter) })
}

/// Takes interfaces and ports from a running container. What is gone is no error.
pub fn disconnect(disconnection: &Disconnection) -> Result<()> {
    let Disconnection { table, container, namespace, interfaces, ports } = disconnection;
    if !ports.is_empty() {
        Filter::open(table)?.unpublish(container, Some(&published(container, ports)))?;
    }
    let namespace = namespace::open_path(namespace)?;
    for name in interfaces {
        attach::detach(namespace.as_fd(), name)?;
    }
    Ok(())
}

/// Takes a network out of the packet filter and removes its bridge. What is gone is no error.
pub fn remove_bridge(table: &str, name: &str) -> Result<()> {
    Filter::open(table)?.remove_bridge(name)?;
    bridge::remove(&mut Socket::open(Family::Route)?, name)
}

/// Ports with their container.
pub fn published(container: &str, ports: &[Port]) -> Vec<Published> {
    ports.iter().map(|port| Published { container: container.to_owned(), port: *port }).collect()
}

fn bridge_of(interface: &Interface) -> Option<&Bridge> {
    match &interface.uplink {
        Uplink::Bridge { bridge, .. } => Some(bridge),
        Uplink::Macvlan { .. } => None,
    }
}

fn attach_all(
    host: &mut Socket,
    parameters: &Parameters,
    namespace: &OwnedFd,
    interfaces: &[Interface],
    guard: &mut dyn FnMut(&Interface) -> Result<()>,
) -> Result<()> {
    if interfaces.is_empty() {
        return attach::loopback(namespace.as_fd());
    }
    for (done, interface) in interfaces.iter().enumerate() {
        let result = attach::attach_guarded(host, parameters, namespace.as_fd(), interface, guard);
        result.inspect_err(|_| {
            for interface in &interfaces[..done] {
                let _ = attach::detach(namespace.as_fd(), &interface.name);
            }
        })?;
    }
    Ok(())
}
