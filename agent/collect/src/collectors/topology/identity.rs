//! What a disk calls itself and where it is plugged in.
//!
//! - A serial number is as smartctl prints it, so that both are one disk: what the disk itself says
//!   (NVMe, pages of vital product data) comes before what udev made of it, but for USB, where the
//!   adapter answers and only udev has asked the disk behind it.
//! - Nothing here asks a device: the kernel has read all of it when it found the disk.
//! - Not here: what stands on a disk ([`super::layers`]).

use std::borrow::Cow;

use labstat_disks::printable;
use labstat_parse::{udev, vpd};

use super::devices::{Block, Udev, text};
use crate::host::Host;

/// Where a slot has the addresses of the cards in it.
const PCI_SLOTS: &str = "/sys/bus/pci/slots";

/// What is known of a disk; texts are empty where the machine does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// As smartctl's label names it: `sda`, or `nvme0` for the namespace `nvme0n1`.
    pub(super) device: String,
    /// The block device, where that is not the whole disk.
    pub(super) namespace: String,
    pub(super) serial_number: String,
    pub(super) model_name: String,
    pub(super) wwn: String,
    /// The best name below `/dev/disk/by-id`.
    pub(super) by_id: String,
    /// `nvme`, `sata`, `sas`, `usb`, `scsi` …
    pub(super) bus: &'static str,
    /// What carries it: how NVMe comes, or the driver of the SCSI host.
    pub(super) transport: String,
    /// As below `/dev/disk/by-path`.
    pub(super) path: String,
    pub(super) enclosure: String,
    pub(super) slot: String,
    pub(super) rotational: String,
    pub(super) removable: String,
}

impl Identity {
    /// The same, as labels may say it: most of it is firmware's.
    pub(super) fn printable(mut self) -> Self {
        let texts = [
            &mut self.serial_number,
            &mut self.model_name,
            &mut self.wwn,
            &mut self.by_id,
            &mut self.path,
            &mut self.enclosure,
            &mut self.slot,
        ];
        for text in texts {
            if let Cow::Owned(shown) = printable(text) {
                *text = shown;
            }
        }
        self
    }
}

/// What is known of the disk `block`.
pub(super) fn read(host: &dyn Host, block: &Block) -> Identity {
    let link = format!("{}/device", block.dir);
    let device_dir = host.resolved(&link).unwrap_or(link);
    let common = Identity {
        device: block.name.clone(),
        by_id: by_id(&block.udev),
        path: block.udev.get("ID_PATH").unwrap_or_default().to_owned(),
        rotational: text(host, &format!("{}/queue/rotational", block.dir)),
        removable: text(host, &format!("{}/removable", block.dir)),
        ..Identity::default()
    };
    if let Some(controller) = controller_of(&block.name) {
        return nvme(host, block, &device_dir, &controller, common);
    }
    let bus = bus(host, block, &device_dir);
    let common = Identity { bus, ..common };
    if ["sata", "sas", "usb", "scsi", "fc", "iscsi"].contains(&bus) {
        return scsi(host, block, &device_dir, common);
    }
    let first = |texts: [String; 2]| {
        let [first, second] = texts;
        if first.is_empty() { second } else { first }
    };
    let property = |key| block.udev.get(key).unwrap_or_default().to_owned();
    let serial = first([
        text(host, &format!("{}/serial", block.dir)),
        text(host, &format!("{device_dir}/serial")),
    ]);
    let model = [text(host, &format!("{device_dir}/name")), property("ID_MODEL")];
    Identity {
        serial_number: first([serial, property("ID_SERIAL_SHORT")]),
        // The name of a card is its model; that of another device may be anything.
        model_name: if bus == "mmc" { first(model) } else { property("ID_MODEL") },
        wwn: property("ID_WWN"),
        path: first([common.path.clone(), pci_path(&block.dir).unwrap_or_default()]),
        ..common
    }
}

/// The controller of an NVMe namespace by its name: `nvme0` of `nvme0n1`.
fn controller_of(name: &str) -> Option<String> {
    let (number, namespace) = name.strip_prefix("nvme")?.split_once('n')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(number) && is_number(namespace)).then(|| format!("nvme{number}"))
}

