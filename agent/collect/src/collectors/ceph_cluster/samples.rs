//! What the cluster said, as samples. Pure.
//!
//! Two batches: what monitors know of themselves, of the map and of health; and what the manager counts.
//! What the monitors tell of usage and placement groups is the manager's word, too, and stands with
//! that: without a manager it would be old, and nobody knows how old.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use labstat_model::{Batch, Family, Kind};
use labstat_parse::ceph_cluster::daemons::{About, Filesystems, Mds, without_port};
use labstat_parse::ceph_cluster::osds::{self, OsdMap, Pool, PoolKind};
use labstat_parse::ceph_cluster::pgs::{Oldest, Pg, STATES};
use labstat_parse::ceph_cluster::pools::{Objects, Space};
use labstat_parse::ceph_cluster::status::{Check, Gateway, Level, PgMap, Status};

use super::names::*;
use super::reading::Reading;
use super::risk::{self, Risk};

/// Health checks remembered that have failed before. Ceph knows about a hundred.
const CHECKS_REMEMBERED_MAX: usize = 1_000;

/// The check of requests that take too long.
const SLOW: &str = "SLOW_OPS";

/// Checks that have failed since this agent reads, and how bad they were.
pub(super) type Remembered = BTreeMap<String, Level>;

/// A batch whose samples all get the name of the cluster, if it has one.
pub(super) struct Out<'a> {
    pub(super) batch: &'a mut Batch,
    pub(super) cluster: Option<&'a str>,
}

impl Out<'_> {
    pub(super) fn push(&mut self, family: &Family, labels: &[(&str, &str)], value: f64) {
        match self.cluster {
            None => self.batch.push(family, labels, value),
            Some(cluster) => {
                let mut all = labels.to_vec();
                all.push(("cluster", cluster));
                self.batch.push(family, &all, value);
            }
        }
    }

    fn push_known(&mut self, family: &Family, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.push(family, labels, value);
        }
    }

    fn push_count(&mut self, family: &Family, labels: &[(&str, &str)], value: Option<u64>) {
        // Counts of Ceph fit into a floating point number as Ceph's own exporter has them.
        self.push_known(family, labels, value.map(|value| value as f64));
    }

    fn push_truth(&mut self, family: &Family, labels: &[(&str, &str)], value: Option<bool>) {
        self.push_known(family, labels, value.map(truth));
    }
}

pub(super) fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// What the monitors know.
pub(super) fn of_monitors(
    reading: &Reading,
    reader: &str,
    remembered: &mut Remembered,
    out: &mut Out<'_>,
) {
    if let Some(status) = &reading.status {
        health(status, remembered, out);
        if let Some(fsid) = &status.fsid {
            let version = reading.mons.as_deref().unwrap_or_default().iter();
            let version = version.filter_map(|mon| mon.ceph_version_short.as_deref()).next();
            let labels =
                [("fsid", &**fsid), ("version", version.unwrap_or_default()), ("reader", reader)];
            out.push(&CLUSTER_INFO, &labels, 1.0);
        }
        gateways(&status.gateways, out);
    }
    monitors(reading, out);
    managers(reading, out);
    filesystems(reading, out);
    if let Some(map) = &reading.map {
        of_map(map, reading, out);
    }
    occupation(reading.osds_about.as_deref().unwrap_or_default(), out);
}

fn health(status: &Status, remembered: &mut Remembered, out: &mut Out<'_>) {
    let level = status.health.map(|level| match level {
        Level::Ok => 0.0,
        Level::Warn => 1.0,
        Level::Err => 2.0,
    });
    out.push_known(&HEALTH_STATUS, &[], level);
    for check in &status.checks {
        if remembered.len() < CHECKS_REMEMBERED_MAX || remembered.contains_key(&check.name) {
            remembered.insert(check.name.clone(), check.severity);
        }
    }
    for (name, severity) in remembered {
        let fails = status.checks.iter().any(|check| check.name == *name);
        let labels = [("name", &**name), ("severity", severity.as_str())];
        out.push(&HEALTH_DETAIL, &labels, truth(fails));
    }
    for check in &status.checks {
        let muted = if check.muted { "true" } else { "false" };
        let labels =
            [("name", &*check.name), ("severity", check.severity.as_str()), ("muted", muted)];
        out.push(&CHECK, &labels, 1.0);
    }
    for check in &status.checks {
        out.push_count(&CHECK_COUNT, &[("name", &check.name)], check.count);
    }
}

