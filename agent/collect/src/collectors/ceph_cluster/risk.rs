//! What may fail next, and what would be lost: worst cases, out of where each placement group lies.
//!
//! A group that is being recovered counts as having one copy less than OSDs answer for it: one of them
//! lacks objects, and Ceph's short list does not say which. An OSD that is down counts for none, though
//! the manager still lists it: the map of OSDs is newer than its list. Pure.

use std::collections::{BTreeMap, BTreeSet};

use labstat_parse::ceph_cluster::osds::{Leaf, Osd, OsdMap, PoolKind};
use labstat_parse::ceph_cluster::pgs::Pg;

/// How many may fail at once in the worst case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tolerated {
    /// Before a group stops to be read and written.
    pub(super) unavailable: usize,
    /// Before data is lost.
    pub(super) loss: usize,
}

/// What is at stake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Risk {
    /// Failures of OSDs.
    pub(super) osds: Option<Tolerated>,
    /// Failures of hosts; absent when an OSD stands under none.
    pub(super) hosts: Option<Tolerated>,
    /// By OSD: groups of which the last copy may lie there, and that should have more.
    pub(super) only_copies: BTreeMap<i64, u64>,
    /// By OSD: groups that would stop without it.
    pub(super) blocking: BTreeMap<i64, u64>,
}

/// What one pool needs of each of its groups.
#[derive(Debug, Clone, Copy)]
struct Need {
    min_size: usize,
    /// Copies or shards that are enough to have all data.
    enough: usize,
    /// Whether the pool keeps more than that: one that does not has lost no copy, however few there are.
    has_spare: bool,
}

/// The risk of all groups. Nothing when it cannot be known: a group is in a state that nobody has
/// told yet, or there is none.
pub(super) fn risk(pgs: &[Pg], map: &OsdMap, tree: &[Leaf]) -> Option<Risk> {
    if pgs.is_empty() || pgs.iter().any(|pg| pg.is("unknown") || pg.states == 0) {
        return None;
    }
    let needs = needs(map);
    let hosts: BTreeMap<i64, &str> =
        tree.iter().filter_map(|leaf| Some((leaf.id, leaf.host.as_deref()?))).collect();
    let is_down = |osd: &&Osd| osd.up == Some(false);
    let down: BTreeSet<i64> = map.osds.iter().filter(is_down).map(|osd| osd.id).collect();
    let mut risk = Risk::default();
    let mut all_have_hosts = true;
    for osd in &map.osds {
        risk.only_copies.insert(osd.id, 0);
        risk.blocking.insert(osd.id, 0);
    }
    for pg in pgs {
        // A pool that has come or gone between two replies.
        let Some(need) = needs.get(&pg.pool) else { continue };
        let acting: Vec<i64> =
            pg.acting.iter().copied().filter(|osd| !down.contains(osd)).collect();
        let there = acting.len();
        let copies = there.saturating_sub(usize::from(is_recovering(pg)));
        for osd in &acting {
            count(&mut risk.only_copies, *osd, need.has_spare && copies <= need.enough);
            count(&mut risk.blocking, *osd, there == need.min_size);
        }
        let osds = Tolerated {
            unavailable: there.saturating_sub(need.min_size),
            loss: copies.saturating_sub(need.enough),
        };
        risk.osds = Some(worse(risk.osds, osds));
        match by_host(&acting, &hosts) {
            Some(sizes) => {
                let spare = there.saturating_sub(need.min_size);
                let hosts = Tolerated {
                    unavailable: bearable(&sizes, spare),
                    loss: bearable(&sizes, copies.saturating_sub(need.enough)),
                };
                risk.hosts = Some(worse(risk.hosts, hosts));
            }
            None => all_have_hosts = false,
        }
    }
    risk.hosts = risk.hosts.filter(|_| all_have_hosts);
    Some(risk)
}

