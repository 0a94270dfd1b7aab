//! AppArmor and SELinux: what the program runs as, said to the kernel shortly before execve.

use kapsel_proc::Proc;
use nix::errno::Errno;

use crate::{
    Error,
    error::{At, Stage},
    spec::Process,
};

/// Whether there is anything to say.
pub(crate) fn are_asked(process: &Process) -> bool {
    profile(process).is_some() || label(process).is_some()
}

fn profile(process: &Process) -> Option<&str> {
    process.apparmor_profile.as_deref().filter(|profile| !profile.is_empty())
}

fn label(process: &Process) -> Option<&str> {
    process.selinux_label.as_deref().filter(|label| !label.is_empty())
}

/// Says it.
pub(crate) fn write(proc: &Proc, process: &Process) -> Result<(), Error> {
    if let Some(profile) = profile(process) {
        let exec = format!("exec {profile}");
        // AppArmor has its own file since 5.8; before, and without it beside another module, the common one.
        let written = match proc.write("self/attr/apparmor/exec", &exec) {
            Err(Errno::ENOENT) => proc.write("self/attr/exec", &exec),
            other => other,
        };
        written.at(Stage::Identity, || {
            format!("cannot run with the AppArmor profile {profile}; is it loaded?")
        })?;
    }
    if let Some(label) = label(process) {
        proc.write("self/attr/exec", label).at(Stage::Identity, || {
            format!("cannot run with the SELinux label {label}; is SELinux enabled?")
        })?;
    }
    Ok(())
}
