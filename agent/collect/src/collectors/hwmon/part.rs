//! Which part of the machine a chip or a sensor of it measures.
//!
//! - By the name of the driver, by what the device is in sysfs, and on chips of a board by the label
//!   of the sensor.
//! - Nothing here asks a device: the kernel has read all of it when it found the part.

use super::name::clean;
use crate::collectors::topology;
use crate::host::Host;

/// What a sensor measures: the label `kind`. There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Cpu,
    Disk,
    Nvme,
    Memory,
    Gpu,
    Nic,
    Chipset,
    Board,
    Power,
    Battery,
    Ambient,
    Other,
}

impl Kind {
    pub(super) const COUNT: usize = Self::Other as usize + 1;

    /// All of them, in their order.
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Cpu,
        Self::Disk,
        Self::Nvme,
        Self::Memory,
        Self::Gpu,
        Self::Nic,
        Self::Chipset,
        Self::Board,
        Self::Power,
        Self::Battery,
        Self::Ambient,
        Self::Other,
    ];

    /// As the label has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Disk => "disk",
            Self::Nvme => "nvme",
            Self::Memory => "memory",
            Self::Gpu => "gpu",
            Self::Nic => "nic",
            Self::Chipset => "chipset",
            Self::Board => "board",
            Self::Power => "power",
            Self::Battery => "battery",
            Self::Ambient => "ambient",
            Self::Other => "other",
        }
    }
}

/// Beginnings of names of drivers, the longer of two that fit first.
const DRIVERS: [(&str, Kind); 58] = [
    ("coretemp", Kind::Cpu),
    ("k10temp", Kind::Cpu),
    ("k8temp", Kind::Cpu),
    ("zenpower", Kind::Cpu),
    ("via_cputemp", Kind::Cpu),
    ("cpu", Kind::Cpu),
    ("soc_thermal", Kind::Cpu),
    ("x86_pkg_temp", Kind::Cpu),
    ("peci_cputemp", Kind::Cpu),
    ("peci_dimmtemp", Kind::Memory),
    ("drivetemp", Kind::Disk),
    ("nvme", Kind::Nvme),
    ("jc42", Kind::Memory),
    ("spd5118", Kind::Memory),
    ("amdgpu", Kind::Gpu),
    ("radeon", Kind::Gpu),
    ("nouveau", Kind::Gpu),
    ("i915", Kind::Gpu),
    ("xe", Kind::Gpu),
    ("gpu", Kind::Gpu),
    ("iwlwifi", Kind::Nic),
    ("ath1", Kind::Nic),
    ("mt76", Kind::Nic),
    ("mt79", Kind::Nic),
    ("rtw", Kind::Nic),
    ("mlx", Kind::Nic),
    ("r8169", Kind::Nic),
    ("sfp", Kind::Nic),
    ("pch", Kind::Chipset),
    ("intel_pch", Kind::Chipset),
    ("i5k_amb", Kind::Memory),
    ("i5500", Kind::Chipset),
    ("acpitz", Kind::Board),
    ("nct", Kind::Board),
    ("it8", Kind::Board),
    ("w83", Kind::Board),
    ("f718", Kind::Board),
    ("f8", Kind::Board),
    ("sch5", Kind::Board),
    ("asus", Kind::Board),
    ("gigabyte_wmi", Kind::Board),
    ("dell", Kind::Board),
    ("hp", Kind::Board),
    ("thinkpad", Kind::Board),
    ("applesmc", Kind::Board),
    ("macsmc", Kind::Board),
    ("adt7", Kind::Board),
    ("lm", Kind::Board),
    ("tmp", Kind::Board),
    ("emc", Kind::Board),
    ("corsairpsu", Kind::Power),
    ("pmbus", Kind::Power),
    ("sht", Kind::Ambient),
    ("aht10", Kind::Ambient),
    ("hs3001", Kind::Ambient),
    ("hih6130", Kind::Ambient),
    ("dht11", Kind::Ambient),
    ("chipcap2", Kind::Ambient),
];

/// Beginnings of names of chips whose only sensor is the chip itself, which lies on the board. All others
/// of a board have inputs that its maker wires to something, most often to the processor: what those
/// measure is known by their labels alone.
const ON_BOARD: [&str; 7] = ["adt7410", "adt7420", "lm73", "lm75", "lm77", "tmp10", "tmp75"];

