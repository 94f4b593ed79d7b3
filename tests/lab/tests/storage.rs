//! Pools and mounts on a real kernel: a btrfs of two devices one of which begins to fail, a thin pool of
//! LVM beside `lvs`, and an NFS server that stops answering while the rounds stay on time.

use std::time::Duration;

use super::{Aggregator, eventually, image, impatient_rules, set_up, text};
use crate::machine::{Disk, Kind, Machine};
use crate::receiver::Receiver;

/// One disk is too small for half a mirror of btrfs, hence two for each.
const DISKS: [Disk; 5] = [
    Disk { kind: Kind::Scsi, serial: "LABFS000" },
    Disk { kind: Kind::Scsi, serial: "LABFS001" },
    Disk { kind: Kind::Scsi, serial: "LABFS002" },
    Disk { kind: Kind::Scsi, serial: "LABFS003" },
    Disk { kind: Kind::Scsi, serial: "LABFS004" },
];

const START: &str = "setsid /tmp/labstat agent --aggregator http://10.0.2.100:8080 \
    --only btrfs,lvm,filesystem,loadavg --interval 2s > /tmp/agent.log 2>&1 < /dev/null & \
    sleep 1; kill -0 $! || { cat /tmp/agent.log; exit 1; }";

/// A mirror of two devices, the second of which can be made to fail; a thin pool half full; and a folder
/// served by NFS to the machine itself.
const CREATE: &str = "\
export DM_DISABLE_UDEV=1
modprobe -a btrfs dm_mod dm_thin_pool nfsd nfsv4; set -- $(ls /dev/sd?)
size=$(blockdev --getsz $1)
twin() { printf \"0 $size linear $2 0\\n$size $size linear $3 0\\n\" | dmsetup create $1; }
twin strong $1 $2; twin weak $3 $4
mkfs.btrfs -q -f -L twins -d raid1 -m raid1 /dev/mapper/strong /dev/mapper/weak
mkdir -p /mnt/twins /mnt/nfs /srv
mount -o device=/dev/mapper/strong,device=/dev/mapper/weak /dev/mapper/strong /mnt/twins
pvcreate -q -y $5; vgcreate -q pve $5
lvcreate -q -y --type thin-pool -L 32M --poolmetadatasize 4M -Zn -n data pve
lvcreate -q -y -V 100M --thinpool data -n vm-100-disk-0 pve
dd if=/dev/urandom of=/dev/pve/vm-100-disk-0 bs=1M count=20 oflag=direct
mount -t tmpfs t /srv; mount -t nfsd nfsd /proc/fs/nfsd
echo '/srv *(rw,fsid=0,no_root_squash,insecure)' > /etc/exports
mkdir -p /run/rpcbind /var/lib/nfs/rpc_pipefs /var/lib/nfs/v4recovery; rpcbind; exportfs -a
rpc.mountd -N 2 -N 3; rpc.nfsd -N 3 -U 2
for try in $(seq 30); do mount -t nfs4 -o timeo=20 127.0.0.1:/ /mnt/nfs && break; sleep 1; done
grep -c nfs4 /proc/mounts && lvs && btrfs filesystem show /mnt/twins";

#[test]
fn pools_and_mounts_are_watched() {
    let Some(image) = image() else { return };
    let receiver = Receiver::start();
    let aggregator =
        Aggregator::with(|dir| format!("{}{}", impatient_rules(dir, "btrfs"), receiver.config()));
    let mut machine = set_up(&image, &DISKS, 0, &aggregator);
    machine.must(CREATE);
    runs_all_collectors_in_one_round(&mut machine);
    machine.must(START);
    knows_a_thin_pool_as_lvs_does(&aggregator, &mut machine);
    tells_of_a_device_of_btrfs_that_fails(&aggregator, &mut machine, &receiver);
    stays_on_time_beside_a_server_that_hangs(&aggregator, &mut machine);
    eprintln!("done after {:.1} s", machine.age().as_secs_f64());
}

/// None fails, and none takes long but those that ask other programs, here on an emulated processor.
fn runs_all_collectors_in_one_round(machine: &mut Machine) {
    let said = machine.must("time -p /tmp/labstat agent --once 2>&1");
    let is_failed = |line: &&str| {
        line.starts_with("labstat_collector_outcome")
            && line.contains("failed")
            && line.ends_with(" 1")
    };
    let failed: Vec<&str> = said.lines().filter(is_failed).collect();
    assert!(failed.is_empty(), "{failed:?}\n{said}");
    let took = said.lines().find(|line| line.starts_with("real")).unwrap_or_default();
    let mut slow: Vec<(f64, &str)> = said
        .lines()
        .filter_map(|line| line.strip_prefix("node_scrape_collector_duration_seconds"))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(labels, seconds)| Some((seconds.parse().ok()?, labels)))
        .collect();
    slow.sort_by(|one, other| other.0.total_cmp(&one.0));
    slow.truncate(6);
    let samples = said.lines().filter(|line| !line.starts_with('#')).count();
    eprintln!("one round of all collectors: {samples} samples, {took}, the slowest: {slow:?}");
}

