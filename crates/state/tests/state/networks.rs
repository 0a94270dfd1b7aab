//! Networks, who is on them, and what only one container can have.

use kapsel_state::{
    AddressWanted, Attributes, Database, Exit, NewEndpoint, NewNetwork, Port, PortWanted, Status,
};

use crate::common::{id, insert_image, json, new_container, open};

fn insert_network(database: &mut Database, prefix: &str, name: &str) -> String {
    let new = NewNetwork {
        id: id(prefix),
        name: name.into(),
        driver: "bridge".into(),
        interface: Some(format!("k-{name}")),
        labels: Attributes::new(),
        document: json("{}"),
    };
    database.insert_network(&new).unwrap();
    new.id
}

fn wanted(network_id: &str, exactly: Option<i64>) -> AddressWanted {
    AddressWanted { network_id: network_id.into(), subnet: 0, first: 1, last: 6, reserved: vec![1], exactly }
}

fn port(protocol: &str, address: &str, port: u16) -> Port {
    Port { protocol: protocol.into(), address: address.into(), port, container_port: 80 }
}

/// One port, as it is wanted.
fn wants(protocol: &str, address: &str, port: u16) -> PortWanted {
    let addresses = vec![address.to_owned()];
    PortWanted {
        protocol: protocol.into(),
        addresses,
        first: port,
        last: port,
        begin: port,
        container_port: 80,
    }
}

