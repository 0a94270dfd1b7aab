//! What is not as usual: clocks of its own, inherited descriptors, a root without pivot_root.

mod common;

use std::process::Stdio;

use common::{Sandbox, outcome};
use serde_json::json;

fn with_time(sandbox: Sandbox, offsets: serde_json::Value) -> Sandbox {
    sandbox.config(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        config["linux"]["timeOffsets"] = offsets;
    })
}

#[test]
fn a_time_namespace_has_its_offsets() {
    let sandbox = with_time(
        Sandbox::new("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets"),
        json!({"monotonic": {"secs": 172_800, "nanosecs": 5}, "boottime": {"secs": 604_800}}),
    );
    let out = sandbox.output();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].parse::<u64>().unwrap() >= 604_800, "{out}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["monotonic", "172800", "5"]);
    // The one who made it stays in its own, and so does what it starts next.
    let exec = sandbox.with(|document| {
        document["exec"] = json!([{"process": common::process("cut -d. -f1 /proc/uptime"), "user": ""}]);
        document["config"]["process"]["args"] = json!(["sleep", "30"]);
    });
    assert!(exec.output().parse::<u64>().unwrap() >= 604_800);
}

#[test]
fn a_clock_that_is_none_and_offsets_without_a_namespace_are_refused() {
    let refusal = with_time(Sandbox::new(""), json!({"realtime": {"secs": 1}})).refusal();
    assert!(refusal.contains("realtime"), "{refusal}");
    let offsets = json!({"monotonic": {"secs": 1}});
    let refusal = Sandbox::new("").config(|config| config["linux"]["timeOffsets"] = offsets).refusal();
    assert!(refusal.contains("timeOffsets"), "{refusal}");
}

#[test]
fn descriptors_are_inherited_as_far_as_asked_and_no_further() {
    let sandbox = Sandbox::new("read a <&3; read b <&4; echo $a $b; ls /proc/self/fd | tr '\n' ' '")
        .with(|document| document["preserveFds"] = json!(2));
    let monitor = sandbox.command();
    let mut shell = std::process::Command::new("bash");
    let line = "exec 3< <(echo three) 4< <(echo four) 5< <(echo five); exec \"$@\"";
    shell.args(["-c", line, "bash"]).arg(monitor.get_program()).args(monitor.get_args());
    let outcome = outcome(shell.stdin(Stdio::null()).output().unwrap());
    // 5 is the directory that ls reads.
    assert_eq!(outcome.out.trim(), "three four\n0 1 2 3 4 5", "{outcome:?}");
}

#[test]
fn without_pivot_root_the_hosts_mounts_are_gone_all_the_same() {
    let sandbox = Sandbox::new("ls /; wc -l < /proc/mounts; cat /etc/group | head -1");
    let usual = sandbox.output();
    assert!(sandbox.run_without_pivot().err.contains("pivot_root"));
    let sandbox = sandbox.with(|document| document["noPivot"] = json!(true));
    let outcome = sandbox.run_without_pivot();
    assert_eq!((outcome.status, outcome.out.trim_end()), (0, &*usual), "{outcome:?}");
}
