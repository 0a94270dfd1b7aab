//! nf_tables' expressions, of which rules are made. Numbers are those of linux/netfilter/nf_tables.h. Registers are nft's:
//! 1 to 4 of 16 bytes each, and the same bytes again as 8 to 23 of 4 each.

use crate::netlink::Attributes;

/// NFTA_LIST_ELEM
pub(crate) const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// What the kernel knows about a packet beside its bytes: `NFT_META_*`.
#[derive(Clone, Copy)]
pub(crate) enum Meta {
    Ethertype = 1,
    InputName = 6,
    OutputName = 7,
    Family = 15,
    Protocol = 16,
}

/// Where a payload's bytes are counted from: `NFT_PAYLOAD_*`.
#[derive(Clone, Copy)]
pub(crate) enum Base {
    Network = 1,
    Transport = 2,
}

/// `NFT_CT_*`.
#[derive(Clone, Copy)]
pub(crate) enum Tracked {
    State = 0,
    Status = 2,
}

/// What becomes of a packet.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    Drop,
    Accept,
    Return,
    /// Another chain, for good.
    Goto(&'static str),
}

/// A rule in the making: expressions, each of which may end it for a packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule(pub Attributes);

impl Rule {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an expression by its name. All numbers are in the network's byte order.
    pub(crate) fn expression(self, name: &str, data: &Attributes) -> Self {
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        let expression = Attributes::new().string(NAME, name).nest(DATA, data);
        Self(self.0.nest(LIST_ELEMENT, &expression))
    }

    pub(crate) fn meta(self, key: Meta, register: u32) -> Self {
        self.expression("meta", &Attributes::new().big(1, register).big(2, key as u32))
    }

    /// Ends for frames that are not of this kind (linux/if_ether.h).
    pub(crate) fn ethertype(self, kind: u16) -> Self {
        self.meta(Meta::Ethertype, 1).equal(1, &kind.to_be_bytes())
    }

    /// Marks the packet (`fwmark` of ip-rule(8)).
    pub(crate) fn marked(self, mark: u32, register: u32) -> Self {
        const MARK: u32 = 3;
        let loaded = Attributes::new().big(1, register).nest(2, &data(&mark.to_ne_bytes()));
        self.expression("immediate", &loaded)
            .expression("meta", &Attributes::new().big(2, MARK).big(3, register))
    }

    /// Whether it is for a socket that has somebody else's address (`IP_TRANSPARENT`): 1, and the rule ends where there is none.
    pub(crate) fn transparent(self, register: u32) -> Self {
        self.expression("socket", &Attributes::new().big(1, 0).big(2, register))
    }

    pub(crate) fn payload(self, base: Base, offset: u32, length: u32, register: u32) -> Self {
        let data = Attributes::new().big(1, register).big(2, base as u32).big(3, offset).big(4, length);
        self.expression("payload", &data)
    }

    pub(crate) fn tracked(self, key: Tracked, register: u32) -> Self {
        self.expression("ct", &Attributes::new().big(1, register).big(2, key as u32))
    }

    /// The kind of the destination's address, `RTN_*`.
    pub(crate) fn destination_type(self, register: u32) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        let data = Attributes::new().big(1, register).big(2, ADDRESS_TYPE).big(3, DESTINATION);
        self.expression("fib", &data)
    }

    pub(crate) fn equal(self, register: u32, value: &[u8]) -> Self {
        self.compare(register, 0, value)
    }

    pub(crate) fn differs(self, register: u32, value: &[u8]) -> Self {
        self.compare(register, 1, value)
    }

    fn compare(self, register: u32, operation: u32, value: &[u8]) -> Self {
        let data = Attributes::new().big(1, register).big(2, operation).nest(3, &data(value));
        self.expression("cmp", &data)
    }

    /// Keeps only the bits of a mask in a register.
    pub(crate) fn mask(self, register: u32, mask: &[u8]) -> Self {
        let data = Attributes::new()
            .big(1, register)
            .big(2, register)
            .big(3, mask.len() as u32)
            .nest(4, &data(mask))
            .nest(5, &data(&vec![0; mask.len()]));
        self.expression("bitwise", &data)
    }

    pub(crate) fn found_in(self, register: u32, set: &str) -> Self {
        self.expression("lookup", &Attributes::new().string(1, set).big(2, register))
    }

    pub(crate) fn missing_in(self, register: u32, set: &str) -> Self {
        const INVERTED: u32 = 1;
        self.expression("lookup", &Attributes::new().string(1, set).big(2, register).big(5, INVERTED))
    }

    /// Adds the key in register 1 to a set, or prolongs it there.
    pub(crate) fn learn(self, set: &str, seconds: u64) -> Self {
        const UPDATE: u32 = 1;
        let milliseconds = (seconds * 1000).to_be_bytes();
        let update = Attributes::new().string(1, set).big(3, UPDATE).big(4, 1).bytes(6, &milliseconds);
        self.expression("dynset", &update)
    }

    /// Replaces a key by what a map has for it.
    pub(crate) fn mapped(self, register: u32, map: &str) -> Self {
        let data = Attributes::new().string(1, map).big(2, register).big(3, register);
        self.expression("lookup", &data)
    }

    pub(crate) fn verdict(self, verdict: Verdict) -> Self {
        const CODE: u16 = 1;
        const CHAIN: u16 = 2;
        let code = |code: i32| Attributes::new().big(CODE, code as u32);
        let verdict = match verdict {
            Verdict::Drop => code(0),
            Verdict::Accept => code(1),
            Verdict::Return => code(-5),
            Verdict::Goto(chain) => code(-4).string(CHAIN, chain),
        };
        // Register 0 is the verdict's.
        let data = Attributes::new().big(1, 0).nest(2, &Attributes::new().nest(DATA_VERDICT, &verdict));
        self.expression("immediate", &data)
    }

    /// Leads to the address and the port in these registers.
    pub(crate) fn dnat(self, family: u8, address: u32, port: u32) -> Self {
        const DESTINATION: u32 = 1;
        let data = Attributes::new().big(1, DESTINATION).big(2, family.into()).big(3, address).big(5, port);
        self.expression("nat", &data)
    }

    pub(crate) fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::new())
    }
}

/// A value as nf_tables wraps it.
pub(crate) fn data(value: &[u8]) -> Attributes {
    Attributes::new().bytes(DATA_VALUE, value)
}

/// An interface's name as nf_tables compares it: 16 bytes.
pub(crate) fn interface_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}
