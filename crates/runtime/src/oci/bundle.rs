//! The bundle (bundle.md): a directory with a config.json and, beside it or elsewhere, the root file system.
//!
//! Here are the rules about the document: that it is JSON, of a version that is understood, and names a root. What the
//! document asks for is judged by the sandbox before it makes anything, and by the cgroups.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kapsel_sandbox::spec::{Config, Mount, VERSION};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};

use crate::error::{Error, Result};

/// The document's name in the bundle.
const CONFIG: &str = "config.json";
/// The longest document that is read, in bytes; a real one has some ten thousand.
const LONGEST: u64 = 16 << 20;

/// A bundle that can become a container.
#[derive(Debug)]
pub struct Bundle {
    /// Its absolute path.
    pub directory: PathBuf,
    /// The document's text.
    pub document: Box<RawValue>,
    /// What it says.
    pub config: Config,
    /// The root file system's absolute path.
    pub root: PathBuf,
}

impl Bundle {
    /// Reads the bundle in a directory.
    pub fn load(directory: &Path) -> Result<Self> {
        let directory = directory.canonicalize().map_err(|error| {
            Error::io(format_args!("cannot open the bundle {}", directory.display()), &error)
        })?;
        let path = directory.join(CONFIG);
        let document: Box<RawValue> = read(&path)?;
        let config = understand(&document, &directory)?;
        check_version(&config.oci_version)?;
        check_cgroups_path(&config)?;
        if config.annotations.contains_key("") {
            return Err(invalid("annotations: a key is empty"));
        }
        let root = match &config.root {
            Some(root) if !root.path.as_os_str().is_empty() => directory.join(&root.path),
            _ => return Err(invalid("root.path is missing: a container needs a root file system")),
        };
        Ok(Self { directory, document, config, root })
    }
}

/// Before there is a record that names it: what cannot be opened can never be removed either.
fn check_cgroups_path(config: &Config) -> Result<()> {
    let path = config.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref()).unwrap_or_default();
    let walks = path.split('/').any(|name| name == "." || name == "..");
    if walks || path.contains(['\0', '\n']) {
        return Err(invalid(format!("linux.cgroupsPath {path:?} must be a path without . and ..")));
    }
    Ok(())
}

/// The source of a bind mount is an absolute path, or relative to the bundle (config.md, "Mounts").
fn find_source(mount: &mut Mount, bundle: &Path) {
    let is_bind = mount.kind.as_deref() == Some("bind")
        || mount.options.iter().any(|option| option == "bind" || option == "rbind");
    if let Some(source) = mount.source.as_ref().filter(|source| is_bind && !source.is_empty()) {
        mount.source = Some(bundle.join(source).to_string_lossy().into_owned());
    }
}

/// Reads a document of the specification from a file: the process that `exec` is given, or the resources of `update`.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse(&path.display().to_string(), &load(path)?)
}

/// What the text of a config.json says. `bundle`: its directory.
pub fn understand(document: &RawValue, bundle: &Path) -> Result<Config> {
    let name = bundle.join(CONFIG);
    let mut config: Config = parse(&name.display().to_string(), document.get().as_bytes())?;
    config.mounts.iter_mut().for_each(|mount| find_source(mount, bundle));
    Ok(config)
}

/// The bytes of a file that is no fifo and not too long.
fn load(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io(format_args!("cannot read {}", path.display()), &error);
    // A fifo in the file's place must not keep us waiting.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(invalid(format!("{} is not a file", path.display())));
    }
    let mut json = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut json).map_err(failed)?;
    if json.len() as u64 > LONGEST {
        return Err(invalid(format!("{} is longer than {LONGEST} bytes", path.display())));
    }
    Ok(json)
}

/// Reads a document of the specification. `name`: for the error.
pub fn parse<T: DeserializeOwned>(name: &str, json: &[u8]) -> Result<T> {
    let error = match serde_json::from_slice(json) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    // Go's programs write what is absent as null.
    let document = serde_json::from_slice(json).and_then(|mut value| {
        drop_nulls(&mut value);
        // Text again, not `from_value`: that would be a second reader of everything, a hundred kilobytes of program.
        serde_json::from_slice(&serde_json::to_vec(&value)?)
    });
    // The first error knows the line, and the second would be the same.
    document.map_err(|_: serde_json::Error| invalid(format!("{name} cannot be read: {error}")))
}

/// Without a number an id would be root's (crun CVE-2026-30892).
fn is_id(name: &str) -> bool {
    matches!(name, "uid" | "gid")
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| !field.is_null() || is_id(name));
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The specification is compatible within a major version, forwards and backwards (config.md, "Specification version").
fn check_version(version: &str) -> Result<()> {
    match major(version) {
        Some("1") => Ok(()),
        Some(_) => Err(invalid(format!(
            "ociVersion {version:?} is not supported: this is a runtime of version {VERSION}, which takes 1.x"
        ))),
        None if version.is_empty() => {
            Err(invalid(format!("ociVersion is missing; this is a runtime of {VERSION}")))
        }
        None => {
            Err(invalid(format!("ociVersion {version:?} is no version; one is written as {VERSION:?} is")))
        }
    }
}

