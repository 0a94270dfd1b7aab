//! The systemd driver: a container is a transient scope, whose cgroup systemd makes and removes. Its D-Bus messages are
//! written here by hand: a handful of calls need no library and no event loop.

mod address;
mod bus;
mod manager;
mod message;
mod properties;
mod unit;
mod value;

#[cfg(test)]
mod tests;

use self::{manager::Manager, unit::Unit, value::Value};
use crate::{Error, Layout, LinuxResources};

/// A scope, which may or may not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    unit: Unit,
    /// Its cgroup, below each hierarchy's root.
    path: String,
}

impl Scope {
    /// The scope of a `cgroupsPath`, `SLICE:PREFIX:NAME`; or of the path of its cgroup, if that is known already.
    pub(crate) fn locate(path: &str) -> Result<Self, Error> {
        if path.starts_with('/') {
            let name = path.rsplit('/').next().unwrap_or_default();
            if !name.ends_with(".scope") {
                return Err(Error::InvalidScope { path: path.to_owned() });
            }
            return Ok(Self { unit: Unit { name: name.to_owned(), slice: None }, path: path.to_owned() });
        }
        let mut unit = Unit::parse(path)?;
        let of_user = manager::is_of_user();
        let slice = unit
            .slice
            .get_or_insert_with(|| (if of_user { "user.slice" } else { "system.slice" }).to_owned());
        let slice = unit::expand(slice).unwrap_or_default();
        let root = if of_user { Manager::connect()?.property("ControlGroup")? } else { String::new() };
        let path = format!("{}{slice}/{}", root.trim_end_matches('/'), unit.name);
        Ok(Self { unit, path })
    }

    /// The cgroup's path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// v1 has nothing to delegate to a user.
    pub(crate) fn check(&self, layout: Layout) -> Result<(), Error> {
        if layout == Layout::Unified || !manager::is_of_user() {
            return Ok(());
        }
        let why = "a user's systemd can limit with cgroup v2 only, and this machine's limits are v1's; use the cgroupfs driver";
        Err(Error::Systemd { doing: format!("make {}", self.unit.name), why: why.to_owned() })
    }

    /// Whether processes must be moved by systemd, because a user may not move them out of the session's cgroup, which
    /// belongs to root.
    pub(crate) fn must_attach(&self) -> bool {
        manager::is_of_user()
    }

    /// Starts it around a process that exists. `unified`: whether limits are v2's.
    pub(crate) fn start(&self, pid: u32, resources: &LinuxResources, unified: bool) -> Result<(), Error> {
        let mut manager = Manager::connect()?;
        let io = if unified { "IOAccounting" } else { "BlockIOAccounting" };
        let mut properties = vec![
            (
                "Description",
                Value::string(format!("container {}", self.unit.name.trim_end_matches(".scope"))),
            ),
            ("PIDs", Value::array("u", vec![Value::U32(pid)])),
            ("Delegate", Value::Boolean(true)),
            ("DefaultDependencies", Value::Boolean(false)),
            ("MemoryAccounting", Value::Boolean(true)),
            ("CPUAccounting", Value::Boolean(true)),
            (io, Value::Boolean(true)),
            ("TasksAccounting", Value::Boolean(true)),
        ];
        properties.extend(self.unit.slice.iter().map(|slice| ("Slice", Value::string(slice))));
        properties.extend(limits(&mut manager, resources, unified)?);
        manager.start(&self.unit.name, properties)
    }

    /// Tells it of new limits.
    pub(crate) fn set(&self, resources: &LinuxResources, unified: bool) -> Result<(), Error> {
        let mut manager = Manager::connect()?;
        let properties = limits(&mut manager, resources, unified)?;
        if properties.is_empty() { Ok(()) } else { manager.set(&self.unit.name, properties) }
    }

    /// Moves a process into its cgroup, or one below it: `/` or `/some/path`.
    pub(crate) fn attach(&self, pid: u32, below: &str) -> Result<(), Error> {
        Manager::connect()?.attach(&self.unit.name, below, pid)
    }

    /// Ends it, and what may be left of its name.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        Manager::connect()?.stop(&self.unit.name)
    }
}

fn limits(
    manager: &mut Manager,
    resources: &LinuxResources,
    unified: bool,
) -> Result<Vec<(&'static str, Value)>, Error> {
    properties::of(resources, unified, &mut || Ok(version(&manager.property("Version")?)))
}

/// `252.39-1~deb12u1`, `v245`: the number at its beginning.
fn version(text: &str) -> u32 {
    let digits = text.trim_start_matches('v');
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}
