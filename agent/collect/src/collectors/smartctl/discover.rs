//! Which disks this machine has, and what the kernel knows of them. Wakes none.
//!
//! - [`names`]: the names in `/sys/block` and `/sys/class/nvme`, to see disks come and go.
//! - [`kernel`]: disks of the kernel, USB ones too, which `smartctl --scan` does not list; with how
//!   each is attached, which tells how it must be asked.
//! - [`search`] and [`listed`]: `smartctl --scan-open`, for what the kernel does not show, as disks
//!   behind RAID controllers. It opens every disk, so where one may sleep it is `--scan`.
//! - [`Wanted`]: what the user wants to be asked, and what not.
//!
//! Left out: what is no disk (loop, RAM, mapper, md, network block devices, optical drives) and
//! readers without a card.

use labstat_parse::smartctl::Report;

use crate::host::Host;
use crate::options;
use crate::shared::is_like;

use super::kinds::{AUTO, UsbId};

const BLOCK: &str = "/sys/block";
const NVME: &str = "/sys/class/nvme";

/// Names in `/sys/block` of what is no disk. `nvme` is found as a controller.
const NO_DISKS: [&str; 19] = [
    "loop", "ram", "zram", "dm-", "md", "rbd", "nbd", "sr", "fd", "zd", "drbd", "bcache", "nullb",
    "mtdblock", "pmem", "ubiblock", "vnbd", "scm", "nvme",
];

/// Names of disks that have no SMART, and why.
const MUTE: [(&str, &str); 3] = [("vd", "virtual"), ("xvd", "virtual"), ("mmcblk", "no_smart")];

/// A disk and how it is to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// As smartctl takes it: `/dev/sda`.
    pub(super) path: String,
    /// smartctl's type.
    pub(super) kind: String,
    /// Whether the user named the type: then no other is tried.
    pub(super) fixed: bool,
    /// What the kernel says; absent for what only smartctl found.
    pub(super) kernel: Option<Kernel>,
}

/// What the kernel knows of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Its folder, without links.
    pub(super) dir: String,
    /// Whether it turns, or may: a bridge does not always tell.
    pub(super) spins: bool,
    /// The USB device it is behind, and that one's make.
    pub(super) usb: Option<(String, Option<UsbId>)>,
    /// Whether its medium can be taken out, as with sticks.
    pub(super) removable: bool,
    /// Why it is not worth asking.
    pub(super) mute: Option<&'static str>,
}

/// What is in the kernel's lists of disks, and the sizes of the drives in `empty`.
pub(super) fn names(host: &dyn Host, empty: &[String]) -> Vec<String> {
    let mut names = host.list(BLOCK).unwrap_or_default();
    names.extend(host.list(NVME).unwrap_or_default());
    let size = |name: &String| host.text(&format!("{BLOCK}/{name}/size")).unwrap_or_default();
    names.extend(empty.iter().map(size));
    names
}

/// The disks of the kernel, and the names of drives without a medium.
pub(super) fn kernel(host: &dyn Host) -> (Vec<Found>, Vec<String>) {
    let blocks = host.list(BLOCK).unwrap_or_default();
    let mut nvme = host.list(NVME).unwrap_or_default();
    // A kernel without the class still shows the namespaces.
    nvme.extend(blocks.iter().filter_map(|name| controller(name)).map(str::to_owned));
    nvme.retain(|name| {
        name.strip_prefix("nvme").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    });
    nvme.sort_unstable();
    nvme.dedup();
    let mut found = Vec::new();
    let mut empty = Vec::new();
    let may_be = |name: &&String| controller(name).is_none() && !is_no_disk(name);
    for name in blocks.iter().filter(may_be) {
        match block(host, name) {
            Some(disk) => found.push(disk),
            None => empty.push(name.clone()),
        }
    }
    found.extend(nvme.iter().map(|name| controller_disk(host, name)));
    (found, empty)
}

fn is_no_disk(name: &str) -> bool {
    let starts = |prefix: &&str| {
        name.strip_prefix(*prefix).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
    };
    NO_DISKS.iter().any(starts)
}

/// `nvme0n1` and `nvme0c0n1` belong to `nvme0`.
pub(super) fn controller(name: &str) -> Option<&str> {
    let digits = name.strip_prefix("nvme")?.bytes().take_while(u8::is_ascii_digit).count();
    let (controller, rest) = name.split_at_checked("nvme".len() + digits)?;
    (digits > 0 && !rest.is_empty()).then_some(controller)
}

