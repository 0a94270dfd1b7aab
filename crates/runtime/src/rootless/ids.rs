//! Ids of the host in a document, for whoever is root of a user namespace of our making: what it calls the host is outside
//! of that.

use std::fs;

use kapsel_sandbox::spec::{Config, IdMapping};

use crate::error::{Error, Result};

/// A range of a user namespace (user_namespaces(7), "Defining user and group ID mappings").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Writes the host's ids of a document's mappings as those of our user namespace. A range that is not of our namespace, as
/// that of id 0, is one inside of it already.
pub fn translate(config: &mut Config) -> Result<()> {
    let Some(linux) = &mut config.linux else { return Ok(()) };
    for (file, mappings) in [("uid_map", &mut linux.uid_mappings), ("gid_map", &mut linux.gid_mappings)] {
        if mappings.is_empty() {
            continue;
        }
        let path = format!("/proc/self/{file}");
        let text = fs::read_to_string(&path)
            .map_err(|error| Error::io(format_args!("cannot read {path}"), &error))?;
        let own = parse(&text);
        for mapping in mappings {
            mapping.host_id = inside(&own, mapping).unwrap_or(mapping.host_id);
        }
    }
    Ok(())
}

fn parse(text: &str) -> Vec<Range> {
    let numbers =
        |line: &str| line.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<_>, _>>();
    let range = |line| match numbers(line).as_deref() {
        Ok(&[inside, outside, count]) => Some(Range { inside, outside, count }),
        _ => None,
    };
    text.lines().filter_map(range).collect()
}

/// Where a mapping's host ids are inside; none where not all of them are in one range.
fn inside(own: &[Range], mapping: &IdMapping) -> Option<u32> {
    own.iter().find_map(|range| {
        let offset = mapping.host_id.checked_sub(range.outside)?;
        let is_whole = u64::from(offset) + u64::from(mapping.size) <= u64::from(range.count);
        is_whole.then_some(range.inside + offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_host_are_found_inside_and_others_are_none() {
        let own = parse("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(own.len(), 2);
        for (host_id, size, found) in [
            (1000, 1, Some(0)),
            (1000, 2, None),
            (100_000, 65_536, Some(1)),
            (100_000, 65_537, None),
            (100_007, 3, Some(8)),
            (0, 1, None),
            (u32::MAX, u32::MAX, None),
        ] {
            let mapping = IdMapping { container_id: 0, host_id, size };
            assert_eq!(inside(&own, &mapping), found, "{mapping:?}");
        }
    }
}