/// Each gateway by the number of its session, as the module has it; and by the end of its name, which its
/// counters have as `instance_id`, since its socket does not tell the number: so that panels which join the two find it.
/// Where several gateways have names that end alike, a join could not tell them apart.
fn gateways(all: &[Gateway], out: &mut Out<'_>) {
    let end = |gateway: &'_ Gateway| gateway.id.rsplit('.').next().map(str::to_owned);
    let ends: Vec<Option<String>> = all.iter().map(end).collect();
    let is_its_own = |end: &str| {
        ends.iter().filter(|other| other.as_deref() == Some(end)).count() == 1
            && all.iter().all(|gateway| gateway.gid != end)
    };
    let mut told = |gateway: &Gateway, instance_id: &str| {
        let labels = [
            ("ceph_daemon", &*format!("rgw.{}", gateway.id)),
            ("hostname", &*gateway.hostname),
            ("ceph_version", &*gateway.version),
            ("instance_id", instance_id),
        ];
        out.push(&RGW_METADATA, &labels, 1.0);
    };
    for gateway in all {
        told(gateway, &gateway.gid);
    }
    for (gateway, end) in all.iter().zip(&ends) {
        if let Some(end) = end.as_deref().filter(|end| is_its_own(end)) {
            told(gateway, end);
        }
    }
}

fn about<'a>(all: Option<&'a Vec<About>>, name: &str) -> (&'a str, &'a str) {
    let found = all.into_iter().flatten().find(|about| about.name.as_deref() == Some(name));
    let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
    found.map_or(("", ""), |about| (text(&about.hostname), text(&about.ceph_version)))
}

fn monitors(reading: &Reading, out: &mut Out<'_>) {
    let Some(quorum) = &reading.quorum else { return };
    for mon in &quorum.mons {
        let daemon = format!("mon.{}", mon.name);
        out.push(&MON_QUORUM, &[("ceph_daemon", &daemon)], truth(mon.in_quorum));
    }
    for mon in &quorum.mons {
        let (hostname, version) = about(reading.mons.as_ref(), &mon.name);
        let labels = [
            ("ceph_daemon", &*format!("mon.{}", mon.name)),
            ("hostname", hostname),
            ("public_addr", mon.address.as_deref().unwrap_or_default()),
            ("rank", &*mon.rank.map_or_else(String::new, |rank| rank.to_string())),
            ("ceph_version", version),
        ];
        out.push(&MON_METADATA, &labels, 1.0);
    }
}

fn managers(reading: &Reading, out: &mut Out<'_>) {
    let Some(mgrs) = &reading.mgrs else { return };
    let active = mgrs.active.iter().map(|name| (name, true));
    let all: Vec<_> = active.chain(mgrs.standbys.iter().map(|name| (name, false))).collect();
    for (name, is_active) in &all {
        let is_active = *is_active && mgrs.available != Some(false);
        out.push(&MGR_STATUS, &[("ceph_daemon", &format!("mgr.{name}"))], truth(is_active));
    }
    for (name, _) in &all {
        let (hostname, version) = about(reading.mgrs_about.as_ref(), name);
        let labels = [
            ("ceph_daemon", &*format!("mgr.{name}")),
            ("hostname", hostname),
            ("ceph_version", version),
        ];
        out.push(&MGR_METADATA, &labels, 1.0);
    }
    for module in &mgrs.modules {
        let status = match module {
            module if module.is_always_on => 2.0,
            module => truth(module.is_enabled),
        };
        out.push(&MODULE_STATUS, &[("name", &module.name)], status);
    }
    for module in &mgrs.modules {
        out.push(&MODULE_CAN_RUN, &[("name", &module.name)], truth(module.can_run));
    }
}

fn filesystems(reading: &Reading, out: &mut Out<'_>) {
    let Some(all) = &reading.filesystems else { return };
    let mut server = |fs_id: &str, mds: &Mds| {
        let (hostname, version) = about(reading.mds_about.as_ref(), &mds.name);
        let labels = [
            ("ceph_daemon", &*format!("mds.{}", mds.name)),
            ("fs_id", fs_id),
            ("hostname", hostname),
            ("public_addr", mds.addr.as_deref().unwrap_or_default()),
            ("rank", &*mds.rank.map_or_else(String::new, |rank| rank.to_string())),
            ("ceph_version", version),
        ];
        out.push(&MDS_METADATA, &labels, 1.0);
    };
    for mds in &all.standbys {
        server("-1", mds);
    }
    for filesystem in &all.filesystems {
        for mds in &filesystem.servers {
            server(&filesystem.id.to_string(), mds);
        }
    }
    for filesystem in &all.filesystems {
        let pools: Vec<String> = filesystem.data_pools.iter().map(i64::to_string).collect();
        let labels = [
            ("data_pools", &*pools.join(",")),
            ("fs_id", &*filesystem.id.to_string()),
            ("metadata_pool", &*filesystem.metadata_pool.to_string()),
            ("name", &*filesystem.name),
        ];
        out.push(&FS_METADATA, &labels, 1.0);
    }
    serving(all, out);
}

