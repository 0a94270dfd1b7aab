//! The table made, kept and repaired; networks and ports put into it and taken out.

use super::conntrack;
use super::elements::{Element, Published, listed, of_bridge, of_port, shown, to_port};
use super::ruleset::{Chain, SETS, Set, chains};
use super::table::Table;
use super::{IN_TABLE, INET, Kind, TABLE, message, reports, transaction};
use crate::description::Bridge;
use crate::error::{Error, Result};
use crate::netlink::{Attributes, Batch, Family, Message, Socket, attribute, read_u32, text};

// NFTA_TABLE_USERDATA, NFTA_CHAIN_NAME, NFTA_CHAIN_USE
const TABLE_USERDATA: u16 = 6;
const CHAIN_NAME: u16 = 3;
const CHAIN_USE: u16 = 6;
/// Elements of one message: an attribute is shorter than 64 KiB, an element than 400 bytes.
const CHUNK: usize = 150;
/// How often something is tried anew that another process came between.
const PATIENCE: u32 = 1000;

/// How the table is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As we make it.
    Whole,
    /// Somebody has taken chains or rules away, or another version made it.
    Changed,
    /// Not there.
    Absent,
}

/// Our table of the packet filter, in the network namespace it was opened in.
#[derive(Debug)]
pub struct Filter {
    socket: Socket,
    table: String,
    chains: Vec<Chain>,
}

impl Filter {
    /// Nothing is made yet. `table`: its name.
    pub fn open(table: &str) -> Result<Self> {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if table.is_empty() || table.len() > 31 || !table.chars().all(good) {
            return Err(Error::new("TABLE_INVALID", format!("{table:?} is no name of a table")));
        }
        Ok(Self { socket: Socket::open(Family::Netfilter)?, table: table.to_owned(), chains: chains() })
    }

    /// How the table is found. Elements that are missing do not change it.
    pub fn state(&mut self) -> Result<State> {
        let request = message(INET, Kind::GetTable, 0, &self.named());
        let Some(found) = self.socket.get("cannot look for the table", request)? else {
            return Ok(State::Absent);
        };
        let ours = attribute(&found[4..], TABLE_USERDATA) == Some(&self.fingerprint()[..]);
        if !ours {
            return Ok(State::Changed);
        }
        let request = message(INET, Kind::GetChain, 0, &Attributes::new());
        let list = self.socket.list("cannot list the chains", request)?;
        let uses = |name: &str| {
            let of_it = list.iter().map(|entry| &entry[4..]).find(|entry| {
                let is = |kind, wanted: &str| attribute(entry, kind).map(text).as_deref() == Some(wanted);
                is(TABLE, &self.table) && is(CHAIN_NAME, name)
            });
            of_it.and_then(|entry| attribute(entry, CHAIN_USE)).and_then(read_u32).map(u32::from_be)
        };
        let whole = self
            .chains
            .iter()
            .all(|chain| uses(chain.name) == Some(chain.rules.len() as u32 + chain.leading));
        Ok(if whole { State::Whole } else { State::Changed })
    }

    /// Makes the table where it is missing or changed, with what its sets have still, and returns how it was found.
    pub fn ensure(&mut self) -> Result<State> {
        self.again(|filter| {
            let generation = filter.generation()?;
            let state = filter.state()?;
            match state {
                State::Whole => {}
                State::Absent | State::Changed => {
                    let elements = filter.elements()?;
                    filter.load(generation, &elements)?;
                }
            }
            Ok(state)
        })
    }

    /// Makes the table anew, atomically, where it is not ours or lacks what these networks and ports have in it. What else is
    /// in it stays: another engine of this machine may have it. Returns whether there was need.
    pub fn repair(&mut self, bridges: &[Bridge], ports: &[Published]) -> Result<bool> {
        let mut wanted: Vec<_> = bridges.iter().flat_map(of_bridge).collect();
        for port in ports {
            wanted.push(of_port(port)?);
        }
        wanted.sort();
        wanted.dedup();
        self.again(|filter| {
            let generation = filter.generation()?;
            let mut found = filter.elements()?;
            found.sort();
            let lacks = wanted.iter().any(|element| found.binary_search(element).is_err());
            if !lacks && filter.state()? == State::Whole {
                return Ok(false);
            }
            found.retain(|element| !wanted.iter().any(|wanted| wanted.is_in_place_of(element)));
            found.extend_from_slice(&wanted);
            filter.load(generation, &found)?;
            Ok(true)
        })
    }

    /// Takes the table away, with all that is in it; one that is gone is none.
    pub fn remove(&mut self) -> Result<()> {
        reports::unhush(&mut self.socket, &self.table);
        let table = Table { family: INET, name: self.table.clone() };
        transaction(&mut self.socket, None, |batch| table.remove(batch))
    }

