//! A table beside ours, written into a transaction object by object.

use super::{
    IN_TABLE, Kind, TABLE,
    expression::{LIST_ELEMENT, Rule},
    message,
};
use crate::netlink::{Attributes, Batch, Message};

/// NFTA_CHAIN_NAME
const CHAIN_NAME: u16 = 3;
/// An attribute is shorter than 64 KiB.
const CHUNK: usize = 500;

/// Its family (`NFPROTO_*`) and its name; what is made of it is added to a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub family: u8,
    pub name: String,
}

/// Where the kernel calls a chain: its type, the hook's number, its place among others, and the interface, if it is one's.
pub(crate) struct Hook<'a> {
    pub kind: &'a str,
    pub number: u32,
    pub priority: i32,
    pub device: Option<&'a str>,
}

impl Table {
    fn message(&self, kind: Kind, flags: i32, attributes: &Attributes) -> Message {
        message(self.family, kind, flags, &Attributes::new().string(TABLE, &self.name).and(attributes))
    }

    /// The table itself, which must not be there, as the socket's own: nobody else can change or flush it, and it goes when
    /// the socket does (Linux 5.12).
    pub(crate) fn make(&self, batch: &mut Batch) {
        const FLAGS: u16 = 2;
        const NFT_TABLE_F_OWNER: u32 = 2;
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let owned = Attributes::new().big(FLAGS, NFT_TABLE_F_OWNER);
        batch.push(
            format!("cannot make the table {}", self.name),
            self.message(Kind::NewTable, flags, &owned),
        );
    }

    /// The table itself, empty, in the place of one that may be there. It stays.
    pub(crate) fn make_anew(&self, batch: &mut Batch) {
        let what = format!("cannot make the table {}", self.name);
        self.remove(batch);
        batch.push(what, self.message(Kind::NewTable, libc::NLM_F_CREATE, &Attributes::new()));
    }

    /// No table of this name; one that is not there is made only to be deleted.
    pub(crate) fn remove(&self, batch: &mut Batch) {
        let what = format!("cannot remove the table {}", self.name);
        batch.push(what.clone(), self.message(Kind::NewTable, libc::NLM_F_CREATE, &Attributes::new()));
        batch.push(what, self.message(Kind::DeleteTable, 0, &Attributes::new()));
    }

    /// A set, as `NFTA_SET_*` describe it.
    pub(crate) fn set(&self, batch: &mut Batch, attributes: &Attributes) {
        let what = format!("cannot make a set of the table {}", self.name);
        batch.push(what, self.message(Kind::NewSet, libc::NLM_F_CREATE | libc::NLM_F_EXCL, attributes));
    }

    /// A chain, which accepts what its rules leave; without a hook, others lead to it.
    pub(crate) fn chain(&self, batch: &mut Batch, name: &str, hook: Option<&Hook<'_>>) {
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const KIND: u16 = 7;
        const ACCEPT: u32 = 1;
        let mut attributes = Attributes::new().string(CHAIN_NAME, name);
        if let Some(hook) = hook {
            let mut place = Attributes::new().big(1, hook.number).big(2, hook.priority as u32);
            if let Some(device) = hook.device {
                place = place.string(3, device);
            }
            attributes = attributes.nest(HOOK, &place).big(POLICY, ACCEPT).string(KIND, hook.kind);
        }
        let what = format!("cannot make the chain {name} of the table {}", self.name);
        batch.push(what, self.message(Kind::NewChain, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &attributes));
    }

    /// A chain goes, with its rules.
    pub(crate) fn delete_chain(&self, batch: &mut Batch, name: &str) {
        let what = format!("cannot remove the chain {name} of the table {}", self.name);
        let chain = Attributes::new().string(CHAIN_NAME, name);
        batch.push(what, self.message(Kind::DeleteChain, 0, &chain));
    }

    /// A chain's next rule.
    pub(crate) fn rule(&self, batch: &mut Batch, chain: &str, rule: &Rule) {
        const EXPRESSIONS: u16 = 4;
        let attributes = Attributes::new().string(IN_TABLE, chain).nest(EXPRESSIONS, &rule.0);
        let what = format!("cannot add a rule to the chain {chain} of the table {}", self.name);
        batch.push(what, self.message(Kind::NewRule, libc::NLM_F_CREATE | libc::NLM_F_APPEND, &attributes));
    }

    /// Elements of a set, as `NFTA_SET_ELEM_*` describe them, added or deleted.
    pub(crate) fn elements(&self, batch: &mut Batch, kind: Kind, set: &str, elements: &[Attributes]) {
        const ELEMENTS: u16 = 3;
        let flags = if matches!(kind, Kind::NewElement) { libc::NLM_F_CREATE } else { 0 };
        for some in elements.chunks(CHUNK) {
            let list = some.iter().fold(Attributes::new(), |list, element| list.nest(LIST_ELEMENT, element));
            let attributes = Attributes::new().string(IN_TABLE, set).nest(ELEMENTS, &list);
            let what = format!("cannot change the set {set} of the table {}", self.name);
            batch.push(what, self.message(kind, flags, &attributes));
        }
    }
}