/// Who serves what, of which health checks tell the half: a server that is gone without another to take its
/// place keeps its rank and its state.
fn serving(all: &Filesystems, out: &mut Out<'_>) {
    let of_none = all.standbys.iter().map(|mds| ("", mds));
    let of_some = all.filesystems.iter().flat_map(|filesystem| {
        filesystem.servers.iter().map(|mds| (filesystem.name.as_str(), mds))
    });
    let servers: Vec<(&str, String, &Mds)> = of_none
        .chain(of_some)
        .map(|(name, mds)| (name, format!("mds.{}", mds.name), mds))
        .collect();
    for (filesystem, daemon, mds) in &servers {
        let Some(state) = &mds.state else { continue };
        let labels = [("ceph_daemon", &**daemon), ("filesystem", filesystem), ("state", state)];
        out.push(&MDS_STATE, &labels, 1.0);
    }
    for (_, daemon, mds) in &servers {
        out.push(&MDS_LAGGY, &[("ceph_daemon", daemon)], truth(mds.is_laggy()));
    }
    for filesystem in &all.filesystems {
        let labels = [("filesystem", &*filesystem.name)];
        out.push_count(&FS_RANKS, &labels, filesystem.ranks);
    }
    for filesystem in all.filesystems.iter().filter(|it| it.ranks.is_some()) {
        let served = filesystem.servers.iter().filter(|mds| mds.is_serving()).count();
        let labels = [("filesystem", &*filesystem.name)];
        out.push_count(&FS_SERVED, &labels, u64::try_from(served).ok());
    }
}

fn of_map(map: &OsdMap, reading: &Reading, out: &mut Out<'_>) {
    if let Some(flags) = &map.flags {
        let set: BTreeSet<&str> = flags.split(',').collect();
        for flag in FLAGS {
            let name = format!("ceph_osd_flag_{}", flag.replace('-', "_"));
            let family =
                Family::dynamic(name, Kind::Untyped, format!("Whether the flag {flag} is set."));
            out.push(&family, &[], truth(set.contains(flag)));
        }
    }
    out.push_known(&OSD_NEARFULL, &[], map.nearfull_ratio);
    out.push_known(&OSD_BACKFILLFULL, &[], map.backfillfull_ratio);
    out.push_known(&OSD_FULL, &[], map.full_ratio);
    out.push_count(&BLOCKLIST, &[], map.blocklist.as_ref().map(|list| list.len() as u64));
    let daemons: Vec<String> = map.osds.iter().map(|osd| format!("osd.{}", osd.id)).collect();
    for (osd, daemon) in map.osds.iter().zip(&daemons) {
        let labels = [("ceph_daemon", &**daemon)];
        out.push_truth(&OSD_UP, &labels, osd.up);
        out.push_truth(&OSD_IN, &labels, osd.is_in);
        out.push_known(&OSD_WEIGHT, &labels, osd.weight);
    }
    let leaves: BTreeMap<i64, &osds::Leaf> =
        reading.tree.iter().flatten().map(|leaf| (leaf.id, leaf)).collect();
    let abouts: BTreeMap<i64, &osds::About> =
        reading.osds_about.iter().flatten().map(|about| (about.id, about)).collect();
    for (osd, daemon) in map.osds.iter().zip(&daemons) {
        let (leaf, about) = (leaves.get(&osd.id).copied(), abouts.get(&osd.id).copied());
        of_osd(osd, daemon, leaf, about, out);
    }
    for pool in &map.pools {
        of_pool(pool, map, out);
    }
}

fn of_osd(
    osd: &osds::Osd,
    daemon: &str,
    leaf: Option<&osds::Leaf>,
    about: Option<&osds::About>,
    out: &mut Out<'_>,
) {
    fn text(text: Option<&String>) -> &str {
        text.map_or("", String::as_str)
    }
    let class = text(leaf.and_then(|leaf| leaf.device_class.as_ref()));
    if let Some(about) = about {
        let labels = [
            ("back_iface", text(about.back_iface.as_ref())),
            ("ceph_daemon", daemon),
            ("cluster_addr", host_of(osd.cluster_addr.as_deref())),
            ("device_class", class),
            ("front_iface", text(about.front_iface.as_ref())),
            ("hostname", text(about.hostname.as_ref())),
            ("objectstore", text(about.osd_objectstore.as_ref())),
            ("public_addr", host_of(osd.public_addr.as_deref())),
            ("ceph_version", text(about.ceph_version.as_ref())),
        ];
        out.push(&OSD_METADATA, &labels, 1.0);
    }
    let hostname = about.and_then(|about| about.hostname.as_ref());
    let disk = about.and_then(osds::About::disk);
    let labels = [
        ("ceph_daemon", daemon),
        ("hostname", text(hostname.or_else(|| leaf.and_then(|leaf| leaf.host.as_ref())))),
        ("device_class", class),
        ("device", disk.map_or("", |disk| disk.device)),
        ("serial", disk.and_then(|disk| disk.serial).unwrap_or_default()),
        ("model", disk.and_then(|disk| disk.model).unwrap_or_default()),
        ("objectstore", text(about.and_then(|about| about.osd_objectstore.as_ref()))),
        ("version", text(about.and_then(|about| about.ceph_version_short.as_ref()))),
    ];
    out.push(&OSD_INFO, &labels, 1.0);
    if let Some(leaf) = leaf {
        let labels = [("ceph_daemon", daemon)];
        out.push_known(&OSD_CRUSH_WEIGHT, &labels, leaf.crush_weight);
        out.push_known(&OSD_REWEIGHT, &labels, leaf.reweight);
        out.push(&OSD_DESTROYED, &labels, truth(leaf.is_destroyed));
    }
}