/// Words in labels of sensors of a board, and what they are there.
const WORDS: [(&str, Kind); 26] = [
    ("ambient", Kind::Ambient),
    ("inlet", Kind::Ambient),
    ("intake", Kind::Ambient),
    ("exhaust", Kind::Ambient),
    ("room", Kind::Ambient),
    ("cpu", Kind::Cpu),
    ("peci", Kind::Cpu),
    ("tsi", Kind::Cpu),
    ("smbusmaster", Kind::Cpu),
    ("tctl", Kind::Cpu),
    ("dimm", Kind::Memory),
    ("dram", Kind::Memory),
    ("memory", Kind::Memory),
    ("pch", Kind::Chipset),
    ("chipset", Kind::Chipset),
    ("gpu", Kind::Gpu),
    ("video", Kind::Gpu),
    ("vrm", Kind::Power),
    ("psu", Kind::Power),
    ("battery", Kind::Battery),
    ("sys", Kind::Board),
    ("motherboard", Kind::Board),
    ("mainboard", Kind::Board),
    ("local", Kind::Board),
    // Inputs for what a maker may add; mostly nothing is connected and they read anything.
    ("aux", Kind::Other),
    ("t_sensor", Kind::Other),
];

/// What is known of the device behind a chip; texts are empty where nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    /// A disk as smartctl names it, a network interface, a memory slot, a power supply, or the
    /// address of a graphics card.
    pub(super) device: String,
    pub(super) serial: String,
    /// The block device of a disk that may be asleep.
    pub(super) block: Option<String>,
}

impl Part {
    /// The part behind the chip of `driver`, whose device lies in `dir`, without links.
    pub(super) fn find(host: &dyn Host, driver: &str, dir: &str) -> Self {
        let kind = of_driver(driver);
        let is_there = !dir.is_empty();
        let first = |folder: &str| {
            let names =
                if is_there { host.list(&format!("{dir}/{folder}")) } else { Ok(Vec::new()) };
            names.unwrap_or_default().into_iter().next()
        };
        let last = dir.rsplit('/').next().unwrap_or_default();
        let part = |kind, device: &str| Self {
            kind,
            device: device.to_owned(),
            serial: String::new(),
            block: None,
        };
        if dir.contains("/power_supply/") {
            let sort = host.text(&format!("{dir}/type")).unwrap_or_default();
            let kind = if sort.trim() == "Battery" { Kind::Battery } else { Kind::Power };
            return part(kind, last);
        }
        match kind {
            Kind::Nvme if is_there => {
                Self { serial: topology::who(host, dir).serial, ..part(kind, last) }
            }
            Kind::Disk => {
                let block = first("block");
                let device = block.clone().unwrap_or_default();
                let serial = match &block {
                    Some(name) => topology::who(host, &format!("{dir}/block/{name}")).serial,
                    None => String::new(),
                };
                Self { kind, device, serial, block }
            }
            Kind::Memory => part(kind, &slot(last)),
            Kind::Gpu => part(kind, last),
            _ => match first("net") {
                Some(name) => part(Kind::Nic, &name),
                None => part(kind, ""),
            },
        }
    }

    /// What the sensor with this label measures.
    pub(super) fn of_sensor(&self, driver: &str, label: &str) -> Kind {
        if self.kind != Kind::Board {
            return self.kind;
        }
        if driver == "applesmc" {
            return of_apple(label);
        }
        let label = clean(label);
        let found = WORDS.iter().find(|(word, _)| label.contains(word));
        let is_itself = || label.is_empty() && ON_BOARD.iter().any(|it| driver.starts_with(it));
        match found {
            Some((_, kind)) => *kind,
            None if is_itself() => Kind::Board,
            None => Kind::Other,
        }
    }
}

fn of_driver(driver: &str) -> Kind {
    let fits = |(start, _): &&(&str, Kind)| driver.starts_with(start);
    let found = DRIVERS.iter().filter(fits).max_by_key(|(start, _)| start.len());
    // Zones of boards with a single chip have names of their own, with the part somewhere in them.
    match found {
        Some((_, kind)) => *kind,
        None if driver.contains("cpu") => Kind::Cpu,
        None if driver.contains("gpu") => Kind::Gpu,
        None => Kind::Other,
    }
}

