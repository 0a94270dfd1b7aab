//! What only one container can have at a time: addresses of a network, ports of the host. Held from a start to the end
//! of that life. An address is a number within its subnet; which address that is, is the engine's arithmetic.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::database::Database;
use crate::error::{Error, Result};
use crate::rows::{AddressWanted, Leased, Port, PortWanted};

impl Database {
    /// Gives a container that lives all the addresses and ports it wants, or none: `CONTAINER_NOT_RUNNING`,
    /// `ADDRESS_IN_USE`, `NETWORK_FULL`, `PORT_IN_USE`. They are its own until its life ends.
    pub fn lease(
        &mut self,
        container_id: &str,
        addresses: &[AddressWanted],
        ports: &[PortWanted],
    ) -> Result<Leased> {
        self.write(|transaction| {
            // Nobody would take back what it is given after its end.
            let lives =
                "SELECT 1 FROM containers WHERE id = ?1 AND status IN ('starting', 'running', 'paused')";
            if !transaction.prepare_cached(lives)?.exists([container_id])? {
                let text = format!("container {container_id} is not running");
                return Err(Error::new("CONTAINER_NOT_RUNNING", text));
            }
            let mut taken = Vec::new();
            for wanted in ports {
                taken.extend(take_port(transaction, container_id, wanted)?);
            }
            let numbers = addresses.iter().map(|wanted| take_address(transaction, container_id, wanted));
            Ok(Leased { addresses: numbers.collect::<Result<_>>()?, ports: taken })
        })
    }

