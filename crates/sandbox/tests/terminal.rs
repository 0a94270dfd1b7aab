//! The container's terminal.

mod common;

use common::Sandbox;
use serde_json::json;

fn with_terminal(script: &str) -> Sandbox {
    Sandbox::new(script).with(|document| document["terminal"] = json!(true))
}

#[test]
fn the_program_has_a_terminal_of_its_own_devpts() {
    let out = with_terminal(
        "tty; stty size; stat -c '%t:%T %U' /dev/console; ls -1 /dev/pts; echo $(ls /proc/self/fd)",
    )
    .output();
    assert_eq!(out.replace('\r', ""), "/dev/pts/0\n24 80\n88:0 root\n0\nptmx\n0 1 2 3");
}

#[test]
fn it_is_the_controlling_terminal() {
    // /dev/tty can only be opened by a process that has one.
    assert_eq!(with_terminal("echo to tty > /dev/tty").output().trim(), "to tty");
}

#[test]
fn it_belongs_to_the_programs_user() {
    let sandbox = with_terminal("stat -c %u /dev/pts/0; echo x > /dev/pts/0")
        .with(|document| document["user"] = json!("ann"));
    assert_eq!(sandbox.output().replace('\r', ""), "1000\nx");
}

#[test]
fn without_a_devpts_there_is_an_error_and_no_terminal_of_the_host() {
    let refusal = with_terminal("tty")
        .config(|config| config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "devpts"))
        .refusal();
    assert!(refusal.contains("devpts"), "{refusal}");
}

#[test]
fn a_device_node_in_place_of_the_devpts_is_no_place_for_a_terminal() {
    // The kernel would take it: it looks for a devpts beside the node.
    let refusal = with_terminal("tty")
        .config(|config| {
            for mount in config["mounts"].as_array_mut().unwrap() {
                if mount["type"] == "devpts" {
                    mount["destination"] = json!("/dev/pts/pts");
                }
            }
            config["linux"]["devices"] =
                json!([{"path": "/dev/pts/ptmx", "type": "c", "major": 5, "minor": 2}]);
        })
        .refusal();
    assert!(refusal.contains("/dev/pts in the container is no devpts"), "{refusal}");
}

#[test]
fn a_link_in_place_of_the_devpts_is_not_followed() {
    // To another devpts, which is no less one.
    let sandbox = with_terminal("tty").on_directory().config(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| {
            !mount["destination"].as_str().unwrap().starts_with("/dev") || mount["type"] == "devpts"
        });
        mounts.iter_mut().find(|mount| mount["type"] == "devpts").unwrap()["destination"] =
            json!("/elsewhere");
    });
    let dev = sandbox.path("image").join("dev");
    std::fs::create_dir(&dev).unwrap();
    std::os::unix::fs::symlink("/elsewhere", dev.join("pts")).unwrap();
    let refusal = sandbox.refusal();
    assert!(refusal.contains("cannot make a terminal"), "{refusal}");
}

#[test]
fn a_console_that_the_image_made_a_link_is_not_followed() {
    // CVE-2025-52565: /dev is the image's own here, and its console points at a file that must not be covered.
    let sandbox = with_terminal("cat /secret").on_directory().config(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev");
    });
    let image = sandbox.path("image");
    std::fs::create_dir(image.join("dev")).unwrap();
    std::fs::write(image.join("secret"), "text").unwrap();
    std::os::unix::fs::symlink("../../../../../../../../etc/hostname", image.join("dev/console")).unwrap();
    let before = std::fs::read("/etc/hostname").unwrap_or_default();
    let outcome = sandbox.run();
    assert_eq!(std::fs::read("/etc/hostname").unwrap_or_default(), before);
    assert!(outcome.status == 0 && outcome.out == "text", "{outcome:?}");
}
