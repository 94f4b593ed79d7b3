//! Which collector tells of which families, for those whose families are others' to choose.
//!
//! Whoever runs the collectors writes down what each gave ([`Told::set`]); the textfile collector
//! looks there before it takes a file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use labstat_model::Family;

/// The families of each collector, shared by all who have a copy.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// How often anything has changed.
    changes: u64,
    names: BTreeMap<&'static str, Vec<Cow<'static, str>>>,
}

impl Told {
    /// Writes down the families of `collector`, in the place of those it had. Most runs give those of
    /// the run before, which costs a comparison of each.
    pub fn set(&self, collector: &'static str, families: &[Family]) {
        let mut table = self.lock();
        let known = table.names.get(collector).map_or(&[][..], Vec::as_slice);
        // Names are mostly those of one `static`, at one place.
        let is_same = |(a, b): (&Cow<'static, str>, &Family)| {
            std::ptr::eq::<str>(&**a, &*b.name) || **a == *b.name
        };
        if known.len() == families.len() && known.iter().zip(families).all(is_same) {
            return;
        }
        let names = families.iter().map(|family| family.name.clone()).collect();
        table.names.insert(collector, names);
        table.changes += 1;
    }

    /// How often anything has changed: whoever has seen this number needs not look again.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// The first collector that tells of `family`.
    pub(crate) fn by(&self, family: &str) -> Option<&'static str> {
        let table = self.lock();
        let mut all = table.names.iter();
        all.find(|(_, names)| names.iter().any(|name| name == family)).map(|(by, _)| *by)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static UP: Family = Family::gauge("up", "x");
    static LOAD: Family = Family::gauge("load", "x");

    #[test]
    fn a_change_is_one_only_when_families_differ() {
        let told = Told::default();
        told.set("a", std::slice::from_ref(&UP));
        assert_eq!((told.changes(), told.by("up"), told.by("load")), (1, Some("a"), None));
        told.clone().set("a", std::slice::from_ref(&UP));
        assert_eq!(told.changes(), 1);
        told.set("a", std::slice::from_ref(&LOAD));
        assert_eq!((told.changes(), told.by("up"), told.by("load")), (2, None, Some("a")));
        told.set("a", &[]);
        assert_eq!((told.changes(), told.by("load")), (3, None));
        told.set("b", &[]);
        assert_eq!(told.changes(), 3, "one that never had any");
    }
}
