//! set_mempolicy(2): on which NUMA nodes the program's memory lies.

use nix::errno::Errno;

use super::{list, number};
use crate::{
    Error,
    error::{At, Stage},
    spec::MemoryPolicy,
};

/// As many nodes as any kernel has (CONFIG_NODES_SHIFT is 10 at most).
const NODES: usize = 1024;
const WORD: usize = u64::BITS as usize;

// linux/mempolicy.h
const MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
const FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// A policy, ready for the kernel.
pub(super) struct Policy {
    name: String,
    mode: i32,
    nodes: [u64; NODES / WORD],
}

impl Policy {
    pub(super) fn read(policy: &MemoryPolicy) -> Result<Self, Error> {
        let mut mode = number(&MODES, &policy.mode, "linux.memoryPolicy.mode")?;
        let name = &policy.mode;
        match (name.as_str(), policy.nodes.is_empty()) {
            ("MPOL_DEFAULT" | "MPOL_LOCAL", false) => {
                return Err(Error::config(format!("linux.memoryPolicy: {name} takes no nodes")));
            }
            // Without nodes this one means the local node.
            ("MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED", true) | (_, false) => {}
            _ => return Err(Error::config(format!("linux.memoryPolicy: {name} needs nodes"))),
        }
        for flag in &policy.flags {
            mode |= number(&FLAGS, flag, "linux.memoryPolicy.flags")?;
        }
        let mut nodes = [0; NODES / WORD];
        if !policy.nodes.is_empty() {
            for node in list("linux.memoryPolicy.nodes", &policy.nodes, NODES)? {
                nodes[node / WORD] |= 1 << (node % WORD);
            }
        }
        Ok(Self { name: format!("{name} of the nodes {:?}", policy.nodes), mode, nodes })
    }

    pub(super) fn apply(&self) -> Result<(), Error> {
        // The kernel takes one bit less than it is told.
        // SAFETY: the mask has that many bits.
        let result = unsafe {
            libc::syscall(libc::SYS_set_mempolicy, self.mode, self.nodes.as_ptr(), NODES as libc::c_ulong)
        };
        Errno::result(result).at(Stage::Limit, || format!("cannot set the memory policy {}", self.name))?;
        Ok(())
    }
}
