//! Arrays of the md driver: which members hold data, and how many may be lost.
//!
//! Reads the array's folder in sysfs. What a level can lose is the driver's own doing: RAID 1 all
//! but one, RAID 4 and 5 one, RAID 6 two, RAID 10 all but one of each set of copies; less what is
//! missing already. Of containers, arrays that are not started and levels that are not known it is not
//! told.

use std::collections::HashMap;

use labstat_parse::proc::{fields_of, number};

use super::devices::{Block, text};
use super::stack::{Edge, Group, Kind, Needs, Node, Thing};
use crate::host::Host;

/// One member as sysfs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    node: usize,
    slot: Option<u64>,
    state: String,
}

impl Member {
    fn is(&self, word: &str) -> bool {
        self.state.split([',', ' ']).any(|known| known == word)
    }

    /// Whether all that belongs on it is there.
    fn is_whole(&self) -> bool {
        self.is("in_sync") && !self.is("faulty") && !self.is("journal")
    }

    /// In the words of `labstat_md_member_info`, and one for a member that is being filled.
    fn role(&self) -> &'static str {
        if self.is("faulty") {
            "faulty"
        } else if self.is("journal") {
            "journal"
        } else if self.is("replacement") {
            "replacement"
        } else if self.is_whole() {
            if self.is("write_mostly") { "write-mostly" } else { "in-use" }
        } else if self.slot.is_some() {
            "rebuilding"
        } else {
            "spare"
        }
    }
}

/// What an array says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Array {
    level: String,
    state: String,
    /// Whether it is only the frame of the arrays that a firmware has laid out on its members.
    is_container: bool,
    raid_disks: Option<u64>,
    degraded: Option<u64>,
    layout: Option<u64>,
}

/// The node of the array `block`; `names` has the node of each device.
pub(super) fn node(host: &dyn Host, block: &Block, names: &HashMap<String, usize>) -> Node {
    let dir = format!("{}/md", block.dir);
    let of_array = |file: &str| text(host, &format!("{dir}/{file}"));
    // An array that is reshaped has the number of before in parentheses behind that of its disks.
    let count = |file: &str| fields_of(of_array(file).as_bytes()).next().and_then(number);
    let metadata = of_array("metadata_version");
    let array = Array {
        level: of_array("level"),
        state: of_array("array_state"),
        is_container: metadata.starts_with("external:") && !metadata.starts_with("external:/"),
        raid_disks: count("raid_disks"),
        degraded: count("degraded"),
        layout: count("layout"),
    };
    let entries = host.list(&dir).unwrap_or_default();
    let members: Vec<Member> = entries
        .iter()
        .filter_map(|entry| {
            let device = entry.strip_prefix("dev-")?;
            let of_member = |file: &str| text(host, &format!("{dir}/{entry}/{file}"));
            Some(Member {
                node: *names.get(device)?,
                slot: number(of_member("slot").as_bytes()),
                state: of_member("state"),
            })
        })
        .collect();
    made_of(&block.name, &array, &members)
}

fn made_of(name: &str, array: &Array, members: &[Member]) -> Node {
    let thing = Some(Thing { kind: Kind::Md, name: name.to_owned() });
    let is_started = !matches!(array.state.as_str(), "" | "clear" | "inactive");
    let role = |member: &Member| match (array.is_container, is_started) {
        (true, _) => "container",
        (false, true) => member.role(),
        (false, false) => "inactive",
    };
    let edge = |member: &Member| Edge {
        to: member.node,
        role: role(member).to_owned(),
        holds: !is_started || (member.is_whole() && !member.is("replacement")),
    };
    let below = members.iter().map(edge).collect();
    let needs = if is_started && !array.is_container { needs(array, members) } else { None };
    let needs = needs.map_or(Needs::Unknown, Needs::Groups);
    Node { below, needs, ..Node::unknown(thing, &[], "") }
}

/// Which members may be lost; nothing where it is not known.
fn needs(array: &Array, members: &[Member]) -> Option<Vec<Group>> {
    let whole: Vec<&Member> =
        members.iter().filter(|member| member.is_whole() && !member.is("replacement")).collect();
    let nodes: Vec<usize> = whole.iter().map(|member| member.node).collect();
    if nodes.is_empty() {
        return None;
    }
    let disks = usize::try_from(array.raid_disks?).ok()?;
    let absent = usize::try_from(array.degraded.unwrap_or(0)).ok()?;
    let missing = absent.max(disks.saturating_sub(nodes.len()));
    let one = |spare: usize| {
        let members = nodes.clone();
        Some(vec![Group { members, spare: spare.saturating_sub(missing) }])
    };
    match array.level.as_str() {
        "raid0" | "linear" => {
            Some(nodes.iter().map(|node| Group { members: vec![*node], spare: 0 }).collect())
        }
        "raid1" => Some(vec![Group { members: nodes.clone(), spare: nodes.len() - 1 }]),
        "raid4" | "raid5" => one(1),
        "raid6" => one(2),
        "raid10" => {
            let layout = array.layout?;
            let (near, far) = (layout & 0xff, (layout >> 8) & 0xff);
            let copies = usize::try_from(near.checked_mul(far)?).ok().filter(|n| *n > 0)?;
            match (far, disks % copies) {
                // Neighbours have the same data.
                (1, 0) => Some(sets(&whole, copies)),
                _ => one(copies - 1),
            }
        }
        _ => None,
    }
}

