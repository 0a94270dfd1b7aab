//! Lines of passwd(5) and group(5).

use super::{missing, parse_id};
use crate::Error;

/// A line of /etc/passwd.
pub(super) struct Account<'a> {
    pub name: &'a str,
    pub uid: u32,
    pub gid: u32,
    pub home: &'a str,
}

/// The first account of that name.
pub(super) fn account_of_name<'a>(passwd: &'a str, name: &str) -> Result<Option<Account<'a>>, Error> {
    passwd.lines().find(|line| line.split(':').next() == Some(name)).map(account).transpose()
}

/// The first account of that id; lines that make no sense belong to nobody.
pub(super) fn account_of_uid(passwd: &str, uid: u32) -> Result<Option<Account<'_>>, Error> {
    let is_theirs = |line: &&str| line.split(':').nth(2).and_then(|word| parse_id(word).ok()?) == Some(uid);
    passwd.lines().find(is_theirs).map(account).transpose()
}

fn account(line: &str) -> Result<Account<'_>, Error> {
    let fields: Vec<&str> = line.split(':').collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or_default();
    let id = |index: usize| {
        let malformed =
            || missing(format!("the container's /etc/passwd has a malformed id for {:?}", field(0)));
        parse_id(field(index))?.ok_or_else(malformed)
    };
    Ok(Account { name: field(0), uid: id(2)?, gid: id(3)?, home: field(5) })
}

/// The id of the first group of that name.
pub(super) fn gid_of_name(group: &str, name: &str) -> Result<Option<u32>, Error> {
    group.lines().find(|line| line.split(':').next() == Some(name)).map(gid).transpose()
}

/// The groups that list the user.
pub(super) fn groups_of(group: &str, user: &str) -> Result<Vec<u32>, Error> {
    let lists_user =
        |line: &&str| line.split(':').nth(3).is_some_and(|users| users.split(',').any(|name| name == user));
    group.lines().filter(lists_user).map(gid).collect()
}

fn gid(line: &str) -> Result<u32, Error> {
    let mut fields = line.split(':');
    let name = fields.next().unwrap_or_default();
    let malformed = || missing(format!("the container's /etc/group has a malformed id for {name:?}"));
    parse_id(fields.nth(1).unwrap_or_default())?.ok_or_else(malformed)
}