/// The address of an OSD without its port; one that never ran has none.
fn host_of(address: Option<&str>) -> &str {
    address.map(without_port).unwrap_or_default()
}

fn of_pool(pool: &Pool, map: &OsdMap, out: &mut Out<'_>) {
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let (kind, description) = match pool.kind() {
        Some(PoolKind::Replicated) => ("replicated", format!("replica:{}", number(pool.size))),
        Some(PoolKind::Erasure) => {
            let name = pool.erasure_code_profile.as_deref().unwrap_or_default();
            let profile = map.erasure_code_profiles.get(name);
            let part = |part: fn(&osds::Profile) -> Option<u64>| number(profile.and_then(part));
            ("erasure", format!("ec:{}+{}", part(|p| p.k), part(|p| p.m)))
        }
        None => ("", String::new()),
    };
    let labels = [
        ("pool_id", &*pool.id.to_string()),
        ("name", &*pool.name),
        ("type", kind),
        ("description", &*description),
        ("compression_mode", pool.options.compression_mode.as_deref().unwrap_or("none")),
    ];
    out.push(&POOL_METADATA, &labels, 1.0);
}

/// Which devices belong to which OSD. `instance` is the host here, which dashboards look for.
fn occupation(all: &[osds::About], out: &mut Out<'_>) {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut by_device: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for about in all {
        let is_filestore = about.osd_objectstore.as_deref() == Some("filestore");
        let (device, wal, db) = if is_filestore {
            (said(&about.backend_filestore_dev_node), said(&about.osd_journal), None)
        } else {
            let (wal, db) = (&about.bluefs_wal_dev_node, &about.bluefs_db_dev_node);
            (said(&about.bluestore_bdev_dev_node), said(wal), said(db))
        };
        let device = device.filter(|device| device != "unknown");
        let (Some(device), Some(hostname)) = (device, said(&about.hostname)) else { continue };
        let daemon = format!("osd.{}", about.id);
        let labels = [
            ("ceph_daemon", &*daemon),
            ("device", &*device),
            ("db_device", &*db.unwrap_or_default()),
            ("wal_device", &*wal.unwrap_or_default()),
            ("instance", &*hostname),
            ("devices", &*said(&about.devices).unwrap_or_else(|| "N/A".to_owned())),
            ("device_ids", &*said(&about.device_ids).unwrap_or_else(|| "N/A".to_owned())),
        ];
        out.push(&DISK_OCCUPATION, &labels, 1.0);
        by_device.entry((device, hostname)).or_default().push(daemon);
    }
    for ((device, hostname), daemons) in &by_device {
        let labels = [
            ("ceph_daemon", &*daemons.join(", ")),
            ("device", &**device),
            ("instance", &**hostname),
        ];
        out.push(&DISK_OCCUPATION_HUMAN, &labels, 1.0);
    }
}

/// What the manager counts; nothing without one. What stands on its page is told as it stands there.
pub(super) fn of_manager(reading: &Reading, out: &mut Out<'_>) {
    if !reading.mgr_answers() {
        return;
    }
    let Some(page) = &reading.page else { return by_commands(reading, out) };
    let mut commanded = Batch::new();
    by_commands(reading, &mut Out { batch: &mut commanded, cluster: out.cluster });
    let mut paged = HashSet::new();
    for (family, sample) in page.samples() {
        let labels = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        out.push(family, &labels.collect::<Vec<_>>(), sample.value);
        paged.insert(&*family.name);
    }
    for sample in commanded.iter().filter(|it| !paged.contains(&*it.family.name)) {
        let labels: Vec<(&str, &str)> = sample.labels.iter().collect();
        // These have the name of the cluster already.
        out.batch.push(sample.family, &labels, sample.value);
    }
}

