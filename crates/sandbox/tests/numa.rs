//! The memory policy (set_mempolicy(2)) that the program starts with.

mod common;

use common::{Sandbox, process};
use serde_json::{Value, json};

fn with(policy: Value) -> Sandbox {
    Sandbox::new("cat /proc/self/numa_maps").config(|config| config["linux"]["memoryPolicy"] = policy)
}

#[test]
fn memory_lies_where_the_policy_says() {
    for (policy, words) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), " bind:0 "),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), " bind=static:0 "),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}), " interleave:0 "),
        (json!({"mode": "MPOL_LOCAL"}), " local "),
    ] {
        let out = with(policy).output();
        assert!(out.lines().all(|line| format!("{line} ").contains(words)), "{words}: {out}");
    }
}

#[test]
fn a_policy_that_the_kernel_refuses_is_an_error() {
    let both =
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]});
    for (policy, words) in [(json!({"mode": "MPOL_BIND", "nodes": "1000"}), "1000"), (both, "MPOL_BIND")] {
        let refusal = with(policy).refusal();
        assert!(refusal.starts_with("LIMIT_FAILED") && refusal.contains(words), "{refusal}");
    }
}

#[test]
fn what_joins_a_container_has_its_policy_and_personality() {
    let out = with(json!({"mode": "MPOL_BIND", "nodes": "0"}))
        .config(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}))
        .with(|document| {
            document["config"]["process"]["args"] = json!(["sleep", "30"]);
            document["exec"] = json!([{"process": process("uname -m; head -n1 /proc/self/numa_maps")}]);
        })
        .output();
    assert!(!out.starts_with(std::env::consts::ARCH) && out.contains(" bind:0 "), "{out}");
}
