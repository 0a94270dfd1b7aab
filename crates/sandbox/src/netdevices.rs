//! Network devices that move from the caller's network namespace into the container's (config-linux.md, "Network
//! Devices"), with their permanent global addresses, which the kernel takes from a device that moves.
//!
//! The caller moves a device, since it belongs to the caller's namespace; the child, in its own, gives back the addresses
//! and brings the device up.

use std::{
    collections::BTreeSet,
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
};

use crate::{
    Error,
    error::{At, Stage},
    namespaces::Namespaces,
    spec::Linux,
    sys::process::setns,
};
use kapsel_network::netlink::{Attributes, Batch, Family, Message, Socket, attributes, read_u32};

// linux/if_link.h, linux/if_addr.h
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN: what whoever adds an address may say.
const IFA_F_ASKED: u32 = 0x712;
const RT_SCOPE_UNIVERSE: u8 = 0;
/// Family, prefix length, flags, scope, and the device's index.
const IFADDRMSG: usize = 8;
/// The longest name (IFNAMSIZ less its zero byte).
const LONGEST: usize = 15;

/// The devices of a container.
#[derive(Default)]
pub(crate) struct NetDevices(Vec<Device>);

struct Device {
    /// Its name in the caller's namespace.
    name: String,
    index: u32,
    /// The name that it comes with.
    arrives: String,
    /// What it is called then: a name that ends in `%d`, of which only its namespace knows the next number.
    template: Option<String>,
    addresses: Vec<Address>,
}

/// An address, as the kernel tells it and wants it told.
struct Address {
    header: [u8; IFADDRMSG],
    attributes: Attributes,
}

