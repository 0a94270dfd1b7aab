//! SCMP_ACT_NOTIFY on the OCI command line: the supervisor hears of a container when it is created, and of each program
//! that is executed in it.

#[path = "../../sandbox/tests/common/mod.rs"]
mod common;
#[path = "../../sandbox/tests/supervisor/mod.rs"]
mod supervisor;

use std::{
    fs,
    os::unix::net::UnixListener,
    process::{Command, Output, Stdio},
    thread::spawn,
};

use common::Sandbox;
use serde_json::{Value, json};
use supervisor::answer;

struct Container {
    sandbox: Sandbox,
    id: String,
}

impl Container {
    fn new(name: &str, script: &str) -> Self {
        let sandbox = Sandbox::new("");
        let mut config = common::config(script);
        config["root"] = json!({"path": sandbox.path("image")});
        config["process"]["noNewPrivileges"] = json!(true);
        config["annotations"] = json!({"of": "its own"});
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": sandbox.path("supervisor"),
            "listenerMetadata": "words",
            // What the way to the program needs of them is asked about too.
            "syscalls": [{"names": ["mkdir", "mkdirat", "sendmsg", "write", "close"], "action": "SCMP_ACT_NOTIFY"}],
        });
        fs::write(sandbox.path("config.json"), config.to_string()).unwrap();
        Self { sandbox, id: format!("kapsel-notify-{name}-{}", std::process::id()) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let runtime =
            std::env::var_os("KAPSEL_RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_kapsel-runtime").into());
        let mut command = Command::new("timeout");
        command
            .args(["-k", "1", "20"])
            .arg(runtime)
            .arg("--root")
            .arg(self.sandbox.path("state"))
            .args(words);
        command.stdin(Stdio::null());
        command
    }

    /// `create`'s streams are the container's: into a file, for a pipe would not end before it.
    fn create(&self) {
        let out = fs::File::create(self.sandbox.path("out")).unwrap();
        let mut command = self.command(&["create", "--bundle"]);
        command.arg(self.sandbox.directory.path()).arg(&self.id);
        let status = command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(self.sandbox.path("out")).unwrap());
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.run(&["delete", "--force", &self.id]);
    }
}

#[test]
fn a_supervisor_hears_of_a_container_at_create_and_of_what_is_executed_in_it() {
    let container = Container::new("heard", "mkdir /made || echo refused; while :; do sleep 1; done");
    let socket = UnixListener::bind(container.sandbox.path("supervisor")).unwrap();
    let next = |refuses: bool| {
        let (state, listener) = supervisor::next(&socket);
        let is_mkdir = |number: i32| [83, 34, 258].contains(&number);
        let errno = move |number| (refuses && is_mkdir(number)).then_some(libc::EMULTIHOP);
        (state, spawn(move || answer(&listener, &mut Vec::new(), errno)))
    };
    std::thread::scope(|scope| {
        let created = scope.spawn(|| container.create());
        let (state, _) = next(true);
        created.join().unwrap();
        assert_eq!(state["metadata"], "words");
        assert_eq!(state["state"]["id"], container.id);
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["annotations"]["of"], "its own");
        let told: Value = serde_json::from_slice(&container.run(&["state", &container.id]).stdout).unwrap();
        assert_eq!((&told["status"], &told["pid"]), (&json!("created"), &state["pid"]));

        assert!(container.run(&["start", &container.id]).status.success());
        let executed = scope
            .spawn(|| container.run(&["exec", &container.id, "sh", "-c", "mkdir /made || echo refused"]));
        let (second, _) = next(true);
        let output = executed.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "refused\n", "{output:?}");
        assert_eq!(second["state"]["status"], "running");
        assert_eq!(second["state"]["pid"], state["pid"]);
        assert_ne!(second["pid"], state["pid"]);
    });
    let written = || fs::read_to_string(container.sandbox.path("out")).unwrap();
    assert!((0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        written().contains("refused\n")
    }));
    assert!(!container.sandbox.path("image/made").exists());
}

#[test]
fn a_container_that_nobody_supervises_is_not_created() {
    let container = Container::new("unheard", "true");
    let output = container.run(&[
        "create",
        "--bundle",
        container.sandbox.directory.path().to_str().unwrap(),
        &container.id,
    ]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot hand the seccomp listener to "), "{errors}");
    assert!(!container.sandbox.path("state").join(&container.id).exists());
}