/// A database with a network and two containers on it.
fn two(root: &std::path::Path) -> (Database, String, String, String) {
    let mut database = open(root);
    let image = insert_image(&mut database, "aa", "sha256:l1", &["busybox"]);
    let network = insert_network(&mut database, "e1", "web");
    for (prefix, name) in [("c1", "one"), ("c2", "two")] {
        let mut new = new_container(&id(prefix), name, &image, Status::Created);
        new.networks = vec![(network.clone(), json(r#"{"aliases":["db"]}"#))];
        database.insert_container(&new).unwrap();
        database.starting(&new.id).unwrap();
    }
    (database, network, id("c1"), id("c2"))
}

#[test]
fn a_network_is_found_and_its_name_and_interface_are_its_own() {
    let root = tempfile::tempdir().unwrap();
    let (mut database, network, ..) = two(root.path());
    for reference in ["web", &network, "e1"] {
        assert_eq!(database.network(reference).unwrap().id, network, "{reference}");
    }
    let mut other = NewNetwork {
        id: id("e2"),
        name: "web".into(),
        driver: "bridge".into(),
        interface: Some("k-web".into()),
        labels: Attributes::new(),
        document: json("{}"),
    };
    assert_eq!(database.insert_network(&other).unwrap_err().code, "NETWORK_EXISTS");
    other.name = "other".into();
    assert_eq!(database.insert_network(&other).unwrap_err().code, "INTERFACE_IN_USE");
    other.interface = None;
    database.insert_network(&other).unwrap();
    assert_eq!(database.network("e").unwrap_err().code, "NETWORK_AMBIGUOUS");
    assert_eq!(database.network("nothing").unwrap_err().code, "NETWORK_NOT_FOUND");
    assert_eq!(database.networks().unwrap().len(), 2);
}

#[test]
fn a_network_that_containers_are_on_stays() {
    let root = tempfile::tempdir().unwrap();
    let (mut database, network, one, two) = two(root.path());
    let error = database.remove_network(&network).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("NETWORK_IN_USE", "network web is in use by one, two"));
    let again = NewEndpoint { network_id: network.clone(), container_id: one.clone(), document: json("{}") };
    assert_eq!(database.insert_endpoint(&again).unwrap_err().code, "ENDPOINT_EXISTS");
    database.remove_endpoint(&network, &one).unwrap();
    assert_eq!(database.remove_endpoint(&network, &one).unwrap_err().code, "ENDPOINT_NOT_FOUND");
    database.exited(&two, &Exit::default()).unwrap();
    assert_eq!(database.endpoints_of_network(&network).unwrap().len(), 1, "it will be on it again");
    database.remove_container(&two).unwrap();
    database.remove_network(&network).unwrap();
    assert_eq!(database.remove_network(&network).unwrap_err().code, "NETWORK_NOT_FOUND");
}

#[test]
fn a_container_of_an_unknown_network_is_not_made() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let image = insert_image(&mut database, "aa", "sha256:l1", &["busybox"]);
    let mut new = new_container(&id("c1"), "one", &image, Status::Created);
    new.networks = vec![(id("e9"), json("{}"))];
    assert_eq!(database.insert_container(&new).unwrap_err().code, "NETWORK_NOT_FOUND");
    assert!(database.containers(&[]).unwrap().is_empty());
}

#[test]
fn no_address_is_given_twice_and_one_given_back_rests_longest() {
    let root = tempfile::tempdir().unwrap();
    let (mut database, network, one, two) = two(root.path());
    let any = [wanted(&network, None)];
    assert_eq!(database.lease(&one, &any, &[]).unwrap().addresses, [2]);
    assert_eq!(database.lease(&two, &any, &[]).unwrap().addresses, [3]);
    assert_eq!(database.endpoints_of_container(&two).unwrap()[0].leases.get(), r#"{"0":3}"#);
    let error = database.lease(&two, &[wanted(&network, Some(2))], &[]).unwrap_err();
    assert_eq!(error.message, "the address is in use by container one");
    database.exited(&one, &Exit::default()).unwrap();
    assert_eq!(database.endpoints_of_container(&one).unwrap()[0].leases.get(), "{}");
    database.starting(&one).unwrap();
    assert_eq!(database.lease(&one, &any, &[]).unwrap().addresses, [4], "2 was given back a moment ago");
    let rest: Vec<_> = std::iter::repeat_n(wanted(&network, None), 4).collect();
    let error = database.lease(&two, &rest, &[]).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("NETWORK_FULL", "no address of network web is free"));
    assert_eq!(
        database.lease(&two, &rest[..3], &[]).unwrap().addresses,
        [5, 6, 2],
        "a lease that failed took nothing"
    );
}

#[test]
fn a_port_collides_with_its_like_of_every_address() {
    let root = tempfile::tempdir().unwrap();
    let (mut database, _, one, two) = two(root.path());
    database.lease(&one, &[], &[wants("tcp", "0.0.0.0", 80), wants("tcp", "127.0.0.1", 81)]).unwrap();
    for taken in [("0.0.0.0", 80), ("10.0.0.1", 80), ("0.0.0.0", 81), ("127.0.0.1", 81)] {
        let error = database.lease(&two, &[], &[wants("tcp", taken.0, taken.1)]).unwrap_err();
        assert_eq!(error.code, "PORT_IN_USE", "{taken:?}");
        assert!(error.message.ends_with("is already published by container one"), "{}", error.message);
    }
    assert_eq!(database.ports(&one).unwrap(), [port("tcp", "0.0.0.0", 80), port("tcp", "127.0.0.1", 81)]);
    let free = [wants("udp", "0.0.0.0", 80), wants("tcp", "::", 80), wants("tcp", "10.0.0.1", 81)];
    database.lease(&two, &[], &free).unwrap();
    assert_eq!(database.lease(&two, &[], &[wants("tcp", "::1", 80)]).unwrap_err().code, "PORT_IN_USE");
    database.release_ports(&one, &[port("tcp", "0.0.0.0", 80)]).unwrap();
    database.lease(&two, &[], &[wants("tcp", "10.0.0.1", 80)]).unwrap();
    database.exited(&two, &Exit::default()).unwrap();
    database.lease(&one, &[], &free).unwrap();
}

#[test]
fn of_a_range_the_first_free_port_is_given_and_of_every_address_the_same() {
    let root = tempfile::tempdir().unwrap();
    let (mut database, network, one, two) = two(root.path());
    database.lease(&one, &[], &[wants("tcp", "::", 91), wants("tcp", "0.0.0.0", 90)]).unwrap();
    let both = ["0.0.0.0", "::"].map(str::to_owned).to_vec();
    let range = PortWanted { first: 90, last: 92, begin: 91, addresses: both, ..wants("tcp", "", 0) };
    let leased = database.lease(&two, &[wanted(&network, None)], std::slice::from_ref(&range)).unwrap();
    assert_eq!(leased.ports, [port("tcp", "0.0.0.0", 92), port("tcp", "::", 92)]);
    let more = database.lease(&two, &[wanted(&network, None)], &[range]).unwrap_err();
    assert_eq!(more.code, "PORT_IN_USE");
    assert!(
        more.message.contains("0.0.0.0:90/tcp is already published by container one"),
        "{}",
        more.message
    );
    assert_eq!(
        database.lease(&two, &[wanted(&network, None)], &[]).unwrap().addresses,
        [3],
        "it took nothing"
    );
    let behind = PortWanted { first: 93, last: 95, begin: 95, ..wants("tcp", "::", 0) };
    for number in [95, 93, 94] {
        assert_eq!(database.lease(&two, &[], std::slice::from_ref(&behind)).unwrap().ports[0].port, number);
    }
}
