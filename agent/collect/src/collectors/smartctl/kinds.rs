//! How a disk must be asked: smartctl's device type (`-d`).
//!
//! Most disks tell by where they are attached. A USB bridge that smartctl does not know is tried
//! with one type after the other, once: what worked is remembered for the disk and tried first with
//! others behind bridges of the same make, and a type that did not work is not tried again with that
//! disk, not after a restart either, until there is another smartctl. Some bridges are reset by a
//! command they do not know, and any such command may wake a disk. Not here: the words by which
//! smartctl refuses ([`super::state`]).

use serde::{Deserialize, Serialize};

/// smartctl finds out the type by itself.
pub(super) const AUTO: &str = "auto";

/// Types of bridges, in the order of how many speak them.
const BRIDGES: [&str; 6] = ["sat", "sntasmedia", "sntjmicron", "sntrealtek", "usbjmicron", "scsi"];

/// Makers of bridges (USB vendor ids) and the type most of their unknown products speak.
const MAKERS: [(u16, &str); 3] =
    [(0x152d, "sntjmicron"), (0x174c, "sntasmedia"), (0x0bda, "sntrealtek")];

/// Disks behind bridges that are remembered; nobody owns as many.
const REMEMBERED_MAX: usize = 64;

/// Characters of what tells one disk from another: a model and a serial number have some sixty.
const UNIT_LEN_MAX: usize = 128;

/// A USB device's make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct UsbId {
    /// Vendor.
    pub(super) vendor: u16,
    /// Product.
    pub(super) product: u16,
}

/// A disk behind a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    /// The make of the bridge.
    #[serde(flatten)]
    pub(super) id: UsbId,
    /// What tells one disk from another, as far as the kernel knows it without asking.
    pub(super) name: String,
}

impl Unit {
    /// The disk of this model and serial number behind a bridge of this make.
    pub(super) fn new(id: UsbId, model: &str, serial: &str) -> Self {
        let name = format!("{model} {serial}");
        Self { id, name: name.trim().chars().take(UNIT_LEN_MAX).collect() }
    }
}

/// smartctl's version; none when it did not say.
pub(super) type Version = Option<(u64, u64)>;

/// What is known of bridges; the oldest first.
#[derive(Debug, Default)]
pub(super) struct Bridges {
    known: Vec<Known>,
    /// Whether there is something new since [`Bridges::kept`].
    pub(super) changed: bool,
}

/// What is known of one disk behind a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    #[serde(flatten)]
    unit: Unit,
    /// The type that worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    speaks: Option<String>,
    /// Those that did not, by the smartctl of this version.
    #[serde(default)]
    in_vain: Vec<String>,
    #[serde(default)]
    smartctl: Version,
}

