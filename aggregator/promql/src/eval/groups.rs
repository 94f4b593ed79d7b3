//! Groups of series, told apart by some of their labels: found by a hash of these, so that labels
//! are put together once a group and not once a series.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;
use labstat_model::{Labels, METRIC_NAME, is_metadata};

use crate::expr::Grouping;

/// Which of the labels of a series are kept, and how what is kept is hashed.
#[derive(Debug, Clone)]
pub(super) struct Grouper<'g> {
    grouping: &'g Grouping,
    /// Whether the metric name is gone already, whatever the labels say.
    nameless: bool,
    hasher: RandomState,
}

impl<'g> Grouper<'g> {
    pub(super) fn new(grouping: &'g Grouping, nameless: bool) -> Self {
        Self { grouping, nameless, hasher: RandomState::new() }
    }

    fn keeps(&self, name: &str) -> bool {
        match self.grouping {
            Grouping::Keep(names) => {
                names.iter().any(|kept| kept == name) && !(self.nameless && is_metadata(name))
            }
            Grouping::Drop(names) => {
                name != METRIC_NAME
                    && !names.iter().any(|dropped| dropped == name)
                    && !(self.nameless && is_metadata(name))
            }
        }
    }

    fn kept<'l>(&self, labels: &'l Labels) -> impl Iterator<Item = (&'l str, &'l str)> {
        let none = matches!(self.grouping, Grouping::Keep(names) if names.is_empty());
        let all = (!none).then(|| labels.iter());
        all.into_iter().flatten().filter(|(name, _)| self.keeps(name))
    }

    /// The labels of the group that a series is in.
    pub(super) fn labels(&self, labels: &Labels) -> Labels {
        labels.without(|name| !self.keeps(name))
    }

    fn hash(&self, labels: &Labels) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for (name, value) in self.kept(labels) {
            hasher.write(name.as_bytes());
            hasher.write_u8(0xff);
            hasher.write(value.as_bytes());
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }
}

/// Something for each group, in order of first appearance.
#[derive(Debug)]
pub(super) struct Groups<T> {
    /// Indices of `list`.
    table: HashTable<u32>,
    list: Vec<Group<T>>,
}

/// What is known of a group.
#[derive(Debug)]
pub(super) struct Group<T> {
    hash: u64,
    pub(super) labels: Labels,
    pub(super) state: T,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self { table: HashTable::new(), list: Vec::new() }
    }
}

impl<T> Groups<T> {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Which group a series is in, when there is that group.
    pub(super) fn find(&self, grouper: &Grouper<'_>, labels: &Labels) -> Option<usize> {
        let is_it = |at: &u32| {
            let group = self.list.get(*at as usize);
            group.is_some_and(|group| grouper.kept(labels).eq(group.labels.iter()))
        };
        self.table.find(grouper.hash(labels), is_it).map(|at| *at as usize)
    }

    /// Which group a series is in; `make` makes one that is new.
    pub(super) fn slot(
        &mut self,
        grouper: &Grouper<'_>,
        labels: &Labels,
        make: impl FnOnce() -> T,
    ) -> usize {
        let hash = grouper.hash(labels);
        let list = &self.list;
        let is_it = |at: &u32| {
            let group = list.get(*at as usize);
            group.is_some_and(|group| grouper.kept(labels).eq(group.labels.iter()))
        };
        if let Some(at) = self.table.find(hash, is_it) {
            return *at as usize;
        }
        self.push(Group { hash, labels: grouper.labels(labels), state: make() })
    }

    /// Adds the groups of `later`, putting together what is known of the same one.
    pub(super) fn join(&mut self, later: Self, mut join: impl FnMut(&mut T, T)) {
        for group in later.list {
            let list = &self.list;
            let is_it =
                |at: &u32| list.get(*at as usize).is_some_and(|known| known.labels == group.labels);
            match self.table.find(group.hash, is_it).copied() {
                Some(at) => {
                    if let Some(known) = self.list.get_mut(at as usize) {
                        join(&mut known.state, group.state);
                    }
                }
                None => {
                    self.push(group);
                }
            }
        }
    }

    fn push(&mut self, group: Group<T>) -> usize {
        let at = self.list.len();
        let hash = group.hash;
        self.list.push(group);
        let list = &self.list;
        let rehash = |at: &u32| list.get(*at as usize).map_or(0, |group| group.hash);
        // More groups than a u32 counts do not fit in memory.
        self.table.insert_unique(hash, u32::try_from(at).unwrap_or(u32::MAX), rehash);
        at
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.list.get_mut(at).map(|group| &mut group.state)
    }

    pub(super) fn get(&self, at: usize) -> Option<&Group<T>> {
        self.list.get(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group<T>> {
        self.list.iter()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Group<T>> {
        self.list.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::new(text.split(',').filter_map(|pair| pair.split_once('=')))
    }

    #[test]
    fn groups_are_those_of_the_labels_kept() {
        let series = ["__name__=a,x=1,y=1", "__name__=b,x=1,y=2", "x=2", "y=1", "x=1,y=3"];
        let groups_of = |grouping: Grouping, nameless: bool| {
            let grouper = Grouper::new(&grouping, nameless);
            let mut groups = Groups::<usize>::default();
            for series in series {
                let at = groups.slot(&grouper, &labels(series), || 0);
                *groups.get_mut(at).unwrap() += 1;
                assert_eq!(groups.find(&grouper, &labels(series)), Some(at));
            }
            let shown = |group: Group<usize>| format!("{}:{}", group.labels, group.state);
            groups.into_iter().map(shown).collect::<Vec<_>>()
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            groups_of(Grouping::Keep(names(&["x"])), true),
            ["{x=\"1\"}:3", "{x=\"2\"}:1", "{}:1"]
        );
        assert_eq!(groups_of(Grouping::Keep(Vec::new()), true), ["{}:5"]);
        assert_eq!(groups_of(Grouping::Keep(names(&["__name__"])), false), ["a:1", "b:1", "{}:3"]);
        assert_eq!(groups_of(Grouping::Keep(names(&["__name__"])), true), ["{}:5"]);
        assert_eq!(
            groups_of(Grouping::Drop(names(&["y"])), true),
            ["{x=\"1\"}:3", "{x=\"2\"}:1", "{}:1"]
        );
    }

    #[test]
    fn the_same_groups_are_put_together() {
        let grouping = Grouping::Keep(vec!["x".to_owned()]);
        let grouper = Grouper::new(&grouping, false);
        let of = |all: &[&str]| {
            let mut groups = Groups::<usize>::default();
            for one in all {
                let at = groups.slot(&grouper, &labels(one), || 0);
                *groups.get_mut(at).unwrap() += 1;
            }
            groups
        };
        let mut groups = of(&["x=1", "x=2"]);
        groups.join(of(&["x=3", "x=2,y=1", "x=2"]), |known, later| *known += later);
        assert_eq!(groups.len(), 3);
        assert_eq!(groups.into_iter().map(|group| group.state).collect::<Vec<_>>(), [1, 3, 1]);
    }
}
