//! `network`: links, addresses and the packet filter of containers, as the document describes them.

use std::ffi::OsString;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use kapsel_network::connect::{Connected, connect, disconnect, published, remove_bridge};
use kapsel_network::description::Bridge;
use kapsel_network::doctor::doctor;
use kapsel_network::namespace::open_path;
use kapsel_network::nftables::elements::{Port, Published};
use kapsel_network::nftables::filter::{Filter, State};
use kapsel_network::statistics::statistics;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::{ExitCode, document, output, print, rootless};

/// fd 3: what is to be done, and beside it in the same document with what.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    action: Action,
    /// The engine's, where an ordinary user's [hub](crate::rootless::Hub) is found.
    run_root: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    /// With a [`Connection`](kapsel_network::connect::Connection). Answer: `{"made"}`, see [`kapsel_network::connect::Connected`].
    Attach,
    /// With a [`Disconnection`](kapsel_network::connect::Disconnection).
    Detach,
    /// A running container gets [`Ports`]. Answer: `{"made"}`.
    Publish,
    /// A container loses [`Ports`], running or not; every one where none are named. Answer: those it had.
    Unpublish,
    /// A network's bridge goes, with a [`Removal`].
    Remove,
    /// With [`Everything`]. Answer: `{"made"}`, whether the table was not so and has been made anew.
    Repair,
    /// With a [`Table`]. Answer: its ports, each with its container.
    Ports,
    /// With a [`Look`]. Answer: what of the machine stands in the way, see [`kapsel_network::doctor`].
    Doctor,
    /// With a [`Namespace`]. Answer: what went through its interfaces.
    Statistics,
}

#[derive(Deserialize)]
struct Ports {
    table: String,
    container: String,
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct Removal {
    table: String,
    bridge: String,
}

#[derive(Deserialize)]
struct Everything {
    table: String,
    bridges: Vec<Bridge>,
    ports: Vec<Published>,
}

#[derive(Deserialize)]
struct Table {
    table: String,
}

#[derive(Deserialize)]
struct Look {
    table: String,
    bridges: Vec<String>,
}

#[derive(Deserialize)]
struct Namespace {
    namespace: PathBuf,
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
    // SAFETY: the descriptor is open, as tested above, and nobody else in this process has it.
    let json = document::read(unsafe { OwnedFd::from_raw_fd(3) })?;
    let json = json.as_slice();
    let Request { action, run_root } = read(json)?;
    rootless::enter_hub(&run_root)?;
    match action {
        Action::Attach => return output(&connect(&read(json)?)?),
        Action::Detach => disconnect(&read(json)?)?,
        Action::Publish => {
            let Ports { table, container, ports } = read(json)?;
            let mut filter = Filter::open(&table)?;
            let made = filter.ensure()? != State::Whole;
            filter.publish(&published(&container, &ports.unwrap_or_default()))?;
            return output(&Connected { made, filter: None });
        }
        Action::Unpublish => {
            let Ports { table, container, ports } = read(json)?;
            let only = ports.map(|ports| published(&container, &ports));
            return output(&Filter::open(&table)?.unpublish(&container, only.as_deref())?);
        }
        Action::Remove => {
            let Removal { table, bridge } = read(json)?;
            remove_bridge(&table, &bridge)?;
        }
        Action::Repair => {
            let Everything { table, bridges, ports } = read(json)?;
            return output(&Connected {
                made: Filter::open(&table)?.repair(&bridges, &ports)?,
                filter: None,
            });
        }
        Action::Ports => return output(&Filter::open(&read::<Table>(json)?.table)?.published()?),
        Action::Doctor => {
            let Look { table, bridges } = read(json)?;
            return output(&doctor(&table, &bridges)?);
        }
        Action::Statistics => {
            let namespace = open_path(&read::<Namespace>(json)?.namespace)?;
            return output(&statistics(namespace.as_fd())?);
        }
    }
    print(b"{}\n")
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        Error::new("NETWORK_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })
}