/// The sets of members with the same data: `copies` places side by side.
fn sets(members: &[&Member], copies: usize) -> Vec<Group> {
    let mut sets: HashMap<u64, Vec<usize>> = HashMap::new();
    for member in members {
        if let Some(slot) = member.slot {
            sets.entry(slot / copies.max(1) as u64).or_default().push(member.node);
        }
    }
    sets.into_values()
        .map(|members| Group { spare: members.len().saturating_sub(1), members })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members with their states, each in the slot of its place.
    fn members(states: &[&str]) -> Vec<Member> {
        let member = |(at, state): (usize, &&str)| Member {
            node: at,
            slot: Some(at as u64),
            state: (*state).to_owned(),
        };
        states.iter().enumerate().map(member).collect()
    }

    fn spare_of(level: &str, disks: u64, states: &[&str]) -> Option<usize> {
        let array = Array {
            level: level.to_owned(),
            raid_disks: Some(disks),
            layout: Some(0x102),
            ..Array::default()
        };
        let groups = needs(&array, &members(states))?;
        groups.iter().map(|group| group.spare).min()
    }

    #[test]
    fn levels_can_lose_what_they_can() {
        let sync = "in_sync";
        for (level, disks, states, spare) in [
            ("raid1", 2, vec![sync, sync], Some(1)),
            ("raid1", 2, vec![sync, "faulty"], Some(0)),
            ("raid1", 2, vec![sync, "spare"], Some(0)),
            ("raid1", 3, vec![sync, "in_sync,write_mostly"], Some(1)),
            ("raid5", 3, vec![sync, sync, sync], Some(1)),
            ("raid5", 3, vec![sync, sync], Some(0)),
            ("raid5", 3, vec![sync], Some(0)),
            ("raid6", 4, vec![sync, sync, sync, sync], Some(2)),
            ("raid6", 4, vec![sync, sync], Some(0)),
            ("raid0", 2, vec![sync, sync], Some(0)),
            ("linear", 2, vec![sync, sync], Some(0)),
            ("raid10", 4, vec![sync, sync, sync, sync], Some(1)),
            ("raid10", 4, vec![sync, sync, sync, "faulty"], Some(0)),
            ("raid10", 3, vec![sync, sync, sync], Some(1)),
            ("raid10", 3, vec![sync, sync], Some(0)),
            ("raid5", 3, vec!["faulty", "faulty"], None),
            ("container", 2, vec![sync, sync], None),
            ("", 0, vec![sync], None),
        ] {
            assert_eq!(spare_of(level, disks, &states), spare, "{level} {states:?}");
        }
    }

    #[test]
    fn a_pair_that_is_whole_can_lose_one_beside_a_pair_that_is_not() {
        let array = Array {
            level: "raid10".to_owned(),
            raid_disks: Some(4),
            degraded: Some(1),
            layout: Some(0x102),
            ..Array::default()
        };
        let states = ["in_sync", "in_sync", "in_sync", "faulty"];
        let mut groups = needs(&array, &members(&states)).unwrap();
        groups.sort_by_key(|group| group.members.clone());
        let spare = |at: usize| (groups[at].members.clone(), groups[at].spare);
        assert_eq!(spare(0), (vec![0, 1], 1));
        assert_eq!(spare(1), (vec![2], 0));
        assert_eq!(needs(&Array { layout: None, ..array }, &members(&states)), None);
    }

    #[test]
    fn members_have_the_words_of_the_other_metric() {
        for (state, slot, role, holds) in [
            ("in_sync", Some(0), "in-use", true),
            ("in_sync,write_mostly", Some(0), "write-mostly", true),
            ("in_sync,want_replacement", Some(0), "in-use", true),
            ("faulty", None, "faulty", false),
            ("spare", None, "spare", false),
            ("spare", Some(1), "rebuilding", false),
            ("spare,replacement", Some(1), "replacement", false),
            ("in_sync,journal", None, "journal", false),
        ] {
            let array = Array { state: "clean".to_owned(), ..Array::default() };
            let member = Member { node: 0, slot, state: state.to_owned() };
            let node = made_of("md0", &array, &[member]);
            assert_eq!((node.below[0].role.as_str(), node.below[0].holds), (role, holds));
        }
        let node = made_of("md0", &Array::default(), &members(&["spare"]));
        assert_eq!((node.below[0].role.as_str(), node.needs), ("inactive", Needs::Unknown));
        let container = Array { is_container: true, ..Array::default() };
        let node = made_of("md127", &container, &members(&["in_sync"]));
        assert_eq!((node.below[0].role.as_str(), node.needs), ("container", Needs::Unknown));
    }
}