/// What the manager answers to commands.
fn by_commands(reading: &Reading, out: &mut Out<'_>) {
    if let Some(status) = &reading.status {
        recovery(status, out);
        daemon_health(status, reading, out);
    }
    if let Some(df) = &reading.df {
        space("ceph_cluster", &[], &df.space, out);
        for (class, of_class) in &df.by_class {
            space("ceph_cluster_by_class", &[("device_class", class)], of_class, out);
        }
        for (figure, grows) in POOL_FIGURES {
            let kind = if grows { Kind::Counter } else { Kind::Gauge };
            let family = pool_family(figure, kind);
            for (pool, figures) in &df.pools {
                let value = figures.get(figure).copied();
                out.push_known(&family, &[("pool_id", &pool.to_string())], value);
            }
        }
    }
    for figure in POOL_RATES {
        let family = pool_family(figure, Kind::Gauge);
        for (pool, rates) in reading.rates.iter().flatten() {
            // Ceph leaves out what is 0.
            let value = rates.get(figure).copied().unwrap_or(0.0);
            out.push(&family, &[("pool_id", &pool.to_string())], value);
        }
    }
    objects(reading, out);
    of_osds(reading, out);
    if let (Some(pgs), Some(map)) = (&reading.pgs, &reading.map) {
        groups(pgs, map, out);
        let tree = reading.tree.as_deref().unwrap_or_default();
        if let Some(risk) = risk::risk(pgs, map, tree) {
            at_risk(&risk, out);
        }
    }
    for (daemon, count) in reading.crashes.iter().flatten() {
        out.push_count(&CRASHES, &[("ceph_daemon", daemon)], Some(*count));
    }
}

fn pool_family(figure: &str, kind: Kind) -> Family {
    Family::dynamic(
        format!("ceph_pool_{figure}"),
        kind,
        format!("What Ceph calls {figure} of a pool."),
    )
}

fn space(prefix: &str, labels: &[(&str, &str)], space: &Space, out: &mut Out<'_>) {
    for (figure, value, help) in [
        ("total_bytes", space.total_bytes, "Space of all OSDs."),
        ("total_used_bytes", space.total_used_bytes, "Space that data takes."),
        ("total_used_raw_bytes", space.total_used_raw_bytes, "Space that is taken."),
    ] {
        let family = Family::dynamic(format!("{prefix}_{figure}"), Kind::Gauge, help);
        out.push_count(&family, labels, value);
    }
}

fn recovery(status: &Status, out: &mut Out<'_>) {
    let pgmap = &status.pgmap;
    out.push_count(&OBJECTS, &[], pgmap.num_objects);
    out.push_count(&RECOVERY_OBJECTS, &[], pgmap.recovering_objects_per_sec);
    out.push_count(&RECOVERY_BYTES, &[], pgmap.recovering_bytes_per_sec);
    // Ceph leaves out what is 0.
    let left = pgmap.degraded_objects.unwrap_or(0) + pgmap.misplaced_objects.unwrap_or(0);
    let speed = pgmap.recovering_objects_per_sec.unwrap_or(0);
    if left > 0 && speed > 0 {
        out.push(&RECOVERY_REMAINING, &[], left as f64 / speed as f64);
    }
}

/// What the manager's module takes from inside of the manager, as far as the checks tell it.
fn daemon_health(status: &Status, reading: &Reading, out: &mut Out<'_>) {
    let check = status.checks.iter().find(|check| check.name == SLOW);
    let (count, slow) = check.map_or((Some(0), Vec::new()), slow_ops);
    out.push_count(&SLOW_OPS, &[], count);
    let of_daemon = |daemon: &str| match slow.contains(&daemon) {
        false => Some(0),
        // Of several the check only tells the sum.
        true => count.filter(|_| slow.len() == 1),
    };
    let quorum = reading.quorum.iter().flat_map(|quorum| &quorum.mons);
    let mons = quorum.filter(|mon| mon.in_quorum).map(|mon| format!("mon.{}", mon.name));
    let up = reading.map.iter().flat_map(|map| &map.osds).filter(|osd| osd.up == Some(true));
    let osds: Vec<String> = up.map(|osd| format!("osd.{}", osd.id)).collect();
    let is_telling = check.is_none() || !slow.is_empty();
    for daemon in mons.chain(osds.iter().cloned()).filter(|_| is_telling) {
        let labels = [("type", SLOW), ("ceph_daemon", &*daemon)];
        out.push_count(&DAEMON_HEALTH, &labels, of_daemon(&daemon));
    }
    let waits = |pg: &Pg| pg.is("creating") || pg.is("unknown");
    if reading.pgs.as_ref().is_some_and(|pgs| !pgs.iter().any(waits)) {
        for daemon in &osds {
            let labels = [("type", "PENDING_CREATING_PGS"), ("ceph_daemon", &**daemon)];
            out.push(&DAEMON_HEALTH, &labels, 0.0);
        }
    }
}