impl NetDevices {
    /// Reads the document and the devices, which must be there.
    pub(crate) fn read(linux: &Linux, namespaces: &Namespaces) -> Result<Self, Error> {
        if linux.net_devices.is_empty() {
            return Ok(Self::default());
        }
        if !namespaces.is_separate(libc::CLONE_NEWNET) {
            return Err(Error::config("linux.netDevices need a network namespace that is not the host's"));
        }
        let mut devices = Vec::new();
        let mut names = BTreeSet::from(["lo".to_owned()]);
        for (name, device) in &linux.net_devices {
            let wanted = if device.name.is_empty() { name } else { &device.name };
            let template = wanted.strip_suffix("%d");
            check_name(name, name)?;
            check_name(name, template.unwrap_or(wanted))?;
            if template.is_none() && !names.insert(wanted.clone()) {
                return Err(taken(name, wanted));
            }
            let index = index_of(name).map_err(|error| {
                let message = format!("linux.netDevices: cannot find {name}: {}", error.message);
                Error { message, ..error }
            })?;
            let template = template.map(|_| wanted.clone());
            // With a template, nobody else's name until it is there.
            let arrives = template
                .as_ref()
                .map_or_else(|| wanted.clone(), |_| format!("k{index:x}-{:x}", std::process::id()));
            devices.push(Device {
                name: name.clone(),
                index,
                arrives,
                template,
                addresses: addresses(index)?,
            });
        }
        let devices = Self(devices);
        if let Some(joined) = namespaces.joined_network() {
            devices.check_free(joined)?;
        }
        Ok(devices)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kernel would find out too, but then some had moved already.
    fn check_free(&self, namespace: &OwnedFd) -> Result<(), Error> {
        let what = || "cannot look into the network namespace";
        let own = File::open("/proc/self/ns/net").at(Stage::Namespace, what)?;
        setns(namespace, libc::CLONE_NEWNET).at(Stage::Namespace, what)?;
        let clash = self.0.iter().find(|device| index_of(&device.arrives).is_ok());
        let back = setns(own, libc::CLONE_NEWNET);
        back.at(Stage::Namespace, || "cannot return to the caller's network namespace")?;
        clash.map_or(Ok(()), |device| Err(taken(&device.name, &device.arrives)))
    }

    /// Moves them into the network namespace of the process `pid`, or into the one that it is going to join.
    pub(crate) fn give_to(&self, pid: i32, namespaces: &Namespaces) -> Result<(), Error> {
        let mut socket = Socket::open(Family::Route)?;
        for Device { name, index, arrives, .. } in &self.0 {
            let (kind, number) = match namespaces.joined_network() {
                Some(joined) => (IFLA_NET_NS_FD, joined.as_raw_fd()),
                None => (IFLA_NET_NS_PID, pid),
            };
            let given = Attributes::new().bytes(kind, &number.to_ne_bytes()).string(IFLA_IFNAME, arrives);
            let what = format!("cannot move the network device {name} into the container as {arrives}");
            let mut batch = Batch::new();
            batch.push(what, link(*index, 0, &given));
            socket.change(batch)?;
        }
        Ok(())
    }

    /// Gives them their names and addresses back and brings them up, in the container's network namespace.
    pub(crate) fn bring_up(&self) -> Result<(), Error> {
        let mut socket = Socket::open(Family::Route)?;
        for device in &self.0 {
            device.bring_up(&mut socket)?;
        }
        Ok(())
    }
}

impl Device {
    fn bring_up(&self, socket: &mut Socket) -> Result<(), Error> {
        let what = || format!("cannot bring the network device {} up in the container", self.name);
        let index = kapsel_network::link::index_of(socket, &self.arrives)?;
        let mut batch = Batch::new();
        if let Some(template) = &self.template {
            batch.push(what(), link(index, 0, &Attributes::new().string(IFLA_IFNAME, template)));
        }
        for Address { header, attributes } in &self.addresses {
            let mut header = *header;
            header[4..].copy_from_slice(&index.to_ne_bytes());
            let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
            batch.push(what(), Message::new(libc::RTM_NEWADDR, flags, &header, attributes));
        }
        batch.push(what(), link(index, libc::IFF_UP as u32, &Attributes::new()));
        Ok(socket.change(batch)?)
    }
}

/// A change of a device; `raise`: flags to set.
fn link(index: u32, raise: u32, attributes: &Attributes) -> Message {
    // struct ifinfomsg: family, type, index, flags, mask of the flags.
    let mut structure = [0; 16];
    structure[4..8].copy_from_slice(&index.to_ne_bytes());
    structure[8..12].copy_from_slice(&raise.to_ne_bytes());
    structure[12..].copy_from_slice(&raise.to_ne_bytes());
    Message::new(libc::RTM_SETLINK, 0, &structure, attributes)
}

/// The addresses of a device that somebody gave it for good and that are valid everywhere.
fn addresses(index: u32) -> Result<Vec<Address>, Error> {
    let request = Message::new(libc::RTM_GETADDR, 0, &[0; IFADDRMSG], &Attributes::new());
    let what = "cannot read the addresses of the network devices";
    let listed = Socket::open(Family::Route)?.list(what, request)?;
    Ok(listed.iter().filter_map(|entry| address(index, entry)).collect())
}

fn address(index: u32, entry: &[u8]) -> Option<Address> {
    let (header, rest) = entry.split_first_chunk::<IFADDRMSG>()?;
    let told = attributes(rest).find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, value)| read_u32(value));
    let flags = told.unwrap_or(header[2].into());
    let is_its = read_u32(&header[4..]) == Some(index);
    if !is_its || header[3] != RT_SCOPE_UNIVERSE || flags & IFA_F_PERMANENT == 0 {
        return None;
    }
    let mut header = *header;
    header[2] = 0;
    let kept = |(kind, _): &(u16, _)| [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST].contains(kind);
    let attributes = attributes(rest)
        .filter(kept)
        .fold(Attributes::new(), |list, (kind, value)| list.bytes(kind, value))
        .number(IFA_FLAGS, flags & IFA_F_ASKED);
    Some(Address { header, attributes })
}

fn index_of(name: &str) -> Result<u32, Error> {
    Ok(kapsel_network::link::index_of(&mut Socket::open(Family::Route)?, name)?)
}

/// What the kernel takes for a name; a `%` would be a template.
fn check_name(device: &str, name: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_graphic() && !"/:%".contains(c);
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(good) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Error::config(format!("linux.netDevices.{device}: {name:?} is no name of a network device")))
}

fn taken(device: &str, name: &str) -> Error {
    Error::config(format!("linux.netDevices.{device}: the container has a network device {name} already"))
}