fn controller_disk(host: &dyn Host, name: &str) -> Found {
    let dir = format!("{NVME}/{name}");
    let dir = host.resolved(&dir).unwrap_or(dir);
    let kernel = Kernel { dir, ..Kernel::default() };
    Found {
        path: format!("/dev/{name}"),
        kind: "nvme".to_owned(),
        fixed: false,
        kernel: Some(kernel),
    }
}

/// The disk `name` of `/sys/block`, unless it is a drive without a medium.
fn block(host: &dyn Host, name: &str) -> Option<Found> {
    let dir = format!("{BLOCK}/{name}");
    let dir = host.resolved(&dir).unwrap_or(dir);
    let text = |file: &str| {
        let text = host.text(&format!("{dir}/{file}")).unwrap_or_default();
        text.trim().to_owned()
    };
    // A card reader without a card, a floppy drive; a disk without a size is a broken one.
    let removable = text("removable") == "1";
    if removable && text("size") == "0" {
        return None;
    }
    let mute = MUTE
        .iter()
        .find(|(prefix, _)| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()));
    let usb = usb_device(&dir);
    let kind = match (&usb, text("device/vendor").as_str()) {
        // The kernel, or the controller, speaks SCSI for a SATA disk.
        (None, "ATA") => "sat",
        _ => AUTO,
    };
    let kernel = Kernel {
        spins: text("queue/rotational") != "0",
        usb: usb.map(|device| (device.to_owned(), usb_id(host, device))),
        removable,
        mute: mute.map(|(_, why)| *why),
        dir: dir.clone(),
    };
    // The kernel writes a device such as `cciss/c0d0` with a `!` in its folders.
    let path = format!("/dev/{}", name.replace('!', "/"));
    Some(Found { path, kind: kind.to_owned(), fixed: false, kernel: Some(kernel) })
}

/// The folder of the USB device in whose folder `dir` lies: the one above the interface (`2-1:1.0`).
fn usb_device(dir: &str) -> Option<&str> {
    let mut start = 0;
    for part in dir.split('/') {
        let is_interface = part.split_once(':').is_some_and(|(port, interface)| {
            let port_like = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
            port.contains('-') && port.chars().all(port_like) && interface.contains('.')
        });
        let above = dir.get(..start)?;
        if is_interface && above.contains("/usb") {
            return Some(above.trim_end_matches('/'));
        }
        start += part.len() + 1;
    }
    None
}

fn usb_id(host: &dyn Host, device: &str) -> Option<UsbId> {
    let hex = |file: &str| {
        u16::from_str_radix(host.text(&format!("{device}/{file}")).ok()?.trim(), 16).ok()
    };
    Some(UsbId { vendor: hex("idVendor")?, product: hex("idProduct")? })
}

/// How smartctl may be asked for disks, in turn: opening a disk that sleeps can wake it.
pub(super) fn search(disks: &[Found]) -> &'static [&'static str] {
    let may_sleep = |disk: &Found| {
        disk.kernel.as_ref().is_some_and(|kernel| kernel.spins && kernel.mute.is_none())
    };
    match disks.iter().any(may_sleep) {
        // One that does not know the first is too old to open disks for the second.
        true => &["--scan", "--scan-open"],
        false => &["--scan-open", "--scan"],
    }
}

/// What the search found. Without opening a disk smartctl calls all SATA disks `scsi`: then it had
/// better guess when it reads them.
pub(super) fn listed(report: &Report, how: &str) -> Vec<Found> {
    let devices = report.devices.iter().flatten();
    devices
        .filter_map(|device| {
            let kind = device.kind.clone().unwrap_or_default();
            let kind = match kind.as_str() {
                "" => AUTO.to_owned(),
                "scsi" if how == "--scan" => AUTO.to_owned(),
                _ => kind,
            };
            Some(Found { path: device.name.clone()?, kind, fixed: false, kernel: None })
        })
        .collect()
}

/// One list of the disks that were named, those of the kernel, and those that smartctl listed.
/// Of two that are one device, the first counts; what a later one knows is added to it.
pub(super) fn merge(named: Vec<Found>, kernel: Vec<Found>, listed: Vec<Found>) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    for found in named.into_iter().chain(kernel).chain(listed) {
        let label = label(&found.path, &found.kind);
        let same = all.iter_mut().find(|known| {
            self::label(&known.path, &known.kind) == label
                || (known.path == found.path && !behind(&known.kind) && !behind(&found.kind))
        });
        let Some(known) = same else {
            all.push(found);
            continue;
        };
        if known.kernel.is_none() {
            known.kernel = found.kernel;
        }
        if known.kind == AUTO && !known.fixed && found.kind != "scsi" {
            known.kind = found.kind;
        }
    }
    all
}

