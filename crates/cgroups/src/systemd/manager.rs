//! systemd's manager, of the system or of a user: the calls for a transient unit, and waiting for their jobs.

use std::time::Instant;

use nix::unistd::geteuid;

use super::{
    bus::{Bus, Failure, PATIENCE},
    message::Message,
    value::Value,
};
use crate::{Error, limits::in_user_namespace};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// Where systemd listens itself, for root alone: there before any bus is.
const PRIVATE: &str = "unix:path=/run/systemd/private";

/// A connection to a manager.
#[derive(Debug)]
pub(super) struct Manager {
    bus: Bus,
    /// Whether there is a bus in between, of which one must ask for signals.
    on_bus: bool,
}

impl Manager {
    /// Connects to the manager of this user: root's is the system's.
    pub(super) fn connect() -> Result<Self, Error> {
        if let Some(addresses) = user_bus() {
            return Self::at(&addresses, None);
        }
        if !geteuid().is_root() {
            return Err(Error::Systemd {
                doing: "reach this user's systemd".to_owned(),
                why:
                    "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR leads to a bus; log in anew (with \
                      dbus-user-session installed), or use the cgroupfs driver"
                        .to_owned(),
            });
        }
        match std::env::var("DBUS_SYSTEM_BUS_ADDRESS") {
            Ok(addresses) => Self::at(&addresses, None),
            Err(_) => Self::at(SYSTEM_BUS, Some(PRIVATE)),
        }
    }

    /// Connects by a bus, or else by systemd's own socket.
    pub(super) fn at(addresses: &str, private: Option<&str>) -> Result<Self, Error> {
        match (Bus::connect(addresses), private) {
            (Ok(bus), _) => Ok(Self { bus, on_bus: true }),
            // The first failure is the one to tell.
            (Err(first), private) => match private.map(Bus::connect_directly) {
                Some(Ok(bus)) => Ok(Self { bus, on_bus: false }),
                _ => {
                    let why =
                        format!("{}; where systemd does not run, use the cgroupfs driver", reason(first));
                    Err(Error::Systemd { doing: format!("reach systemd at {addresses}"), why })
                }
            },
        }
    }

    /// Starts a transient unit and waits until it runs. A failed one of that name, which only its name is left of, makes
    /// room.
    pub(super) fn start(&mut self, unit: &str, properties: Vec<(&'static str, Value)>) -> Result<(), Error> {
        let arguments = [
            Value::string(unit),
            Value::string("replace"),
            list(properties),
            Value::array("(sa(sv))", Vec::new()),
        ];
        let start = call("StartTransientUnit").with(&arguments);
        self.listen(unit)?;
        let doing = format!("start {unit}");
        let result = match self.job(start.clone()) {
            Err(Failure::Refused { name, .. }) if name == "org.freedesktop.systemd1.UnitExists" => {
                self.reset_failed(unit)?;
                self.job(start)
            }
            other => other,
        };
        match result.map_err(|failure| failed(&doing, failure))?.as_str() {
            "done" => Ok(()),
            result => {
                self.reset_failed(unit)?;
                Err(Error::Systemd { doing, why: format!("its job ended as \"{result}\"") })
            }
        }
    }

    /// Ends a unit and everything in it, and waits; one that is gone already, or never was, is no error.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), Error> {
        self.listen(unit)?;
        let stop = call("StopUnit").with(&[Value::string(unit), Value::string("replace")]);
        match self.job(stop) {
            Err(Failure::Refused { name, .. }) if name == "org.freedesktop.systemd1.NoSuchUnit" => {}
            other => drop(other.map_err(|failure| failed(&format!("stop {unit}"), failure))?),
        }
        self.reset_failed(unit)
    }

