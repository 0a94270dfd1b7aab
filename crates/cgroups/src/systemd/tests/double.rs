//! A double of systemd on a bus of its own: a real `dbus-daemon`, real cgroups, and units that live in a list.

use std::{
    collections::BTreeMap,
    fs, io,
    io::BufRead,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    mounts,
    systemd::{
        bus::Bus,
        message::{Kind, Message},
        unit,
        value::Value,
    },
};

const CONFIGURATION: &str = r#"<busconfig>
    <type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
    <policy context="default">
        <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>
    </policy>
</busconfig>"#;

/// What systemd joins on v1; the rest is left to who has it delegated.
const KNOWN: [&str; 6] = ["blkio", "cpu", "cpuacct", "devices", "memory", "pids"];

/// A running `dbus-daemon`.
pub(super) struct Daemon {
    process: Child,
    pub(super) address: String,
    _directory: tempfile::TempDir,
}

impl Daemon {
    /// None where there is no such program.
    pub(super) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // Other users are to reach it too.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let address = format!("unix:path={}/bus", directory.path().display());
        let file = directory.path().join("configuration");
        fs::write(&file, CONFIGURATION.replace("SOCKET", &address["unix:path=".len()..])).unwrap();
        let started = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", file.display()))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match started {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            other => other.unwrap(),
        };
        let mut line = String::new();
        io::BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let daemon = Self { process, address, _directory: directory };
        assert!(line.starts_with("unix:"), "dbus-daemon does not run: {line:?}");
        Some(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A call that came, as words.
pub(super) type Seen = Vec<(String, Vec<Value>)>;

/// The double.
pub(super) struct Systemd {
    bus: Bus,
    units: BTreeMap<String, Vec<PathBuf>>,
    jobs: u32,
    seen: Seen,
}

impl Systemd {
    /// Serves until somebody calls `Exit`; then gives what it was called.
    pub(super) fn start(address: &str) -> thread::JoinHandle<Seen> {
        let mut bus = Bus::connect(address).unwrap();
        let name = [Value::string("org.freedesktop.systemd1"), Value::U32(0)];
        let reply = bus.call(Message::call_of_bus("RequestName").with(&name)).unwrap();
        assert_eq!(reply.values(), Some(vec![Value::U32(1)]), "the name is taken");
        let mut double = Self { bus, units: BTreeMap::new(), jobs: 0, seen: Vec::new() };
        thread::spawn(move || {
            double.serve();
            double.seen
        })
    }

    fn serve(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Ok(message) = self.bus.receive(deadline) {
            if message.kind != Kind::Call {
                continue;
            }
            let (member, arguments) = (message.member.clone().unwrap(), message.values().unwrap());
            self.seen.push((member.clone(), arguments.clone()));
            let unit = arguments.first().and_then(Value::as_str).unwrap_or_default().to_owned();
            match member.as_str() {
                "StartTransientUnit" if self.units.contains_key(&unit) => {
                    self.refuse(&message, "UnitExists", "Unit exists already.");
                }
                "StartTransientUnit" => {
                    let made = begin(&unit, &properties(&arguments[2]));
                    self.units.insert(unit.clone(), made);
                    self.job(&message, &unit);
                }
                "StopUnit" if self.units.contains_key(&unit) => {
                    self.units.remove(&unit).unwrap().iter().for_each(|path| end(path));
                    self.job(&message, &unit);
                }
                "SetUnitProperties" if self.units.contains_key(&unit) => self.answer(&message, &[]),
                "StopUnit" | "SetUnitProperties" | "ResetFailedUnit" => {
                    self.refuse(&message, "NoSuchUnit", "Unit not loaded.");
                }
                "Get" => {
                    let text = match arguments[1].as_str().unwrap() {
                        "Version" => "252.39-1~deb12u1",
                        _ => "/user.slice/user-65534.slice/user@65534.service",
                    };
                    self.answer(&message, &[Value::Variant(Box::new(Value::string(text)))]);
                }
                "Exit" => return self.answer(&message, &[]),
                other => panic!("{other} is not a call of ours"),
            }
        }
    }

    fn job(&mut self, call: &Message, unit: &str) {
        self.jobs += 1;
        let path = |number: u32| Value::Path(format!("/org/freedesktop/systemd1/job/{number}"));
        self.answer(call, &[path(self.jobs)]);
        // Another job of the same unit that failed, then ours.
        for (job, result) in [(self.jobs + 1000, "failed"), (self.jobs, "done")] {
            let signal = Message {
                kind: Kind::Signal,
                destination: None,
                ..Message::call(
                    "",
                    "/org/freedesktop/systemd1",
                    "org.freedesktop.systemd1.Manager",
                    "JobRemoved",
                )
            };
            let values = [Value::U32(job), path(job), Value::string(unit), Value::string(result)];
            self.bus.send(signal.with(&values)).unwrap();
        }
    }

    fn answer(&mut self, call: &Message, values: &[Value]) {
        let reply = Message {
            kind: Kind::Return,
            reply_serial: Some(call.serial),
            destination: call.sender.clone(),
            ..Message::default()
        };
        self.bus.send(reply.with(values)).unwrap();
    }

    fn refuse(&mut self, call: &Message, name: &str, text: &str) {
        let reply = Message {
            kind: Kind::Error,
            reply_serial: Some(call.serial),
            destination: call.sender.clone(),
            error_name: Some(format!("org.freedesktop.systemd1.{name}")),
            ..Message::default()
        };
        self.bus.send(reply.with(&[Value::string(text)])).unwrap();
    }
}

/// Properties by their names.
pub(super) fn properties(list: &Value) -> BTreeMap<String, Value> {
    let Value::Array(_, pairs) = list else { panic!("{list:?}") };
    let pair = |pair: &Value| match pair {
        Value::Struct(pair) => match pair.as_slice() {
            [Value::String(name), Value::Variant(value)] => (name.clone(), (**value).clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    pairs.iter().map(pair).collect()
}

/// Makes the cgroups that systemd makes and moves the processes there.
fn begin(name: &str, properties: &BTreeMap<String, Value>) -> Vec<PathBuf> {
    let slice = unit::expand(properties["Slice"].as_str().unwrap()).unwrap();
    let Value::Array(_, pids) = &properties["PIDs"] else { panic!("no processes") };
    let known = |mount: &&crate::Mount| {
        mount.unified
            || mount.name == "systemd"
            || mount.controllers.iter().any(|name| KNOWN.contains(&name.as_str()))
    };
    let path = |mount: &crate::Mount| mount.path.join(format!("{}/{name}", &slice[1..]));
    let paths: Vec<PathBuf> = mounts().unwrap().1.iter().filter(known).map(path).collect();
    for path in &paths {
        fs::create_dir_all(path).unwrap();
        for pid in pids {
            let Value::U32(pid) = pid else { panic!("{pid:?}") };
            fs::write(path.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }
    paths
}

/// Removes a scope's cgroup and the slices that only it was in.
fn end(path: &std::path::Path) {
    crate::directory::remove_tree(path).unwrap();
    path.ancestors().skip(1).take_while(|path| fs::remove_dir(path).is_ok()).for_each(drop);
}
