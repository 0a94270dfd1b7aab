//! `network`: links, addresses and the packet filter of containers, as the document describes them.

use std::ffi::OsString;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use kapsel_network::connect::{Connection, Disconnection, connect, disconnect, published, remove_bridge};
use kapsel_network::description::Bridge;
use kapsel_network::doctor::doctor;
use kapsel_network::namespace::open_path;
use kapsel_network::nftables::elements::{Port, Published};
use kapsel_network::nftables::filter::{Filter, State};
use kapsel_network::statistics::statistics;
use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::{document, output, rootless};

/// fd 3.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
enum Request {
    /// A container gets interfaces and ports. Answer: `{"made"}`, see [`kapsel_network::connect::Connected`].
    Attach(Connection),
    /// A running container loses some.
    Detach(Disconnection),
    /// A running container gets ports. Answer: `{"made"}`.
    Publish { table: String, container: String, ports: Vec<Port> },
    /// A container loses ports, running or not; every one where none are named. Answer: those it had.
    Unpublish { table: String, container: String, ports: Option<Vec<Port>> },
    /// A network's bridge goes.
    Remove { table: String, bridge: String },
    /// These are all networks and ports. Answer: `{"made"}`, whether the table was not so and has been made anew.
    Repair { table: String, bridges: Vec<Bridge>, ports: Vec<Published> },
    /// Answer: every port of the table, with its container.
    Ports { table: String },
    /// Answer: what of the machine stands in the way, see [`kapsel_network::doctor`].
    Doctor { table: String },
    /// Answer: what went through the interfaces of a namespace.
    Statistics { namespace: PathBuf },
}

/// `kapsel-runtime network`. The answer is one JSON document, `{}` where there is nothing to say.
pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        return Err(Error::new(
            "USAGE",
            "fd 3, the document, is not open: `network` is started by kapsel, not by hand",
        ));
    }
    rootless::enter()?;
    // SAFETY: the descriptor is open, as tested above, and nobody else in this process has it.
    let json = document::read(unsafe { OwnedFd::from_raw_fd(3) })?;
    let request: Request = serde_json::from_slice(&json).map_err(|error| {
        Error::new("NETWORK_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })?;
    answer(request)
}

fn answer(request: Request) -> Result<ExitCode> {
    match request {
        Request::Attach(connection) => return output(&connect(&connection)?),
        Request::Detach(disconnection) => disconnect(&disconnection)?,
        Request::Publish { table, container, ports } => {
            let mut filter = Filter::open(&table)?;
            let made = filter.ensure()? != State::Whole;
            filter.publish(&published(&container, &ports))?;
            return output(&json!({ "made": made }));
        }
        Request::Unpublish { table, container, ports } => {
            let only = ports.map(|ports| published(&container, &ports));
            return output(&Filter::open(&table)?.unpublish(&container, only.as_deref())?);
        }
        Request::Remove { table, bridge } => remove_bridge(&table, &bridge)?,
        Request::Repair { table, bridges, ports } => {
            return output(&json!({ "made": Filter::open(&table)?.repair(&bridges, &ports)? }));
        }
        Request::Ports { table } => return output(&Filter::open(&table)?.published()?),
        Request::Doctor { table } => return output(&doctor(&table)?),
        Request::Statistics { namespace } => return output(&statistics(open_path(&namespace)?.as_fd())?),
    }
    output(&json!({}))
}
