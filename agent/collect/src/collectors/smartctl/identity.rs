//! Which disk a report is about: model and serial number, and the namespace of an NVMe device.
//!
//! Never the kernel's name, which moves, and never the world wide name alone, which cheap makers
//! give to every disk they sell.

use labstat_disks::Identity as Words;
use labstat_parse::smartctl::Report;

/// The namespace that stands for the whole device: most have no other.
const FIRST: u64 = 1;

/// Serial numbers shorter than this tell nothing apart.
const SERIAL_LEN_MIN: usize = 4;

/// The disk itself, wherever it is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    model: String,
    serial: String,
    /// The NVMe namespace, where it is not the whole device that was asked.
    namespace: Option<u64>,
    /// Bytes, where the report tells.
    capacity: Option<u64>,
    wwn: Option<(u64, u64, u64)>,
}

impl Identity {
    /// What `report` says; nothing when it has no serial number that tells one disk from another.
    pub(super) fn of(report: &Report, path: &str) -> Option<Self> {
        let serial = report.serial_number.as_deref().map(str::trim)?;
        if is_bogus(serial) {
            return None;
        }
        let model = report.model_name.as_ref().or(report.scsi_model_name.as_ref());
        let wwn = report.wwn.as_ref().and_then(|wwn| Some((wwn.naa?, wwn.oui?, wwn.id?)));
        Some(Self {
            model: model.map(|model| model.trim().to_owned()).unwrap_or_default(),
            serial: serial.to_owned(),
            namespace: namespace(path),
            capacity: report.user_capacity.as_ref().and_then(|capacity| capacity.bytes),
            wwn,
        })
    }

    /// Whether both are one disk, as far as what it says of itself goes. What one report does not
    /// tell does not tell them apart, since a controller may hide it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            one.is_some() && other.is_some() && one != other
        }
        self.serial == other.serial
            && self.model == other.model
            && self.namespace.unwrap_or(FIRST) == other.namespace.unwrap_or(FIRST)
            && !differ(&self.capacity, &other.capacity)
            && !differ(&self.wwn, &other.wwn)
    }
}

/// Whether a serial number does not tell one disk from another.
pub(super) fn is_bogus(serial: &str) -> bool {
    let words = Words { serial: Some(serial.to_owned()), ..Words::default() };
    serial.len() < SERIAL_LEN_MIN || words.serial().is_none()
}

/// `/dev/nvme0n2` is namespace 2; `/dev/nvme0` is the whole device.
fn namespace(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?.strip_prefix("nvme")?;
    let (_, namespace) = name.split_once('n')?;
    namespace.parse().ok()
}

#[cfg(test)]
mod tests {
    use labstat_parse::smartctl;

    use super::*;

    fn identity(json: &str, path: &str) -> Option<Identity> {
        Identity::of(&smartctl::parse(format!(r#"{{"smartctl":{{}},{json}}}"#).as_bytes()), path)
    }

    #[test]
    fn serials_that_tell_nothing_are_none() {
        for bogus in [
            "",
            "   ",
            "000000000000",
            "----",
            "0123456789ABCDEF",
            "unknown",
            "NONE",
            "1",
            "--",
            "DEADBEEF",
            "[No Information Found]",
        ] {
            let json = format!(r#""serial_number":"{bogus}","model_name":"M""#);
            assert_eq!(identity(&json, "/dev/sda"), None, "{bogus:?}");
        }
        for good in ["S6B0NL0T615860K", "0000000000000001", "WD-WCC4N0123456"] {
            let json = format!(r#""serial_number":"{good}","model_name":"M""#);
            assert!(identity(&json, "/dev/sda").is_some(), "{good:?}");
        }
    }

    #[test]
    fn one_disk_is_one_by_model_and_serial_never_by_wwn_alone() {
        let wwn = r#""wwn":{"naa":5,"oui":1,"id":2}"#;
        let one = |serial: &str, more: &str| {
            identity(&format!(r#""model_name":"M","serial_number":"{serial}",{more}"#), "/dev/sda")
                .unwrap()
        };
        let capacity = |bytes: u64| format!(r#""user_capacity":{{"bytes":{bytes}}}"#);
        assert!(!one("AAAA1", wwn).is_same(&one("AAAA2", wwn)));
        assert!(one("AAAA1", wwn).is_same(&one("AAAA1", &capacity(5))));
        assert!(!one("AAAA1", &capacity(4)).is_same(&one("AAAA1", &capacity(5))));
        let other = r#""wwn":{"naa":5,"oui":1,"id":3}"#;
        assert!(!one("AAAA1", wwn).is_same(&one("AAAA1", other)));
    }

    #[test]
    fn namespaces_of_one_device_are_two() {
        let json = r#""model_name":"M","serial_number":"AAAA1""#;
        let at = |path| identity(json, path).unwrap();
        assert!(!at("/dev/nvme0n1").is_same(&at("/dev/nvme0n2")));
        assert!(!at("/dev/nvme0").is_same(&at("/dev/nvme0n2")));
        assert!(at("/dev/nvme0").is_same(&at("/dev/nvme0n1")), "named, and found by the kernel");
        assert!(at("/dev/nvme0").is_same(&at("/dev/nvme1")), "two paths to one device");
        assert!(at("/dev/ng0n1").is_same(&at("/dev/sda")));
    }
}
