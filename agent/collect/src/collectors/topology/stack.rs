//! What stands on what, from disks up to mounts, and how many disks each thing can lose.
//!
//! Pure: nodes and edges in, uses and numbers out. Not here: where they come from
//! ([`super::devices`], [`super::layers`]).
//!
//! How much can be lost is asked for one disk and one thing: of all sets of dead disks that take data
//! from the thing and in which this disk counts, the smallest. A mirror of two gives two, so one may
//! die; a stripe gives one. In a RAID 10 that has lost a disk, the partner of the lost one counts
//! alone while the others still have theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Layers between a disk and a mount. Four are common (partition, array, encryption, volume); more
/// than this is a loop in what the kernel said.
const DEPTH_MAX: usize = 32;

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Md,
    LvmPv,
    LvmLv,
    CephOsd,
    Zfs,
    Btrfs,
    Swap,
    Mount,
    Crypt,
    Bcache,
    Multipath,
    /// A filesystem that is not mounted.
    Filesystem,
    Drbd,
    /// A mapped or stacked device of another sort.
    Device,
}

impl Kind {
    /// The word in the label `kind`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Md => "md",
            Self::LvmPv => "lvm_pv",
            Self::LvmLv => "lvm_lv",
            Self::CephOsd => "ceph_osd",
            Self::Zfs => "zfs",
            Self::Btrfs => "btrfs",
            Self::Swap => "swap",
            Self::Mount => "mount",
            Self::Crypt => "crypt",
            Self::Bcache => "bcache",
            Self::Multipath => "multipath",
            Self::Filesystem => "filesystem",
            Self::Drbd => "drbd",
            Self::Device => "device",
        }
    }

    /// Whether it only hands on what stands on it: then it has lost data when that has.
    fn hands_on(self) -> bool {
        matches!(self, Self::LvmPv | Self::Crypt | Self::Bcache | Self::Multipath | Self::Device)
    }
}

/// What people call a thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    pub(super) kind: Kind,
    /// Empty where it cannot be known.
    pub(super) name: String,
}

/// That one node stands on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    /// The node below.
    pub(super) to: usize,
    /// What the node below is to the one above.
    pub(super) role: String,
    /// Whether data of the one above are there. A spare has none.
    pub(super) holds: bool,
}

/// Nodes of which some may be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) members: Vec<usize>,
    /// How many of them may be lost before data are.
    pub(super) spare: usize,
}

/// What a node needs of those below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Needs {
    /// It cannot be known.
    Unknown,
    /// Of each group all but the spare ones.
    Groups(Vec<Group>),
}

/// A disk, a part of one, or something that stands on such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) thing: Option<Thing>,
    pub(super) below: Vec<Edge>,
    pub(super) needs: Needs,
    /// The disk that it is.
    pub(super) disk: Option<usize>,
    /// The node whose volume it is: a volume group stands beside its volumes, not below.
    pub(super) volume_of: Option<usize>,
}

impl Node {
    /// One that is lost with any of `below`, all of which have the same role.
    pub(super) fn on(thing: Option<Thing>, below: &[usize], role: &str) -> Self {
        let groups = below.iter().map(|node| Group { members: vec![*node], spare: 0 }).collect();
        Self { needs: Needs::Groups(groups), ..Self::unknown(thing, below, role) }
    }

    /// One of which it is not known what it can lose.
    pub(super) fn unknown(thing: Option<Thing>, below: &[usize], role: &str) -> Self {
        let edge = |to: &usize| Edge { to: *to, role: role.to_owned(), holds: true };
        let below = below.iter().map(edge).collect();
        Self { thing, below, needs: Needs::Unknown, disk: None, volume_of: None }
    }
}

/// What a disk is used for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) thing: Thing,
    pub(super) role: String,
}

/// Everything that stands on disks.
#[derive(Debug, Default)]
pub(super) struct Stack {
    nodes: Vec<Node>,
}

/// The smallest number of dead disks that takes data from a node; `Some(None)` when it cannot be
/// known, `None` when the disk asked for does not count.
type Cost = Option<Option<usize>>;

impl Stack {
    /// Adds a node and gives its number.
    pub(super) fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node.
    pub(super) fn get(&self, node: usize) -> Option<&Node> {
        self.nodes.get(node)
    }

    /// A node, to be changed.
    pub(super) fn get_mut(&mut self, node: usize) -> Option<&mut Node> {
        self.nodes.get_mut(node)
    }

    /// The same seen from below: what stands on each node, with the edge between.
    pub(super) fn upward(&self) -> Upward<'_> {
        let mut above = vec![Vec::new(); self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for edge in &node.below {
                if let Some(above) = above.get_mut(edge.to) {
                    above.push((at, edge));
                }
            }
        }
        Upward { stack: self, above, costs: HashMap::new(), least: HashMap::new() }
    }
}