/// `dimm3` for the memory module at the address `0-001b` or `0-0053` of an I²C bus: its slot is
/// what sets the lowest three bits.
fn slot(device: &str) -> String {
    let address = device.rsplit_once('-').and_then(|(_, hex)| u16::from_str_radix(hex, 16).ok());
    match address {
        Some(address @ (0x18..=0x1f | 0x50..=0x57)) => format!("dimm{}", address & 7),
        _ => String::new(),
    }
}

/// Apple's keys: `TA0P` is the air, `TC0D` the processor.
fn of_apple(key: &str) -> Kind {
    match key.as_bytes() {
        [b'T', b'A' | b'a', ..] => Kind::Ambient,
        [b'T', b'C' | b'c', ..] => Kind::Cpu,
        [b'T', b'G' | b'g', ..] => Kind::Gpu,
        [b'T', b'H', ..] => Kind::Disk,
        [b'T', b'M' | b'm', ..] => Kind::Memory,
        [b'T', b'W', ..] => Kind::Nic,
        [b'T', b'B', ..] => Kind::Battery,
        [b'T', b'p', ..] => Kind::Power,
        [b'T', b'N' | b'P', ..] => Kind::Chipset,
        _ => Kind::Board,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_tell_the_part() {
        for (driver, kind) in [
            ("coretemp", Kind::Cpu),
            ("k10temp", Kind::Cpu),
            ("cpu_thermal", Kind::Cpu),
            ("nvme", Kind::Nvme),
            ("drivetemp", Kind::Disk),
            ("nct6798", Kind::Board),
            ("spd5118", Kind::Memory),
            ("amdgpu", Kind::Gpu),
            ("iwlwifi_1", Kind::Nic),
            ("pch_cannonlake", Kind::Chipset),
            ("sht3x", Kind::Ambient),
            ("bigcpu_thermal", Kind::Cpu),
            ("something_new", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(of_driver(driver), kind, "{driver}");
        }
        let all: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let unique: std::collections::BTreeSet<&&str> = all.iter().collect();
        assert_eq!(unique.len(), Kind::COUNT, "{all:?}");
    }

    #[test]
    fn labels_tell_what_a_board_measures_where() {
        let board =
            Part { kind: Kind::Board, device: String::new(), serial: String::new(), block: None };
        for (driver, label, kind) in [
            ("nct6798", "SYSTIN", Kind::Board),
            ("nct6798", "CPUTIN", Kind::Cpu),
            ("nct6798", "PECI Agent 0", Kind::Cpu),
            ("nct6798", "TSI0_TEMP", Kind::Cpu),
            ("nct6798", "AUXTIN2", Kind::Other),
            ("nct6798", "PCH_CHIP_TEMP", Kind::Chipset),
            ("asusec", "VRM", Kind::Power),
            ("dell_smm", "Ambient", Kind::Ambient),
            ("applesmc", "TA0P", Kind::Ambient),
            ("applesmc", "TC0D", Kind::Cpu),
            ("applesmc", "TH0P", Kind::Disk),
            ("applesmc", "", Kind::Board),
            ("lm75", "", Kind::Board),
            ("asusec", "Motherboard", Kind::Board),
            ("it8688", "", Kind::Other),
            ("gigabyte_wmi", "", Kind::Other),
            ("acpitz", "", Kind::Other),
            ("nct6683", "Thermistor 14", Kind::Other),
            ("nct6683", "Local", Kind::Board),
            ("adt7475", "", Kind::Other),
        ] {
            assert_eq!(board.of_sensor(driver, label), kind, "{driver} {label}");
        }
        let cpu = Part { kind: Kind::Cpu, ..board };
        assert_eq!(cpu.of_sensor("coretemp", "PCH"), Kind::Cpu, "only boards have several");
    }

    #[test]
    fn slots_of_memory() {
        assert_eq!(slot("0-0018"), "dimm0");
        assert_eq!(slot("3-001b"), "dimm3");
        assert_eq!(slot("1-0053"), "dimm3");
        for device in ["0-0048", "", "x", "0-zz", "jc42.0"] {
            assert_eq!(slot(device), "", "{device}");
        }
    }
}