fn needs(map: &OsdMap) -> BTreeMap<i64, Need> {
    let need = |pool: &labstat_parse::ceph_cluster::osds::Pool| {
        let enough = match pool.kind()? {
            PoolKind::Replicated => 1,
            PoolKind::Erasure => {
                map.erasure_code_profiles.get(pool.erasure_code_profile.as_deref()?)?.k?
            }
        };
        let small = |number: u64| usize::try_from(number).ok();
        let min_size = small(pool.min_size?)?;
        let has_spare = pool.size.is_none_or(|size| size > enough);
        Some((pool.id, Need { min_size, enough: small(enough)?, has_spare }))
    };
    map.pools.iter().filter_map(need).collect()
}

/// Whether one that answers for the group may still lack objects.
fn is_recovering(pg: &Pg) -> bool {
    pg.is("degraded") && !pg.is("undersized")
        || ["recovering", "recovery_wait", "recovery_toofull"].iter().any(|state| pg.is(state))
}

fn count(counts: &mut BTreeMap<i64, u64>, osd: i64, is_one: bool) {
    if is_one {
        *counts.entry(osd).or_insert(0) += 1;
    }
}

fn worse(known: Option<Tolerated>, other: Tolerated) -> Tolerated {
    known.map_or(other, |known| Tolerated {
        unavailable: known.unavailable.min(other.unavailable),
        loss: known.loss.min(other.loss),
    })
}

/// How many of the group's OSDs stand under each host, the most first.
fn by_host(acting: &[i64], hosts: &BTreeMap<i64, &str>) -> Option<Vec<usize>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for osd in acting {
        *counts.entry(hosts.get(osd)?).or_insert(0) += 1;
    }
    let mut sizes: Vec<usize> = counts.into_values().collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    Some(sizes)
}