/// `5 slow ops, oldest one blocked for 11 sec, daemons [osd.0,osd.2] have slow ops.`: how many, and of
/// which daemons. Where there are many daemons, Ceph ends the list with dots.
fn slow_ops(check: &Check) -> (Option<u64>, Vec<&str>) {
    let mut words = check.message.split([' ', ',', '[', ']']).filter(|word| !word.is_empty());
    let count = words.next().and_then(|word| word.parse().ok());
    let is_cut = check.message.contains("...");
    let is_daemon = |word: &&str| word.starts_with("osd.") || word.starts_with("mon.");
    (count, words.filter(is_daemon).filter(|_| !is_cut).collect())
}

fn objects(reading: &Reading, out: &mut Out<'_>) {
    let sum = |figure: fn(&Objects) -> Option<u64>| {
        reading.objects.as_ref().and_then(|pools| pools.values().map(figure).sum())
    };
    // The sum that the monitors tell leaves out what is 0.
    let pgmap = reading.status.as_ref().map(|status| &status.pgmap);
    let told = |figure: fn(&PgMap) -> Option<u64>| pgmap.map(|pgmap| figure(pgmap).unwrap_or(0));
    let degraded = sum(|o| o.num_objects_degraded).or_else(|| told(|p| p.degraded_objects));
    let misplaced = sum(|o| o.num_objects_misplaced).or_else(|| told(|p| p.misplaced_objects));
    let unfound = sum(|o| o.num_objects_unfound).or_else(|| told(|p| p.unfound_objects));
    out.push_count(&DEGRADED, &[], degraded);
    out.push_count(&MISPLACED, &[], misplaced);
    out.push_count(&UNFOUND, &[], unfound);
    for (pool, objects) in reading.objects.iter().flatten() {
        let labels = [("poolid", &*pool.to_string())];
        out.push_count(&POOL_REPAIRED, &labels, objects.num_objects_repaired);
    }
}

fn of_osds(reading: &Reading, out: &mut Out<'_>) {
    for latency in reading.latency.iter().flatten() {
        let daemon = format!("osd.{}", latency.id);
        out.push_count(&OSD_APPLY, &[("ceph_daemon", &daemon)], latency.apply_ms);
        out.push_count(&OSD_COMMIT, &[("ceph_daemon", &daemon)], latency.commit_ms);
    }
    for usage in reading.usage.iter().flatten() {
        let daemon = format!("osd.{}", usage.id);
        let labels = [("ceph_daemon", &*daemon)];
        let bytes = |kb: Option<u64>| kb.map(|kb| kb.saturating_mul(1024));
        out.push_count(&OSD_SIZE, &labels, bytes(usage.kb));
        out.push_count(&OSD_USED, &labels, bytes(usage.kb_used));
        out.push_count(&OSD_PGS, &labels, usage.pgs);
    }
}

/// How many groups of each pool are in which state, those in none included.
fn groups(pgs: &[Pg], map: &OsdMap, out: &mut Out<'_>) {
    let mut counts: BTreeMap<i64, (u64, [u64; STATES.len()])> =
        map.pools.iter().map(|pool| (pool.id, (0, [0; STATES.len()]))).collect();
    for pg in pgs {
        let (total, by_state) = counts.entry(pg.pool).or_insert((0, [0; STATES.len()]));
        *total += 1;
        for (at, count) in by_state.iter_mut().enumerate() {
            *count += pg.states >> at & 1;
        }
    }
    for (pool, (total, _)) in &counts {
        out.push_count(&PG_TOTAL, &[("pool_id", &pool.to_string())], Some(*total));
    }
    for (at, state) in STATES.iter().enumerate() {
        let help = format!("Placement groups of the pool whose state has {state} in it.");
        let family = Family::dynamic(format!("ceph_pg_{state}"), Kind::Gauge, help);
        for (pool, (_, by_state)) in &counts {
            let count = by_state.get(at).copied();
            out.push_count(&family, &[("pool_id", &pool.to_string())], count);
        }
    }
}

fn at_risk(risk: &Risk, out: &mut Out<'_>) {
    for (family, counts) in [(&ONLY_COPIES, &risk.only_copies), (&BLOCKING_PGS, &risk.blocking)] {
        for (osd, count) in counts {
            out.push_count(family, &[("ceph_daemon", &format!("osd.{osd}"))], Some(*count));
        }
    }
    for (domain, tolerated) in [("osd", risk.osds), ("host", risk.hosts)] {
        let Some(tolerated) = tolerated else { continue };
        for (until, count) in [("unavailable", tolerated.unavailable), ("loss", tolerated.loss)] {
            let labels = [("domain", domain), ("until", until)];
            out.push_count(&TOLERATED, &labels, u64::try_from(count).ok());
        }
    }
}

/// When pools were scrubbed.
pub(super) fn of_scrubs(scrubs: &BTreeMap<i64, Oldest>, out: &mut Out<'_>) {
    for (pool, oldest) in scrubs {
        let pool = pool.to_string();
        out.push_known(&OLDEST_SCRUB, &[("pool_id", &pool)], oldest.scrub_seconds);
        out.push_known(&OLDEST_DEEP_SCRUB, &[("pool_id", &pool)], oldest.deep_scrub_seconds);
    }
}

