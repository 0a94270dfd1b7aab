//! `network`: what the engine asks of the packet filter and of bridges; a container's own part is its monitor's.

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use kapsel_network::connect::remove_bridge;
use kapsel_network::description::Bridge;
use kapsel_network::doctor::doctor;
use kapsel_network::nftables::elements::Published;
use kapsel_network::nftables::filter::Filter;
use serde::{Deserialize, Serialize};

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
    /// A network's bridge goes, with a [`Removal`].
    Remove,
    /// With [`Everything`]. Answer: [`Repaired`].
    Repair,
    /// With a [`Table`]. Answer: its ports, each with its container.
    Ports,
    /// With a [`Look`]. Answer: what of the machine stands in the way, see [`kapsel_network::doctor`].
    Doctor,
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

#[derive(Serialize)]
struct Repaired {
    /// Whether the table was not so, and has been made anew.
    made: bool,
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
        Action::Remove => {
            let Removal { table, bridge } = read(json)?;
            remove_bridge(&table, &bridge)?;
        }
        Action::Repair => {
            let Everything { table, bridges, ports } = read(json)?;
            return output(&Repaired { made: Filter::open(&table)?.repair(&bridges, &ports)? });
        }
        Action::Ports => return output(&Filter::open(&read::<Table>(json)?.table)?.published()?),
        Action::Doctor => {
            let Look { table, bridges } = read(json)?;
            return output(&doctor(&table, &bridges)?);
        }
    }
    print(b"{}\n")
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        Error::new("NETWORK_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })
}
