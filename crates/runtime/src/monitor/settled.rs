//! From a process that was started to a monitor, and from there to the life of a container.

use std::os::fd::{AsFd, OwnedFd};

use kapsel_sandbox::{Trace, seal};

use super::setup::{self, Inherited};
use super::spare::Place;
use super::wire::{Event, Failure, line};
use super::{Monitor, stdio};
use crate::ExitCode;
use crate::document::Lines;
use crate::error::Result;
use crate::launch::Launch;
use crate::rootless::Hub;

/// A monitor that has settled down, and has made nothing of a container.
pub struct Settled {
    rootless: bool,
    pub hub: Option<Hub>,
    lock: OwnedFd,
    client: OwnedFd,
    pub trace: Trace,
}

impl Settled {
    /// `entered`: the user namespace, where it had to be one.
    pub fn new(is_safe: bool, entered: (bool, Option<Hub>), trace: Trace) -> Result<Self> {
        let (rootless, hub) = entered;
        // The containers that it starts must not be able to write this executable (CVE-2019-5736).
        if !is_safe {
            seal()?;
        }
        let Inherited { lock, client } = setup::inherited()?;
        if let Some(hub) = &hub {
            hub.enter()?;
        }
        trace.mark("sealed");
        Ok(Self { rootless, hub, lock, client, trace })
    }

    /// Lives the life of a container.
    pub fn carry_out(
        self,
        launch: Result<Launch>,
        place: Option<Place>,
        documents: Lines,
    ) -> Result<ExitCode> {
        let Self { rootless, hub, lock, client, trace } = self;
        let mut client = Some(client);
        let begin = || -> Result<(Monitor, Launch)> {
            let launch = launch?;
            Ok((Monitor::new(&launch, lock, &mut client, hub, trace)?, launch))
        };
        match begin() {
            Ok((monitor, launch)) => monitor.live(launch, documents, place, rootless),
            // There is no run directory yet to write a record to; the engine finds none, and that means the same.
            Err(error) => {
                if let Some(socket) = client {
                    let failed =
                        line(&Event::Failed(Failure { exit_code: 125, error: error.clone() })) + "\n";
                    let _ = stdio::send(socket.as_fd(), failed.as_bytes());
                }
                Err(error)
            }
        }
    }
}