#[cfg(test)]
mod tests {
    use labstat_model::BatchSample;

    use super::*;

    fn check(message: &str) -> Check {
        Check {
            name: SLOW.to_owned(),
            severity: Level::Warn,
            message: message.to_owned(),
            count: Some(1),
            muted: false,
        }
    }

    #[test]
    fn slow_requests_and_whose_they_are() {
        for (message, wanted) in [
            (
                "1 slow ops, oldest one blocked for 11 sec, osd.2 has slow ops",
                (Some(1), vec!["osd.2"]),
            ),
            (
                "5 slow ops, oldest one blocked for 9 sec, daemons [osd.0,mon.a] have slow ops.",
                (Some(5), vec!["osd.0", "mon.a"]),
            ),
            (
                "30 slow ops, oldest one blocked for 9 sec, daemons [osd.0,osd.1]... have slow ops.",
                (Some(30), vec![]),
            ),
            ("many", (None, vec![])),
        ] {
            assert_eq!(slow_ops(&check(message)), wanted, "{message}");
        }
    }

    fn lines(batch: &Batch) -> Vec<String> {
        batch.iter().map(|s| format!("{}{} {}", s.family.name, s.labels, s.value)).collect()
    }

    fn of(text: &str, cluster: Option<&str>) -> (Vec<String>, Vec<String>) {
        let reading = Reading::of(text.as_bytes());
        let (mut mon, mut mgr) = (Batch::new(), Batch::new());
        of_monitors(
            &reading,
            "apex",
            &mut Remembered::new(),
            &mut Out { batch: &mut mon, cluster },
        );
        of_manager(&reading, &mut Out { batch: &mut mgr, cluster });
        (lines(&mon), lines(&mgr))
    }

