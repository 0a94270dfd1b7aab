//! Reading the accounting files of either version into [`Stats`].

use crate::{
    BlockIoStats, CpuStats, Error, MemoryStats, PidsStats, Stats,
    controllers::{Place, locate},
    directory::Directory,
    stats::{limit, value},
};

pub(crate) fn stats(directories: &[Directory]) -> Result<Stats, Error> {
    let mut stats = Stats { cpu: cpu(directories)?, ..Stats::default() };
    match locate(directories, "memory", "memory") {
        Some(Place::V1(directory)) => stats.memory = Some(memory_v1(directory)?),
        Some(Place::V2(directory)) => stats.memory = Some(memory_v2(directory)?),
        None => {}
    }
    if let Some(Place::V1(directory) | Place::V2(directory)) = locate(directories, "pids", "pids") {
        let limit = limit(&text(directory, "pids.max")?);
        stats.pids = Some(PidsStats { current: number(directory, "pids.current")?, limit });
    }
    match locate(directories, "blkio", "io") {
        Some(Place::V1(directory)) => {
            let bytes = text(directory, "blkio.throttle.io_service_bytes_recursive")?;
            let operations = text(directory, "blkio.throttle.io_serviced_recursive")?;
            stats.block_io = BlockIoStats::v1(&bytes, &operations);
        }
        Some(Place::V2(directory)) => stats.block_io = BlockIoStats::v2(&text(directory, "io.stat")?),
        None => {}
    }
    Ok(stats)
}

fn cpu(directories: &[Directory]) -> Result<Option<CpuStats>, Error> {
    let throttling = match locate(directories, "cpu", "cpu") {
        Some(Place::V1(directory)) => text(directory, "cpu.stat")?,
        _ => String::new(),
    };
    if let Some(Place::V1(directory)) = locate(directories, "cpuacct", "") {
        let (usage, times) = (text(directory, "cpuacct.usage")?, text(directory, "cpuacct.stat")?);
        return Ok(Some(CpuStats::v1(&usage, &times, &throttling)));
    }
    // Every v2 cgroup has cpu.stat's times, whether or not its controller is enabled.
    let unified = directories.iter().find(|directory| directory.mount.unified);
    unified.map(|directory| Ok(CpuStats::v2(&text(directory, "cpu.stat")?))).transpose()
}

fn memory_v1(directory: &Directory) -> Result<MemoryStats, Error> {
    let usage = number(directory, "memory.usage_in_bytes")?;
    let with_swap = directory.read_optional("memory.memsw.usage_in_bytes")?;
    let stat = text(directory, "memory.stat")?;
    Ok(MemoryStats {
        usage,
        peak: Some(number(directory, "memory.max_usage_in_bytes")?),
        limit: limit(&text(directory, "memory.limit_in_bytes")?),
        swap: with_swap.map(|total| total.trim().parse::<u64>().unwrap_or(0).saturating_sub(usage)),
        inactive_file: value(&stat, "total_inactive_file"),
        oom_kills: value(&text(directory, "memory.oom_control")?, "oom_kill"),
    })
}

fn memory_v2(directory: &Directory) -> Result<MemoryStats, Error> {
    let optional = |file| Ok(directory.read_optional(file)?.and_then(|text| text.trim().parse().ok()));
    Ok(MemoryStats {
        usage: number(directory, "memory.current")?,
        peak: optional("memory.peak")?,
        limit: limit(&text(directory, "memory.max")?),
        swap: optional("memory.swap.current")?,
        inactive_file: value(&text(directory, "memory.stat")?, "inactive_file"),
        oom_kills: value(&text(directory, "memory.events")?, "oom_kill"),
    })
}

/// A file's content; nothing where this kernel has not the file.
fn text(directory: &Directory, file: &str) -> Result<String, Error> {
    Ok(directory.read_optional(file)?.unwrap_or_default())
}

fn number(directory: &Directory, file: &str) -> Result<u64, Error> {
    Ok(text(directory, file)?.trim().parse().unwrap_or(0))
}
