//! The families of a cluster. Those that begin with `ceph_` are named, typed and labelled as Ceph's own
//! manager does; the rest nobody has.

use labstat_model::Family;

macro_rules! families {
    ($($kind:ident $name:ident $text:literal $help:literal;)*) => {
        $(pub(super) static $name: Family = Family::$kind($text, $help);)*
    };
}

families! {
    untyped HEALTH_STATUS "ceph_health_status" "Health of the cluster: 0 OK, 1 warning, 2 error. Muted checks do not count.";
    gauge HEALTH_DETAIL "ceph_health_detail" "Health checks: 1 for those that fail, muted or not, 0 for those that have failed before.";
    gauge SLOW_OPS "ceph_healthcheck_slow_ops" "Requests that take too long.";
    gauge DAEMON_HEALTH "ceph_daemon_health_metrics" "What daemons report of their health, by type.";
    gauge MON_QUORUM "ceph_mon_quorum_status" "Whether the monitor is in the quorum.";
    untyped MON_METADATA "ceph_mon_metadata" "Where a monitor runs; always 1.";
    gauge MGR_METADATA "ceph_mgr_metadata" "Where a manager runs; always 1.";
    gauge MGR_STATUS "ceph_mgr_status" "Whether the manager is the one at work.";
    gauge MODULE_STATUS "ceph_mgr_module_status" "Modules of the manager: 0 off, 1 on, 2 always on.";
    gauge MODULE_CAN_RUN "ceph_mgr_module_can_run" "Whether the module of the manager could run.";
    untyped MDS_METADATA "ceph_mds_metadata" "Where a metadata server runs; always 1.";
    untyped FS_METADATA "ceph_fs_metadata" "What a filesystem is made of; always 1.";
    untyped RGW_METADATA "ceph_rgw_metadata" "Where a gateway runs; always 1.";
    untyped OSD_METADATA "ceph_osd_metadata" "What an OSD is and where it runs; always 1.";
    untyped OSD_UP "ceph_osd_up" "Whether the OSD is reachable.";
    untyped OSD_IN "ceph_osd_in" "Whether data belongs on the OSD.";
    untyped OSD_WEIGHT "ceph_osd_weight" "How much of its share of the data the OSD is to have, from 0 to 1.";
    gauge OSD_APPLY "ceph_osd_apply_latency_ms" "Time until a write could be read.";
    gauge OSD_COMMIT "ceph_osd_commit_latency_ms" "Time until a write was safe.";
    gauge OSD_NEARFULL "ceph_osd_nearfull_ratio" "Fill of an OSD from which on Ceph warns.";
    gauge OSD_FULL "ceph_osd_full_ratio" "Fill of an OSD from which on nothing is written.";
    gauge OSD_BACKFILLFULL "labstat_ceph_osd_backfillfull_ratio" "Fill of an OSD from which on nothing is moved there.";
    gauge BLOCKLIST "ceph_cluster_osd_blocklist_count" "Clients that are shut out.";
    untyped DISK_OCCUPATION "ceph_disk_occupation" "Which devices an OSD has; always 1.";
    untyped DISK_OCCUPATION_HUMAN "ceph_disk_occupation_human" "Which OSDs a device has; always 1.";
    untyped POOL_METADATA "ceph_pool_metadata" "What a pool is; always 1.";
    gauge PG_TOTAL "ceph_pg_total" "Placement groups of the pool.";
    counter POOL_REPAIRED "ceph_pool_objects_repaired" "Objects of the pool that were found damaged and mended.";
    gauge DEGRADED "ceph_num_objects_degraded" "Copies of objects that are missing.";
    gauge MISPLACED "ceph_num_objects_misplaced" "Copies of objects that lie where they should not.";
    gauge UNFOUND "ceph_num_objects_unfound" "Objects of which no copy can be found.";

    gauge CLUSTER_INFO "labstat_ceph_cluster_info" "The cluster, its version, and the node that reads it; always 1.";
    gauge READING_SUCCESS "labstat_ceph_reading_success" "Whether the last reading of this source (mon, mgr) was good.";
    gauge READING_TIME "labstat_ceph_reading_timestamp_seconds" "When this source (mon, mgr) was last read with success.";
    gauge CHECK "labstat_ceph_health_check" "A health check that fails, and whether it is muted; always 1.";
    gauge CHECK_COUNT "labstat_ceph_health_check_count" "How many things the health check is about.";
    gauge MDS_STATE "labstat_ceph_mds_state" "1 for the state that the monitors know the metadata server to be in.";
    gauge MDS_LAGGY "labstat_ceph_mds_laggy" "Whether the monitors miss the signs of life of the metadata server.";
    gauge FS_RANKS "labstat_ceph_filesystem_ranks" "Parts of the filesystem that need a metadata server each.";
    gauge FS_SERVED "labstat_ceph_filesystem_ranks_served" "Parts of the filesystem that a metadata server is serving.";
    gauge OSD_INFO "labstat_ceph_osd_info" "The host, the disk and the version of an OSD; always 1.";
    gauge OSD_CRUSH_WEIGHT "labstat_ceph_osd_crush_weight" "Share of the data beside other OSDs, mostly the size in TiB.";
    gauge OSD_REWEIGHT "labstat_ceph_osd_reweight" "How much of its share the OSD is to have, from 0 to 1.";
    gauge OSD_DESTROYED "labstat_ceph_osd_destroyed" "Whether the OSD was destroyed, and waits for a new disk.";
    gauge OSD_SIZE "labstat_ceph_osd_size_bytes" "Size of the OSD.";
    gauge OSD_USED "labstat_ceph_osd_used_bytes" "What is used of the OSD.";
    gauge OSD_PGS "labstat_ceph_osd_pgs" "Placement groups on the OSD.";
    gauge ONLY_COPIES "labstat_ceph_osd_only_copies" "Placement groups of which the last copy (with erasure coding: one of the last shards) may lie on this OSD.";
    gauge BLOCKING_PGS "labstat_ceph_osd_blocking_pgs" "Placement groups that could not be read and written without this OSD.";
    gauge TOLERATED "labstat_ceph_failures_tolerated" "How many OSDs or hosts (domain) may fail at once in the worst case before data is unavailable or lost (until).";
    gauge RECOVERY_OBJECTS "labstat_ceph_recovery_objects_per_second" "Objects recovered a second, while some are.";
    gauge RECOVERY_BYTES "labstat_ceph_recovery_bytes_per_second" "Bytes recovered a second, while some are.";
    gauge RECOVERY_REMAINING "labstat_ceph_recovery_remaining_seconds" "Time until all is recovered, at the speed of now.";
    gauge OBJECTS "labstat_ceph_objects" "Objects stored, each counted once.";
    gauge CRASHES "labstat_ceph_crashes" "Crashes of the daemon that nobody has archived.";
    gauge OLDEST_SCRUB "labstat_ceph_oldest_scrub_timestamp_seconds" "When the placement group of the pool that waits longest was scrubbed.";
    gauge OLDEST_DEEP_SCRUB "labstat_ceph_oldest_deep_scrub_timestamp_seconds" "When the placement group of the pool that waits longest was scrubbed with all its data.";
}

/// Flags of the map of OSDs that have a metric, as the map writes them.
pub(super) const FLAGS: [&str; 9] = [
    "noup",
    "nodown",
    "noout",
    "noin",
    "nobackfill",
    "norebalance",
    "norecover",
    "noscrub",
    "nodeep-scrub",
];

/// Figures of a pool in `ceph df detail` that have a metric, and whether they only grow.
pub(super) const POOL_FIGURES: [(&str, bool); 16] = [
    ("max_avail", false),
    ("avail_raw", false),
    ("stored", false),
    ("stored_raw", false),
    ("objects", false),
    ("dirty", false),
    ("quota_bytes", false),
    ("quota_objects", false),
    ("rd", true),
    ("rd_bytes", true),
    ("wr", true),
    ("wr_bytes", true),
    ("compress_bytes_used", false),
    ("compress_under_bytes", false),
    ("bytes_used", false),
    ("percent_used", false),
];

/// Figures of a pool's recovery that have a metric.
pub(super) const POOL_RATES: [&str; 5] = [
    "recovering_objects_per_sec",
    "recovering_bytes_per_sec",
    "recovering_keys_per_sec",
    "num_objects_recovered",
    "num_bytes_recovered",
];