/// The first number of a semantic version (semver.org 2.0.0).
fn major(version: &str) -> Option<&str> {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let number = |word: &str| {
        let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        plain && (word == "0" || !word.starts_with('0'))
    };
    let words = |text: &str| {
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        text.split('.').all(word)
    };
    let numbers: Vec<&str> = core.split('.').collect();
    let good = numbers.len() == 3
        && numbers.iter().copied().all(number)
        && build.is_none_or(words)
        && pre.is_none_or(|pre| {
            let digits = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
            words(pre) && pre.split('.').all(|word| !digits(word) || number(word))
        });
    good.then(|| numbers[0])
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new("CONFIG_INVALID", message)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load(json: &str) -> Result<Bundle> {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(CONFIG), json).unwrap();
        Bundle::load(bundle.path())
    }

    fn refusal(json: &str) -> String {
        let error = load(json).unwrap_err();
        assert_eq!((error.code.as_str(), error.message.lines().count()), ("CONFIG_INVALID", 1), "{error:?}");
        error.message
    }

    #[test]
    fn every_version_1_is_understood_and_no_other() {
        for version in ["1.0.0", "1.3.0", "1.0.2-dev", "1.99.0", "1.0.0-rc5+x.1", "1.0.0--"] {
            let json = format!(r#"{{"ociVersion": {version:?}, "root": {{"path": "rootfs"}}}}"#);
            assert!(load(&json).is_ok(), "{version}");
        }
        for (version, words) in [
            ("2.0.0", "not supported"),
            ("0.9.0", "not supported"),
            ("10.0.0", "not supported"),
            ("1.0", "no version"),
            ("1.0.0.0", "no version"),
            ("v1.0.0", "no version"),
            ("1.0.0-", "no version"),
            ("1.0.0-01", "no version"),
            ("01.0.0", "no version"),
            ("1.0.0+", "no version"),
            (" 1.0.0", "no version"),
            ("", "missing"),
        ] {
            let json = format!(r#"{{"ociVersion": {version:?}, "root": {{"path": "rootfs"}}}}"#);
            assert!(refusal(&json).contains(words), "{version}");
        }
        assert!(refusal(r#"{"root": {"path": "rootfs"}}"#).contains("ociVersion is missing"));
    }

    #[test]
    fn what_is_no_document_is_one_line() {
        assert!(refusal("").contains("line 1"));
        assert!(refusal("{\n\n\"ociVersion\": 1").contains("line 3"));
        assert!(refusal(&"[".repeat(1_000_000)).contains("cannot be read"));
        assert!(refusal(&"{\"x\":".repeat(1_000_000)).contains("EOF"));
        assert!(refusal(r#"{"ociVersion": "1.0.0", "process": {"terminal": "yes"}}"#).contains("boolean"));
        assert!(
            refusal(r#"{"ociVersion": "1.0.0", "linux": {"namespaces": [{"type": "moon"}]}}"#)
                .contains("moon")
        );
        assert!(refusal(r#"{"ociVersion": "1.0.0"}"#).contains("root.path"));
        assert!(refusal(r#"{"ociVersion": "1.0.0", "root": {"readonly": true}}"#).contains("root.path"));
    }

    #[test]
    fn unknown_fields_are_ignored_and_null_is_absent() {
        let json = r#"{"ociVersion": "1.0.2", "solaris": {"anet": [1]}, "hooks": null, "later": {"x": [null]},
            "root": {"path": "/elsewhere", "more": 1}, "mounts": null,
            "process": {"args": null, "cwd": "/", "commandLine": "C:\\x", "user": {"uid": 0, "gid": 0, "username": "x"}},
            "linux": {"namespaces": [{"type": "pid", "path": null}], "resources": {"devices": null}}}"#;
        let bundle = load(json).unwrap();
        assert_eq!(bundle.root, Path::new("/elsewhere"));
        assert_eq!(bundle.config.linux.unwrap().namespaces[0].path, None);
    }

    #[test]
    fn a_bind_mounts_source_is_found_from_the_bundle_and_no_other_is_a_path() {
        let mount = |kind: &str, source: &str, option: &str| {
            let json = format!(
                r#"{{"ociVersion": "1.0.0", "root": {{"path": "rootfs"}}, "mounts": [
                    {{"destination": "/x", "type": {kind:?}, "source": {source:?}, "options": [{option:?}]}}]}}"#
            );
            let bundle = load(&json).unwrap();
            let source = bundle.config.mounts[0].source.clone().unwrap();
            source.replace(bundle.directory.to_str().unwrap(), "BUNDLE")
        };
        assert_eq!(mount("bind", "data", "ro"), "BUNDLE/data");
        assert_eq!(mount("none", "data", "rbind"), "BUNDLE/data");
        assert_eq!(mount("bind", "/data", "ro"), "/data");
        assert_eq!(mount("tmpfs", "tmpfs", "ro"), "tmpfs");
        assert_eq!(mount("bind", "", "ro"), "");
    }

    #[test]
    fn a_root_is_found_from_the_bundle_which_is_known_by_its_whole_path() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(CONFIG), r#"{"ociVersion": "1.0.0", "root": {"path": "rootfs"}}"#)
            .unwrap();
        let loaded =
            Bundle::load(&bundle.path().join("../").join(bundle.path().file_name().unwrap())).unwrap();
        assert_eq!(loaded.directory, bundle.path().canonicalize().unwrap());
        assert_eq!(loaded.root, loaded.directory.join("rootfs"));
    }

    #[test]
    fn what_is_there_in_place_of_the_document_keeps_nobody_waiting() {
        let bundle = tempfile::tempdir().unwrap();
        assert!(Bundle::load(bundle.path()).unwrap_err().message.contains("No such file"));
        assert!(
            Bundle::load(&bundle.path().join("none")).unwrap_err().message.contains("cannot open the bundle")
        );
        let config = bundle.path().join(CONFIG);
        fs::create_dir(&config).unwrap();
        assert!(Bundle::load(bundle.path()).unwrap_err().message.contains("not a file"));
        fs::remove_dir(&config).unwrap();
        nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Bundle::load(bundle.path()).unwrap_err().message.contains("not a file"));
        fs::remove_file(&config).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &config).unwrap();
        assert!(Bundle::load(bundle.path()).unwrap_err().message.contains("not a file"));
    }
}