/// A [`Stack`] in which one can go up.
#[derive(Debug)]
pub(super) struct Upward<'a> {
    stack: &'a Stack,
    above: Vec<Vec<(usize, &'a Edge)>>,
    costs: HashMap<(usize, usize), Cost>,
    least: HashMap<usize, Option<usize>>,
}

impl Upward<'_> {
    /// Whether anything stands on a node.
    pub(super) fn is_bare(&self, node: usize) -> bool {
        self.above.get(node).is_none_or(Vec::is_empty)
    }

    /// What stands on `start`, at any height, and those nodes; `start`'s nodes that are in `except` are
    /// not gone through.
    pub(super) fn uses(&self, start: usize, except: &[usize]) -> BTreeMap<Use, usize> {
        let mut uses = BTreeMap::new();
        self.climb(start, except, |node, edge| {
            if let Some(thing) = self.stack.get(node).and_then(|node| node.thing.clone()) {
                uses.insert(Use { thing, role: edge.role.clone() }, node);
            }
        });
        uses
    }

    fn climb(&self, start: usize, except: &[usize], mut seen: impl FnMut(usize, &Edge)) {
        let mut known = BTreeSet::from_iter(except.iter().copied());
        let mut todo = vec![start];
        while let Some(node) = todo.pop() {
            for (next, edge) in self.above.get(node).into_iter().flatten() {
                if except.contains(next) {
                    continue;
                }
                seen(*next, edge);
                if edge.holds && known.insert(*next) {
                    todo.push(*next);
                }
            }
        }
    }

    /// How many disks, `disk` among them, can die before the thing `node` loses data.
    pub(super) fn spare(&mut self, node: usize, disk: usize) -> Option<usize> {
        let kind = self.stack.get(node)?.thing.as_ref()?.kind;
        if !kind.hands_on() {
            return self.own_spare(node, disk);
        }
        let carried = self.carried(node, disk);
        if carried.is_empty() {
            return self.own_spare(node, disk);
        }
        // One of them that cannot be known makes the whole unknown.
        carried.into_iter().map(|node| self.own_spare(node, disk)).min().flatten()
    }

    fn own_spare(&mut self, node: usize, disk: usize) -> Option<usize> {
        self.cost(node, disk, 0).flatten().map(|cost| cost.saturating_sub(1))
    }

    /// What `node` hands on: the things on it on which nothing else stands, as far as they are lost
    /// with `disk`.
    fn carried(&mut self, node: usize, disk: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let volumes = self.stack.nodes.iter().enumerate();
        let volumes: Vec<usize> = volumes
            .filter(|(_, volume)| volume.volume_of == Some(node))
            .map(|(at, _)| at)
            .collect();
        for start in volumes.iter().copied().chain([node]) {
            let is_thing = |at: usize| self.stack.get(at).is_some_and(|node| node.thing.is_some());
            if start != node && is_thing(start) && self.is_bare(start) {
                found.insert(start);
            }
            self.climb(start, &[], |next, _| {
                if is_thing(next) && self.is_bare(next) {
                    found.insert(next);
                }
            });
        }
        found.into_iter().filter(|at| self.cost(*at, disk, 0).is_some()).collect()
    }

    fn cost(&mut self, node: usize, disk: usize, depth: usize) -> Cost {
        if depth > DEPTH_MAX {
            return Some(None);
        }
        if let Some(known) = self.costs.get(&(node, disk)) {
            return *known;
        }
        let stack = self.stack;
        let it = stack.get(node)?;
        // Whoever comes back here on the way down is in a loop.
        self.costs.insert((node, disk), Some(None));
        let cost = match (&it.disk, &it.needs) {
            (Some(own), _) => (*own == disk).then_some(Some(1)),
            (None, Needs::Unknown) => {
                let reached = it.below.iter().filter(|edge| edge.holds);
                let mut reached = reached.map(|edge| self.cost(edge.to, disk, depth + 1));
                reached.any(|cost| cost.is_some()).then_some(None)
            }
            (None, Needs::Groups(groups)) => {
                let costs: Vec<Option<usize>> =
                    groups.iter().filter_map(|group| self.group(group, disk, depth + 1)).collect();
                worst(&costs)
            }
        };
        self.costs.insert((node, disk), cost);
        cost
    }

    /// See [`Self::cost`].
    fn group(&mut self, group: &Group, disk: usize, depth: usize) -> Cost {
        let mut lost_at_once = 0;
        let mut touched = Vec::new();
        for member in &group.members {
            match self.cost(*member, disk, depth) {
                Some(Some(1)) => lost_at_once += 1,
                Some(cost) => touched.push((*member, cost)),
                None => {}
            }
        }
        if lost_at_once > group.spare {
            return Some(Some(1));
        }
        if lost_at_once > 0 {
            let others: Vec<usize> = group
                .members
                .iter()
                .copied()
                .filter(|member| self.cost(*member, disk, depth) != Some(Some(1)))
                .collect();
            let more = self.cheapest(&others, group.spare + 1 - lost_at_once, depth);
            return Some(more.map(|more| more + 1));
        }
        // The disk's own death is not enough for any member: what it takes for the first counts too.
        let costs: Vec<Option<usize>> = touched
            .iter()
            .map(|(first, cost)| {
                let others: Vec<usize> =
                    group.members.iter().copied().filter(|member| member != first).collect();
                Some((*cost)? + self.cheapest(&others, group.spare, depth)?)
            })
            .collect();
        worst(&costs)
    }

    /// The fewest disks that take `count` of `members`; all of them when there are not so many.
    fn cheapest(&mut self, members: &[usize], count: usize, depth: usize) -> Option<usize> {
        let least: Option<Vec<usize>> =
            members.iter().map(|member| self.least(*member, depth)).collect();
        let mut least = least?;
        if least.iter().any(|least| *least > 1) {
            least.sort_unstable();
            return Some(least.iter().take(count).sum());
        }
        // Each falls with one disk, and one disk may take several of them.
        let mut per_disk: BTreeMap<usize, usize> = BTreeMap::new();
        for member in members {
            for disk in self.disks(*member, depth) {
                if self.cost(*member, disk, depth) == Some(Some(1)) {
                    *per_disk.entry(disk).or_default() += 1;
                }
            }
        }
        let mut counts: Vec<usize> = per_disk.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = count.min(members.len());
        let taken = counts.iter().take_while(|count| {
            let needed = left > 0;
            left = left.saturating_sub(**count);
            needed
        });
        Some(taken.count())
    }

    /// The fewest disks that take a node.
    fn least(&mut self, node: usize, depth: usize) -> Option<usize> {
        if let Some(known) = self.least.get(&node) {
            return *known;
        }
        let disks = self.disks(node, depth);
        let costs: Vec<Option<usize>> =
            disks.into_iter().filter_map(|disk| self.cost(node, disk, depth)).collect();
        let least = worst(&costs).flatten();
        self.least.insert(node, least);
        least
    }

    /// The disks below a node.
    fn disks(&self, node: usize, depth: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut known = BTreeSet::from([node]);
        let mut todo = vec![(node, depth)];
        while let Some((at, depth)) = todo.pop() {
            let Some(node) = self.stack.get(at).filter(|_| depth <= DEPTH_MAX) else { continue };
            found.extend(node.disk);
            for edge in &node.below {
                if known.insert(edge.to) {
                    todo.push((edge.to, depth + 1));
                }
            }
        }
        found
    }
}

