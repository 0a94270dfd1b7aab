//! SCMP_ACT_NOTIFY under the monitor: the profile itself names who answers.

use serde_json::json;

use crate::harness::*;
use crate::supervisor::supervise;

#[test]
fn a_profiles_supervisor_answers_the_containers_calls() {
    let world = World::new("mkdir /made || echo refused");
    let socket = world.path("supervisor");
    let supervisor = supervise(&socket, 1, Some(libc::EMULTIHOP));
    let world = world.set(
        "/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": socket,
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        }),
    );
    let (container, event, stdout, _) = world.run();
    let seen = supervisor.join().unwrap();
    assert_eq!((&event["exitCode"], stdout.as_str()), (&json!(0), "refused\n"));
    assert_eq!(seen.calls.len(), 1);
    assert_eq!(seen.states[0]["state"]["status"], "creating");
    assert_eq!(seen.states[0]["state"]["bundle"], container.world.path("run").to_str().unwrap());
}

#[test]
fn a_container_that_nobody_supervises_does_not_start() {
    let world = World::new("echo ran");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": world.path("supervisor"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let (_, event, stdout, _) = world.set("/seccomp", profile).run();
    assert_eq!((&event["event"], &event["exitCode"], stdout.as_str()), (&json!("failed"), &json!(125), ""));
    assert!(event["message"].as_str().unwrap().contains("cannot hand the seccomp listener"), "{event}");
}
