//! `spec`: a config.json to begin with.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{Arguments, Flag, switch, value};
use super::{Context, stdio};
use crate::ExitCode;
use crate::error::{Error, Result};

/// The flags.
pub const FLAGS: &[Flag] = &[value("bundle").short('b'), switch("rootless")];

/// A shell on a read-only `rootfs`, with Docker's capabilities, masks and mounts.
const TEMPLATE: &str = include_str!("spec.json");

/// Writes config.json in the bundle, which must have none.
pub fn spec(_context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let directory = stdio::path(arguments, "bundle").map_or_else(|| Path::new("."), Path::new);
    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(TEMPLATE.as_bytes())
        .map_err(|error| Error::new("OUTPUT", error.to_string()))?;
    if arguments.has("rootless") {
        rootless(&mut config);
    }
    let mut text =
        serde_json::to_string_pretty(&config).map_err(|error| Error::new("OUTPUT", error.to_string()))?;
    text.push('\n');
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new("CONFIG_EXISTS", format!("{} exists; remove it first", path.display()))
        }
        _ => Error::io(format_args!("cannot write {}", path.display()), &error),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What an ordinary user can have: a user namespace with itself as root, the host's network, no limits.
fn rootless(config: &mut Value) {
    let own = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    // SAFETY: neither has arguments, and neither can fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) else { return };
    linux.remove("resources");
    linux.insert("uidMappings".into(), own(uid));
    linux.insert("gidMappings".into(), own(gid));
    if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    let Some(mounts) = config.get_mut("mounts").and_then(Value::as_array_mut) else { return };
    for mount in mounts {
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            // There is no terminal group among the mapped ids.
            options.retain(|option| option != "gid=5");
        }
        if mount["destination"] == "/sys" {
            // Only the owner of the network namespace may mount a sysfs.
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
        }
    }
}
