//! What callers parse: errors, logs, lists, versions.

use std::fs;

use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn an_error_is_one_line_on_stderr_in_the_format_asked_for() {
    let world = World::sleeper();
    let text = world.fails(1, &["state", "none"]);
    assert!(
        text.starts_with("time=\"") && text.contains(" level=error msg=\"container none does not exist\""),
        "{text}"
    );
    let json = world.fails(1, &["--log-format", "json", "state", "none"]);
    let line: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&json!("error"), &json!("container none does not exist")));
    assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), ["level", "msg", "time"]);
}

/// RFC 3339 as Go reads it: the shim gives up on a log whose time it cannot parse.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (date, rest) = shape.split_at(19.min(shape.len()));
    let fraction = rest.trim_end_matches('Z').trim_start_matches('.');
    date == "0000-00-00T00:00:00" && rest.ends_with('Z') && fraction.chars().all(|c| c == '0')
}

#[test]
fn a_log_file_is_appended_to_and_a_person_still_sees_the_error() {
    let world = World::sleeper();
    let log = world.text("log");
    for _ in 0..2 {
        let seen = world.fails(1, &["--log", &log, "--log-format=json", "state", "none"]);
        assert_eq!(seen, "container none does not exist\n");
    }
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 2);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "error");
        assert!(is_time(line["time"].as_str().unwrap()), "{line}");
    }
    world.ok(&["--log", &log, "list"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), text, "what succeeds says nothing");
    world.ok(&["--debug", "--log", &log, "list"]);
    assert!(fs::read_to_string(&log).unwrap().contains("level=debug"));
    assert!(world.fails(1, &["--log", "/none/log", "list"]).contains("/none/log"));
    assert!(world.fails(1, &["--log-format", "xml", "list"]).contains("neither text nor json"));
}