    /// The ports that lead to a container, by its own.
    pub fn ports(&self, container_id: &str) -> Result<Vec<Port>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT protocol, address, port, container_port FROM ports WHERE container_id = ?1
                 ORDER BY container_port, protocol, address, port",
            )?;
            let rows = statement.query_map([container_id], |row| {
                Ok(Port {
                    protocol: row.get(0)?,
                    address: row.get(1)?,
                    port: row.get(2)?,
                    container_port: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Gives back some ports.
    pub fn release_ports(&mut self, container_id: &str, ports: &[Port]) -> Result<()> {
        self.write_removal(|transaction| {
            for Port { protocol, address, port, .. } in ports {
                transaction
                    .prepare_cached(
                        "DELETE FROM ports WHERE container_id = ?1 AND protocol = ?2 AND address = ?3 AND port = ?4",
                    )?
                    .execute((container_id, protocol, address, port))?;
            }
            Ok(())
        })
    }
}

/// Gives back what a container holds for the time of its life.
pub(crate) fn release(transaction: &Transaction<'_>, container_id: &str) -> Result<()> {
    for table in ["leases", "ports"] {
        let statement = format!("DELETE FROM {table} WHERE container_id = ?1");
        transaction.prepare_cached(&statement)?.execute([container_id])?;
    }
    Ok(())
}

/// The one that is wanted, or the next free one after that given last: one that was given back rests longest.
fn take_address(transaction: &Transaction<'_>, container_id: &str, wanted: &AddressWanted) -> Result<i64> {
    let AddressWanted { network_id, subnet, first, last, reserved, exactly } = wanted;
    if let Some(number) = exactly {
        let holder: Option<String> = transaction
            .prepare_cached(
                "SELECT container_id FROM leases WHERE network_id = ?1 AND subnet = ?2 AND number = ?3",
            )?
            .query_row((network_id, subnet, number), |row| row.get(0))
            .optional()?;
        if let Some(holder) = holder {
            let text = format!("the address is in use by container {}", name(transaction, &holder)?);
            return Err(Error::new("ADDRESS_IN_USE", text));
        }
        record(transaction, wanted, container_id, *number)?;
        return Ok(*number);
    }
    let cursor: Option<i64> = transaction
        .prepare_cached("SELECT number FROM lease_cursors WHERE network_id = ?1 AND subnet = ?2")?
        .query_row((network_id, subnet), |row| row.get(0))
        .optional()?;
    let begin = cursor.map_or(*first, |last_given| last_given + 1);
    let begin = if (*first..=*last).contains(&begin) { begin } else { *first };
    let taken = "SELECT 1 FROM leases WHERE network_id = ?1 AND subnet = ?2 AND number = ?3";
    let mut taken = transaction.prepare_cached(taken)?;
    for number in (begin..=*last).chain(*first..begin) {
        if reserved.contains(&number) || taken.exists((network_id, subnet, number))? {
            continue;
        }
        record(transaction, wanted, container_id, number)?;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO lease_cursors (network_id, subnet, number) VALUES (?1, ?2, ?3)",
            )?
            .execute((network_id, subnet, number))?;
        return Ok(number);
    }
    let network: String = transaction
        .prepare_cached("SELECT name FROM networks WHERE id = ?1")?
        .query_row([network_id], |row| row.get(0))?;
    let error = Error::new("NETWORK_FULL", format!("no address of network {network} is free"));
    Err(error.hint("remove containers from it, or make a network with a larger subnet"))
}

fn record(
    transaction: &Transaction<'_>,
    AddressWanted { network_id, subnet, .. }: &AddressWanted,
    container_id: &str,
    number: i64,
) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO leases (network_id, subnet, number, container_id) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((network_id, subnet, number, container_id))?;
    Ok(())
}

/// The first that is free of all the addresses that it is wanted of; where none is, the last one's holder is named.
fn take_port(transaction: &Transaction<'_>, container_id: &str, wanted: &PortWanted) -> Result<Vec<Port>> {
    let PortWanted { protocol, addresses, first, last, begin, container_port } = wanted;
    let mut failure = None;
    for port in (*begin..=*last).chain(*first..*begin) {
        match addresses.iter().find_map(|address| taken(transaction, protocol, address, port).transpose()) {
            Some(reason) => failure = Some(reason?),
            None => {
                return addresses
                    .iter()
                    .map(|address| {
                        let (protocol, address) = (protocol.clone(), address.clone());
                        let port = Port { protocol, address, port, container_port: *container_port };
                        record_port(transaction, container_id, &port)?;
                        Ok(port)
                    })
                    .collect();
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::new("PORT_IN_USE", "no port was asked for".to_owned())))
}

/// Why a port cannot be had, if it cannot: one of every address collides with that of any one, of the same family.
fn taken(transaction: &Transaction<'_>, protocol: &str, address: &str, port: u16) -> Result<Option<Error>> {
    let every = if address.contains(':') { "::" } else { "0.0.0.0" };
    let holder: Option<String> = transaction
        .prepare_cached(
            "SELECT container_id FROM ports WHERE protocol = ?1 AND port = ?2 AND
             (address = ?3 OR address = ?4 OR (?3 = ?4 AND (instr(address, ':') > 0) = (instr(?3, ':') > 0)))",
        )?
        .query_row((protocol, port, address, every), |row| row.get(0))
        .optional()?;
    let Some(holder) = holder else { return Ok(None) };
    let shown = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let holder = name(transaction, &holder)?;
    let text = format!("port {shown}:{port}/{protocol} is already published by container {holder}");
    Ok(Some(Error::new("PORT_IN_USE", text).hint("choose another port, or stop that container")))
}

fn record_port(transaction: &Transaction<'_>, container_id: &str, port: &Port) -> Result<()> {
    let Port { protocol, address, port, container_port } = port;
    transaction
        .prepare_cached(
            "INSERT INTO ports (protocol, address, port, container_id, container_port)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((protocol, address, port, container_id, container_port))?;
    Ok(())
}

fn name(connection: &Connection, id: &str) -> Result<String> {
    let found = connection
        .prepare_cached("SELECT name FROM containers WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or_else(|| id.get(..12).unwrap_or(id).to_owned()))
}
