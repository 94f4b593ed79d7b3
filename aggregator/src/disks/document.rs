//! What is known of disks as a document; `docs/formats/disks.md` describes it.

use std::collections::BTreeMap;

use labstat_disks::Reading;
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::identity::Identity;
use super::registry::DISKS_MAX;

/// The version of the document.
const VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    disks: Vec<Kept<'a>>,
}

/// A disk, with its last reading where there is anything to acknowledge in it.
#[derive(Debug, Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    disk: &'a Disk,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<&'a Reading>,
}

#[derive(Debug, Deserialize)]
struct Stored {
    version: u32,
    disks: Vec<serde_json::Value>,
}

/// The document of all disks that are known by their serial number, and of those that somebody
/// forgot or has acknowledged.
pub(crate) fn write(disks: &BTreeMap<Identity, Disk>) -> Vec<u8> {
    let is_kept =
        |disk: &&Disk| disk.identity.is_named() || disk.forgotten || disk.acknowledged.is_some();
    let kept = disks.values().filter(is_kept);
    let disks = kept.map(|disk| {
        let urgent = disk.finding.as_ref().is_some_and(|finding| finding.verdict.is_urgent());
        Kept { disk, last: disk.last.as_deref().filter(|_| urgent) }
    });
    let disks = disks.collect();
    // Texts and numbers always serialize.
    serde_json::to_vec(&Document { version: VERSION, disks }).unwrap_or_default()
}

/// The disks of a document. One of another version, or one that does not read, has none: they are
/// learned again from the next samples, but for what was acknowledged. A disk that does not read
/// costs only itself.
pub(crate) fn read(document: &[u8]) -> BTreeMap<Identity, Disk> {
    let stored = match serde_json::from_slice::<Stored>(document) {
        Ok(stored) if stored.version == VERSION => stored,
        Ok(stored) => {
            tracing::warn!(version = stored.version, "disks are known in another version's words");
            return BTreeMap::new();
        }
        Err(error) => {
            tracing::warn!(%error, "what is known of disks does not read back");
            return BTreeMap::new();
        }
    };
    let disks = stored.disks.into_iter().take(DISKS_MAX).filter_map(|value| {
        let disk = serde_json::from_value::<Disk>(value);
        let disk = disk.inspect_err(|error| tracing::warn!(%error, "a disk does not read back"));
        let mut disk = disk.ok()?;
        disk.project();
        Some((disk.identity.clone(), disk))
    });
    disks.collect()
}