/// The smallest of `costs`. One disk is the smallest there can be; beside an unknown one, any other
/// says nothing.
fn worst(costs: &[Option<usize>]) -> Cost {
    if costs.contains(&Some(1)) {
        return Some(Some(1));
    }
    costs.iter().copied().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Disks `0..count`, which are also the first nodes.
    fn disks(count: usize) -> Stack {
        let mut stack = Stack::default();
        for disk in 0..count {
            let node = Node::on(None, &[], "");
            stack.add(Node { disk: Some(disk), ..node });
        }
        stack
    }

    fn thing(kind: Kind, name: &str) -> Option<Thing> {
        Some(Thing { kind, name: name.to_owned() })
    }

    /// An array of which `spare` members may be lost.
    fn array(stack: &mut Stack, members: &[usize], spare: usize) -> usize {
        let node = Node::on(thing(Kind::Md, "md"), members, "in-use");
        let groups = vec![Group { members: members.to_vec(), spare }];
        stack.add(Node { needs: Needs::Groups(groups), ..node })
    }

    fn mount(stack: &mut Stack, on: &[usize]) -> usize {
        stack.add(Node::on(thing(Kind::Mount, "/"), on, "ext4"))
    }

    fn spare(stack: &Stack, node: usize, disk: usize) -> Option<usize> {
        stack.upward().spare(node, disk)
    }

    #[test]
    fn a_mirror_bears_one_loss_and_so_does_what_stands_on_it() {
        let mut stack = disks(2);
        let mirror = array(&mut stack, &[0, 1], 1);
        let volume = stack.add(Node::on(None, &[mirror], ""));
        let root = mount(&mut stack, &[volume]);
        for disk in 0..2 {
            assert_eq!(spare(&stack, mirror, disk), Some(1));
            assert_eq!(spare(&stack, root, disk), Some(1));
        }
        assert_eq!(spare(&stack, root, 7), None, "a disk it does not stand on");
    }

    #[test]
    fn each_disk_has_an_answer_of_its_own() {
        // A volume over a mirror and a single disk.
        let mut stack = disks(3);
        let mirror = array(&mut stack, &[0, 1], 1);
        let root = mount(&mut stack, &[mirror, 2]);
        assert_eq!(spare(&stack, root, 0), Some(1));
        assert_eq!(spare(&stack, root, 2), Some(0));
    }

    #[test]
    fn arrays_of_arrays_add_up() {
        // RAID 50 and RAID 51 of six disks.
        let mut stack = disks(6);
        let one = array(&mut stack, &[0, 1, 2], 1);
        let two = array(&mut stack, &[3, 4, 5], 1);
        let stripe = array(&mut stack, &[one, two], 0);
        let mirror = array(&mut stack, &[one, two], 1);
        assert_eq!(spare(&stack, stripe, 4), Some(1), "two of one leg");
        assert_eq!(spare(&stack, mirror, 4), Some(3), "two of each leg");
    }

    #[test]
    fn a_mirror_on_one_disk_is_none() {
        let mut stack = disks(2);
        let parts: Vec<usize> =
            [0, 0, 1].iter().map(|disk| stack.add(Node::on(None, &[*disk], ""))).collect();
        let mirror = array(&mut stack, &parts[..2], 1);
        assert_eq!(spare(&stack, mirror, 0), Some(0));
        // RAID 6 with two members on disk 0: that one and another are enough.
        let mut stack = disks(4);
        let parts: Vec<usize> =
            [0, 0, 1, 2, 3].iter().map(|disk| stack.add(Node::on(None, &[*disk], ""))).collect();
        let raid6 = array(&mut stack, &parts, 2);
        assert_eq!(spare(&stack, raid6, 0), Some(1));
        assert_eq!(spare(&stack, raid6, 1), Some(1), "with disk 0");
    }

    #[test]
    fn what_is_not_known_stays_so_but_for_what_is_certain() {
        let mut stack = disks(2);
        let pool = stack.add(Node::unknown(thing(Kind::Zfs, "tank"), &[0, 1], "member"));
        let on_pool = mount(&mut stack, &[pool]);
        let both = mount(&mut stack, &[pool, 1]);
        assert_eq!(spare(&stack, on_pool, 0), None);
        assert_eq!(spare(&stack, both, 1), Some(0), "it dies with disk 1 in any case");
        assert_eq!(spare(&stack, both, 0), None);
    }

    #[test]
    fn what_only_hands_on_has_lost_nothing_while_what_it_carries_has_not() {
        let mut stack = disks(2);
        let crypts: Vec<usize> = (0..2)
            .map(|disk| stack.add(Node::on(thing(Kind::Crypt, "c"), &[disk], "open")))
            .collect();
        assert_eq!(spare(&stack, crypts[0], 0), Some(0), "alone");
        let mirror = array(&mut stack, &crypts, 1);
        assert_eq!(spare(&stack, crypts[0], 0), Some(1));
        let group = stack.add(Node::on(thing(Kind::LvmPv, "vg"), &[mirror], "member"));
        let volume = Node::on(None, &[mirror], "");
        let volume = stack.add(Node { volume_of: Some(group), ..volume });
        stack.add(Node::unknown(thing(Kind::CephOsd, "osd.1"), &[volume], "block"));
        assert_eq!(spare(&stack, group, 1), None, "Ceph alone knows");
    }

    #[test]
    fn uses_are_found_at_any_height_but_not_above_what_holds_nothing() {
        let mut stack = disks(2);
        let mirror = array(&mut stack, &[0], 0);
        let spare = Edge { to: 1, role: "spare".to_owned(), holds: false };
        stack.get_mut(mirror).unwrap().below.push(spare);
        mount(&mut stack, &[mirror]);
        let upward = stack.upward();
        let words = |disk| -> Vec<(&str, String)> {
            let uses = upward.uses(disk, &[]);
            uses.into_keys().map(|used| (used.thing.kind.word(), used.role)).collect()
        };
        assert_eq!(words(0), [("md", "in-use".to_owned()), ("mount", "ext4".to_owned())]);
        assert_eq!(words(1), [("md", "spare".to_owned())]);
        assert!(upward.uses(0, &[mirror]).is_empty());
        assert!(!upward.is_bare(1));
    }

    #[test]
    fn a_loop_ends() {
        let mut stack = disks(1);
        let one = stack.add(Node::on(thing(Kind::Md, "a"), &[0, 2], "in-use"));
        let two = stack.add(Node::on(thing(Kind::Md, "b"), &[one], "in-use"));
        assert_eq!(two, 2);
        assert_eq!(stack.upward().uses(0, &[]).len(), 2);
        assert_eq!(spare(&stack, two, 0), Some(0));
        assert_eq!(spare(&stack, one, 5), None);
    }
}