impl Bridges {
    /// The types that are worth a try with a disk behind a bridge that smartctl does not know.
    pub(super) fn worth_trying(&self, unit: &Unit, smartctl: Version) -> Vec<&'static str> {
        let own = self.known.iter().find(|known| known.unit == *unit);
        let same_make = self.known.iter().filter(|known| known.unit.id == unit.id);
        // What this one speaks, then what others of the make do, the last seen first.
        let spoken = own.into_iter().chain(same_make.rev()).filter_map(|it| it.speaks.as_deref());
        let likely = MAKERS.iter().find(|(vendor, _)| *vendor == unit.id.vendor);
        // SAT before the maker's own: it is a standard, and harmless where it is not spoken.
        let usual = ["sat"].into_iter().chain(likely.map(|(_, kind)| *kind)).chain(BRIDGES);
        let in_vain = own.filter(|known| known.smartctl == smartctl).map(|known| &known.in_vain);
        let is_in_vain = |kind: &str| in_vain.is_some_and(|kinds| kinds.iter().any(|k| k == kind));
        let mut kinds: Vec<&'static str> = Vec::new();
        for kind in spoken.filter_map(known_type).chain(usual) {
            if !kinds.contains(&kind) && !is_in_vain(kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// Remembers what a disk behind a bridge speaks.
    pub(super) fn speaks(&mut self, unit: &Unit, kind: &str) {
        let Some(kind) = known_type(kind) else { return };
        let known = self.of(unit);
        if known.speaks.as_deref() != Some(kind) {
            known.speaks = Some(kind.to_owned());
            known.in_vain.retain(|tried| tried != kind);
            self.changed = true;
        }
    }

    /// Remembers that these types did not work.
    pub(super) fn in_vain(&mut self, unit: &Unit, kinds: &[&str], smartctl: Version) {
        let known = self.of(unit);
        if known.smartctl != smartctl {
            known.in_vain.clear();
            known.smartctl = smartctl;
        }
        for kind in kinds.iter().copied().filter_map(known_type) {
            if !known.in_vain.iter().any(|tried| tried == kind) {
                known.in_vain.push(kind.to_owned());
            }
        }
        self.changed = true;
    }

    fn of(&mut self, unit: &Unit) -> &mut Known {
        let found = self.known.iter().position(|known| known.unit == *unit);
        let known = match found {
            Some(at) => self.known.remove(at),
            None => Known { unit: unit.clone(), speaks: None, in_vain: Vec::new(), smartctl: None },
        };
        if self.known.len() >= REMEMBERED_MAX {
            self.known.remove(0);
        }
        let at = self.known.len();
        self.known.push(known);
        &mut self.known[at]
    }

    /// All that is known, to be kept.
    pub(super) fn kept(&mut self) -> &[Known] {
        self.changed = false;
        &self.known
    }

    /// What was known before a restart. It may have been written by anybody.
    pub(super) fn restore(&mut self, known: Vec<Known>) {
        let fits = |known: &Known| known.unit.name.chars().count() <= UNIT_LEN_MAX;
        for Known { unit, speaks, in_vain, smartctl } in known.into_iter().filter(fits) {
            if let Some(kind) = speaks {
                self.speaks(&unit, &kind);
            }
            let kinds: Vec<&str> = in_vain.iter().map(String::as_str).collect();
            if !kinds.is_empty() {
                self.in_vain(&unit, &kinds, smartctl);
            }
        }
        self.changed = false;
    }
}

/// A type that is tried with bridges, by its name.
fn known_type(kind: &str) -> Option<&'static str> {
    BRIDGES.into_iter().find(|known| *known == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: UsbId = UsbId { vendor: 0x1234, product: 1 };
    const VERSION: Version = Some((7, 3));

    fn odd(serial: &str) -> Unit {
        Unit::new(ODD, "M", serial)
    }

    #[test]
    fn makers_come_early_and_each_type_once() {
        let bridges = Bridges::default();
        assert_eq!(bridges.worth_trying(&odd("1"), VERSION), BRIDGES);
        for (vendor, kind) in MAKERS {
            let unit = Unit::new(UsbId { vendor, product: 0x9999 }, "", "");
            let kinds = bridges.worth_trying(&unit, VERSION);
            assert_eq!(kinds[..2], ["sat", kind]);
            assert_eq!(kinds.len(), BRIDGES.len());
        }
    }

    #[test]
    fn what_worked_comes_first_also_with_others_of_the_make() {
        let mut bridges = Bridges::default();
        bridges.speaks(&odd("1"), "sntjmicron");
        bridges.speaks(&odd("2"), "sntrealtek");
        assert_eq!(bridges.worth_trying(&odd("1"), VERSION)[0], "sntjmicron");
        let kinds = bridges.worth_trying(&odd("3"), VERSION);
        assert_eq!(kinds[..3], ["sntrealtek", "sntjmicron", "sat"]);
        assert_eq!(kinds.len(), BRIDGES.len(), "a dock may hold a disk of the other kind");
        bridges.speaks(&odd("4"), "--please");
        assert_eq!(bridges.worth_trying(&odd("4"), VERSION), kinds);
    }

    #[test]
    fn what_did_not_work_is_not_tried_again_until_smartctl_is_another() {
        let mut bridges = Bridges::default();
        bridges.in_vain(&odd("1"), &["sat"], VERSION);
        assert_eq!(bridges.worth_trying(&odd("1"), VERSION), BRIDGES[1..]);
        bridges.in_vain(&odd("1"), &BRIDGES, VERSION);
        assert!(bridges.worth_trying(&odd("1"), VERSION).is_empty());
        assert_eq!(bridges.worth_trying(&odd("2"), VERSION), BRIDGES, "another disk");
        assert_eq!(bridges.worth_trying(&odd("1"), Some((7, 4))), BRIDGES, "another smartctl");
    }

    #[test]
    fn it_outlives_a_restart_and_nonsense_does_not() {
        let mut bridges = Bridges::default();
        bridges.in_vain(&odd("1"), &["sat"], VERSION);
        bridges.speaks(&odd("1"), "usbjmicron");
        assert!(bridges.changed);
        let text = serde_json::to_string(bridges.kept()).unwrap();
        assert!(!bridges.changed);
        let mut again = Bridges::default();
        again.restore(serde_json::from_str(&text).unwrap());
        assert_eq!(again.known, bridges.known);
        assert!(!again.changed, "nothing that must be written");

        let long = "x".repeat(1000);
        let nonsense = format!(
            r#"[{{"vendor":1,"product":2,"name":"{long}","speaks":"sat"}},
                {{"vendor":1,"product":2,"name":"a","speaks":"-x /dev/sda","in_vain":["y","sat"]}}]"#
        );
        let mut odd = Bridges::default();
        odd.restore(serde_json::from_str(&nonsense).unwrap());
        assert_eq!(odd.known.len(), 1);
        assert_eq!(
            (&odd.known[0].speaks, &odd.known[0].in_vain[..]),
            (&None, &["sat".to_owned()][..])
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut bridges = Bridges::default();
        for number in 0..1000 {
            bridges.speaks(&odd(&number.to_string()), "sntjmicron");
        }
        assert_eq!(bridges.known.len(), REMEMBERED_MAX);
        assert_eq!(bridges.known[0].unit, odd("936"), "the oldest go");
    }
}
