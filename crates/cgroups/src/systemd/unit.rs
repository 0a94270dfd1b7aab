//! Names of units: `SLICE:PREFIX:NAME` of an OCI configuration, and where systemd has their cgroups.

use crate::Error;

/// A scope's name and slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// `PREFIX-NAME.scope`
    pub(super) name: String,
    /// None: the manager's default.
    pub(super) slice: Option<String>,
}

impl Unit {
    /// Of a `cgroupsPath` for systemd.
    pub(super) fn parse(path: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidScope { path: path.to_owned() };
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else { return Err(invalid()) };
        if name.is_empty() || path.contains(['/', '\0', '\n']) {
            return Err(invalid());
        }
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        let slice = Some(*slice).filter(|slice| !slice.is_empty());
        slice.map_or(Some(String::new()), expand).ok_or_else(invalid)?;
        Ok(Self { name, slice: slice.map(str::to_owned) })
    }
}

/// The cgroup of a slice, below its manager's: `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` the manager's own.
pub(super) fn expand(slice: &str) -> Option<String> {
    let stem = slice.strip_suffix(".slice")?;
    if stem == "-" {
        return Some(String::new());
    }
    let ends = stem.match_indices('-').map(|(index, _)| index).chain([stem.len()]);
    let valid = stem.split('-').all(|part| !part.is_empty()) && !stem.contains('/');
    valid.then(|| ends.map(|end| format!("/{}.slice", &stem[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_lies_in_the_slices_that_its_name_says() {
        let seen = ["a.slice", "a-b-c.slice", "-.slice"].map(|slice| expand(slice).unwrap());
        assert_eq!(seen, ["/a.slice", "/a.slice/a-b.slice/a-b-c.slice", ""]);
        for wrong in ["a", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", ""] {
            assert_eq!(expand(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_names_slice_prefix_and_container() {
        let unit = |path| Unit::parse(path).map(|unit| (unit.slice, unit.name)).ok();
        let some = |slice: &str, name: &str| Some((Some(slice.to_owned()), name.to_owned()));
        assert_eq!(unit("machine.slice:libpod:1234"), some("machine.slice", "libpod-1234.scope"));
        assert_eq!(unit("machine.slice::1234"), some("machine.slice", "1234.scope"));
        assert_eq!(unit(":docker:1"), Some((None, "docker-1.scope".to_owned())));
        for wrong in ["/kapsel/a", "a.slice:b", "a.slice:b:", "a:b:c", "a.slice:b:c:d", "a.slice:b:../c"] {
            assert_eq!(unit(wrong), None, "{wrong}");
        }
    }
}
