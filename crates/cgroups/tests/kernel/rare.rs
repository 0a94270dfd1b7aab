//! Limits of controllers that not every machine has.

use crate::support::{create, directory, has, parent, read, resources};
use kapsel_cgroups::{Cgroup, Error};

#[test]
fn huge_pages_are_limited_and_accounted_wherever_the_controller_is() {
    let asked = resources(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#);
    let cgroup = match Cgroup::create(&format!("{}/a", parent()), &asked) {
        Err(Error::MissingController { .. } | Error::Unsupported { .. }) => return,
        other => other.unwrap(),
    };
    let read = |file: &str| {
        let texts =
            cgroup.directories().filter_map(|(_, path)| std::fs::read_to_string(path.join(file)).ok());
        texts.map(|text| text.trim().to_owned()).next()
    };
    let limits = ["max", "limit_in_bytes"].map(|file| read(&format!("hugetlb.2MB.{file}")));
    let reservations = ["max", "limit_in_bytes"].map(|file| read(&format!("hugetlb.2MB.rsvd.{file}")));
    let metrics = cgroup.metrics().unwrap();
    cgroup.remove().unwrap();
    assert_eq!(limits.into_iter().flatten().collect::<Vec<_>>(), ["4194304"]);
    assert!(reservations.into_iter().flatten().all(|limit| limit == "4194304"));
    assert_eq!(metrics.hugetlb["2MB"].failcnt, 0);
}

#[test]
fn packets_get_a_class_and_interfaces_a_priority() {
    if !has("net_cls") || !has("net_prio") {
        return;
    }
    let cgroup = create(&resources(
        r#"{"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]}}"#,
    ));
    assert_eq!(read(&cgroup, "net_cls", "net_cls.classid"), "1048577");
    let map = std::fs::read_to_string(directory(&cgroup, "net_prio").join("net_prio.ifpriomap")).unwrap();
    assert!(map.lines().any(|line| line == "lo 5"), "{map}");
    cgroup.remove().unwrap();
}