fn knows_a_thin_pool_as_lvs_does(aggregator: &Aggregator, machine: &mut Machine) {
    let ratio = |kind: &str| {
        let query = format!("labstat_lvm_thin_pool_{kind}_used_ratio{{vg=\"pve\",pool=\"data\"}}");
        eventually("the thin pool", || aggregator.query(&query).pop()).1
    };
    let told = [ratio("data"), ratio("metadata")];
    let said = machine.must(
        "DM_DISABLE_UDEV=1 lvs --noheadings --nosuffix -o data_percent,metadata_percent pve/data 2>/dev/null",
    );
    let percents: Vec<f64> = said.split_whitespace().map(|p| p.parse().expect(&said)).collect();
    assert_eq!(percents.len(), 2, "{said}");
    for (told, percent) in told.iter().zip(&percents) {
        // Which has two decimals.
        assert!((told * 100.0 - percent).abs() < 0.011, "{told} {percent}");
    }
    assert!(percents[0] > 50.0, "{said}");
    eprintln!("a thin pool: {told:?}, lvs says {percents:?} %");
}

fn tells_of_a_device_of_btrfs_that_fails(
    aggregator: &Aggregator,
    machine: &mut Machine,
    receiver: &Receiver,
) {
    let info = eventually("the filesystem", || aggregator.query("node_btrfs_info").pop()).0;
    assert_eq!(text(&info, "label"), "twins");
    let errors = || aggregator.query("labstat_btrfs_device_errors_total > 0");
    assert!(errors().is_empty(), "{:?}", errors());
    machine.must(
        "dmsetup suspend --nolockfs weak && dmsetup load weak --table \"0 $(blockdev --getsz /dev/mapper/weak) error\" && \
         dmsetup resume weak && dd if=/dev/urandom of=/mnt/twins/file bs=64k count=8 2>&1; sync; true",
    );
    let found = eventually("errors", || Some(errors()).filter(|found| !found.is_empty()));
    eprintln!("a device that fails: {found:?}");
    let told = eventually("errors as btrfs counts them", || {
        // No more of them are made: both must come to the same.
        let said = machine.must("btrfs device stats /mnt/twins; true");
        let stats =
            said.lines().filter_map(|line| line.strip_prefix("[/dev/mapper/weak].write_io_errs"));
        let wanted: f64 = stats.filter_map(|count| count.trim().parse::<f64>().ok()).sum();
        let writes = aggregator.query("labstat_btrfs_device_errors_total{type=\"write\"} > 0");
        matches!(&writes[..], [(_, count)] if *count == wanted && wanted > 0.0).then_some(writes)
    });
    assert_eq!(text(&told[0].0, "devid"), "2", "{told:?}");
    let (_, alert) = eventually("a message", || receiver.heard("BtrfsDeviceErrors firing"));
    assert_eq!(alert["labels"]["devid"], "2", "{alert}");
}

fn stays_on_time_beside_a_server_that_hangs(aggregator: &Aggregator, machine: &mut Machine) {
    let size = "node_filesystem_size_bytes{mountpoint=\"/mnt/nfs\"}";
    eventually("the mount", || aggregator.query(size).pop());
    machine.must("rpc.nfsd 0; echo stopped");
    let hangs = "node_filesystem_device_error{mountpoint=\"/mnt/nfs\",device_error=\"mountpoint timeout\"} == 1";
    eventually("that it hangs", || aggregator.query(hangs).pop());
    assert!(aggregator.query(size).is_empty(), "what cannot be known is absent");
    // Rounds of two seconds while it hangs; one that waited for the server would take five.
    std::thread::sleep(Duration::from_secs(32));
    let rounds = aggregator.query("count_over_time(node_load1[30s])");
    let (_, rounds) = rounds.first().expect("rounds");
    assert!((11.0..=16.0).contains(rounds), "of 15 rounds there were {rounds}");
    let others = aggregator.query("node_filesystem_size_bytes{mountpoint=\"/mnt/twins\"}");
    assert_eq!(others.len(), 1, "{others:?}");
    eprintln!("{rounds} rounds in 30 s beside a server that hangs");
    machine.must("rpc.nfsd -N 3 -U 2; for try in $(seq 60); do timeout 5 stat -f /mnt/nfs && exit 0; sleep 1; done; exit 1");
    eventually("the mount again", || aggregator.query(size).pop());
}
