//! /etc/subuid and /etc/subgid (subuid(5)): which further ids a user may map. newuidmap decides; we only ask for it.

use std::fs;

/// A run of ids of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub first: u32,
    pub count: u32,
}

/// The user's ranges of user ids and group ids; none unless there are both.
pub(super) fn ranges(uid: u32) -> Option<(Vec<Range>, Vec<Range>)> {
    let name = name_of(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default());
    let of = |file: &str| {
        let ranges = parse(&fs::read_to_string(file).ok()?, uid, name.as_deref());
        (!ranges.is_empty()).then_some(ranges)
    };
    Some((of("/etc/subuid")?, of("/etc/subgid")?))
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn parse(text: &str, uid: u32, name: Option<&str>) -> Vec<Range> {
    let mut total = 1u32;
    let mine = |owner: &str| Some(owner) == name || owner.parse() == Ok(uid);
    text.lines()
        .filter_map(|line| {
            let [owner, first, count] = line.trim().split(':').collect::<Vec<_>>()[..] else { return None };
            let range = Range { first: first.parse().ok()?, count: count.parse().ok()? };
            (mine(owner) && range.count > 0).then_some(range)
        })
        // Ids inside are numbered on; together they must stay below the invalid id.
        .take_while(|range| {
            let sum = total.checked_add(range.count);
            total = sum.unwrap_or(total);
            sum.is_some()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let text = "ann:100000:65536\nbob:200000:65536\n1000:300000:10\n";
        let expected = [Range { first: 100_000, count: 65_536 }, Range { first: 300_000, count: 10 }];
        assert_eq!(parse(text, 1000, Some("ann")), expected);
        assert_eq!(parse(text, 1000, None), expected[1..]);
    }

    #[test]
    fn lines_that_mean_nothing_are_passed_over() {
        assert!(parse("ann:x:65536\nann:1\n# ann\nann:1:0\n", 1, Some("ann")).is_empty());
    }

    #[test]
    fn the_name_comes_from_the_third_field() {
        assert_eq!(name_of(7, "root:x:0:0::/:\nann:x:7:7::/:/bin/sh\n").as_deref(), Some("ann"));
    }
}
