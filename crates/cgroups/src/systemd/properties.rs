//! `linux.resources` as properties of a unit, as far as systemd knows them (systemd.resource-control(5), and runc's
//! choice of them). What it knows it writes itself whenever it reloads, so it must know what was asked for.

use super::value::Value;
use crate::{Error, LinuxCpu, LinuxResources, cpu_list, v2};

/// systemd's "infinity".
const INFINITY: u64 = u64::MAX;
/// The kernel's period of a quota, in microseconds.
const PERIOD: u64 = 100_000;

/// The versions of systemd that brought a property.
const QUOTA_PERIOD: u32 = 242;
const CPUSET: u32 = 244;
const IDLE: u32 = 252;

type Property = (&'static str, Value);

/// `version` asks systemd for its own, where it matters.
pub(super) fn of(
    resources: &LinuxResources,
    unified: bool,
    version: &mut dyn FnMut() -> Result<u32, Error>,
) -> Result<Vec<Property>, Error> {
    let mut properties = devices(resources);
    memory(resources, unified, &mut properties)?;
    if let Some(cpu) = &resources.cpu {
        weight(cpu, unified, version, &mut properties)?;
        quota(cpu, version, &mut properties)?;
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            let mask = list.as_deref().and_then(cpu_list::parse).filter(|numbers| !numbers.is_empty());
            if let Some(numbers) = mask.filter(|_| unified)
                && version()? >= CPUSET
            {
                properties.push((name, bits(&numbers)));
            }
        }
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        properties.push(("TasksMax", bytes(limit.max(if limit == 0 { 1 } else { -1 }))));
    }
    if let Some(weight) =
        resources.block_io.as_ref().and_then(|block_io| block_io.weight).filter(|weight| *weight != 0)
    {
        properties.push(if unified {
            ("IOWeight", Value::U64(v2::scaled(weight).into()))
        } else {
            ("BlockIOWeight", Value::U64(weight.into()))
        });
    }
    if unified {
        files(resources, &mut properties);
    }
    Ok(properties)
}

/// −1 is no limit.
fn bytes(limit: i64) -> Value {
    Value::U64(u64::try_from(limit).unwrap_or(INFINITY))
}

fn memory(resources: &LinuxResources, unified: bool, properties: &mut Vec<Property>) -> Result<(), Error> {
    let Some(memory) = &resources.memory else { return Ok(()) };
    if !unified {
        properties
            .extend(memory.limit.filter(|limit| *limit != 0).map(|limit| ("MemoryLimit", bytes(limit))));
        return Ok(());
    }
    for setting in v2::memory(memory)? {
        properties.extend(file(&setting.file, &setting.value));
    }
    Ok(())
}

fn weight(
    cpu: &LinuxCpu,
    unified: bool,
    version: &mut dyn FnMut() -> Result<u32, Error>,
    properties: &mut Vec<Property>,
) -> Result<(), Error> {
    let shares = cpu.shares.filter(|shares| *shares != 0);
    if !unified {
        properties.extend(shares.map(|shares| ("CPUShares", Value::U64(shares))));
    } else if cpu.idle == Some(1) && version()? >= IDLE {
        // A weight of zero is systemd's word for idle.
        properties.push(("CPUWeight", Value::U64(0)));
    } else {
        properties.extend(shares.map(|shares| ("CPUWeight", Value::U64(v2::weight_of_shares(shares)))));
    }
    Ok(())
}

