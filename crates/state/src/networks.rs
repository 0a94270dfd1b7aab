//! Networks and who is on them. What a network is like is the engine's document; here is what must be unique.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::clock::now;
use crate::columns::{ByPrefix, by_prefix, json, to_json};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::events::append;
use crate::leases::release;
use crate::rows::{Attributes, Endpoint, Network, NewEndpoint, NewNetwork};

const COLUMNS: &str = "id, name, driver, interface, labels, created_at, document";

impl Database {
    /// Records a network, and `create`. `NETWORK_EXISTS`, `INTERFACE_IN_USE`.
    pub fn insert_network(&mut self, new: &NewNetwork) -> Result<()> {
        self.write(|transaction| {
            if let Some(other) = one(transaction, "name = ?1", &new.name)? {
                let text = format!("network with name {} already exists", other.name);
                return Err(Error::new("NETWORK_EXISTS", text));
            }
            if let Some(interface) = &new.interface
                && let Some(other) = one(transaction, "interface = ?1", interface)?
            {
                let text = format!("the interface {interface} is that of network {}", other.name);
                return Err(Error::new("INTERFACE_IN_USE", text).hint("choose another name"));
            }
            let time = now();
            transaction
                .prepare_cached(
                    "INSERT INTO networks (id, name, driver, interface, labels, created_at, document)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    new.id,
                    new.name,
                    new.driver,
                    new.interface,
                    to_json(&new.labels),
                    time,
                    new.document.get()
                ])?;
            append(transaction, "network", "create", &new.id, &attributes(&new.name, &new.driver), &time)
        })
    }

    /// By full id, name, or an unambiguous prefix of an id. `NETWORK_NOT_FOUND`, `NETWORK_AMBIGUOUS`.
    pub fn network(&self, reference: &str) -> Result<Network> {
        self.read(|connection| {
            for condition in ["id = ?1", "name = ?1"] {
                if let Some(found) = one(connection, condition, reference)? {
                    return Ok(found);
                }
            }
            by_beginning(connection, reference)
        })
    }

    /// By name.
    pub fn networks(&self) -> Result<Vec<Network>> {
        self.read(|connection| {
            let query = format!("SELECT {COLUMNS} FROM networks ORDER BY name");
            let mut statement = connection.prepare_cached(&query)?;
            let rows = statement.query_map([], network)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Forgets a network that nobody is on, and `destroy`. `NETWORK_NOT_FOUND`, `NETWORK_IN_USE`.
    pub fn remove_network(&mut self, id: &str) -> Result<()> {
        self.write_removal(|transaction| {
            let row = one(transaction, "id = ?1", id)?.ok_or_else(|| not_found(id))?;
            let users = names(transaction, id)?;
            if !users.is_empty() {
                let text = format!("network {} is in use by {}", row.name, users.join(", "));
                let error = Error::new("NETWORK_IN_USE", text);
                return Err(error.hint("disconnect or remove these containers first"));
            }
            for table in ["networks WHERE id", "leases WHERE network_id", "lease_cursors WHERE network_id"] {
                transaction.prepare_cached(&format!("DELETE FROM {table} = ?1"))?.execute([id])?;
            }
            append(transaction, "network", "destroy", id, &attributes(&row.name, &row.driver), &now())
        })
    }

    /// Puts a container on a network, and `connect`. `NETWORK_NOT_FOUND`, `CONTAINER_NOT_FOUND`, `ENDPOINT_EXISTS`.
    pub fn insert_endpoint(&mut self, new: &NewEndpoint) -> Result<()> {
        self.write(|transaction| insert_endpoint(transaction, new))
    }

    /// The container's, in the order they were made.
    pub fn endpoints_of_container(&self, container_id: &str) -> Result<Vec<Endpoint>> {
        self.read(|connection| endpoints(connection, "container_id", container_id))
    }

    /// The network's, in the order they were made.
    pub fn endpoints_of_network(&self, network_id: &str) -> Result<Vec<Endpoint>> {
        self.read(|connection| endpoints(connection, "network_id", network_id))
    }

    /// Takes a container off a network, and `disconnect`; its addresses there are free. `ENDPOINT_NOT_FOUND`.
    pub fn remove_endpoint(&mut self, network_id: &str, container_id: &str) -> Result<()> {
        self.write_removal(|transaction| {
            let keys = [network_id, container_id];
            let removed = transaction
                .prepare_cached("DELETE FROM endpoints WHERE network_id = ?1 AND container_id = ?2")?
                .execute(keys)?;
            if removed == 0 {
                let text = format!("container {container_id} is not connected to network {network_id}");
                return Err(Error::new("ENDPOINT_NOT_FOUND", text));
            }
            transaction
                .prepare_cached("DELETE FROM leases WHERE network_id = ?1 AND container_id = ?2")?
                .execute(keys)?;
            tell(transaction, network_id, container_id, "disconnect")
        })
    }
}

/// As [`Database::insert_endpoint`], within a transaction.
pub(crate) fn insert_endpoint(transaction: &Transaction<'_>, new: &NewEndpoint) -> Result<()> {
    let row = one(transaction, "id = ?1", &new.network_id)?.ok_or_else(|| not_found(&new.network_id))?;
    let inserted = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO endpoints (network_id, container_id, document) VALUES (?1, ?2, ?3)",
        )?
        .execute((&new.network_id, &new.container_id, new.document.get()))?;
    if inserted == 0 {
        let text = format!("container {} is connected to network {} already", new.container_id, row.name);
        return Err(Error::new("ENDPOINT_EXISTS", text));
    }
    tell(transaction, &new.network_id, &new.container_id, "connect")
}

/// Forgets everything that a container had of any network.
pub(crate) fn forget_container(transaction: &Transaction<'_>, container_id: &str) -> Result<()> {
    transaction.prepare_cached("DELETE FROM endpoints WHERE container_id = ?1")?.execute([container_id])?;
    release(transaction, container_id)
}

fn tell(transaction: &Transaction<'_>, network_id: &str, container_id: &str, action: &str) -> Result<()> {
    let Some(row) = one(transaction, "id = ?1", network_id)? else { return Ok(()) };
    let mut attributes = attributes(&row.name, &row.driver);
    attributes.insert("container".into(), container_id.into());
    append(transaction, "network", action, network_id, &attributes, &now())
}

fn attributes(name: &str, driver: &str) -> Attributes {
    Attributes::from([("name".into(), name.into()), ("type".into(), driver.into())])
}

fn one(connection: &Connection, condition: &str, key: &str) -> Result<Option<Network>> {
    let query = format!("SELECT {COLUMNS} FROM networks WHERE {condition}");
    Ok(connection.prepare_cached(&query)?.query_row([key], network).optional()?)
}

fn by_beginning(connection: &Connection, prefix: &str) -> Result<Network> {
    let select = format!("SELECT {COLUMNS} FROM networks");
    match by_prefix(connection, &select, prefix, network)? {
        ByPrefix::One(found) => Ok(found),
        ByPrefix::Nobody => Err(not_found(prefix)),
        ByPrefix::Several => {
            let text = format!("network {prefix} is ambiguous: several ids begin with it");
            Err(Error::new("NETWORK_AMBIGUOUS", text).hint("give more of the id"))
        }
    }
}

fn endpoints(connection: &Connection, column: &str, key: &str) -> Result<Vec<Endpoint>> {
    let query = format!(
        "SELECT network_id, container_id, document, (SELECT json_group_object(subnet, number) FROM leases
         WHERE network_id = endpoints.network_id AND container_id = endpoints.container_id)
         FROM endpoints WHERE {column} = ?1 ORDER BY rowid"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map([key], |row| {
        Ok(Endpoint {
            network_id: row.get(0)?,
            container_id: row.get(1)?,
            document: json(row, 2)?,
            leases: json(row, 3)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The names of the containers on a network.
fn names(connection: &Connection, network_id: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM containers JOIN endpoints ON container_id = id WHERE network_id = ?1 ORDER BY name",
    )?;
    let rows = statement.query_map([network_id], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn network(row: &Row<'_>) -> rusqlite::Result<Network> {
    Ok(Network {
        id: row.get(0)?,
        name: row.get(1)?,
        driver: row.get(2)?,
        interface: row.get(3)?,
        labels: json(row, 4)?,
        created_at: row.get(5)?,
        document: json(row, 6)?,
    })
}

fn not_found(reference: &str) -> Error {
    Error::new("NETWORK_NOT_FOUND", format!("No such network: {reference}"))
}