    /// Takes a network out, by the name of its bridge.
    pub fn remove_bridge(&mut self, name: &str) -> Result<()> {
        let key = super::expression::interface_name(name);
        self.again(|filter| {
            let generation = filter.generation()?;
            let all = filter.elements()?;
            // The subnets that are masqueraded do not say whose they are: those of the same blocks.
            let mine: Vec<_> = all.iter().filter(|element| names(element, &key)).collect();
            let blocks: Vec<_> = mine.iter().filter_map(|net| block(net)).collect();
            let elements = all.iter().filter(|element| {
                // Where a block ends, a neighbour's may begin.
                let is_edge = |block: &[Vec<u8>; 2]| block[usize::from(element.is_end)] == element.key;
                names(element, &key) || element.set.starts_with("subnet") && blocks.iter().any(is_edge)
            });
            let elements: Vec<_> = elements.cloned().collect();
            filter.delete(generation, &elements)
        })
    }

    /// Puts networks in, of which those that are there already as they are described stay, and publishes ports of a
    /// container: all or nothing, in one transaction, since each costs a quarter of a millisecond. Ports that a repair has
    /// published already are the container's own. The table must be there. `PORT_IN_USE`, with the id of who has it.
    pub fn admit(&mut self, bridges: &[&Bridge], ports: &[Published]) -> Result<()> {
        let mut elements = ports.iter().map(of_port).collect::<Result<Vec<_>>>()?;
        let mut result = self.put(bridges, ports, &elements);
        if result.as_ref().is_err_and(|error| error.errno == libc::EEXIST) {
            let found = self.elements_of(|set| !set.data.is_empty())?;
            elements.retain(|element| !found.contains(element));
            result = self.put(bridges, ports, &elements);
        }
        match result {
            Err(error) if error.errno == libc::EEXIST => Err(self.taken(ports).unwrap_or(error)),
            Err(error) => Err(error),
            Ok(()) => {
                conntrack::forget(&mut self.socket, ports.iter().map(|published| published.port));
                Ok(())
            }
        }
    }

    fn put(&mut self, bridges: &[&Bridge], ports: &[Published], elements: &[Element]) -> Result<()> {
        let table = self.table.clone();
        let what = match ports {
            [only] => format!("cannot publish {}", shown(&only.port)),
            several => format!("cannot publish {} ports", several.len()),
        };
        transaction(&mut self.socket, None, |batch| {
            for bridge in bridges {
                let what = format!("cannot tell the packet filter of {}", bridge.name);
                fill(batch, &table, &what, Kind::NewElement, 0, &of_bridge(bridge));
            }
            for element in elements {
                batch
                    .push(&what, change(&table, Kind::NewElement, libc::NLM_F_EXCL, element.set, &[element]));
            }
        })
    }

    fn taken(&mut self, ports: &[Published]) -> Option<Error> {
        let wanted: Vec<_> = ports.iter().filter_map(|port| Some((port, of_port(port).ok()?))).collect();
        let found = self.elements().ok()?;
        let (port, holder) = wanted.iter().find_map(|(port, element)| {
            let same = |other: &&Element| (other.set, &other.key) == (element.set, &element.key);
            Some((port, found.iter().find(same)?))
        })?;
        let container = holder.comment.as_deref().unwrap_or("something else");
        let message = format!("{} is published by {container}", shown(&port.port));
        Some(Error::new("PORT_IN_USE", message))
    }

    /// Takes away ports that are a container's: these, or every one. Those that are gone, or somebody else's by now, are
    /// none. Returns those that were taken away.
    pub fn unpublish(&mut self, container: &str, only: Option<&[Published]>) -> Result<Vec<Published>> {
        let only: Option<Vec<_>> = match only {
            Some(ports) => Some(ports.iter().map(of_port).collect::<Result<_>>()?),
            None => None,
        };
        self.again(|filter| {
            let generation = filter.generation()?;
            let mut elements = filter.elements_of(|set| !set.data.is_empty())?;
            elements.retain(|element| {
                let is_meant = |wanted: &Vec<Element>| {
                    wanted.iter().any(|other| (other.set, &other.key) == (element.set, &element.key))
                };
                element.comment.as_deref() == Some(container) && only.as_ref().is_none_or(is_meant)
            });
            filter.delete(generation, &elements)?;
            let ports: Vec<_> = elements.iter().filter_map(to_port).collect();
            conntrack::forget(&mut filter.socket, ports.iter().map(|published| published.port));
            Ok(ports)
        })
    }

    /// Every published port.
    pub fn published(&mut self) -> Result<Vec<Published>> {
        let elements = self.elements_of(|set| !set.data.is_empty())?;
        Ok(elements.iter().filter_map(to_port).collect())
    }

    fn elements(&mut self) -> Result<Vec<Element>> {
        self.elements_of(|_| true)
    }

