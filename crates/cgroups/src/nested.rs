//! Cgroups that a container has made below its own: `exec --cgroup`, and where an exec goes when the container has
//! handed its controllers down.

use std::collections::BTreeMap;

use crate::{Error, directory::Directory};

/// Where to go, by controller; all of them, or v2, by the empty name.
pub(crate) struct Places<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Places<'a> {
    /// Reads runc's arguments: `PATH`, or `CONTROLLER[,CONTROLLER]:PATH` once for each controller.
    pub(crate) fn parse<T: AsRef<str>>(arguments: &'a [T]) -> Result<Self, Error> {
        let mut places = BTreeMap::new();
        for argument in arguments.iter().map(AsRef::as_ref) {
            let refused = |why: &str| Error::Unsupported {
                setting: format!("cgroup {argument:?}"),
                why: why.to_owned(),
            };
            let (controllers, path) = match argument.split_once(':') {
                Some((controllers, path)) => (controllers, path),
                None if arguments.len() == 1 => ("", argument),
                None => {
                    return Err(refused("one of several needs its controller in front, as in \"cpu:/a\""));
                }
            };
            if path.contains('\0') || path.split('/').any(|part| matches!(part, "." | "..")) {
                return Err(refused("must lead downwards from the container's own cgroup"));
            }
            for controller in controllers.split(',') {
                if controller.is_empty() && argument.contains(':') {
                    return Err(refused("has an empty controller in front"));
                }
                if places.insert(controller, path.trim_matches('/')).is_some() {
                    return Err(refused("names a controller for the second time"));
                }
            }
        }
        Ok(Self(places))
    }

    /// The place in one hierarchy.
    pub(crate) fn of(&self, directory: &Directory) -> String {
        let mount = directory.mount;
        let named = mount
            .controllers
            .iter()
            .chain([&mount.options, &mount.name])
            .find_map(|name| self.0.get(name.as_str()));
        named.or_else(|| self.0.get("")).copied().unwrap_or_default().to_owned()
    }

    /// Every controller is one of these hierarchies'.
    pub(crate) fn check(&self, directories: &[Directory]) -> Result<(), Error> {
        let is_here = |name: &str| {
            let of = |directory: &Directory| {
                let mount = directory.mount;
                mount.controllers.iter().chain([&mount.options, &mount.name]).any(|found| found == name)
            };
            name.is_empty() || directories.iter().any(of)
        };
        match self.0.keys().find(|name| !is_here(name)) {
            Some(name) => {
                let (controller, setting) = ((*name).to_owned(), "a nested cgroup".to_owned());
                Err(Error::MissingController { controller, setting })
            }
            None => Ok(()),
        }
    }
}

/// Where a process is below a v2 cgroup that can have none of its own, since its controllers are handed down; nothing
/// where it can.
pub(crate) fn beside(directory: &Directory, path: &str, pid: i32) -> Result<String, Error> {
    let handed_down = directory.read_optional("cgroup.subtree_control")?.unwrap_or_default();
    if !directory.mount.unified || handed_down.trim().is_empty() {
        return Ok(String::new());
    }
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&file).map_err(|error| Error::io(format!("read {file}"), error))?;
    Ok(below(&text, path).unwrap_or_default())
}

fn below(memberships: &str, path: &str) -> Option<String> {
    let place = memberships.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(place.strip_prefix(path)?.strip_prefix('/')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_for_all_or_by_controller() {
        fn parse<'a>(arguments: &'a [&'a str]) -> Option<BTreeMap<&'a str, &'a str>> {
            Places::parse(arguments).map(|places| places.0).ok()
        }
        assert_eq!(parse(&["/a/b/"]), Some(BTreeMap::from([("", "a/b")])));
        let expected = BTreeMap::from([("cpu", "a"), ("cpuacct", "a"), ("memory", "b")]);
        assert_eq!(parse(&["cpu,cpuacct:a", "memory:/b"]), Some(expected));
        for wrong in [&["a", "b"][..], &[":a"], &["cpu,:a"], &["cpu:a", "cpu:b"], &["../a"], &["cpu:a/./b"]] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_process_is_found_below_the_containers_cgroup_only() {
        let text = "3:cpu:/kapsel/a\n0::/kapsel/a/init.scope\n";
        assert_eq!(below(text, "/kapsel/a").as_deref(), Some("init.scope"));
        assert_eq!(
            (below(text, "/kapsel/a/init.scope"), below(text, "/kapsel/b"), below(text, "/kapsel")).0,
            None
        );
        assert_eq!(below(text, "/kapsel/b"), None);
        assert_eq!(below("0::/kapsel/ab\n", "/kapsel/a"), None);
    }
}
