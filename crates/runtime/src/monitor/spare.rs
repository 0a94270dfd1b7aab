//! A spare: a monitor that waits for its container. What takes the longest of a start it has done by then, and nobody has
//! waited for it: it runs, is in its user namespace, and has a network namespace with a cable to the bridge that its
//! container will be at.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use kapsel_network::description::Cable;
use kapsel_network::namespace::{self, Coming};
use kapsel_network::netlink::{Family, Socket};
use kapsel_network::{attach, cable};
use kapsel_sandbox::Trace;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;

use super::settled::Settled;
use crate::ExitCode;
use crate::document::Lines;
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::rootless::{self, Hub};

/// What is known beforehand. ARCHITECTURE.md, "The spare", is its specification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spare {
    /// What is to go where no container comes. A container that comes has got it, under another name.
    run_directory: PathBuf,
    /// Where its container is to be on networks: to one of them.
    cable: Option<Cable>,
}

/// Waits for a Launch, and carries it out; when there will be none, it goes and leaves nothing.
pub fn run(mut documents: Lines, is_safe: bool, trace: Trace) -> Result<ExitCode> {
    let json = documents.next()?.unwrap_or_default();
    let Spare { run_directory, cable } = serde_json::from_slice(&json).map_err(|error| {
        Error::new("LAUNCH_INVALID", format!("what the spare on fd 3 is for cannot be read: {error}"))
    })?;
    let entered = match cable {
        Some(_) => rootless::enter_for_networks(&run_directory)?,
        None => (rootless::enter()?, None),
    };
    let mut settled = Settled::new(is_safe, entered, trace)?;
    let is_for_networks = cable.is_some();
    let place = Place::prepare(cable)?;
    settled.trace.mark("spare");
    if let Some(hub) = &mut settled.hub {
        keep(hub, &documents)?;
    }
    let Some(json) = documents.next()? else {
        // The lock is held to the end: until then it is nobody else's.
        let _ = fs::remove_dir_all(&run_directory);
        return Ok(ExitCode::SUCCESS);
    };
    let launch = Launch::parse(&json).and_then(|launch| {
        if launch.awaits_network == is_for_networks {
            return Ok(launch);
        }
        Err(Error::new("LAUNCH_INVALID", "this spare is for containers of another kind of network"))
    });
    settled.carry_out(launch, Some(place), documents)
}

/// Until the next document comes: a hub that loses its holder gets another from those who have it still.
fn keep(hub: &mut Hub, documents: &Lines) -> Result<()> {
    let failed = |error: io::Error| Error::io("cannot watch the hub's holder", &error);
    while !documents.has_some() {
        let holder = hub.holder().map_err(failed)?;
        let mut watched = [documents.as_fd(), holder.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno.into())),
            Ok(_) if watched[0].any() == Some(true) => return Ok(()),
            Ok(_) => hub.mend()?,
        }
    }
    Ok(())
}

/// The network namespace of a container, in the making or made.
pub struct Place {
    namespace: Coming,
    cable: Option<Cable>,
}

/// That namespace, and what is in it already.
pub struct Ready {
    pub namespace: OwnedFd,
    pub cable: Option<Cable>,
}

impl Place {
    /// Begins to make an empty one.
    pub fn begin() -> Self {
        Self { namespace: namespace::begin(), cable: None }
    }

    /// Makes everything. Without its bridge there is no cable yet, which then comes as it comes without a spare.
    fn prepare(cable: Option<Cable>) -> Result<Self> {
        let namespace = namespace::new()?;
        let cable = match cable {
            Some(cable) => {
                let lay = |host: &mut Socket| cable::lay(host, namespace.as_fd(), &cable);
                let is_laid = Socket::open(Family::Route).and_then(|mut host| lay(&mut host));
                is_laid.unwrap_or(false).then_some(cable)
            }
            None => {
                attach::loopback(namespace.as_fd())?;
                None
            }
        };
        Ok(Self { namespace: Coming::made(namespace), cable })
    }

    /// What has come of it.
    pub fn take(self) -> Result<Ready> {
        Ok(Ready { namespace: self.namespace.take()?, cable: self.cable })
    }
}