/// `nvme0`, which is no namespace.
pub(super) fn is_controller(name: &str) -> bool {
    let number = name.strip_prefix("nvme").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A namespace. That of a disk with several controllers lies below its subsystem, which has a link
/// to each of them; the disk is then named by the one that has the namespace's number.
fn nvme(
    host: &dyn Host,
    block: &Block,
    device_dir: &str,
    by_name: &str,
    common: Identity,
) -> Identity {
    let last = last_part(device_dir);
    let (controller, controller_dir) = if is_controller(last) {
        (last.to_owned(), device_dir.to_owned())
    } else {
        let names = host.list(device_dir).unwrap_or_default();
        let mut names: Vec<String> = names.into_iter().filter(|name| is_controller(name)).collect();
        names.sort_by_key(|name| (name != by_name, name.len(), name.clone()));
        let name = names.into_iter().next().unwrap_or_else(|| by_name.to_owned());
        let link = format!("{device_dir}/{name}");
        let dir = host.resolved(&link).unwrap_or(link);
        (name, dir)
    };
    let of_device = |file: &str| text(host, &format!("{device_dir}/{file}"));
    let disk = nvme_controller(host, &controller_dir);
    let number = block.name.rsplit('n').next().unwrap_or_default();
    let wwid = text(host, &format!("{}/wwid", block.dir));
    let path = match (common.path.is_empty(), disk.path.is_empty()) {
        (false, _) => common.path,
        (true, false) => format!("{}-nvme-{number}", disk.path),
        (true, true) => String::new(),
    };
    Identity {
        device: controller,
        namespace: block.name.clone(),
        serial_number: of_device("serial"),
        model_name: of_device("model"),
        wwn: if wwid.is_empty() { property(&block.udev, "ID_WWN") } else { wwid },
        by_id: common.by_id,
        rotational: common.rotational,
        removable: common.removable,
        path,
        ..disk
    }
}

fn property(udev: &Udev, key: &str) -> String {
    udev.get(key).unwrap_or_default().to_owned()
}

/// The controller in `dir`; one without namespaces is a disk too.
pub(super) fn nvme_controller(host: &dyn Host, dir: &str) -> Identity {
    let of_controller = |file: &str| text(host, &format!("{dir}/{file}"));
    let transport = of_controller("transport");
    let address = of_controller("address");
    // The address of a disk over a network is where it is, in words.
    let is_here = transport.is_empty() || transport == "pcie";
    let path = if is_here && is_pci_address(&address) {
        Some(format!("pci-{address}"))
    } else {
        pci_path(dir).filter(|_| is_here)
    };
    Identity {
        device: last_part(dir).to_owned(),
        serial_number: of_controller("serial"),
        model_name: of_controller("model"),
        bus: "nvme",
        slot: if is_here { pci_slot(host, dir, &address) } else { String::new() },
        transport,
        path: path.unwrap_or_default(),
        ..Identity::default()
    }
}

/// The number of the slot a disk is in, as the firmware names it.
fn pci_slot(host: &dyn Host, dir: &str, address: &str) -> String {
    let names = host.list(PCI_SLOTS).unwrap_or_default();
    let addresses: Vec<&str> = dir.split('/').filter(|part| is_pci_address(part)).collect();
    let depth = |slot: &str| {
        // A slot's address has no function number.
        let is_in = |found: &str| !slot.is_empty() && found.starts_with(&format!("{slot}."));
        let at = addresses.iter().rposition(|found| is_in(found)).map(|at| at + 1);
        at.or_else(|| is_in(address).then_some(addresses.len() + 1))
    };
    // A slot that the firmware did not number is 0, and those that share a number have a suffix: neither
    // leads anyone to a bay.
    let is_numbered = |name: &String| name != "0" && !name.contains('-');
    let found = names.into_iter().filter(is_numbered).filter_map(|name| {
        let slot = text(host, &format!("{PCI_SLOTS}/{name}/address"));
        Some((depth(&slot)?, name))
    });
    found.max().map(|(_, name)| name).unwrap_or_default()
}

/// What a disk is plugged into, by the way its folder lies and, behind a RAID controller's own
/// names, by its vendor.
fn bus(host: &dyn Host, block: &Block, device_dir: &str) -> &'static str {
    let parts = || block.dir.split('/').chain(device_dir.split('/'));
    let numbered = |stem: &str| {
        parts().any(|part| {
            let number = part.strip_prefix(stem).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let begins = |stem: &str| parts().any(|part| part.starts_with(stem));
    let is_scsi = numbered("host") || scsi_address(device_dir).is_some();
    if numbered("usb") || block.udev.get("ID_BUS") == Some("usb") {
        "usb"
    } else if numbered("ata") {
        "sata"
    } else if begins("rport-") {
        "fc"
    } else if numbered("session") {
        "iscsi"
    } else if is_scsi && text(host, &format!("{device_dir}/vendor")) == "ATA" {
        "sata"
    } else if begins("end_device-") {
        "sas"
    } else if is_scsi || block.name.starts_with("sd") {
        "scsi"
    } else if begins("mmc") {
        "mmc"
    } else if numbered("virtio") {
        "virtio"
    } else if block.name.starts_with("xvd") {
        "xen"
    } else if block.name.starts_with("pmem") {
        "nvdimm"
    } else {
        ""
    }
}

/// A disk of the SCSI layer: SATA, SAS, USB, or what a controller shows.
fn scsi(host: &dyn Host, block: &Block, device_dir: &str, common: Identity) -> Identity {
    let page = |name: &str| host.read(&format!("{device_dir}/{name}")).unwrap_or_default();
    let ata = vpd::ata_identity(&page("vpd_pg89"));
    let has_ata = block.udev.get("ID_ATA") == Some("1") || block.udev.get("ID_BUS") == Some("ata");
    let (enclosure, slot) = bay(host, device_dir);
    let serial = match &ata {
        Some(ata) => ata.serial.clone(),
        None => scsi_serial(&block.udev, common.bus, has_ata, &page("vpd_pg80")),
    };
    let wwn = match ata.as_ref().and_then(|ata| ata.wwn) {
        Some(wwn) => format!("0x{wwn:016x}"),
        None => scsi_wwn(host, &block.udev, device_dir),
    };
    let path = if common.path.is_empty() {
        scsi_path(host, &block.dir, device_dir, common.bus).unwrap_or_default()
    } else {
        common.path
    };
    Identity {
        serial_number: serial,
        model_name: match ata {
            Some(ata) => ata.model,
            None => scsi_model(host, &block.udev, device_dir, has_ata),
        },
        wwn,
        path,
        transport: scsi_host(host, &block.dir, device_dir),
        enclosure,
        slot,
        ..common
    }
}

fn scsi_serial(udev: &Udev, bus: &str, has_ata: bool, page: &[u8]) -> String {
    let short = udev.get("ID_SERIAL_SHORT").map(str::to_owned);
    let own = vpd::serial_number(page);
    // Of a SCSI disk udev calls the world wide name so.
    let scsi = ["ID_SCSI_SERIAL", "SCSI_IDENT_SERIAL"];
    let scsi = || scsi.iter().find_map(|key| udev.get(key)).map(str::to_owned);
    let found = match bus {
        "usb" if has_ata => short.or(own),
        // The number of USB is the adapter's.
        "usb" => scsi().or(own).or(short),
        _ if has_ata => own.or(short),
        _ => own.or_else(scsi).or_else(|| {
            let is_name = |text: &String| {
                udev.get("ID_WWN").is_some_and(|wwn| wwn.trim_start_matches("0x") == text)
            };
            short.filter(|text| !is_name(text) && (bus == "sata" || !is_wwn(text)))
        }),
    };
    found.unwrap_or_default()
}

/// Whether a text is a world wide name without its prefix.
fn is_wwn(text: &str) -> bool {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex && matches!(text.len(), 16 | 32) && text.starts_with(['2', '3', '5', '6'])
}

fn scsi_wwn(host: &dyn Host, udev: &Udev, device_dir: &str) -> String {
    let wwid = text(host, &format!("{device_dir}/wwid"));
    match wwid.strip_prefix("naa.") {
        Some(name) => format!("0x{name}"),
        None => {
            let keys = ["ID_WWN_WITH_EXTENSION", "ID_WWN"];
            keys.iter().find_map(|key| udev.get(key)).unwrap_or_default().to_owned()
        }
    }
}

/// As smartctl prints it: the model of an ATA disk in full, vendor and product of another.
fn scsi_model(host: &dyn Host, udev: &Udev, device_dir: &str, has_ata: bool) -> String {
    let encoded = || {
        let model = udev::decoded(udev.get("ID_MODEL_ENC")?).trim().to_owned();
        Some(model).filter(|model| !model.is_empty())
    };
    if has_ata && let Some(model) = encoded() {
        return model;
    }
    let vendor = text(host, &format!("{device_dir}/vendor"));
    let model = text(host, &format!("{device_dir}/model"));
    match (vendor.as_str(), model.is_empty()) {
        (_, true) => encoded().unwrap_or_default(),
        ("" | "ATA", _) => model,
        _ => format!("{vendor} {model}"),
    }
}

/// Enclosure and slot, as a disk shelf's processor or a SAS controller names them.
fn bay(host: &dyn Host, device_dir: &str) -> (String, String) {
    let names = host.list(device_dir).unwrap_or_default();
    let link = names.iter().find_map(|name| Some((name, name.strip_prefix("enclosure_device:")?)));
    if let Some((name, slot)) = link {
        let found = host.resolved(&format!("{device_dir}/{name}")).unwrap_or_default();
        let dir = found.rsplit_once('/').map_or("", |(dir, _)| dir);
        let id = text(host, &format!("{dir}/id"));
        let id = if id.is_empty() { last_part(dir).to_owned() } else { id };
        return (id, slot.trim().to_owned());
    }
    let Some((dir, end)) = up_to(device_dir, |part| part.starts_with("end_device-")) else {
        return (String::new(), String::new());
    };
    let of_end = |file: &str| text(host, &format!("{dir}/sas_device/{end}/{file}"));
    let slot = of_end("bay_identifier");
    // A controller that does not know answers with no slot or with the largest number there is.
    if slot.is_empty() || slot == "4294967295" {
        return (String::new(), String::new());
    }
    (of_end("enclosure_identifier"), slot)
}

/// The driver of the SCSI host, such as `ahci`, `mpt3sas`, `megaraid_sas`, `uas`.
fn scsi_host(host: &dyn Host, dir: &str, device_dir: &str) -> String {
    let is_host = |part: &str| {
        let number = part.strip_prefix("host").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let Some((path, name)) = [dir, device_dir].iter().find_map(|dir| up_to(dir, is_host)) else {
        return String::new();
    };
    let driver = text(host, &format!("{path}/scsi_host/{name}/proc_name"));
    if !driver.is_empty() && driver != "(null)" {
        return driver;
    }
    // What has no name there, as the driver for fast USB adapters, has one where it is bound.
    let device = path.rsplit_once('/').map_or("", |(device, _)| device);
    let bound = host.link(&format!("{device}/driver")).unwrap_or_default();
    last_part(&bound).to_owned()
}

/// The part of `dir` that ends with the last name for which `wanted` holds, and that name.
fn up_to(dir: &str, wanted: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let mut rest = dir;
    loop {
        let (parent, name) = rest.rsplit_once('/')?;
        if wanted(name) {
            return Some((rest, name));
        }
        rest = parent;
    }
}

/// The name that udev would give the place of a SCSI disk.
fn scsi_path(host: &dyn Host, dir: &str, device_dir: &str, bus: &str) -> Option<String> {
    let pci = pci_path(dir)?;
    let [_, channel, target, lun] = scsi_address(device_dir)?;
    let is_ata = |part: &str| {
        let number = part.strip_prefix("ata").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    match bus {
        "usb" => {
            // `2-1.4:1.0`: bus, port, and which of the adapter's functions.
            let is_function = |part: &str| part.contains(':') && part.contains('-');
            let (_, function) = up_to(dir, is_function)?;
            let (_, port) = function.split_once('-')?;
            Some(format!("{pci}-usb-0:{port}-scsi-0:{channel}:{target}:{lun}"))
        }
        "sata" if up_to(dir, is_ata).is_some() => {
            let (path, name) = up_to(dir, is_ata)?;
            let port = text(host, &format!("{path}/ata_port/{name}/port_no"));
            (!port.is_empty()).then(|| format!("{pci}-ata-{port}"))
        }
        "sata" | "sas" if dir.contains("/end_device-") => {
            let (path, end) = up_to(dir, |part| part.starts_with("end_device-"))?;
            let address = text(host, &format!("{path}/sas_device/{end}/sas_address"));
            (!address.is_empty()).then(|| format!("{pci}-sas-{address}-lun-{lun}"))
        }
        _ => Some(format!("{pci}-scsi-0:{channel}:{target}:{lun}")),
    }
}

/// `2:0:0:0`, with which the folder of a SCSI device ends.
fn scsi_address(device_dir: &str) -> Option<[&str; 4]> {
    let parts: Vec<&str> = last_part(device_dir).split(':').collect();
    let parts: [&str; 4] = parts.try_into().ok()?;
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    parts.iter().all(is_number).then_some(parts)
}

/// `pci-` and the address of the last card on the way to `dir`.
fn pci_path(dir: &str) -> Option<String> {
    let (_, address) = up_to(dir, is_pci_address)?;
    Some(format!("pci-{address}"))
}

/// `0000:01:00.0`
fn is_pci_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let lens = |lens: [usize; 4]| parts.iter().map(|part| part.len()).eq(lens);
    text.contains('.')
        && parts.iter().all(|part| is_hex(part))
        && (lens([4, 2, 2, 1]) || lens([5, 2, 2, 1]))
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The name that says most to a person; those made of world wide names come last.
fn by_id(udev: &Udev) -> String {
    const ORDER: [&str; 8] =
        ["ata-", "nvme-", "usb-", "mmc-", "virtio-", "scsi-S", "scsi-", "wwn-"];
    let ids = udev.links.iter().filter_map(|link| link.strip_prefix("disk/by-id/"));
    let rank = |id: &str| {
        let is_number = ["nvme-eui.", "nvme-nvme.", "nvme-uuid."].iter().any(|p| id.starts_with(p));
        let rank = ORDER.iter().position(|prefix| id.starts_with(prefix)).unwrap_or(ORDER.len());
        (is_number, rank, id.len(), id.to_owned())
    };
    ids.min_by_key(|id| rank(id)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_names() {
        for address in ["0000:01:00.0", "10000:e1:00.0", "0000:3b:1f.7"] {
            assert!(is_pci_address(address), "{address}");
        }
        for other in ["pci0000:00", "0:0:0:0", "0000:01:00", "target0:0:0", "", "2-1.4:1.0"] {
            assert!(!is_pci_address(other), "{other}");
        }
        assert_eq!(scsi_address("/x/2:0:1:7"), Some(["2", "0", "1", "7"]));
        assert_eq!(scsi_address("/x/2:0:1"), None);
        assert_eq!(controller_of("nvme10n2").as_deref(), Some("nvme10"));
        assert_eq!(controller_of("nvme0c0n1"), None);
        assert_eq!(controller_of("sda"), None);
    }

    #[test]
    fn the_world_wide_name_of_a_disk_is_not_its_serial_number() {
        for name in ["5000c500a1b2c3d4", "600508b1001c4d5e6f708192a3b4c5d6"] {
            assert!(is_wwn(name), "{name}");
        }
        for serial in ["S6B0NL0T615860K", "ZC1A2B3C", "1234567890123456", ""] {
            assert!(!is_wwn(serial), "{serial}");
        }
    }
}
