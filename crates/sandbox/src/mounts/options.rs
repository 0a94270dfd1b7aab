//! The options of one mount, as mount(8) and the runtime specification spell them, sorted by whom they concern.

use libc::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
};

use crate::sys::mount::Attributes;

/// Options by whom they concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Whether this is a bind mount, and then whether of the mounts below too.
    pub bind: Option<Recursive>,
    /// Of the mount alone.
    pub own: Attributes,
    /// Of the mount and those below it.
    pub below: Attributes,
    /// Whether a new file system begins with what the image has at its place.
    pub copy_up: bool,
    /// Whether ids are to be mapped, and then whether of the mounts below too.
    pub idmap: Option<Recursive>,
    /// Whether what is mounted there already gets these attributes.
    pub remount: bool,
    /// Flags of a file system of its own; of a mount of one that exists they say nothing, as with mount(8).
    pub superblock: Vec<String>,
    /// For the file system: `key=value` or `key`.
    pub data: Vec<String>,
}

/// Every word that is not a file system's own, sorted; each is tried by the test below.
pub fn mount_options() -> Vec<String> {
    const ATTRIBUTES: [&str; 17] = [
        "ro",
        "rw",
        "nosuid",
        "suid",
        "nodev",
        "dev",
        "noexec",
        "exec",
        "nodiratime",
        "diratime",
        "nosymfollow",
        "symfollow",
        "noatime",
        "atime",
        "relatime",
        "norelatime",
        "strictatime",
    ];
    const OTHERS: [&str; 28] = [
        "nostrictatime",
        "defaults",
        "bind",
        "rbind",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
        "remount",
        "tmpcopyup",
        "idmap",
        "ridmap",
        "sync",
        "async",
        "dirsync",
        "lazytime",
        "nolazytime",
        "mand",
        "nomand",
        "silent",
        "loud",
        "iversion",
        "noiversion",
        "rnostrictatime",
    ];
    let recursive = ATTRIBUTES.iter().map(|word| format!("r{word}"));
    let plain = ATTRIBUTES.iter().chain(&OTHERS).map(|word| (*word).to_owned());
    let mut words: Vec<String> = plain.chain(recursive).collect();
    words.sort_unstable();
    words
}

/// Whether mounts below are meant too.
pub(crate) type Recursive = bool;

/// Where an attribute goes.
enum Effect {
    Set(u64),
    Unset(u64),
    /// One of the access time modes, which exclude one another.
    Time(u64),
    /// Anything but this access time mode.
    NotTime(u64),
}

