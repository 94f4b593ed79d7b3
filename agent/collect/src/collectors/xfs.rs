//! What each filesystem of XFS has done.
//!
//! - Reads: `/sys/fs/xfs/*/stats/stats`. Absent where none is mounted.
//! - Emits: `node_xfs_*{device}`.
//! - Not here: how full they are ([`super::filesystem`]).

use labstat_model::{Batch, Family};

use crate::collector::{CollectError, Collector, Status, is_absent};
use crate::counts::{self, Row};
use crate::host::Host;
use crate::shared::{outcome, read_if_there};

const FOLDER: &str = "/sys/fs/xfs";

/// What errors name.
const PATHS: &str = "/sys/fs/xfs/*/stats/stats";

/// Filesystems of one machine.
const FILESYSTEMS_MAX: usize = 1024;

/// Beside the filesystems stands what all of them did together.
const ALL: &str = "stats";

macro_rules! families {
    ($($name:ident $metric:literal $help:literal)*) => {
        $(static $name: Family = Family::counter(concat!("node_xfs_", $metric, "_total"), $help);)*
    };
}

families! {
    EXTENTS_ALLOCATED "extent_allocation_extents_allocated" "Extents allocated."
    BLOCKS_ALLOCATED "extent_allocation_blocks_allocated" "Blocks allocated."
    EXTENTS_FREED "extent_allocation_extents_freed" "Extents freed."
    BLOCKS_FREED "extent_allocation_blocks_freed" "Blocks freed."
    ALLOCATION_LOOKUPS "allocation_btree_lookups" "Lookups in the trees of free space."
    ALLOCATION_COMPARES "allocation_btree_compares" "Comparisons in the trees of free space."
    ALLOCATION_INSERTED "allocation_btree_records_inserted" "Records put into the trees of free space."
    ALLOCATION_DELETED "allocation_btree_records_deleted" "Records taken from the trees of free space."
    MAP_READS "block_mapping_reads" "Block maps looked at for reading."
    MAP_WRITES "block_mapping_writes" "Block maps looked at for writing."
    MAP_UNMAPS "block_mapping_unmaps" "Blocks taken from block maps."
    LIST_INSERTIONS "block_mapping_extent_list_insertions" "Extents put into lists."
    LIST_DELETIONS "block_mapping_extent_list_deletions" "Extents taken from lists."
    LIST_LOOKUPS "block_mapping_extent_list_lookups" "Lookups in lists of extents."
    LIST_COMPARES "block_mapping_extent_list_compares" "Comparisons in lists of extents."
    TREE_LOOKUPS "block_map_btree_lookups" "Lookups in the trees of block maps."
    TREE_COMPARES "block_map_btree_compares" "Comparisons in the trees of block maps."
    TREE_INSERTED "block_map_btree_records_inserted" "Records put into the trees of block maps."
    TREE_DELETED "block_map_btree_records_deleted" "Records taken from the trees of block maps."
    NAME_LOOKUPS "directory_operation_lookup" "Names looked up that the kernel did not have at hand."
    NAME_CREATIONS "directory_operation_create" "Names made."
    NAME_REMOVALS "directory_operation_remove" "Names removed."
    LISTINGS "directory_operation_getdents" "Listings of directories."
    INODE_ATTEMPTS "inode_operation_attempts" "Inodes looked for in the cache."
    INODE_FOUND "inode_operation_found" "Inodes found in the cache."
    INODE_RECYCLED "inode_operation_recycled" "Inodes found in the cache while they were recycled."
    INODE_MISSED "inode_operation_missed" "Inodes not found in the cache."
    INODE_DUPLICATES "inode_operation_duplicates" "Inodes that somebody else had put into the cache meanwhile."
    INODE_RECLAIMS "inode_operation_reclaims" "Inodes thrown out of the cache to free memory."
    INODE_CHANGES "inode_operation_attribute_changes" "Changes of attributes of inodes."
    WRITE_CALLS "write_calls" "Calls of write(2) to its files."
    READ_CALLS "read_calls" "Calls of read(2) to its files."
    VNODE_ACTIVE "vnode_active" "Vnodes not on a free list."
    VNODE_ALLOCATE "vnode_allocate" "Calls of vn_alloc."
    VNODE_GET "vnode_get" "Calls of vn_get."
    VNODE_HOLD "vnode_hold" "Calls of vn_hold."
    VNODE_RELEASE "vnode_release" "Calls of vn_rele."
    VNODE_RECLAIM "vnode_reclaim" "Calls of vn_reclaim."
    VNODE_REMOVE "vnode_remove" "Calls of vn_remove."
}

#[rustfmt::skip]
static ROWS: [Row; 8] = [
    ("extent_alloc", &[(0, &EXTENTS_ALLOCATED, None), (1, &BLOCKS_ALLOCATED, None), (2, &EXTENTS_FREED, None), (3, &BLOCKS_FREED, None)]),
    ("abt", &[(0, &ALLOCATION_LOOKUPS, None), (1, &ALLOCATION_COMPARES, None), (2, &ALLOCATION_INSERTED, None), (3, &ALLOCATION_DELETED, None)]),
    ("blk_map", &[(0, &MAP_READS, None), (1, &MAP_WRITES, None), (2, &MAP_UNMAPS, None), (3, &LIST_INSERTIONS, None), (4, &LIST_DELETIONS, None), (5, &LIST_LOOKUPS, None), (6, &LIST_COMPARES, None)]),
    ("bmbt", &[(0, &TREE_LOOKUPS, None), (1, &TREE_COMPARES, None), (2, &TREE_INSERTED, None), (3, &TREE_DELETED, None)]),
    ("dir", &[(0, &NAME_LOOKUPS, None), (1, &NAME_CREATIONS, None), (2, &NAME_REMOVALS, None), (3, &LISTINGS, None)]),
    ("ig", &[(0, &INODE_ATTEMPTS, None), (1, &INODE_FOUND, None), (2, &INODE_RECYCLED, None), (3, &INODE_MISSED, None), (4, &INODE_DUPLICATES, None), (5, &INODE_RECLAIMS, None), (6, &INODE_CHANGES, None)]),
    ("rw", &[(0, &WRITE_CALLS, None), (1, &READ_CALLS, None)]),
    ("vnodes", &[(0, &VNODE_ACTIVE, None), (1, &VNODE_ALLOCATE, None), (2, &VNODE_GET, None), (3, &VNODE_HOLD, None), (4, &VNODE_RELEASE, None), (5, &VNODE_RECLAIM, None), (6, &VNODE_REMOVE, None)]),
];

/// What filesystems of XFS have done.
#[derive(Debug, Default)]
pub struct Xfs(Vec<u8>);

impl Collector for Xfs {
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError> {
        let names = match host.list(FOLDER) {
            Err(error) if is_absent(&error) => return Ok(Status::Absent),
            result => result.map_err(CollectError::read(FOLDER))?,
        };
        if names.len() > FILESYSTEMS_MAX {
            let (what, count) = ("filesystems of XFS", names.len());
            return Err(CollectError::Limit { what, count, max: FILESYSTEMS_MAX });
        }
        for name in names.iter().filter(|name| *name != ALL) {
            // It may have been unmounted since.
            if read_if_there(host, &format!("{FOLDER}/{name}/stats/stats"), &mut self.0)? {
                let more = Some(("device", name.as_str()));
                counts::push((PATHS, &self.0), (&ROWS, more), (&[], &READ_CALLS), out)?;
            }
        }
        Ok(outcome(out))
    }
}
