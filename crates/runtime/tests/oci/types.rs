//! A document in which one member is of another type than the specification says.

use serde_json::{Value, json};

use crate::harness::*;

/// The JSON pointers of everything in a value.
fn pointers(value: &Value, above: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.replace('/', "~1"), field)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in below {
        let pointer = format!("{above}/{name}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}

#[test]
fn a_member_of_another_type_is_one_error_line_and_nothing_is_left() {
    let mut world = World::new("touch /tmp/ran");
    // The harness's own document has no lists of these.
    world.config["hooks"] =
        json!({"poststop": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}]});
    world.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]);
    world.config["process"]["user"]["additionalGids"] = json!([1]);
    world.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "0"});
    world.config["linux"]["devices"] =
        json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}]);
    world.config["linux"]["resources"] =
        json!({"pids": {"limit": 50}, "devices": [{"allow": false, "access": "rwm"}]});
    world.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
    let right = world.config.clone();
    let mut found = Vec::new();
    pointers(&right, "", &mut found);
    assert!(found.len() > 80, "{}", found.len());
    for pointer in found {
        world.config = right.clone();
        let member = world.config.pointer_mut(&pointer).unwrap();
        *member = if member.is_object() { json!("word") } else { json!({"member": true}) };
        let said = world.call(&["run", "c"]);
        assert_eq!((said.status, said.stderr.lines().count()), (1, 1), "{pointer}: {said:?}");
        assert!(!world.inside("tmp/ran").exists(), "{pointer}");
        assert_eq!(world.remains(), [""; 0], "{pointer}");
    }
    world.config = right;
    assert_eq!(world.call(&["run", "c"]).status, 0);
    assert!(world.inside("tmp/ran").exists());
}
