//! Network devices that move into the container, from a network namespace of the test's own.

mod common;

use std::process::Command;

use common::{Outcome, Sandbox, outcome};
use serde_json::{Value, json};

/// A pair of devices, the first with addresses of three kinds; `after`: what is looked at when the container has ended.
fn run_with_pair(sandbox: &Sandbox, before: &str, after: &str) -> Outcome {
    let inner = sandbox.command();
    let words: Vec<_> = inner.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let script = format!(
        "ip link add first type veth peer name second && ip link set first address 02:00:00:00:00:07 mtu 1400 up
         ip link set second up
         ip addr add 10.7.0.1/24 brd + dev first && ip addr add 10.7.1.1/24 valid_lft 60 preferred_lft 60 dev first
         ip addr add fd00:7::1/64 nodad dev first
         {before}
         timeout {}; status=$?
         {after}
         exit $status",
        words.join(" ")
    );
    outcome(Command::new("unshare").args(["--net", "sh", "-c", &script]).output().unwrap())
}

const LOOK: &str = "ip -o link; ip -o addr";

fn with(script: &str, devices: Value) -> Sandbox {
    Sandbox::new(script).config(|config| config["linux"]["netDevices"] = devices)
}

#[test]
fn a_device_moves_with_its_addresses_under_the_name_it_is_given() {
    for (device, name) in
        [(json!({"name": "inside"}), "inside"), (json!({}), "first"), (json!({"name": "net%d"}), "net0")]
    {
        let outcome = run_with_pair(&with(LOOK, json!({"first": device})), "", "ip -o link show first 2>&1");
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let (links, addresses): (Vec<&str>, Vec<&str>) =
            outcome.out.lines().filter(|line| line.contains(name)).partition(|line| line.contains("mtu"));
        assert!(links[0].contains("mtu 1400") && links[0].contains(",UP"), "{outcome:?}");
        assert!(outcome.out.contains("02:00:00:00:00:07"), "{outcome:?}");
        let has = |address: &str| addresses.iter().any(|line| line.contains(address));
        assert!(has("10.7.0.1/24 brd 10.7.0.255 scope global"), "{outcome:?}");
        assert!(has("fd00:7::1/64 scope global"), "{outcome:?}");
        assert!(!has("10.7.1.1"), "an address for a minute is not for good: {outcome:?}");
        assert!(
            outcome.out.contains("Device \"first\" does not exist"),
            "it is gone from outside: {outcome:?}"
        );
    }
}

#[test]
fn a_container_is_reached_through_its_device() {
    let script = "ping -c1 -W5 10.7.0.2 > /dev/null && echo reached";
    let outcome =
        run_with_pair(&with(script, json!({"first": {}})), "ip addr add 10.7.0.2/24 dev second", "");
    assert_eq!(outcome.out, "reached\n", "{outcome:?}");
}

#[test]
fn a_parameter_of_the_device_is_set_where_it_went() {
    let sandbox = with("cat /proc/sys/net/ipv4/conf/inside/forwarding", json!({"first": {"name": "inside"}}))
        .config(|config| config["linux"]["sysctl"] = json!({"net.ipv4.conf.inside.forwarding": "1"}));
    assert_eq!(run_with_pair(&sandbox, "", "").out, "1\n");
}

#[test]
fn a_device_that_cannot_move_stays_as_it_was() {
    let look = "ip -o link show first; ip -o addr show first";
    let twice = json!({"first": {"name": "x"}, "second": {"name": "x"}});
    let outcome = run_with_pair(&with("true", twice), "", look);
    assert_eq!((outcome.status, outcome.err.lines().count()), (125, 1), "{outcome:?}");
    assert!(outcome.err.contains("has a network device x"), "{outcome:?}");
    assert!(outcome.out.contains(",UP") && outcome.out.contains("10.7.0.1/24"), "{outcome:?}");
}

#[test]
fn what_is_no_device_and_no_name_is_refused() {
    let long = "x".repeat(16);
    let mut sandbox = with("true", json!({}));
    for (device, words) in [
        (json!({}), "cannot find nosuch"),
        (json!({"name": "lo"}), "has a network device lo"),
        (json!({"name": "a/b"}), "a/b"),
        (json!({"name": "a%d%d"}), "a%d"),
        (json!({"name": long}), "no name"),
        (json!({"name": "a b"}), "no name"),
    ] {
        sandbox.document["config"]["linux"]["netDevices"] = json!({"nosuch": device});
        let refusal = sandbox.refusal();
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
}

#[test]
fn a_namespace_that_is_joined_may_have_a_device_of_that_name() {
    // A namespace held by a process of ours, in which the name is taken.
    let mut holder = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link add taken type veth peer name other; echo ready; exec sleep 600",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line)
        .unwrap();
    let join = |config: &mut Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "network", "path": format!("/proc/{}/ns/net", holder.id())}));
    };
    let look = "ip -o link show first";
    let clash = run_with_pair(&with("true", json!({"first": {"name": "taken"}})).config(join), "", look);
    let moved = run_with_pair(&with(LOOK, json!({"first": {"name": "net%d"}})).config(join), "", look);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(clash.err.contains("has a network device taken") && clash.out.contains(",UP"), "{clash:?}");
    assert!(moved.out.contains("net0") && moved.out.contains("taken"), "{moved:?}");
}

#[test]
fn the_hosts_own_namespace_is_no_place_to_move_to() {
    let refusal = with("true", json!({"lo": {}}))
        .config(|config| config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]))
        .refusal();
    assert!(refusal.contains("netDevices") && refusal.contains("network namespace"), "{refusal}");
}
