//! The `linux.seccomp` object of the OCI runtime specification 1.3, field for field.

use serde::{Deserialize, Serialize};

/// A container's system call filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSeccomp {
    /// What happens to a system call that no rule speaks of.
    pub default_action: Action,
    /// The errno of the default action, where it has one; EPERM if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures beside the native one; a call of any other kills the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Architecture>,
    /// `SECCOMP_FILTER_FLAG_*` names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The UNIX socket of the supervisor that answers `SCMP_ACT_NOTIFY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<String>,
    /// Opaque words for the supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// The rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<LinuxSyscall>,
}

/// One rule: these calls, with these arguments, get this action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSyscall {
    /// Names of system calls; those this architecture does not know are ignored.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// The errno of the action, where it has one; EPERM if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<LinuxSeccompArg>,
}

/// A condition on one argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxSeccompArg {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// What it is compared with (the mask, for `SCMP_CMP_MASKED_EQ`).
    pub value: u64,
    /// For `SCMP_CMP_MASKED_EQ`: what the masked argument must equal.
    #[serde(default)]
    pub value_two: u64,
    /// How it is compared.
    pub op: Operator,
}

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// It is made.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// It fails with an errno.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// The thread is killed (the specification's older name for it).
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    /// The thread is killed.
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// The process is killed.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// The thread gets SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// The tracer is told; without one the call fails with ENOSYS.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// It is made and logged.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// A listener in user space decides.
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// How an argument is compared; always unsigned and 64 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// argument ≠ value
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    /// argument < value
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    /// argument ≤ value
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    /// argument = value
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    /// argument ≥ value
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    /// argument > value
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// argument & value = valueTwo
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// A machine's calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// i386
    #[serde(rename = "SCMP_ARCH_X86")]
    X86,
    /// x86-64
    #[serde(rename = "SCMP_ARCH_X86_64")]
    X86_64,
    /// x86-64 with 32-bit pointers
    #[serde(rename = "SCMP_ARCH_X32")]
    X32,
    /// 32-bit Arm, EABI
    #[serde(rename = "SCMP_ARCH_ARM")]
    Arm,
    /// 64-bit Arm
    #[serde(rename = "SCMP_ARCH_AARCH64")]
    Aarch64,
    /// The native one, which every filter covers, or any that kapsel does not run on and whose calls cannot come.
    #[serde(
        rename = "SCMP_ARCH_NATIVE",
        alias = "SCMP_ARCH_LOONGARCH64",
        alias = "SCMP_ARCH_M68K",
        alias = "SCMP_ARCH_MIPS",
        alias = "SCMP_ARCH_MIPS64",
        alias = "SCMP_ARCH_MIPS64N32",
        alias = "SCMP_ARCH_MIPSEL",
        alias = "SCMP_ARCH_MIPSEL64",
        alias = "SCMP_ARCH_MIPSEL64N32",
        alias = "SCMP_ARCH_PARISC",
        alias = "SCMP_ARCH_PARISC64",
        alias = "SCMP_ARCH_PPC",
        alias = "SCMP_ARCH_PPC64",
        alias = "SCMP_ARCH_PPC64LE",
        alias = "SCMP_ARCH_RISCV64",
        alias = "SCMP_ARCH_S390",
        alias = "SCMP_ARCH_S390X",
        alias = "SCMP_ARCH_SH",
        alias = "SCMP_ARCH_SHEB"
    )]
    Other,
}

impl Architecture {
    /// The architecture that this program was built for.
    pub const NATIVE: Self = if cfg!(target_arch = "x86_64") {
        Self::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::Other
    };

    /// What Docker's profiles call it in `arches`.
    pub(crate) fn docker_name(self) -> Option<&'static str> {
        match self {
            Self::X86 => Some("x86"),
            Self::X86_64 => Some("amd64"),
            Self::X32 => Some("x32"),
            Self::Arm => Some("arm"),
            Self::Aarch64 => Some("arm64"),
            Self::Other => None,
        }
    }
}