    /// Changes properties, for as long as the unit lives.
    pub(super) fn set(&mut self, unit: &str, properties: Vec<(&'static str, Value)>) -> Result<(), Error> {
        let arguments = [Value::string(unit), Value::Boolean(true), list(properties)];
        self.call(&format!("set the limits of {unit}"), call("SetUnitProperties").with(&arguments)).map(drop)
    }

    /// Moves a process into a unit's cgroup, or one below it.
    pub(super) fn attach(&mut self, unit: &str, below: &str, pid: u32) -> Result<(), Error> {
        let pids = Value::array("u", vec![Value::U32(pid)]);
        let arguments = [Value::string(unit), Value::string(below), pids];
        self.call(&format!("move a process into {unit}"), call("AttachProcessesToUnit").with(&arguments))
            .map(drop)
    }

    /// A property of the manager that is text.
    pub(super) fn property(&mut self, name: &str) -> Result<String, Error> {
        let doing = format!("ask systemd for its {name}");
        let get = Message::call(SERVICE, PATH, "org.freedesktop.DBus.Properties", "Get");
        let reply = self.call(&doing, get.with(&[Value::string(INTERFACE), Value::string(name)]))?;
        reply.text().ok_or_else(|| failed(&doing, Message::malformed().into()))
    }

    /// A unit that has failed is kept by its name until somebody has seen it; of one that has not it is no error to say so.
    fn reset_failed(&mut self, unit: &str) -> Result<(), Error> {
        match self.bus.call(call("ResetFailedUnit").with(&[Value::string(unit)])) {
            Ok(_) | Err(Failure::Refused { .. }) => Ok(()),
            Err(broken) => Err(failed(&format!("forget {unit}"), broken)),
        }
    }

    fn call(&mut self, doing: &str, message: Message) -> Result<Message, Error> {
        self.bus.call(message).map_err(|failure| failed(doing, failure))
    }

    /// Asks the bus for the ends of this unit's jobs, and for nothing else.
    fn listen(&mut self, unit: &str) -> Result<(), Error> {
        if !self.on_bus {
            return Ok(());
        }
        let rule = format!(
            "type='signal',sender='{SERVICE}',path='{PATH}',interface='{INTERFACE}',member='JobRemoved',arg2='{unit}'"
        );
        let ask = Message::call_of_bus("AddMatch").with(&[Value::string(rule)]);
        self.call("listen to systemd", ask).map(drop)
    }

    /// Makes a call that enqueues a job, and waits for that job's end: its result.
    fn job(&mut self, message: Message) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let reply = self.bus.call(message)?;
        let job = reply.text().ok_or_else(Message::malformed)?;
        loop {
            let signal = self.bus.signal(deadline)?;
            // Anybody on a bus can send a signal of that name.
            if !signal.is_signal(INTERFACE, "JobRemoved") || signal.sender != reply.sender {
                continue;
            }
            let values = signal.values().ok_or_else(Message::malformed)?;
            let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
            match texts.as_slice() {
                [removed, _, result] if *removed == job => return Ok((*result).to_owned()),
                [_, _, _] => {}
                _ => return Err(Message::malformed().into()),
            }
        }
    }
}

fn call(member: &str) -> Message {
    Message::call(SERVICE, PATH, INTERFACE, member)
}

fn list(properties: Vec<(&'static str, Value)>) -> Value {
    let pair = |(name, value)| Value::Struct(vec![Value::string(name), Value::Variant(Box::new(value))]);
    Value::array("(sv)", properties.into_iter().map(pair).collect())
}

fn failed(doing: &str, failure: Failure) -> Error {
    Error::Systemd { doing: doing.to_owned(), why: reason(failure) }
}

fn reason(failure: Failure) -> String {
    match failure {
        Failure::Refused { name, message } if message.is_empty() => name,
        Failure::Refused { message, .. } => message,
        Failure::Broken(error) => error.to_string(),
    }
}

/// Whether the manager is a user's, and not the system's.
pub(super) fn is_of_user() -> bool {
    user_bus().is_some()
}

/// The bus of a user who is not root, or is so only in a user namespace.
fn user_bus() -> Option<String> {
    if geteuid().is_root() && !in_user_namespace() {
        return None;
    }
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("DBUS_SESSION_BUS_ADDRESS").or_else(|| {
        let socket = std::path::Path::new(&variable("XDG_RUNTIME_DIR")?).join("bus");
        socket.exists().then(|| format!("unix:path={}", socket.display()))
    })
}