    #[test]
    fn without_a_manager_nothing_is_said_of_usage_and_groups() {
        let status = r#"{"health": {"status": "HEALTH_WARN"}, "mgrmap": {"available": false},
            "pgmap": {"num_objects": 5, "degraded_objects": 1, "recovering_objects_per_sec": 1}}"#;
        let status = status.replace('\n', " ");
        let df = r#"{"stats": {"total_bytes": 9}, "pools": []}"#;
        let (mon, mgr) = of(&format!("status\t0\t{status}\ndf detail\t0\t{df}\nend\t0\t\n"), None);
        assert_eq!(mon, ["ceph_health_status{} 1"]);
        assert_eq!(mgr, [""; 0]);
        let there = status.replace("false", "true");
        let lines = format!("status\t0\t{there}\ncrash ls-new\t0\t[]\nend\t0\t\n");
        let (_, mgr) = of(&lines, None);
        let remaining = "labstat_ceph_recovery_remaining_seconds{} 1".to_owned();
        assert!(mgr.contains(&remaining), "{mgr:?}");
    }

    #[test]
    fn what_the_page_tells_is_told_once_and_as_it_stands_there() {
        let status = r#"{"mgrmap": {"available": true}, "pgmap": {"degraded_objects": 3}}"#;
        let page = "ceph_num_objects_degraded 4.0\\nceph_rbd_read_ops{pool=\\\"p\\\",image=\\\"i\\\"} 7.0\\n";
        let lines =
            format!("status\t0\t{status}\npage\t0\t\"{page}\"\ncrash ls-new\t0\t[]\nend\t0\t\n");
        let (_, mgr) = of(&lines, Some("lab"));
        let wanted = r#"ceph_num_objects_degraded{cluster="lab"} 4"#.to_owned();
        assert!(mgr.contains(&wanted), "{mgr:?}");
        assert_eq!(
            mgr.iter().filter(|line| line.starts_with("ceph_num_objects_degraded")).count(),
            1
        );
        let image = r#"ceph_rbd_read_ops{cluster="lab", image="i", pool="p"} 7"#.to_owned();
        assert!(mgr.contains(&image), "{mgr:?}");
        assert!(mgr.iter().any(|line| line.starts_with("ceph_num_objects_unfound")), "{mgr:?}");
        let gone = lines.replace("true", "false");
        assert_eq!(of(&gone, None).1, [""; 0]);
    }

    #[test]
    fn each_series_of_a_cluster_with_a_name_has_it() {
        let status = r#"{"fsid": "f", "health": {"status": "HEALTH_OK"}}"#;
        let map = r#"{"osds": [{"osd": 0, "up": 1}], "pools": [{"pool": 1, "pool_name": "x"}]}"#;
        let (mon, _) =
            of(&format!("status\t0\t{status}\nosd dump\t0\t{map}\nend\t0\t\n"), Some("lab"));
        assert!(mon.len() > 4, "{mon:?}");
        assert!(mon.iter().all(|line| line.contains("cluster=\"lab\"")), "{mon:?}");
    }

    #[test]
    fn a_check_that_has_failed_before_is_remembered_as_over() {
        let mut remembered = Remembered::new();
        let mut run = |checks: &str| {
            let text = format!(
                "status\t0\t{{\"health\": {{\"status\": \"HEALTH_OK\", \"checks\": {checks}}}}}\nend\t0\t\n"
            );
            let mut batch = Batch::new();
            let out = &mut Out { batch: &mut batch, cluster: None };
            of_monitors(&Reading::of(text.as_bytes()), "apex", &mut remembered, out);
            lines(&batch)
        };
        run(r#"{"OSD_DOWN": {"severity": "HEALTH_WARN", "summary": {"count": 1}}}"#);
        let later = run("{}");
        let over = r#"ceph_health_detail{name="OSD_DOWN", severity="HEALTH_WARN"} 0"#.to_owned();
        assert!(later.contains(&over), "{later:?}");
        assert!(!later.iter().any(|line| line.starts_with("labstat_ceph_health")), "{later:?}");
    }

    #[test]
    fn gateways_by_their_sessions_and_by_what_their_counters_have() {
        let gateway = |gid: &str, id: &str| Gateway {
            gid: gid.to_owned(),
            id: id.to_owned(),
            hostname: String::new(),
            version: String::new(),
        };
        let ids = |all: &[Gateway]| {
            let mut batch = Batch::new();
            gateways(all, &mut Out { batch: &mut batch, cluster: None });
            let id = |it: BatchSample<'_>| {
                let found = it.labels.iter().find(|(name, _)| *name == "instance_id");
                found.map(|(_, id)| id.to_owned()).unwrap_or_default()
            };
            batch.iter().map(id).collect::<Vec<_>>()
        };
        let apex = gateway("7", "lab.apex.hrgsea");
        assert_eq!(ids(&[apex.clone(), gateway("8", "gate")]), ["7", "8", "hrgsea", "gate"]);
        let alike = [gateway("7", "a.rgw0"), gateway("8", "b.rgw0")];
        assert_eq!(ids(&alike), ["7", "8"], "which is it?");
        assert_eq!(ids(&[apex, gateway("9", "7")]), ["7", "9", "hrgsea"], "a session's number");
    }

    #[test]
    fn who_serves_a_filesystem() {
        let dump = r#"{"standbys": [{"name": "s", "rank": -1, "state": "up:standby"}],
            "filesystems": [{"id": 1, "mdsmap": {"fs_name": "iso", "metadata_pool": 4, "in": [0, 1],
            "info": {"a": {"name": "a", "rank": 0, "state": "up:active"}, "b": {"name": "b",
            "rank": 1, "state": "up:active", "laggy_since": "2026-11-22T07:15:22.8+0000"}}}},
            {"id": 2, "mdsmap": {"fs_name": "old", "metadata_pool": 6}}]}"#;
        let (mon, _) = of(&format!("fs dump\t0\t{}\nend\t0\t\n", dump.replace('\n', " ")), None);
        for line in [
            r#"labstat_ceph_mds_state{ceph_daemon="mds.s", state="up:standby"} 1"#,
            r#"labstat_ceph_mds_state{ceph_daemon="mds.b", filesystem="iso", state="up:active"} 1"#,
            r#"labstat_ceph_mds_laggy{ceph_daemon="mds.a"} 0"#,
            r#"labstat_ceph_mds_laggy{ceph_daemon="mds.b"} 1"#,
            r#"labstat_ceph_filesystem_ranks{filesystem="iso"} 2"#,
            r#"labstat_ceph_filesystem_ranks_served{filesystem="iso"} 1"#,
        ] {
            assert!(mon.iter().any(|told| told == line), "{line}: {mon:#?}");
        }
        assert!(!mon.iter().any(|told| told.contains(r#"filesystem="old""#)), "{mon:#?}");
    }

    #[test]
    fn devices_under_osds_by_their_hosts() {
        let about = |id: i64| osds::About {
            id,
            hostname: Some("apex".to_owned()),
            bluestore_bdev_dev_node: Some("/dev/dm-0".to_owned()),
            devices: Some("sda".to_owned()),
            ..osds::About::default()
        };
        let unknown =
            osds::About { bluestore_bdev_dev_node: Some("unknown".to_owned()), ..about(3) };
        let mut batch = Batch::new();
        occupation(&[about(0), about(1), unknown], &mut Out { batch: &mut batch, cluster: None });
        let wanted = r#"ceph_disk_occupation_human{ceph_daemon="osd.0, osd.1", device="/dev/dm-0", instance="apex"} 1"#;
        assert_eq!(lines(&batch).last().map(String::as_str), Some(wanted));
        assert_eq!(batch.len(), 3);
    }
}
