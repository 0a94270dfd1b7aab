//! `network`, as the engine runs it, in a network namespace of the test's own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A script in a network namespace of its own, with `network DOCUMENT` as a command.
fn run(script: &str) -> Output {
    let runtime = std::env::var("KAPSEL_RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_kapsel-runtime").to_owned());
    let script = format!("network() {{ printf '%s' \"$1\" | '{runtime}' network 3<&0; }}\n{script}");
    Command::new("unshare").args(["--net", "bash", "-c", &script]).output().unwrap()
}

fn answers(output: &Output) -> Vec<Value> {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn interface() -> Value {
    json!({
        "name": "eth0", "mac": "02:00:00:00:01:02", "addresses": ["10.7.0.2/24"], "gateways": ["10.7.0.1"],
        "driver": "bridge", "peer": "v1", "bridge": {
            "name": "kbr7", "mac": "02:00:00:00:00:07", "addresses": ["10.7.0.1/24"],
            "subnets": ["10.7.0.0/24"], "masquerade": true, "communication": true,
        },
    })
}

fn port(number: u16) -> Value {
    json!({"protocol": "tcp", "hostPort": number, "address": "10.7.0.2", "containerPort": 80})
}

#[test]
fn a_container_is_connected_by_documents_alone() {
    let base = |action: &str| json!({"runRoot": "/nowhere", "action": action, "table": "kapsel", "container": "abc"});
    let with = |action: &str, more: Value| {
        let mut document = base(action);
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document.to_string()
    };
    let space = "/proc/PID/ns/net";
    let attach =
        with("attach", json!({"namespace": space, "interfaces": [interface()], "ports": [port(80)]}));
    let detach = with("detach", json!({"namespace": space, "interfaces": ["eth0"], "ports": [port(80)]}));
    let mut published = port(80);
    published["container"] = "abc".into();
    let mut bridges = interface();
    let repair = with("repair", json!({"bridges": [bridges["bridge"].take()], "ports": [published]}));
    let documents = [
        attach,
        base("ports").to_string(),
        with("publish", json!({"ports": [port(81)]})),
        base("unpublish").to_string(),
        json!({"runRoot": "/nowhere", "action": "statistics", "namespace": space}).to_string(),
        repair.clone(),
        repair,
        detach,
        with("remove", json!({"bridge": "kbr7"})),
        base("ports").to_string(),
    ];
    let script: Vec<_> = documents.iter().map(|document| format!("network '{document}'")).collect();
    let script = script.join("\n").replace("PID", "'$pid'");
    let script = format!(
        "unshare --net sleep 60 & pid=$!\n\
         while [ $(readlink /proc/$pid/ns/net) = $(readlink /proc/$$/ns/net) ]; do sleep 0.01; done\n\
         {script}\nip link show kbr7 2> /dev/null\nkill $pid"
    );
    let answers = answers(&run(&script));
    assert_eq!(answers[0], json!({"made": true}));
    assert_eq!(answers[1], json!([published]));
    assert_eq!(answers[2], json!({"made": false}));
    assert_eq!(answers[3].as_array().unwrap().len(), 2);
    assert_eq!(answers[4][0]["name"], "eth0");
    assert_eq!(answers[5..=8], [json!({"made": true}), json!({"made": false}), json!({}), json!({})]);
    assert_eq!(answers[9..], [json!([])]);
}

#[test]
fn what_is_wrong_is_one_line() {
    let space = "/proc/self/ns/mnt";
    let taken = json!({"runRoot": "/nowhere", "action": "publish", "table": "kapsel", "container": "abc", "ports": [port(80)]});
    for (document, code) in [
        ("{".into(), "NETWORK_INVALID"),
        (json!({"runRoot": "/nowhere", "action": "dance"}).to_string(), "NETWORK_INVALID"),
        (json!({"runRoot": "/nowhere", "action": "ports", "table": "a b"}).to_string(), "TABLE_INVALID"),
        (
            json!({"runRoot": "/nowhere", "action": "statistics", "namespace": space}).to_string(),
            "NAMESPACE_INVALID",
        ),
        (
            json!({"runRoot": "/nowhere", "action": "statistics", "namespace": "/nowhere"}).to_string(),
            "NOT_FOUND",
        ),
        (taken.to_string(), "PORT_IN_USE"),
    ] {
        let first = if code == "PORT_IN_USE" {
            format!("network '{}' > /dev/null", document.replace("abc", "another"))
        } else {
            String::new()
        };
        let output = run(&format!("{first}\nnetwork '{document}'"));
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["code"], code, "{error}");
    }
    let by_hand = Command::new(env!("CARGO_BIN_EXE_kapsel-runtime")).arg("network").output().unwrap();
    let error: Value = serde_json::from_slice(&by_hand.stderr).unwrap();
    assert_eq!(error["code"], "USAGE");
}

/// A network namespace whose only process sleeps.
struct Container(Child);

impl Container {
    fn start() -> Self {
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let container = Self(child);
        while fs::read_link(container.namespace()).is_ok_and(|space| space == own) {
            std::thread::sleep(Duration::from_millis(1));
        }
        container
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn whenever_it_is_killed_its_container_takes_everything_along() {
    // SAFETY: an integer; the thread is the test's own.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
    let directory = tempfile::tempdir().unwrap();
    let runtime = std::env::var("KAPSEL_RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_kapsel-runtime").to_owned());
    let start = |document: &Value| {
        let path = directory.path().join("document");
        fs::write(&path, document.to_string()).unwrap();
        let script = format!("exec '{runtime}' network 3< '{}'", path.display());
        Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let attach = |container: &Container, round: u64| {
        let mut interface = interface();
        interface["peer"] = json!(format!("v{round}"));
        json!({
            "runRoot": "/nowhere", "action": "attach", "table": "kapsel", "container": "abc", "namespace": container.namespace(),
            "interfaces": [interface], "ports": [port(80)],
        })
    };
    let (mut killed, mut ended) = (0, 0);
    for round in 0..60 {
        let container = Container::start();
        let mut process = start(&attach(&container, round));
        std::thread::sleep(Duration::from_micros(round * 150));
        process.kill().unwrap();
        let status = process.wait().unwrap();
        assert!(status.success() || status.signal() == Some(libc::SIGKILL), "{status}");
        *if status.success() { &mut ended } else { &mut killed } += 1;
        // What the engine does when it finds the container dead.
        let unpublish =
            json!({"runRoot": "/nowhere", "action": "unpublish", "table": "kapsel", "container": "abc"});
        drop(container);
        assert!(start(&unpublish).wait().unwrap().success());
    }
    assert!(killed > 5, "killed {killed}, ended {ended}");
    let container = Container::start();
    assert!(start(&attach(&container, 60)).wait().unwrap().success(), "name, address and port are free");
    drop(container);
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
