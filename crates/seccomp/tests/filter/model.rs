//! What rules mean, evaluated one by one and as plainly as can be.

use kapsel_seccomp::{Action, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, Operator};

pub fn value(action: Action, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno => 0x0005_0000 | errno,
        Action::Kill | Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Trace => 0x7ff0_0000 | errno,
        Action::Log => 0x7ffc_0000,
        Action::Notify => 0x7fc0_0000,
    }
}

fn holds(condition: &LinuxSeccompArg, args: &[u64; 6]) -> bool {
    let arg = args[condition.index as usize];
    match condition.op {
        Operator::NotEqual => arg != condition.value,
        Operator::Less => arg < condition.value,
        Operator::LessOrEqual => arg <= condition.value,
        Operator::Equal => arg == condition.value,
        Operator::GreaterOrEqual => arg >= condition.value,
        Operator::Greater => arg > condition.value,
        Operator::MaskedEqual => arg & condition.value == condition.value_two & condition.value,
    }
}

fn matches(rule: &LinuxSyscall, args: &[u64; 6]) -> bool {
    let mut indexes: Vec<u32> = rule.args.iter().map(|condition| condition.index).collect();
    indexes.sort_unstable();
    let repeated = indexes.windows(2).any(|pair| pair[0] == pair[1]);
    if repeated {
        rule.args.iter().any(|condition| holds(condition, args))
    } else {
        rule.args.iter().all(|condition| holds(condition, args))
    }
}

/// What happens to a call of a 64-bit architecture, by name.
pub fn decide(filter: &LinuxSeccomp, name: &str, args: &[u64; 6]) -> u32 {
    let default = value(filter.default_action, filter.default_errno_ret);
    let rules: Vec<_> = filter
        .syscalls
        .iter()
        .filter(|rule| rule.names.iter().any(|found| found == name))
        .filter(|rule| value(rule.action, rule.errno_ret) != default)
        .collect();
    let whole = rules.iter().find(|rule| rule.args.is_empty());
    let found = whole.or_else(|| rules.iter().find(|rule| matches(rule, args)));
    found.map_or(default, |rule| value(rule.action, rule.errno_ret))
}
