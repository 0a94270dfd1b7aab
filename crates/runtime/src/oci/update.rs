//! `update`: the limits of a container that exists.

use std::io::Read;
use std::path::Path;

use kapsel_cgroups::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use kapsel_sandbox::spec::Status;

use super::arguments::{Arguments, Flag, usage, value};
use super::container::{Container, not_running};
use super::{Context, bundle, stdio};
use crate::ExitCode;
use crate::error::{Error, Result};

/// The flags.
pub const FLAGS: &[Flag] = &[
    value("resources").short('r'),
    value("blkio-weight"),
    value("cpu-period"),
    value("cpu-quota"),
    value("cpu-burst"),
    value("cpu-rt-period"),
    value("cpu-rt-runtime"),
    value("cpu-share"),
    value("cpu-idle"),
    value("cpuset-cpus"),
    value("cpuset-mems"),
    value("kernel-memory"),
    value("kernel-memory-tcp"),
    value("memory"),
    value("memory-reservation"),
    value("memory-swap"),
    value("pids-limit"),
];

/// The longest document on stdin, in bytes.
const LONGEST: u64 = 16 << 20;

/// What is not named stays as it is.
pub fn update(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let id = arguments.id()?;
    let resources = match stdio::path(arguments, "resources") {
        Some(path) if path == "-" => from_stdin()?,
        Some(path) => bundle::read(Path::new(path))?,
        None => from_flags(arguments)?,
    };
    let container = Container::open(&context.store, id)?;
    if container.status() == Status::Stopped {
        return Err(not_running());
    }
    container.own_cgroup("update")?.apply(&resources)?;
    Ok(ExitCode::SUCCESS)
}

fn from_stdin() -> Result<LinuxResources> {
    let mut json = Vec::new();
    let read = std::io::stdin().lock().take(LONGEST).read_to_end(&mut json);
    read.map_err(|error| Error::io("cannot read the resources from stdin", &error))?;
    bundle::parse("the document on stdin", &json)
}

fn from_flags(arguments: &Arguments) -> Result<LinuxResources> {
    let text = |name| arguments.text(name).map(|text| text.map(str::to_owned));
    let bytes = |name| arguments.text(name)?.map(|text| bytes(name, text)).transpose();
    let cpu = LinuxCpu {
        shares: arguments.number("cpu-share")?,
        quota: arguments.number("cpu-quota")?,
        burst: arguments.number("cpu-burst")?,
        period: arguments.number("cpu-period")?,
        realtime_runtime: arguments.number("cpu-rt-runtime")?,
        realtime_period: arguments.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus")?,
        mems: text("cpuset-mems")?,
        idle: arguments.number("cpu-idle")?,
    };
    let memory = LinuxMemory {
        limit: bytes("memory")?,
        reservation: bytes("memory-reservation")?,
        swap: bytes("memory-swap")?,
        kernel: bytes("kernel-memory")?,
        kernel_tcp: bytes("kernel-memory-tcp")?,
        ..LinuxMemory::default()
    };
    let pids = arguments.number("pids-limit")?.map(|limit| LinuxPids { limit: Some(limit) });
    let weight = arguments.number("blkio-weight")?;
    let block_io = weight.map(|weight| LinuxBlockIo { weight: Some(weight), ..LinuxBlockIo::default() });
    let resources = LinuxResources {
        cpu: Some(cpu).filter(|cpu| *cpu != LinuxCpu::default()),
        memory: Some(memory).filter(|memory| *memory != LinuxMemory::default()),
        pids,
        block_io,
        ..LinuxResources::default()
    };
    if resources == LinuxResources::default() {
        return Err(usage("nothing to update: name a limit, or --resources FILE"));
    }
    Ok(resources)
}

/// Bytes, with Docker's units: `512m`; −1 is no limit.
fn bytes(name: &str, text: &str) -> Result<i64> {
    let wrong = || usage(format!("--{name} {text:?} is no size such as 536870912 or 512m"));
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: i64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(scale).filter(|bytes| *bytes >= -1).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_dockers_units() {
        for (text, expected) in
            [("-1", -1), ("4096", 4096), ("512m", 512 << 20), ("1GiB", 1 << 30), ("2kb", 2048)]
        {
            assert_eq!(bytes("memory", text).unwrap(), expected, "{text}");
        }
        for text in ["", "m", "-2", "1x", "99999999999t", "1.5.g"] {
            assert!(bytes("memory", text).is_err(), "{text}");
        }
    }
}
