//! Further processes in a running container.

mod common;

use std::{fs, path::Path};

use common::{Sandbox, field, process};
use serde_json::{Value, json};

/// A container that sleeps, and one process more in it.
fn exec(process: Value) -> Sandbox {
    Sandbox::new("").with(|document| {
        document["config"]["process"]["args"] = json!(["sleep", "100"]);
        document["exec"] = json!([{"process": process}]);
    })
}

#[test]
fn it_is_in_all_the_containers_namespaces() {
    let script = "for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n /proc/1/ns/$n; done; hostname; \
        cat /proc/1/cmdline | tr '\\0' ' '";
    let script = script.replace(
        "readlink /proc/self/ns/$n /proc/1/ns/$n",
        "readlink /proc/self/ns/$n; readlink /proc/1/ns/$n",
    );
    let sandbox = exec(process(&script)).config(|config| {
        // To look at PID 1 from a process with other capabilities.
        config["process"]["capabilities"] = json!(null);
    });
    let out = sandbox.output();
    let lines: Vec<&str> = out.lines().collect();
    for pair in lines[..12].chunks(2) {
        assert_eq!(pair[0], pair[1]);
        let host = fs::read_link(format!("/proc/self/ns/{}", pair[0].split(':').next().unwrap())).unwrap();
        assert_ne!(Path::new(pair[0]), host);
    }
    assert!(out.ends_with("sandbox\nsleep 100"), "{out}");
}

#[test]
fn it_gets_no_inheritable_capabilities() {
    // CVE-2022-29162, crun CVE-2022-27650.
    let out = exec(process("grep Cap /proc/self/status")).output();
    assert_eq!(field(&out, "CapInh"), "0000000000000000");
    assert_eq!(field(&out, "CapAmb"), "0000000000000000");
    assert_eq!(field(&out, "CapEff"), "00000000a80425fb");
    assert_eq!(field(&out, "CapBnd"), "00000000a80425fb");
}

#[test]
fn it_has_its_own_user_directory_and_environment() {
    let mut process = process("id -u; pwd; echo $WORD $HOME");
    process["cwd"] = json!("/tmp");
    process["env"] = json!(["PATH=/bin", "WORD=here"]);
    let sandbox = exec(process).with(|document| document["exec"][0]["user"] = json!("ann"));
    assert_eq!(sandbox.output(), "1000\n/tmp\nhere /home/ann");
}

#[test]
fn its_status_and_errors_are_its_own() {
    assert_eq!(exec(process("exit 9")).run().status, 9);
    let mut missing = process("");
    missing["args"] = json!(["nosuch"]);
    let outcome = exec(missing).run();
    assert_eq!(outcome.status, 127, "{outcome:?}");
}

#[test]
fn it_has_only_its_streams_and_no_way_to_the_host() {
    let out = exec(process("ls /proc/self/fd; ls -d /proc/self/cwd/..; readlink /proc/self/root")).output();
    assert_eq!(out, "0\n1\n2\n3\n/proc/self/cwd/..\n/");
}

#[test]
fn a_working_directory_through_a_magic_link_fails() {
    // CVE-2024-21626, the exec side: /proc/1/root and /proc/self/fd/N are magic links.
    let failures = (3..=20).map(|number| format!("/proc/self/fd/{number}")).collect::<Vec<_>>();
    for cwd in failures.iter().map(String::as_str).chain(["/proc/1/root", "/proc/self/cwd"]) {
        let mut process = process("pwd");
        process["cwd"] = json!(cwd);
        let outcome = exec(process).run();
        assert_eq!((outcome.status, outcome.out.as_str()), (125, ""), "{cwd}: {outcome:?}");
    }
}

#[test]
fn it_joins_the_cgroup_and_the_oom_score() {
    let name = format!("/kapsel-test-{}-exec", std::process::id());
    let mut process = process("cat /proc/self/cgroup /proc/self/oom_score_adj");
    process["oomScoreAdj"] = json!(77);
    let out = exec(process).with(|document| document["cgroup"] = json!(name)).output();
    assert!(out.lines().filter(|line| line.contains(':')).all(|line| line.ends_with(":/")), "{out}");
    assert!(out.ends_with("77"), "{out}");
}

/// The processors of the machine of which one can be left out.
fn processors() -> Option<String> {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    Some(field(&own, "Cpus_allowed_list").to_owned()).filter(|list| list.starts_with("0-"))
}

#[test]
fn its_processors_are_those_asked_for_and_the_first_program_keeps_the_callers() {
    let Some(all) = processors() else { return };
    let script = "grep Cpus_allowed_list /proc/self/status; grep Cpus_allowed_list /proc/1/status";
    for (asked, program) in [
        (json!({"initial": "0", "final": "1"}), "1"),
        (json!({"initial": "1"}), &all),
        (json!({"final": "0"}), "0"),
    ] {
        let mut process = process(script);
        process["execCPUAffinity"] = asked.clone();
        let sandbox = exec(process).config(|config| {
            config["process"]["execCPUAffinity"] = json!({"final": "1"});
        });
        let lists = [program, &all].map(|list| format!("Cpus_allowed_list:\t{list}"));
        assert_eq!(sandbox.output(), lists.join("\n"), "{asked}");
    }
}

#[test]
fn a_processor_that_is_not_there_is_an_error() {
    for asked in [json!({"initial": "1000"}), json!({"final": "1000"})] {
        let mut process = process("");
        process["execCPUAffinity"] = asked;
        let outcome = exec(process).run();
        assert!(outcome.err.contains("processors 1000"), "{outcome:?}");
    }
}

#[test]
fn it_enters_a_user_namespace_too() {
    let sandbox =
        exec(process("id -u; cat /proc/self/uid_map; touch /made; stat -c %u /made")).config(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        });
    let out = sandbox.output();
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["0", "0", "100000", "65536", "0"]);
}

#[test]
fn nobody_inside_can_look_into_it_before_it_is_the_program() {
    // CVE-2016-9962: PID 1 tries to reach the host through every process that appears, as fast as it can.
    let watcher = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; \
        [ -e $p/root/boot ] && echo REACHED; readlink $p/exe; done; done 2>/dev/null";
    let runs: Vec<Value> = (0..40).map(|_| json!({"process": process("true")})).collect();
    let out = Sandbox::new(watcher).with(|document| document["exec"] = json!(runs)).output();
    for line in out.lines() {
        assert_eq!(line, "/bin/busybox", "something of the host was seen");
    }
}