fn effect(word: &str) -> Option<Effect> {
    use Effect::{NotTime, Set, Time, Unset};
    Some(match word {
        "ro" => Set(MOUNT_ATTR_RDONLY),
        "rw" => Unset(MOUNT_ATTR_RDONLY),
        "nosuid" => Set(MOUNT_ATTR_NOSUID),
        "suid" => Unset(MOUNT_ATTR_NOSUID),
        "nodev" => Set(MOUNT_ATTR_NODEV),
        "dev" => Unset(MOUNT_ATTR_NODEV),
        "noexec" => Set(MOUNT_ATTR_NOEXEC),
        "exec" => Unset(MOUNT_ATTR_NOEXEC),
        "nodiratime" => Set(MOUNT_ATTR_NODIRATIME),
        "diratime" => Unset(MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => Set(MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => Unset(MOUNT_ATTR_NOSYMFOLLOW),
        "noatime" => Time(MOUNT_ATTR_NOATIME),
        "relatime" => Time(MOUNT_ATTR_RELATIME),
        "strictatime" => Time(MOUNT_ATTR_STRICTATIME),
        "atime" => NotTime(MOUNT_ATTR_NOATIME),
        "norelatime" => NotTime(MOUNT_ATTR_RELATIME),
        "nostrictatime" => NotTime(MOUNT_ATTR_STRICTATIME),
        _ => return None,
    })
}

impl Options {
    /// Reads the words in order; a later one wins over an earlier one.
    pub(crate) fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        for word in words {
            options.read(word);
        }
        options
    }

    /// What concerns a mount that has none below it.
    pub(crate) fn either(&self) -> Attributes {
        let mut set = self.below.set;
        if self.own.clear & MOUNT_ATTR__ATIME != 0 {
            set &= !MOUNT_ATTR__ATIME;
        }
        Attributes {
            set: set | self.own.set,
            clear: self.own.clear | self.below.clear,
            propagation: self.own.propagation | self.below.propagation,
        }
    }

    /// The last word on propagation is the only one.
    fn propagate(&mut self, own: u64, below: u64) {
        (self.own.propagation, self.below.propagation) = (own, below);
    }

    fn read(&mut self, word: &str) {
        if let Some(effect) = effect(word) {
            // Without an "r" before it the plain word only takes back an earlier one: a volume "rw" does not become
            // writable where its source is a read-only mount.
            return apply(&mut self.own, effect, false);
        }
        if let Some(effect) = word.strip_prefix('r').and_then(effect) {
            return apply(&mut self.below, effect, true);
        }
        match word {
            "defaults" | "" => {}
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "private" => self.propagate(libc::MS_PRIVATE, 0),
            "rprivate" => self.propagate(0, libc::MS_PRIVATE),
            "shared" => self.propagate(libc::MS_SHARED, 0),
            "rshared" => self.propagate(0, libc::MS_SHARED),
            "slave" => self.propagate(libc::MS_SLAVE, 0),
            "rslave" => self.propagate(0, libc::MS_SLAVE),
            "unbindable" => self.propagate(libc::MS_UNBINDABLE, 0),
            "runbindable" => self.propagate(0, libc::MS_UNBINDABLE),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "sync" | "async" | "dirsync" | "lazytime" | "nolazytime" | "mand" | "nomand" => {
                self.superblock.push(word.to_owned());
            }
            // How mount(2) itself behaves, and what every file system that can does by now: nothing is left to say.
            "silent" | "loud" | "iversion" | "noiversion" => {}
            data => self.data.push(data.to_owned()),
        }
    }
}

fn apply(attributes: &mut Attributes, effect: Effect, clear: bool) {
    match effect {
        Effect::Set(bits) => {
            attributes.set |= bits;
            attributes.clear &= !bits;
        }
        Effect::Unset(bits) => {
            attributes.set &= !bits;
            if clear {
                attributes.clear |= bits;
            }
        }
        Effect::Time(mode) => {
            attributes.set = attributes.set & !MOUNT_ATTR__ATIME | mode;
            // The kernel wants the whole field cleared when one mode is set.
            attributes.clear |= MOUNT_ATTR__ATIME;
        }
        Effect::NotTime(mode) => {
            let is_said = attributes.clear & MOUNT_ATTR__ATIME != 0;
            if is_said && attributes.set & MOUNT_ATTR__ATIME == mode {
                attributes.set &= !MOUNT_ATTR__ATIME;
                attributes.clear &= !MOUNT_ATTR__ATIME;
            }
            // The kernel's default, which is what a mount without this mode has.
            if clear && mode != MOUNT_ATTR_RELATIME && attributes.clear & MOUNT_ATTR__ATIME == 0 {
                apply(attributes, Effect::Time(MOUNT_ATTR_RELATIME), clear);
            }
        }
    }
}

#[cfg(test)]
#[path = "../../../seccomp/tests/property/chance.rs"]
mod chance;

#[cfg(test)]
mod tests {
    use super::*;

    /// In any order, none is lost, and what comes of them is what one call of mount_setattr(2) takes.
    #[test]
    fn any_words_are_options_or_the_file_systems() {
        let known = mount_options();
        let words: Vec<&str> =
            known.iter().map(String::as_str).chain(["size=4k", "rr", "r", "", "x=\0"]).collect();
        chance::cases(5000, usize::MAX, |chance| {
            let mut chosen: Vec<&str> = (0..chance.below(12)).map(|_| chance.pick(&words)).collect();
            let mut odd = chance.pick(&words).as_bytes().to_vec();
            chance::mutate(chance, &mut odd, &words);
            let odd = String::from_utf8_lossy(&odd);
            chosen.push(&odd);
            let options = Options::parse(chosen.iter().copied());
            let unknown: Vec<&&str> = chosen
                .iter()
                .filter(|word| !word.is_empty() && !known.iter().any(|known| known == *word))
                .collect();
            assert_eq!(
                options.data.iter().map(String::as_str).collect::<Vec<_>>(),
                unknown.into_iter().copied().collect::<Vec<_>>()
            );
            for Attributes { set, propagation, .. } in [options.own, options.below, options.either()] {
                let times = [MOUNT_ATTR_RELATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME];
                assert!(times.contains(&(set & MOUNT_ATTR__ATIME)), "{chosen:?}");
                assert!(propagation.count_ones() <= 1, "{chosen:?}");
            }
        });
    }

    #[test]
    fn every_word_that_is_told_is_known() {
        for word in mount_options() {
            assert!(Options::parse([word.as_str()]).data.is_empty(), "{word}");
        }
    }

    #[test]
    fn a_later_word_wins() {
        let options = Options::parse(["ro", "nosuid", "rw"]);
        assert_eq!(options.own, Attributes { set: MOUNT_ATTR_NOSUID, ..Attributes::default() });
    }

    #[test]
    fn an_r_before_a_word_means_the_mounts_below_too() {
        let options = Options::parse(["rbind", "rro", "rprivate"]);
        assert_eq!(options.bind, Some(true));
        let below =
            Attributes { set: MOUNT_ATTR_RDONLY, propagation: libc::MS_PRIVATE, ..Attributes::default() };
        assert_eq!(options.below, below);
        assert!(options.own.is_empty());
    }

    #[test]
    fn relatime_and_rw_are_not_taken_for_recursive_words() {
        let options = Options::parse(["relatime", "rw", "ro"]);
        assert_eq!(options.own.set, MOUNT_ATTR_RDONLY);
        assert!(options.below.is_empty());
    }

    #[test]
    fn what_is_no_attribute_is_the_file_systems() {
        let options = Options::parse(["mode=755", "size=64k", "noexec"]);
        assert_eq!(options.data, ["mode=755", "size=64k"]);
    }

    #[test]
    fn one_time_mode_excludes_the_others() {
        let options = Options::parse(["noatime", "strictatime"]);
        assert_eq!(options.own.set, MOUNT_ATTR_STRICTATIME);
        assert_eq!(options.own.clear, MOUNT_ATTR__ATIME);
    }

    #[test]
    fn what_a_time_mode_is_not_to_be_takes_back_that_mode_only() {
        let own = |words: [&str; 2]| {
            let own = Options::parse(words).own;
            (own.set & MOUNT_ATTR__ATIME, own.clear & MOUNT_ATTR__ATIME != 0)
        };
        assert_eq!(own(["strictatime", "norelatime"]), (MOUNT_ATTR_STRICTATIME, true));
        assert_eq!(own(["noatime", "nostrictatime"]), (MOUNT_ATTR_NOATIME, true));
        assert_eq!(own(["strictatime", "atime"]), (MOUNT_ATTR_STRICTATIME, true));
        for words in [["noatime", "atime"], ["relatime", "norelatime"], ["strictatime", "nostrictatime"]] {
            assert_eq!(own(words), (0, false), "{words:?}: as the kernel has it");
        }
        let below = |words: [&str; 2]| Options::parse(words).below.set & MOUNT_ATTR__ATIME;
        assert_eq!(below(["rstrictatime", "ratime"]), MOUNT_ATTR_STRICTATIME);
        let changed = Attributes { clear: MOUNT_ATTR__ATIME, ..Attributes::default() };
        for word in ["ratime", "rnostrictatime"] {
            assert_eq!(Options::parse([word]).below, changed, "{word}: relatime, whatever was");
        }
        assert!(Options::parse(["rnorelatime"]).below.is_empty());
    }

    #[test]
    fn the_last_word_on_propagation_is_the_only_one() {
        let options = Options::parse(["shared", "rslave"]);
        assert_eq!((options.own.propagation, options.below.propagation), (0, libc::MS_SLAVE));
        assert_eq!(Options::parse(["rslave", "shared"]).either().propagation, libc::MS_SHARED);
    }

    #[test]
    fn two_time_modes_never_meet() {
        let both = Options::parse(["noatime", "rstrictatime"]).either();
        assert_eq!(both.set & MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME);
    }
}
