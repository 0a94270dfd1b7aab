//! Docker's profile format: an OCI filter whose rules depend on capabilities, architecture and kernel.

use std::cmp::Ordering;

use serde::Deserialize;

use crate::{Action, Architecture, Error, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};

/// Docker's default profile, as text.
pub(crate) const DOCKER_DEFAULT: &str = include_str!("../data/docker-default.json");

/// The version of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kernel {
    /// 6 of 6.18
    pub major: u32,
    /// 18 of 6.18
    pub minor: u32,
}

impl Kernel {
    /// The kernel that is running.
    pub fn running() -> Self {
        let name = nix::sys::utsname::uname();
        let release = name.as_ref().ok().and_then(|name| name.release().to_str());
        release.and_then(Self::parse).unwrap_or(Self { major: 0, minor: 0 })
    }

    /// `4.8`, and what follows the two numbers in a kernel's own name.
    fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl<'de> Deserialize<'de> for Kernel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no kernel version, as \"4.8\" is")))
    }
}

/// A profile in Docker's format or the OCI's (the latter is the former without conditions).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    #[serde(default)]
    default_action: Option<Action>,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    architectures: Vec<Architecture>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "null_is_empty")]
    flags: Vec<String>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    syscalls: Vec<Rule>,
}

/// The sub-architectures that go with an architecture.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Architecture,
    #[serde(default, deserialize_with = "null_is_empty")]
    sub_architectures: Vec<Architecture>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    /// The spelling of profiles from before Docker 17.
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    names: Vec<String>,
    action: Action,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<LinuxSeccompArg>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default, deserialize_with = "null_is_empty")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<Kernel>,
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Profile {
    /// Docker's default profile.
    pub fn docker_default() -> Self {
        Self::parse(DOCKER_DEFAULT).expect("the profile that comes with the program is read in its tests")
    }

    /// Reads a profile.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Err(Error::InvalidProfile { why: why.to_owned() });
        let mut profile: Self = serde_json::from_slice(json.as_bytes())
            .map_err(|error| Error::InvalidProfile { why: error.to_string() })?;
        if profile.default_action.is_none() {
            // As in Docker: an empty profile filters nothing, rules without a default are a mistake.
            if !profile.syscalls.is_empty() {
                return invalid("defaultAction is missing");
            }
            profile.default_action = Some(Action::Allow);
        }
        if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
            return invalid("both architectures and archMap are given; use one of them");
        }
        for rule in &mut profile.syscalls {
            match rule.name.take() {
                Some(_) if !rule.names.is_empty() => {
                    return invalid("both name and names are given in a rule; use names");
                }
                name => rule.names.extend(name),
            }
        }
        Ok(profile)
    }

    /// Settles the conditions for a container with these capabilities (its bounding set, `CAP_…`).
    pub fn resolve(
        &self,
        capabilities: &[String],
        architecture: Architecture,
        kernel: Kernel,
    ) -> LinuxSeccomp {
        let mut architectures = self.architectures.clone();
        if let Some(map) = self.arch_map.iter().find(|map| map.architecture == architecture) {
            architectures.push(map.architecture);
            architectures.extend(&map.sub_architectures);
        }
        let applies = |rule: &&Rule| {
            let has = |cap: &String| capabilities.contains(cap);
            let is = |arch: &String| architecture.docker_name() == Some(arch.as_str());
            let reached = |min: Kernel| kernel.cmp(&min) != Ordering::Less;
            let excluded = rule.excludes.as_ref().is_some_and(|no| {
                no.arches.iter().any(is) || no.caps.iter().any(has) || no.min_kernel.is_some_and(reached)
            });
            let included = rule.includes.as_ref().is_none_or(|only| {
                (only.arches.is_empty() || only.arches.iter().any(is))
                    && only.caps.iter().all(has)
                    && only.min_kernel.is_none_or(reached)
            });
            included && !excluded
        };
        let settle = |rule: &Rule| LinuxSyscall {
            names: rule.names.clone(),
            action: rule.action,
            errno_ret: rule.errno_ret,
            args: rule.args.clone(),
        };
        LinuxSeccomp {
            default_action: self.default_action.unwrap_or(Action::Allow),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls: self.syscalls.iter().filter(applies).map(settle).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Kernel = Kernel { major: 6, minor: 18 };

    fn rules_of(
        profile: &Profile,
        capabilities: &[&str],
        architecture: Architecture,
        name: &str,
    ) -> Vec<LinuxSyscall> {
        let capabilities: Vec<String> = capabilities.iter().map(|cap| (*cap).to_owned()).collect();
        let mut filter = profile.resolve(&capabilities, architecture, KERNEL);
        filter.syscalls.retain(|rule| rule.names.iter().any(|found| found == name));
        filter.syscalls
    }

    #[test]
    fn the_default_profile_depends_on_capabilities_and_architecture() {
        let profile = Profile::docker_default();
        let rules = |caps: &[&str], name| rules_of(&profile, caps, Architecture::X86_64, name);
        assert!(rules(&[], "mount").is_empty());
        assert_eq!(rules(&["CAP_SYS_ADMIN"], "mount").len(), 1);
        assert_eq!(rules(&[], "clone3")[0].errno_ret, Some(38));
        assert_eq!(rules(&["CAP_SYS_ADMIN"], "clone3")[0].action, Action::Allow);
        assert_eq!(rules(&[], "ptrace").len(), 1);
        assert_eq!(rules(&[], "arch_prctl").len(), 1);
        assert!(rules_of(&profile, &[], Architecture::Aarch64, "arch_prctl").is_empty());
        let arm = profile.resolve(&[], Architecture::Aarch64, KERNEL).architectures;
        assert_eq!(arm, [Architecture::Aarch64, Architecture::Arm]);
    }

    #[test]
    fn a_rule_may_ask_for_a_kernel() {
        let profile = Profile::docker_default();
        let old = profile.resolve(&[], Architecture::X86_64, Kernel { major: 4, minor: 7 });
        assert!(!old.syscalls.iter().any(|rule| rule.names.iter().any(|name| name == "ptrace")));
        assert_eq!(Kernel::parse("6.18.44-fc"), Some(KERNEL));
        assert!(Kernel::running() >= Kernel { major: 4, minor: 0 });
    }

    #[test]
    fn mistakes_are_told() {
        let why = |json| Profile::parse(json).unwrap_err().to_string();
        assert!(
            why(r#"{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#)
                .contains("defaultAction")
        );
        assert!(why(r#"{"defaultAction": "SCMP_ACT_PERHAPS"}"#).contains("SCMP_ACT_PERHAPS"));
        let both = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}]}"#;
        assert!(why(both).contains("archMap"));
        assert!(why("nothing").contains("line 1"));
    }

    #[test]
    fn the_oldest_spelling_and_the_empty_profile_are_understood() {
        let old = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "args": null}]}"#;
        let filter = Profile::parse(old).unwrap().resolve(&[], Architecture::X86_64, KERNEL);
        assert_eq!(filter.syscalls[0].names, ["read"]);
        let empty = Profile::parse("{}").unwrap().resolve(&[], Architecture::X86_64, KERNEL);
        assert_eq!(empty.default_action, Action::Allow);
    }
}
