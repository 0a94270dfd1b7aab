//! kill -9 while a container is being connected.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::machines::connect_to;
use common::{Place, bridge, machine};
use kapsel_network::nftables::filter::Filter;
use serde_json::json;

/// Names the namespace for [`connects`], which is then not a test but the victim.
const NAMESPACE: &str = "KAPSEL_TEST_NAMESPACE";

/// This program again, connecting a container of the namespace.
fn start(place: &Place) -> Child {
    let path = format!("/proc/{}/fd/{}", std::process::id(), place.0.as_raw_fd());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "connects"]).env(NAMESPACE, path);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn connects() {
    let Some(path) = std::env::var_os(NAMESPACE) else { return };
    let place = Place(fs::File::open(path).unwrap().into());
    let port = json!([{"protocol": "tcp", "hostPort": 80, "address": "10.7.0.2", "containerPort": 80}]);
    connect_to(&place, &bridge(7), 2, port).0.unwrap();
}

#[test]
fn whenever_it_is_killed_its_container_takes_everything_along() {
    let _host = machine();
    let (mut killed, mut ended) = (0, 0);
    for round in 0..60 {
        let place = Place::new();
        let mut process = start(&place);
        std::thread::sleep(Duration::from_micros(round * 200));
        process.kill().unwrap();
        let status = process.wait().unwrap();
        assert!(status.success() || status.signal() == Some(libc::SIGKILL), "{status}");
        *if status.success() { &mut ended } else { &mut killed } += 1;
        // What the engine does when it finds the container dead.
        drop(place);
        Filter::open("kapsel").unwrap().unpublish("c7-2", None).unwrap();
    }
    assert!(killed > 5, "killed {killed}, ended {ended}");
    let place = Place::new();
    assert!(start(&place).wait().unwrap().success(), "name, address and port are free");
    drop(place);
    let links = || {
        let names = fs::read_dir("/proc/thread-self/net/dev_snmp6").unwrap().flatten();
        names.map(|entry| entry.file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    // The kernel removes links of dead namespaces in its own time.
    let begun = Instant::now();
    while links().len() > 2 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(links(), BTreeSet::from(["kbr7".to_owned(), "lo".to_owned()]));
}