/// Whether the type names a disk behind the device rather than the device.
fn behind(kind: &str) -> bool {
    kind.contains(',')
}

/// `/dev/sda` gives `sda`; a disk behind a controller gets its number there.
pub(super) fn label(path: &str, kind: &str) -> String {
    let name = path.strip_prefix("/dev/").unwrap_or(path);
    let name = ["disk/by-id/", "disk/by-path/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let name = name.trim_start_matches('/').replace('/', "_");
    if behind(kind) { format!("{name}_{}", kind.replace(',', "_")) } else { name }
}

/// Which disks the user wants.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    options: &'a options::Smartctl,
    /// Names udev gave, with the path each leads to.
    aliases: Vec<(String, String)>,
}

impl<'a> Wanted<'a> {
    /// What `options` say; the names udev gave are looked up only where they are used.
    pub(super) fn new(options: &'a options::Smartctl, host: &dyn Host) -> Self {
        let patterns = || options.include.iter().chain(&options.exclude);
        let mut aliases = Vec::new();
        for dir in ["/dev/disk/by-id", "/dev/disk/by-path"] {
            if !patterns().any(|pattern| pattern.starts_with(dir)) {
                continue;
            }
            for name in host.list(dir).unwrap_or_default() {
                let alias = format!("{dir}/{name}");
                if let Ok(path) = host.resolved(&alias) {
                    aliases.push((alias, path));
                }
            }
        }
        Self { options, aliases }
    }

    /// Whether `found` is to be asked. What was named as a device is, unless it is excluded.
    pub(super) fn has(&self, found: &Found) -> bool {
        let label = label(&found.path, &found.kind);
        let name = found.path.rsplit('/').next().unwrap_or_default();
        let matches = |pattern: &String| {
            [found.path.as_str(), name, &label].iter().any(|text| is_like(pattern, text))
                || self
                    .aliases
                    .iter()
                    .any(|(alias, path)| *path == found.path && is_like(pattern, alias))
        };
        let included = self.options.include.is_empty() || self.options.include.iter().any(matches);
        (included || found.fixed) && !self.options.exclude.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_devices() {
        for (path, kind, wanted) in [
            ("/dev/sda", "sat", "sda"),
            ("/dev/disk/by-id/wwn-0x5", "auto", "wwn-0x5"),
            ("/dev/bus/0", "megaraid,1", "bus_0_megaraid_1"),
            ("/dev/nvme0", "nvme", "nvme0"),
        ] {
            assert_eq!(label(path, kind), wanted);
        }
    }

    #[test]
    fn controllers_of_namespaces() {
        for (name, wanted) in [
            ("nvme0n1", Some("nvme0")),
            ("nvme12c3n1", Some("nvme12")),
            ("nvme0", None),
            ("nvmen1", None),
            ("sda", None),
        ] {
            assert_eq!(controller(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_usb_device_is_found_in_a_path() {
        let device = "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1.4";
        let dir = format!("{device}/2-1.4:1.0/host6/target6:0:0/6:0:0:0/block/sdc");
        assert_eq!(usb_device(&dir), Some(device));
        let sata = "/sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda";
        assert_eq!(usb_device(sata), None);
        assert_eq!(usb_device(""), None);
    }

    #[test]
    fn what_was_named_comes_first_and_later_ones_add_to_it() {
        let disk = |path: &str, kind: &str| Found {
            path: path.to_owned(),
            kind: kind.to_owned(),
            ..Found::default()
        };
        let with = |mut found: Found, dir: &str| {
            found.kernel = Some(Kernel { dir: dir.to_owned(), ..Kernel::default() });
            found
        };
        let named = Found { fixed: true, ..disk("/dev/sda", "usbjmicron") };
        let kernel = ["/dev/sda", "/dev/sdb", "/dev/sdc"].map(|path| with(disk(path, AUTO), path));
        let listed = [
            disk("/dev/sda", "sat"),
            disk("/dev/sdb", "sat"),
            disk("/dev/sdc", "scsi"),
            disk("/dev/bus/0", "megaraid,4"),
            disk("/dev/sdc", "megaraid,4"),
        ];
        let all = merge(vec![named], kernel.to_vec(), listed.to_vec());
        let told: Vec<(&str, &str, bool)> =
            all.iter().map(|d| (d.path.as_str(), d.kind.as_str(), d.kernel.is_some())).collect();
        let wanted = [
            ("/dev/sda", "usbjmicron", true),
            ("/dev/sdb", "sat", true),
            ("/dev/sdc", AUTO, true),
            ("/dev/bus/0", "megaraid,4", false),
            ("/dev/sdc", "megaraid,4", false),
        ];
        assert_eq!(told, wanted);
    }
}
