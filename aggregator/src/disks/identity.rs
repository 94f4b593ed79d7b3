//! Who a disk is, and where it is.

use labstat_disks::{Identity as Words, printable};
use labstat_model::Labels;
use serde::{Deserialize, Serialize};

/// A node and what the disk is called there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The label `instance`.
    pub(crate) instance: String,
    /// The label `device`, such as `sda`.
    pub(crate) device: String,
}

impl Place {
    /// The machine, whoever on it reports: an exporter's port is no part of it.
    pub(crate) fn node(&self) -> &str {
        match self.instance.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                host
            }
            _ => &self.instance,
        }
    }

    /// Whether a person who writes `node` and `device` means this place.
    pub(crate) fn is_called(&self, node: &str, device: &str) -> bool {
        let device = device.strip_prefix("/dev/").unwrap_or(device);
        (self.instance == node || self.node() == node)
            && (self.device == device || controller(&self.device) == controller(device))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.instance, self.device)
    }
}

/// `nvme0n1` is on the disk that smartctl calls `nvme0`; other devices are what they are.
fn controller(device: &str) -> &str {
    let Some(number) = device.strip_prefix("nvme") else { return device };
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    match number.get(digits..) {
        Some(rest) if rest.starts_with('n') => device.get(..4 + digits).unwrap_or(device),
        _ => device,
    }
}

/// What tells two disks of one model and serial number apart; empty where nobody says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// World wide name.
    pub(crate) wwn: String,
    /// Where it is plugged in, as below `/dev/disk/by-path`.
    pub(crate) path: String,
}

impl Marks {
    /// What the labels of a `labstat_disk_info` tell.
    pub(crate) fn of(labels: &Labels) -> Self {
        let label = |name| labels.get(name).unwrap_or_default().to_owned();
        Self { wwn: label("wwn"), path: label("path") }
    }

    /// Each of them, the surer first.
    pub(crate) const EACH: [fn(&Self) -> &str; 2] = [|marks| &marks.wwn, |marks| &marks.path];
}

/// The namespace in the name of a device, unless it is the first: that one stands for the whole disk,
/// which most agents and exporters report, and often is the only one.
fn namespace(device: &str) -> &str {
    let rest = device.strip_prefix(controller(device)).unwrap_or_default();
    match rest.strip_prefix('n') {
        Some(number) if number != "1" && number.bytes().all(|b| b.is_ascii_digit()) => number,
        _ => "",
    }
}

/// Under what a disk is kept: model and serial, whatever it is called and wherever it is. What
/// tells no serial that can be believed is known by its place only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The model, as the disk names itself; empty when it does not.
    pub(crate) model: String,
    /// The serial number; empty when there is none to be believed.
    pub(crate) serial: String,
    /// NVMe namespace, where a disk is reported by namespace and this is not the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    /// What tells apart those that share a serial number, and those that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<String>,
}

impl Identity {
    /// What the labels of a `smartctl_device` tell; `None` without a serial number to believe.
    pub(crate) fn of(labels: &Labels) -> Option<Self> {
        let label = |name| labels.get(name).map(str::trim).filter(|text| !text.is_empty());
        let words = Words { serial: label("serial_number").map(str::to_owned), ..Words::default() };
        Some(Self {
            serial: printable(words.serial()?).into_owned(),
            model: model_of(labels),
            namespace: namespace(label("device").unwrap_or_default()).to_owned(),
            at: None,
        })
    }

    /// The disk at `place`, of which no more is known than its model.
    pub(crate) fn unnamed(model: &str, place: &Place) -> Self {
        Self {
            model: model.to_owned(),
            serial: String::new(),
            namespace: String::new(),
            at: Some(place.to_string()),
        }
    }

    /// Another disk of the same serial number, on another machine.
    pub(crate) fn twin(&self, place: &Place) -> Self {
        Self { at: Some(place.node().to_owned()), ..self.clone() }
    }

    /// Another disk of the same serial number, on the same machine.
    pub(crate) fn second(&self, place: &Place) -> Self {
        Self { at: Some(place.to_string()), ..self.clone() }
    }

    /// Whether it is the same but for what tells twins apart.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        (&self.model, &self.serial, &self.namespace)
            == (&other.model, &other.serial, &other.namespace)
    }

    /// Whether it is known by its serial number, and so can be expected and followed.
    pub(crate) fn is_named(&self) -> bool {
        !self.serial.is_empty()
    }
}

/// The model that the labels of a `smartctl_device` tell; empty when they do not.
pub(crate) fn model_of(labels: &Labels) -> String {
    let known = |text: &&str| !text.is_empty() && *text != "unknown";
    let label = |name| labels.get(name).map(str::trim).filter(known);
    let model = label("model_name").or_else(|| label("scsi_product")).unwrap_or_default();
    printable(model).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(instance: &str, device: &str) -> Place {
        Place { instance: instance.to_owned(), device: device.to_owned() }
    }

    #[test]
    fn an_exporters_port_is_no_part_of_the_machine() {
        assert_eq!(place("nas:9633", "sda").node(), "nas");
        assert_eq!(place("nas", "sda").node(), "nas");
        assert_eq!(place("fe80::beef", "sda").node(), "fe80::beef");
    }

    #[test]
    fn people_call_devices_as_they_see_them() {
        assert!(place("nas", "nvme0").is_called("nas", "nvme0n1"));
        assert!(place("nas:9633", "sda").is_called("nas", "/dev/sda"));
        assert!(!place("nas", "sda").is_called("nas", "sdb"));
        assert!(!place("nas", "nvme1").is_called("nas", "nvme10"));
    }

    #[test]
    fn namespaces_of_one_controller_are_kept_apart_and_the_first_is_the_disk() {
        let of = |device: &str| {
            let labels = [("serial_number", "S1"), ("model_name", "M"), ("device", device)];
            Identity::of(&Labels::new(labels)).unwrap()
        };
        assert_eq!(of("nvme0"), of("nvme0n1"));
        assert_eq!(of("nvme0"), of("nvme3"), "wherever it is");
        assert_ne!(of("nvme0n1"), of("nvme0n2"));
        assert_ne!(of("nvme0n2"), of("nvme0n3"));
        assert_eq!(of("nvme0n2"), of("nvme1n2"));
        for device in ["sda", "nvme0c0n1", "nvme", "nvme0nx", "nvme0n", ""] {
            assert_eq!(of(device).namespace, "", "{device}");
        }
    }

    #[test]
    fn what_firmware_says_can_neither_steer_nor_turn_text() {
        let labels = [("serial_number", "S1\u{202e}9"), ("model_name", "M\u{1b}[2J")];
        let found = Identity::of(&Labels::new(labels)).unwrap();
        assert_eq!((&*found.model, &*found.serial), ("M\\u{1b}[2J", "S1\\u{202e}9"));
    }

    #[test]
    fn serials_that_nobody_believes_name_no_disk() {
        let named = |serial: &str| {
            Identity::of(&Labels::new([("serial_number", serial), ("model_name", "WDC")]))
        };
        assert_eq!(named("WD-1").map(|found| (found.model, found.serial)).unwrap().1, "WD-1");
        for serial in [
            "",
            "0000000000",
            "XXXXXXXX",
            "0123456789ABCDEF",
            "DEADBEEF",
            "None",
            "[No Information Found]",
            "--",
        ] {
            assert_eq!(named(serial), None, "{serial}");
        }
    }
}
