//! How a disk must be asked: smartctl's device type (`-d`).
//!
//! Most disks tell by where they are attached. USB bridges that smartctl does not know are tried
//! with one type after the other, once: what worked and what did not is remembered for every
//! bridge of the same make. Not here: the words by which smartctl refuses (`mod.rs`).

use std::collections::HashMap;

/// smartctl finds out the type by itself.
pub(super) const AUTO: &str = "auto";

/// Types of bridges, in the order of how many speak them.
const BRIDGES: [&str; 6] = ["sat", "sntasmedia", "sntjmicron", "sntrealtek", "usbjmicron", "scsi"];

/// Makers of bridges (USB vendor ids) and the type most of their unknown products speak.
const MAKERS: [(u16, &str); 3] =
    [(0x152d, "sntjmicron"), (0x174c, "sntasmedia"), (0x0bda, "sntrealtek")];

/// Makes of bridges that are remembered; nobody owns as many.
const REMEMBERED_MAX: usize = 64;

/// How long it is remembered that nothing worked. A new smartctl may know the bridge.
const NOTHING_MS: i64 = 86_400_000;

/// A USB device's make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct UsbId {
    /// Vendor.
    pub(super) vendor: u16,
    /// Product.
    pub(super) product: u16,
}

/// What is known of bridges.
#[derive(Debug, Default)]
pub(super) struct Bridges(HashMap<UsbId, Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Speaks(&'static str),
    SpeaksNothing { since_ms: i64 },
}

impl Bridges {
    /// The types that are worth a try with a bridge that smartctl does not know.
    pub(super) fn worth_trying(&self, id: UsbId, now_ms: i64) -> Vec<&'static str> {
        match self.0.get(&id) {
            Some(Known::Speaks(kind)) => vec![*kind],
            Some(Known::SpeaksNothing { since_ms })
                if (0..NOTHING_MS).contains(&(now_ms - since_ms)) =>
            {
                Vec::new()
            }
            _ => {
                let likely = MAKERS.iter().find(|(vendor, _)| *vendor == id.vendor);
                let likely = likely.map(|(_, kind)| *kind);
                let others = BRIDGES.into_iter().filter(|kind| Some(*kind) != likely);
                // SAT first, even so: it is a standard, and harmless where it is not spoken.
                let mut kinds: Vec<&'static str> = others.collect();
                kinds.splice(1..1, likely);
                kinds
            }
        }
    }

    /// Remembers what bridges of this make speak.
    pub(super) fn speaks(&mut self, id: UsbId, kind: &str) {
        if let Some(kind) = BRIDGES.iter().find(|known| **known == kind) {
            self.remember(id, Known::Speaks(kind));
        }
    }

    /// Remembers that no type worked.
    pub(super) fn speaks_nothing(&mut self, id: UsbId, now_ms: i64) {
        // One disk of two may be broken: what another one spoke stays.
        if !matches!(self.0.get(&id), Some(Known::Speaks(_))) {
            self.remember(id, Known::SpeaksNothing { since_ms: now_ms });
        }
    }

    fn remember(&mut self, id: UsbId, known: Known) {
        if self.0.len() < REMEMBERED_MAX || self.0.contains_key(&id) {
            self.0.insert(id, known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: UsbId = UsbId { vendor: 0x1234, product: 1 };

    #[test]
    fn makers_come_early_and_each_type_once() {
        let bridges = Bridges::default();
        assert_eq!(bridges.worth_trying(ODD, 0), BRIDGES);
        let realtek = UsbId { vendor: 0x0bda, product: 0x9999 };
        let kinds = bridges.worth_trying(realtek, 0);
        assert_eq!(kinds[..2], ["sat", "sntrealtek"]);
        assert_eq!(kinds.len(), BRIDGES.len());
    }

    #[test]
    fn what_worked_and_what_did_not_is_remembered() {
        let mut bridges = Bridges::default();
        bridges.speaks_nothing(ODD, 1_000);
        assert!(bridges.worth_trying(ODD, 2_000).is_empty());
        assert!(!bridges.worth_trying(ODD, 1_000 + NOTHING_MS).is_empty(), "a day later");
        assert!(!bridges.worth_trying(ODD, 0).is_empty(), "the clock went back");
        bridges.speaks(ODD, "sntjmicron");
        bridges.speaks_nothing(ODD, 3_000);
        assert_eq!(bridges.worth_trying(ODD, 4_000), ["sntjmicron"]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut bridges = Bridges::default();
        for product in 0..1000 {
            bridges.speaks(UsbId { vendor: 1, product }, "sat");
        }
        assert_eq!(bridges.0.len(), REMEMBERED_MAX);
    }
}