fn quota(
    cpu: &LinuxCpu,
    version: &mut dyn FnMut() -> Result<u32, Error>,
    properties: &mut Vec<Property>,
) -> Result<(), Error> {
    let period = cpu.period.filter(|period| *period != 0);
    if let Some(period) = period
        && version()? >= QUOTA_PERIOD
    {
        properties.push(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    match cpu.quota.filter(|quota| *quota != 0).map(u64::try_from) {
        None => {}
        Some(Err(_)) => properties.push(("CPUQuotaPerSecUSec", Value::U64(INFINITY))),
        Some(Ok(quota)) => {
            // It keeps whole percents: more rather than less than was asked for.
            let per_second = quota.saturating_mul(1_000_000) / period.unwrap_or(PERIOD);
            let rounded = per_second.checked_next_multiple_of(10_000).unwrap_or(INFINITY);
            properties.push(("CPUQuotaPerSecUSec", Value::U64(rounded)));
        }
    }
    Ok(())
}

/// A bit for each number, the lowest in the first byte.
fn bits(numbers: &[u16]) -> Value {
    let largest = numbers.iter().copied().max().unwrap_or(0);
    let mut mask = vec![0u8; usize::from(largest / 8) + 1];
    for number in numbers {
        mask[usize::from(number / 8)] |= 1 << (number % 8);
    }
    Value::array("y", mask.into_iter().map(Value::Byte).collect())
}

/// Files of the `unified` map that systemd has a property for.
fn files(resources: &LinuxResources, properties: &mut Vec<Property>) {
    for (name, value) in &resources.unified {
        if let Some((name, value)) = file(name, value.trim()) {
            properties.retain(|(earlier, _)| *earlier != name);
            properties.push((name, value));
        }
    }
}

fn file(name: &str, value: &str) -> Option<Property> {
    let name = match name {
        "memory.min" => "MemoryMin",
        "memory.low" => "MemoryLow",
        "memory.high" => "MemoryHigh",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        _ => return None,
    };
    let number = if value == "max" { INFINITY } else { value.parse().ok()? };
    Some((name, Value::U64(number)))
}

/// Without them systemd would allow every device on v1 whenever it reloads. It knows lists of what is allowed only: a
/// rule that forbids a single device is ours alone to write.
fn devices(resources: &LinuxResources) -> Vec<Property> {
    use crate::LinuxDeviceType::{All, Block, Character};
    if resources.devices.is_empty() {
        return Vec::new();
    }
    let mut everything = true;
    let mut allowed: Vec<Value> = Vec::new();
    for rule in &resources.devices {
        let access = rule.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
        let number = |number: Option<i64>| number.filter(|number| *number >= 0);
        let (major, minor) = (number(rule.major), number(rule.minor));
        let kinds: &[&str] = match rule.kind.unwrap_or(All) {
            All => &["block", "char"],
            Block => &["block"],
            Character => &["char"],
        };
        if rule.kind.unwrap_or(All) == All && major.is_none() && minor.is_none() && access.len() == 3 {
            everything = rule.allow;
            allowed.clear();
            continue;
        }
        if !rule.allow {
            everything = false;
            continue;
        }
        for kind in kinds {
            let path = match (major, minor) {
                (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                (Some(major), None) => format!("{kind}-{major}"),
                (None, None) => format!("{kind}-*"),
                (None, Some(_)) => continue,
            };
            allowed.push(Value::Struct(vec![Value::string(path), Value::string(access)]));
        }
    }
    if everything {
        allowed.clear();
    }
    let policy = if everything { "auto" } else { "strict" };
    // What is not empty is added to what is there.
    let list = |values| ("DeviceAllow", Value::array("(ss)", values));
    let mut properties = vec![list(Vec::new()), ("DevicePolicy", Value::string(policy))];
    properties.extend(Some(allowed).filter(|allowed| !allowed.is_empty()).map(list));
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(json: &str, unified: bool, version: u32) -> Vec<Property> {
        of(&serde_json::from_str(json).unwrap(), unified, &mut || Ok(version)).unwrap()
    }

    fn numbers(json: &str, unified: bool, version: u32) -> Vec<(&'static str, u64)> {
        let number = |value| match value {
            Value::U64(number) => number,
            other => panic!("{other:?}"),
        };
        seen(json, unified, version).into_iter().map(|(name, value)| (name, number(value))).collect()
    }

    const MANY: &str = r#"{
        "memory": {"limit": 100, "swap": 300, "reservation": 50},
        "cpu": {"shares": 1024, "quota": 12345, "period": 50000},
        "pids": {"limit": 7}, "blockIO": {"weight": 1000}
    }"#;

    #[test]
    fn limits_are_told_in_the_words_of_either_version() {
        let v1 = [
            ("MemoryLimit", 100),
            ("CPUShares", 1024),
            ("CPUQuotaPeriodUSec", 50_000),
            ("CPUQuotaPerSecUSec", 250_000),
            ("TasksMax", 7),
            ("BlockIOWeight", 1000),
        ];
        assert_eq!(numbers(MANY, false, 252), v1);
        let v2 = [
            ("MemoryMax", 100),
            ("MemorySwapMax", 200),
            ("MemoryLow", 50),
            ("CPUWeight", 100),
            ("CPUQuotaPeriodUSec", 50_000),
            ("CPUQuotaPerSecUSec", 250_000),
            ("TasksMax", 7),
            ("IOWeight", 10_000),
        ];
        assert_eq!(numbers(MANY, true, 252), v2);
    }

    #[test]
    fn no_limit_is_infinity() {
        let json = r#"{"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}"#;
        let expected =
            ["MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax"].map(|name| (name, INFINITY));
        assert_eq!(numbers(json, true, 252), expected);
        assert_eq!(numbers(r#"{"pids": {"limit": 0}}"#, true, 252), [("TasksMax", 1)]);
    }

    #[test]
    fn an_old_systemd_is_not_asked_for_what_it_does_not_know() {
        let json = r#"{"cpu": {"shares": 2, "idle": 1, "period": 50000, "cpus": "0-2,9", "mems": "0"}}"#;
        assert_eq!(numbers(json, true, 239), [("CPUWeight", 1)]);
        let mask = |bytes: &[u8]| Value::array("y", bytes.iter().map(|byte| Value::Byte(*byte)).collect());
        let expected = [
            ("CPUWeight", Value::U64(0)),
            ("CPUQuotaPeriodUSec", Value::U64(50_000)),
            ("AllowedCPUs", mask(&[0b111, 0b10])),
            ("AllowedMemoryNodes", mask(&[1])),
        ];
        assert_eq!(seen(json, true, 252), expected);
    }

    #[test]
    fn the_unified_map_comes_last() {
        let json = r#"{"memory": {"limit": 100}, "unified": {"memory.max": "max", "memory.high": "9", "io.max": "x"}}"#;
        assert_eq!(numbers(json, true, 252), [("MemoryHigh", 9), ("MemoryMax", INFINITY)]);
    }

    #[test]
    fn devices_are_a_list_of_what_is_allowed() {
        let seen = |rules: &str| {
            let properties = seen(&format!(r#"{{"devices": {rules}}}"#), false, 252);
            let (policy, list) = (properties[1].1.clone(), properties.get(2).map(|(_, value)| value.clone()));
            let Some(Value::Array(_, entries)) = list else { return (policy, Vec::new()) };
            let pair = |entry| match entry {
                Value::Struct(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
                other => panic!("{other:?}"),
            };
            (policy, entries.into_iter().map(pair).collect())
        };
        let strict = Value::string("strict");
        let rules = r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "access": "m"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"}]"#;
        let expected = ["char-* m", "/dev/char/1:3 rw", "block-8 r"].map(str::to_owned).to_vec();
        assert_eq!(seen(rules), (strict.clone(), expected));
        assert_eq!(seen(r#"[{"allow": true}]"#), (Value::string("auto"), vec![]));
        assert_eq!(seen(r#"[{"allow": true}, {"allow": false, "type": "b", "major": 8}]"#), (strict, vec![]));
    }
}
