//! A few things by their numbers, in a sorted list: less code than a tree, and as fast for some hundred.

/// Things by the keys that the poll tells.
#[derive(Debug)]
pub(crate) struct Keyed<T>(Vec<(u64, T)>);

impl<T> Keyed<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(key, _)| *key)
    }

    /// Adds one of a key that no other has.
    pub(crate) fn insert(&mut self, key: u64, value: T) {
        let (Ok(at) | Err(at)) = self.find(key);
        self.0.insert(at, (key, value));
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let at = self.find(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Keeps those of which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.0.retain(|(_, value)| keep(value));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }
}