/// How many of the largest may go with no more than `spare` in all.
fn bearable(sizes: &[usize], spare: usize) -> usize {
    let mut left = spare;
    let fits = |size: &&usize| {
        let fits = **size <= left;
        left = left.saturating_sub(**size);
        fits
    };
    sizes.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use labstat_parse::ceph_cluster::{osds, pgs};

    use super::*;

    const MAP: &str = r#"{"osds": [{"osd": 0}, {"osd": 1}, {"osd": 2}, {"osd": 3}],
        "pools": [{"pool": 1, "type": 1, "size": 3, "min_size": 2},
            {"pool": 2, "type": 3, "size": 3, "min_size": 2, "erasure_code_profile": "e"},
            {"pool": 3, "type": 1, "size": 1, "min_size": 1}],
        "erasure_code_profiles": {"e": {"k": "2", "m": "1"}}}"#;

    /// Two OSDs on each of two hosts.
    const TREE: &str = r#"{"nodes": [
        {"id": -2, "name": "a", "type": "host", "children": [0, 1]},
        {"id": -3, "name": "b", "type": "host", "children": [2, 3]},
        {"id": 0, "type": "osd"}, {"id": 1, "type": "osd"}, {"id": 2, "type": "osd"},
        {"id": 3, "type": "osd"}]}"#;

    fn risk_of(groups: &[(&str, &str, &[i64])]) -> Option<Risk> {
        let groups: Vec<String> = groups
            .iter()
            .map(|(id, state, acting)| {
                format!(r#"{{"pgid": "{id}", "state": "{state}", "acting": {acting:?}}}"#)
            })
            .collect();
        let pgs = pgs::brief(&format!("[{}]", groups.join(","))).unwrap();
        risk(&pgs, &osds::dump(MAP).unwrap(), &osds::tree(TREE).unwrap())
    }

    fn tolerated(unavailable: usize, loss: usize) -> Option<Tolerated> {
        Some(Tolerated { unavailable, loss })
    }

    #[test]
    fn three_copies_of_which_two_stand_on_one_host() {
        let risk = risk_of(&[("1.0", "active+clean", &[0, 1, 2])]).unwrap();
        assert_eq!(risk.osds, tolerated(1, 2));
        assert_eq!(risk.hosts, tolerated(0, 1), "the first host takes two copies with it");
        assert!(risk.only_copies.values().chain(risk.blocking.values()).all(|count| *count == 0));
        assert_eq!(risk.only_copies.len(), 4, "each OSD is told of");
    }

    #[test]
    fn the_last_copy_and_a_group_that_stands_still() {
        let risk = risk_of(&[
            ("1.0", "undersized+degraded+peered", &[3]),
            ("1.1", "active+undersized+degraded", &[0, 3]),
        ]);
        let risk = risk.unwrap();
        assert_eq!(risk.osds, tolerated(0, 0));
        assert_eq!(risk.hosts, tolerated(0, 0));
        assert_eq!((risk.only_copies[&3], risk.only_copies[&0]), (1, 0));
        assert_eq!(
            (risk.blocking[&3], risk.blocking[&0]),
            (1, 1),
            "what stands still blocks no more"
        );
    }

    /// The manager lists for seconds what was, and for good the OSDs of a group of which none is left.
    #[test]
    fn an_osd_that_is_down_has_nothing_whatever_the_list_says() {
        let group = |osds: &str| {
            let map = MAP.replace(r#"{"osd": 0}, {"osd": 1}"#, osds);
            let list = r#"[{"pgid": "1.0", "state": "active+clean", "acting": [0, 1, 2]}]"#;
            let pgs = pgs::brief(list).unwrap();
            risk(&pgs, &osds::dump(&map).unwrap(), &osds::tree(TREE).unwrap()).unwrap()
        };
        let one = group(r#"{"osd": 0, "up": 0}, {"osd": 1, "up": 1}"#);
        assert_eq!((one.osds, one.hosts), (tolerated(0, 1), tolerated(0, 1)));
        assert_eq!((one.blocking[&0], one.blocking[&1]), (0, 1));
        let two = group(r#"{"osd": 0, "up": 0}, {"osd": 1, "up": 0}"#);
        assert_eq!(two.osds, tolerated(0, 0));
        assert_eq!((two.only_copies[&0], two.only_copies[&2]), (0, 1));
    }

    #[test]
    fn shards_of_a_code_are_not_copies() {
        let risk = risk_of(&[("2.0", "active+undersized+degraded", &[0, 2])]).unwrap();
        assert_eq!(risk.osds, tolerated(0, 0), "with two of two needed, each is the last");
        assert_eq!((risk.only_copies[&0], risk.only_copies[&2]), (1, 1));
    }

    /// Else a pool of scratch data would be told as in danger whenever another pool lacks a copy.
    #[test]
    fn a_pool_that_keeps_one_copy_has_lost_none() {
        let groups: [(&str, &str, &[i64]); 3] = [
            ("3.0", "active+clean", &[0]),
            ("3.1", "active+recovering", &[0]),
            ("1.0", "undersized+degraded+peered", &[1]),
        ];
        let risk = risk_of(&groups).unwrap();
        assert_eq!((risk.only_copies[&0], risk.only_copies[&1]), (0, 1));
        assert_eq!(risk.blocking[&0], 2, "nobody reads them without it all the same");
        assert_eq!(risk.osds, tolerated(0, 0));
    }

    #[test]
    fn a_group_that_is_being_recovered_has_one_copy_less() {
        let risk = risk_of(&[("1.0", "active+recovering+degraded", &[0, 1, 2])]).unwrap();
        assert_eq!(risk.osds, tolerated(1, 1));
    }

    #[test]
    fn what_nobody_knows_is_not_guessed() {
        assert_eq!(risk_of(&[]), None);
        assert_eq!(risk_of(&[("1.0", "active+clean", &[0, 1]), ("1.1", "unknown", &[])]), None);
        let elsewhere = risk_of(&[("1.0", "active+clean", &[0, 1, 9])]).unwrap();
        assert_eq!((elsewhere.osds, elsewhere.hosts), (tolerated(1, 2), None));
    }

    #[test]
    fn hosts_that_may_go() {
        for (sizes, spare, wanted) in
            [(&[1, 1, 1][..], 2, 2), (&[2, 1], 1, 0), (&[2, 1], 2, 1), (&[1], 5, 1), (&[], 1, 0)]
        {
            assert_eq!(bearable(sizes, spare), wanted, "{sizes:?} {spare}");
        }
    }
}
