//! Values by a dense small integer, such as a series' id: found by two steps and no hash.
//!
//! Ids ascend and are never given twice, so what is in use drifts upwards; pages in which nothing
//! is left are given back.

/// Slots of a page.
const PAGE_LEN: usize = 1 << PAGE_BITS;
const PAGE_BITS: u32 = 10;

#[derive(Debug)]
struct Page<T> {
    used: usize,
    slots: Box<[Option<T>]>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    pages: Vec<Option<Page<T>>>,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

const fn place(id: u32) -> (usize, usize) {
    ((id >> PAGE_BITS) as usize, id as usize & (PAGE_LEN - 1))
}

impl<T> Slots<T> {
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let (page, slot) = place(id);
        self.pages.get(page)?.as_ref()?.slots.get(slot)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (page, slot) = place(id);
        self.pages.get_mut(page)?.as_mut()?.slots.get_mut(slot)?.as_mut()
    }

    /// Puts a value in; gives the one that was there.
    pub(crate) fn insert(&mut self, id: u32, value: T) -> Option<T> {
        let (page, slot) = place(id);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages.get_mut(page)?.get_or_insert_with(|| Page {
            used: 0,
            slots: std::iter::repeat_with(|| None).take(PAGE_LEN).collect(),
        });
        let before = page.slots.get_mut(slot)?.replace(value);
        page.used += usize::from(before.is_none());
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let (at, slot) = place(id);
        let place = self.pages.get_mut(at)?;
        let page = place.as_mut()?;
        let value = page.slots.get_mut(slot)?.take()?;
        page.used -= 1;
        self.len -= 1;
        if page.used == 0 {
            *place = None;
        }
        Some(value)
    }

    /// The number of values.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All values, ascending by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let pages = (0_u32..).zip(&self.pages).filter_map(|(at, page)| Some((at, page.as_ref()?)));
        pages.flat_map(|(at, page)| {
            let slots = (0_u32..).zip(&page.slots);
            slots.filter_map(move |(slot, value)| Some((at << PAGE_BITS | slot, value.as_ref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_pages_are_given_back() {
        let mut slots = Slots::default();
        for id in 0..5000_u32 {
            assert_eq!(slots.insert(id, id), None);
        }
        for id in 0..4990 {
            assert_eq!(slots.remove(id), Some(id));
        }
        assert_eq!(slots.pages.iter().flatten().count(), 1);
        assert_eq!(slots.len(), 10);
        assert_eq!(slots.insert(u32::MAX, 1), None, "the last id there is");
        assert_eq!(slots.iter().last(), Some((u32::MAX, &1)));
    }

    proptest! {
        #[test]
        fn equals_a_sorted_map(
            steps in prop::collection::vec((0_u32..3000, prop::option::of(0..9)), 0..200),
        ) {
            let (mut slots, mut map) = (Slots::default(), BTreeMap::new());
            for (id, value) in steps {
                match value {
                    Some(value) => prop_assert_eq!(slots.insert(id, value), map.insert(id, value)),
                    None => prop_assert_eq!(slots.remove(id), map.remove(&id)),
                }
                prop_assert_eq!(slots.get(id), map.get(&id));
            }
            prop_assert_eq!(slots.len(), map.len());
            prop_assert!(slots.iter().eq(map.iter().map(|(id, value)| (*id, value))));
        }
    }
}
