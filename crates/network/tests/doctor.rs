//! What others' firewalls look like to us.

mod common;

use std::collections::BTreeSet;

use common::{machine, shell};
use kapsel_network::{
    doctor::{Chain, Table, doctor},
    egress::Guard,
    nftables::filter::Filter,
};

#[test]
fn others_are_recognised_and_what_they_drop_is_told() {
    let _socket = machine();
    let findings = doctor("kapsel", &[]).unwrap();
    assert_eq!((findings.table, findings.others.len(), findings.dropping.len()), ("absent", 0, 0));
    assert!(findings.managers.is_empty() && !findings.ip_forward);
    Filter::open("kapsel").unwrap().ensure().unwrap();
    let _guard = Guard::new("kapsel-1", &[]).unwrap();
    let said = shell(
        "sysctl -qw net.ipv4.ip_forward=1
        nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; chain DOCKER-USER { }; }'
        nft 'table inet firewalld { chain input { type filter hook input priority 0; policy drop; }; }'
        nft 'table bridge mine { chain forward { type filter hook forward priority 0; policy drop; }; }'",
    );
    assert_eq!(said, "");
    let findings = doctor("kapsel", &[]).unwrap();
    assert_eq!(findings.table, "whole");
    assert_eq!(findings.managers, BTreeSet::from(["docker", "firewalld"]));
    let chain = Chain { family: "ip", table: "filter".into(), name: "FORWARD".into() };
    assert_eq!(findings.dropping, [chain]);
    let table = |family, name: &str| Table { family, name: name.into() };
    for other in [table("ip", "filter"), table("inet", "firewalld"), table("bridge", "mine")] {
        assert!(findings.others.contains(&other), "{other:?}");
    }
    assert_eq!(findings.others.len(), 3);
    assert!(findings.ip_forward);
    let dropping = |names: &[&str]| {
        doctor("kapsel", &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .unwrap()
            .dropping
            .len()
    };
    assert_eq!(dropping(&["kapsel0", "kbr-1"]), 1);
    shell("nft add rule ip filter DOCKER-USER iifname kapsel0 accept");
    assert_eq!((dropping(&["kapsel0"]), dropping(&["kapsel0", "kbr-1"])), (0, 1));
    shell("nft add rule ip filter DOCKER-USER iifname 'kbr-*' accept");
    assert_eq!(dropping(&["kapsel0", "kbr-1"]), 0);
    shell("nft flush table inet kapsel");
    assert_eq!(doctor("kapsel", &[]).unwrap().table, "changed");
}

#[test]
fn whoever_keeps_chains_or_tables_of_known_names_is_recognised() {
    let _socket = machine();
    for (manager, ruleset) in [
        ("podman", "table ip filter { chain NETAVARK_FORWARD { }; }"),
        ("podman", "table inet netavark { }"),
        ("ufw", "table ip filter { chain ufw-before-forward { }; }"),
        ("kubernetes", "table ip nat { chain KUBE-SERVICES { }; }"),
        ("libvirt", "table ip filter { chain LIBVIRT_FWX { }; }"),
        ("lxd", "table inet lxd { }"),
        ("docker", "table ip docker-bridges { }"),
    ] {
        assert_eq!(shell(&format!("nft '{ruleset}'")), "");
        assert_eq!(doctor("kapsel", &[]).unwrap().managers, BTreeSet::from([manager]), "{ruleset}");
        shell("nft flush ruleset");
    }
}
