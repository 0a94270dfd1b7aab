//! `network`, as the engine runs it, in a network namespace of the test's own.

use std::process::{Command, Output};

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

fn request(action: &str, more: Value) -> String {
    let mut document = json!({"runRoot": "/nowhere", "action": action, "table": "kapsel"});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string()
}

fn bridge() -> Value {
    json!({
        "name": "kbr7", "mac": "02:00:00:00:00:07", "addresses": ["10.7.0.1/24"],
        "subnets": ["10.7.0.0/24"], "masquerade": true, "communication": true,
    })
}

fn port(container: &str, number: u16) -> Value {
    json!({"protocol": "tcp", "hostPort": number, "address": "10.7.0.2", "containerPort": 80, "container": container})
}

#[test]
fn the_packet_filter_is_repaired_and_read_by_documents_alone() {
    let repair = request("repair", json!({"bridges": [bridge()], "ports": [port("abc", 80)]}));
    let documents = [
        repair.clone(),
        request("ports", json!({})),
        repair,
        request("doctor", json!({"bridges": ["kbr7"]})),
        request("remove", json!({"bridge": "kbr7"})),
        request("remove", json!({"bridge": "kbr7"})),
    ];
    let script: Vec<_> = documents.iter().map(|document| format!("network '{document}'")).collect();
    let answers = answers(&run(&script.join("\n")));
    assert_eq!(answers[..3], [json!({"made": true}), json!([port("abc", 80)]), json!({"made": false})]);
    assert!(answers[3].is_object(), "{}", answers[3]);
    assert_eq!(answers[4..], [json!({}), json!({})]);
}

#[test]
fn what_is_wrong_is_one_line() {
    for (document, code) in [
        ("{".into(), "NETWORK_INVALID"),
        (json!({"runRoot": "/nowhere", "action": "dance"}).to_string(), "NETWORK_INVALID"),
        (json!({"runRoot": "/nowhere", "action": "ports", "table": "a b"}).to_string(), "TABLE_INVALID"),
        (request("attach", json!({})), "NETWORK_INVALID"),
    ] {
        let output = run(&format!("network '{document}'"));
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["code"], code, "{error}");
    }
    let by_hand = Command::new(env!("CARGO_BIN_EXE_kapsel-runtime")).arg("network").output().unwrap();
    let error: Value = serde_json::from_slice(&by_hand.stderr).unwrap();
    assert_eq!(error["code"], "USAGE");
}