#[test]
fn a_message_with_lines_and_quotes_stays_one_line() {
    let world = World::sleeper().set("/process/args", json!(["a\"b\nc"]));
    let complaint = world.fails(1, &["run", "c"]);
    assert!(complaint.contains(r#"a\\\"b\\nc"#) || complaint.contains(r#"a\\\"b\nc"#), "{complaint}");
}

#[test]
fn lists_have_runcs_columns_and_members() {
    let world = World::sleeper();
    assert_eq!(world.ok(&["list", "--format", "json"]), "null\n");
    assert_eq!(world.ok(&["list"]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    world.ok(&["run", "-d", "c"]);
    let state = world.state();
    assert!(is_time(state["created"].as_str().unwrap()), "{state}");
    assert_eq!(serde_json::from_str::<Value>(&world.ok(&["list", "-f", "json"])).unwrap(), json!([state]));
    assert_eq!(world.ok(&["list", "-q"]), "c\n");
    let table = world.ok(&["list"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    let expected = ["id", "pid", "status", "bundle", "created", "owner"]
        .map(|name| state[name].to_string().replace('"', ""));
    assert_eq!(row, expected);
    assert!(world.fails(1, &["list", "--format", "xml"]).contains("neither table nor json"));
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn processes_are_listed_as_numbers_and_as_ps_shows_them() {
    let world = World::sleeper().started();
    let pid = world.pid();
    let pids: Vec<i32> = serde_json::from_str(&world.ok(&["ps", "--format", "json", "c"])).unwrap();
    assert!(pids.contains(&pid));
    let table = world.ok(&["ps", "c"]);
    assert!(table.lines().next().unwrap().contains("PID") && table.contains(&pid.to_string()), "{table}");
    let table = world.ok(&["ps", "c", "-o", "pid,comm"]);
    assert!(
        table
            .lines()
            .skip(1)
            .all(|line| pids.contains(&line.split_whitespace().next().unwrap().parse().unwrap()))
    );
    assert!(world.fails(1, &["ps", "c", "-o", "comm"]).contains("PID"));
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn the_version_is_three_lines() {
    let world = World::sleeper();
    for flag in ["--version", "-v"] {
        let text = world.ok(&[flag]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("kapsel-runtime version ") && lines[1].starts_with("commit: "),
            "{text}"
        );
        assert_eq!(lines[2..], ["spec: 1.3.0"]);
    }
    assert!(world.ok(&["--help"]).contains("checkpoint"));
    assert!(world.ok(&["run", "--help"]).contains("--detach"));
}

#[test]
fn the_features_are_a_document_of_the_specification() {
    let features: Value = serde_json::from_str(&World::sleeper().ok(&["features"])).unwrap();
    assert_eq!((&features["ociVersionMin"], &features["ociVersionMax"]), (&json!("1.0.0"), &json!("1.3.0")));
    let has = |pointer: &str, word: &str| {
        features.pointer(pointer).unwrap().as_array().unwrap().contains(&json!(word))
    };
    assert!(has("/hooks", "poststop") && has("/mountOptions", "rro") && has("/linux/namespaces", "time"));
    assert!(has("/linux/capabilities", "CAP_SYS_ADMIN") && has("/linux/seccomp/actions", "SCMP_ACT_NOTIFY"));
    for feature in ["seccomp/enabled", "mountExtensions/idmap/enabled", "cgroup/v1", "cgroup/v2"] {
        assert_eq!(features.pointer(&format!("/linux/{feature}")), Some(&json!(true)), "{feature}");
    }
}

#[test]
fn the_document_to_begin_with_can_be_run() {
    let world = World::new("");
    fs::create_dir(world.path("new")).unwrap();
    world.ok(&["spec", "--bundle", &world.text("new")]);
    assert!(world.fails(1, &["spec", "--bundle", &world.text("new")]).contains("exists"));
    let config: Value = serde_json::from_slice(&fs::read(world.path("new/config.json")).unwrap()).unwrap();
    let mut world = world;
    let cgroup = world.cgroup.clone();
    let mark = world.config["process"]["env"].clone();
    world.config = config;
    let world = world
        .set("/linux/cgroupsPath", cgroup)
        .set("/process/terminal", false)
        .set("/process/env", mark)
        .set("/process/args", json!(["sh", "-c", "exit 6"]));
    let said = world.call(&["run", "c"]);
    assert_eq!(said.status, 6, "{}", said.stderr);
    world.nothing_remains();
}

#[test]
fn what_cannot_be_understood_is_refused_before_anything_is_done() {
    let world = World::sleeper();
    for arguments in [
        &["run"][..],
        &["run", "a/b"],
        &["run", ".."],
        &["run", "c", "d"],
        &["run", "--unknown", "c"],
        &["run", "--bundle"],
        &["run", "--detach=perhaps", "c"],
        &["run", "--preserve-fds", "x", "c"],
        &["--unknown", "list"],
        &["unknown"],
    ] {
        world.fails(1, arguments);
    }
    world.nothing_remains();
}

#[test]
fn a_bundle_may_be_anywhere_and_the_root_relative() {
    let world = World::new("exit 5");
    let mut command = world.command(&["run", "--bundle", "bundle", "c"]);
    command.current_dir(world.directory.path());
    assert_eq!(Said::by(&mut command).status, 5);
    assert!(world.fails(1, &["run", "-b", "/none", "c"]).contains("/none"));
    let mut command = world.command(&["--root", "relative", "create", "--bundle", "bundle", "c"]);
    command.current_dir(world.directory.path());
    assert_eq!(Said::by(&mut command).status, 0, "the last --root counts");
    assert!(world.path("relative/c/state.json").exists());
    world.ok(&["--root", &world.text("relative"), "delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn later_changes_of_the_bundle_are_none_of_the_containers() {
    let world = World::sleeper();
    world.ok(&["create", "c"]);
    let world = world.set("/process/args", json!(["none"])).set("/annotations", json!({}));
    assert_eq!(world.state()["annotations"]["org.example.word"], "yes");
    world.ok(&["start", "c"]);
    fs::remove_file(world.path("bundle/config.json")).unwrap();
    world.ok(&["exec", "c", "true"]);
    world.ok(&["delete", "-f", "c"]);
}
