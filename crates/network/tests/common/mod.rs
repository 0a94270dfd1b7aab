//! Machines and containers of a test: network namespaces that end with it.

#![allow(dead_code, reason = "each test uses some")]

pub mod machines;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;

use kapsel_network::attach::attach;
use kapsel_network::description::Interface;
use kapsel_network::namespace;
use kapsel_network::netlink::{Family, Socket};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

/// Makes the test's thread a machine with a network of its own, in which everything below happens.
pub fn machine() -> Socket {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    shell("ip link set lo up");
    Socket::open(Family::Route).unwrap()
}

/// A network namespace without a process.
pub struct Place(pub OwnedFd);

impl Place {
    pub fn new() -> Self {
        Self(namespace::new().unwrap())
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// A command in it, whose arguments are still to come.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd());
        command.arg(format!("--net={path}")).arg(program);
        command
    }

    /// What a script prints in it, of both kinds.
    pub fn shell(&self, script: &str) -> String {
        output(self.command("sh").args(["-c", script]))
    }
}

/// What a script prints on the machine, of both kinds.
pub fn shell(script: &str) -> String {
    output(Command::new("sh").args(["-c", script]))
}

pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// The bridge of a network 10.N.0.0/24 and fd00:N::/64.
pub fn bridge(number: u8) -> Value {
    json!({
        "name": format!("kbr{number}"), "mac": format!("02:00:00:00:00:{number:02x}"), "mtu": 1400,
        "addresses": [format!("10.{number}.0.1/24"), format!("fd00:{number}::1/64")],
        "subnets": [format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")],
        "masquerade": true, "communication": true,
    })
}

/// Interface eth0 of a container with the given number of a network.
pub fn interface(bridge: &Value, number: u8) -> Value {
    let name = bridge["name"].as_str().unwrap();
    let network: u8 = name.trim_start_matches("kbr").parse().unwrap();
    json!({
        "driver": "bridge", "bridge": bridge, "peer": format!("v{network}x{number}"),
        "name": "eth0", "mac": format!("02:00:00:01:{network:02x}:{number:02x}"), "mtu": 1400,
        "addresses": [format!("10.{network}.0.{number}/24"), format!("fd00:{network}::{number}/64")],
        "gateways": [format!("10.{network}.0.1"), format!("fd00:{network}::1")],
    })
}

pub fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// A container with an interface at a bridge.
pub fn container(host: &mut Socket, bridge: &Value, number: u8) -> Place {
    let place = Place::new();
    let interface: Interface = parse(&interface(bridge, number));
    attach(host, place.fd(), &interface).unwrap();
    place
}

/// Whether the kernel is of this version, or a later one.
pub fn since(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}