    fn elements_of(&mut self, wanted: impl Fn(&Set) -> bool) -> Result<Vec<Element>> {
        let mut found = Vec::new();
        for set in SETS.iter().filter(|set| wanted(set)) {
            let names = self.named().string(IN_TABLE, set.name);
            let request = message(INET, Kind::GetElement, 0, &names);
            let what = format!("cannot list the set {}", set.name);
            match self.socket.list(&what, request) {
                Ok(list) => found.extend(list.iter().flat_map(|payload| listed(set.name, payload))),
                // Somebody has taken the set away, or the table.
                Err(error) if error.errno == libc::ENOENT => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn delete(&mut self, generation: u32, elements: &[Element]) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        let table = self.table.clone();
        transaction(&mut self.socket, Some(generation), |batch| {
            let what = "cannot take elements out of the packet filter";
            fill(batch, &table, what, Kind::DeleteElement, 0, elements);
        })
    }

    /// The whole table with these elements, in place of what is there.
    fn load(&mut self, generation: u32, elements: &[Element]) -> Result<()> {
        let table = self.table.clone();
        let named = self.named();
        let whole = named.clone().bytes(TABLE_USERDATA, &self.fingerprint());
        let objects = self.objects();
        transaction(&mut self.socket, Some(generation), |batch| {
            let what = format!("cannot make the table {table}");
            // One that is not there is made only to be deleted.
            let create = libc::NLM_F_CREATE;
            batch.push(&what, message(INET, Kind::NewTable, create, &named));
            batch.push(&what, message(INET, Kind::DeleteTable, 0, &named));
            batch.push(&what, message(INET, Kind::NewTable, create, &whole));
            for object in objects {
                batch.push(&what, object);
            }
            fill(batch, &table, &what, Kind::NewElement, 0, elements);
        })?;
        reports::hush(&mut self.socket, &self.table);
        Ok(())
    }

    fn objects(&self) -> Vec<Message> {
        let flags = libc::NLM_F_CREATE;
        let mut objects = Vec::new();
        for (id, set) in (1..).zip(&SETS) {
            objects.push(message(INET, Kind::NewSet, flags, &self.named().and(&set.encode(id))));
        }
        for chain in &self.chains {
            objects.push(message(INET, Kind::NewChain, flags, &self.named().and(&chain.encode())));
        }
        for chain in &self.chains {
            for rule in &chain.rules {
                // NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS
                let attributes = self.named().string(2, chain.name).nest(4, &rule.0);
                objects.push(message(INET, Kind::NewRule, flags | libc::NLM_F_APPEND, &attributes));
            }
        }
        objects
    }

    /// What tells our table, of this version, from others. FNV-1a of every message of it.
    fn fingerprint(&self) -> [u8; 8] {
        let objects = self.objects();
        let bytes = objects.iter().flat_map(Message::as_bytes);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash.to_be_bytes()
    }

    fn named(&self) -> Attributes {
        Attributes::new().string(TABLE, &self.table)
    }

    /// The number of the last change of any table.
    fn generation(&mut self) -> Result<u32> {
        const ID: u16 = 1;
        let request = message(0, Kind::GetGeneration, 0, &Attributes::new());
        let found = self.socket.get("cannot ask the packet filter", request)?.unwrap_or_default();
        let id = found.get(4..).and_then(|rest| attribute(rest, ID)).and_then(read_u32);
        id.map(u32::from_be)
            .ok_or_else(|| Error::new("NETWORK_FAILED", "the packet filter does not say its generation"))
    }

    /// Until nobody comes between looking and changing.
    fn again<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            match work(self) {
                Err(error) if error.errno == libc::ERESTART && tries < PATIENCE => tries += 1,
                result => return result,
            }
        }
    }
}

/// Whether an element is of a bridge of this name, by itself or with others.
fn names(element: &Element, name: &[u8; 16]) -> bool {
    match element.set {
        "bridges" | "internal" | "open" => element.key == name,
        "pairs" => element.key.chunks(16).any(|part| part == name),
        "net4" | "net6" => element.key.ends_with(name),
        _ => false,
    }
}

/// The first key of a subnet, and the first that it has no more.
fn block(net: &Element) -> Option<[Vec<u8>; 2]> {
    let length = net.key.len().checked_sub(16)?;
    let first = net.key[..length].to_vec();
    let mut next = net.end.as_ref()?.get(..length)?.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    Some([first, next])
}

fn fill(batch: &mut Batch, table: &str, what: &str, kind: Kind, flags: i32, elements: &[Element]) {
    for set in &SETS {
        let mut of_it: Vec<_> = elements.iter().filter(|element| element.set == set.name).collect();
        // The kernel (6.18) wants the end of an interval right after its beginning.
        of_it.sort_by_key(|element| (&element.key, !element.is_end));
        for chunk in of_it.chunks(CHUNK) {
            batch.push(what, change(table, kind, flags, set.name, chunk));
        }
    }
}

/// Elements of one set, added or deleted.
fn change(table: &str, kind: Kind, flags: i32, set: &str, elements: &[&Element]) -> Message {
    /// NFTA_SET_ELEM_LIST_ELEMENTS
    const ELEMENTS: u16 = 3;
    let whole = matches!(kind, Kind::NewElement);
    let flags = if whole { flags | libc::NLM_F_CREATE } else { flags };
    let list = elements.iter().fold(Attributes::new(), |list, element| list.and(&element.encode(whole)));
    message(
        INET,
        kind,
        flags,
        &Attributes::new().string(TABLE, table).string(IN_TABLE, set).nest(ELEMENTS, &list),
    )
}
