//! The routing tree: which routes an alert takes. Children that ask for one value of a label are
//! looked up by it, so that a tree of hundreds costs an alert what a tree of a few does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::matchers::Matchers;
use super::spec::{Escalation, GroupBy};

/// The most answers that are remembered: of more label sets that differ in what routes ask for, each
/// is found anew.
const KNOWN_MAX: usize = 20_000;

/// Below this many, trying each child is cheaper than looking it up.
const INDEX_FROM: usize = 8;

/// A route with what it has inherited.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) receiver: String,
    pub(super) matchers: Matchers,
    pub(super) proceed: bool,
    pub(super) group_by: GroupBy,
    pub(super) group_wait_ms: i64,
    pub(super) group_interval_ms: i64,
    pub(super) repeat_interval_ms: i64,
    pub(super) mute_times: Vec<String>,
    pub(super) active_times: Vec<String>,
    pub(super) escalation: Option<Escalation>,
    /// As Alertmanager names it: the matchers on the way to it.
    pub(super) key: String,
    /// The key with what tells it from its likes.
    pub(super) id: String,
}

/// A route and the routes below it.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) route: Route,
    pub(super) below: Vec<Branch>,
}

/// All routes; the first is the root.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    route: Arc<Route>,
    /// In order.
    children: Vec<usize>,
    index: Option<Index>,
}

/// Places in `children`, by the value of a label that they ask for.
#[derive(Debug, Clone, Default)]
struct Index {
    by_label: Vec<(String, HashMap<String, Vec<usize>>)>,
    /// Those that must be tried.
    others: Vec<usize>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            receiver: String::new(),
            matchers: Matchers::default(),
            proceed: false,
            group_by: GroupBy::All,
            group_wait_ms: 0,
            group_interval_ms: 1,
            repeat_interval_ms: 1,
            mute_times: Vec::new(),
            active_times: Vec::new(),
            escalation: None,
            key: String::new(),
            id: String::new(),
        }
    }
}

impl Tree {
    pub(super) fn new(root: Route, below: Vec<Branch>) -> Self {
        let mut tree = Self { nodes: Vec::new() };
        tree.add(Branch { route: root, below }, None, 0);
        tree
    }

    /// Adds a branch below the route with the key and id of `above`, the `nth` of its likes there.
    /// Its number is returned.
    fn add(&mut self, branch: Branch, above: Option<(&str, &str)>, nth: usize) -> usize {
        let mut route = branch.route;
        let (key, id) = match above {
            None => (route.matchers.to_string(), route.matchers.to_string()),
            Some((key, id)) => {
                let likes = if nth == 0 { String::new() } else { format!("#{nth}") };
                let matchers = &route.matchers;
                (format!("{key}/{matchers}"), format!("{id}/{matchers}{likes}"))
            }
        };
        (route.key, route.id) = (key.clone(), id.clone());
        let at = self.nodes.len();
        self.nodes.push(Node { route: Arc::new(route), children: Vec::new(), index: None });
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut children = Vec::with_capacity(branch.below.len());
        for child in branch.below {
            let nth = seen.entry(child.route.matchers.to_string()).or_default();
            children.push(self.add(child, Some((&key, &id)), *nth));
            *nth += 1;
        }
        let index = self.index(&children);
        if let Some(node) = self.nodes.get_mut(at) {
            node.children = children;
            node.index = index;
        }
        at
    }

    fn index(&self, children: &[usize]) -> Option<Index> {
        if children.len() < INDEX_FROM {
            return None;
        }
        let mut by_label: BTreeMap<String, HashMap<String, Vec<usize>>> = BTreeMap::new();
        let mut others = Vec::new();
        for (place, child) in children.iter().enumerate() {
            let matchers = self.nodes.get(*child).map(|node| &node.route.matchers);
            let Some((name, values)) = matchers.and_then(Matchers::handle) else {
                others.push(place);
                continue;
            };
            let by_value = by_label.entry(name.to_owned()).or_default();
            for value in values {
                by_value.entry(value.clone()).or_default().push(place);
            }
        }
        Some(Index { by_label: by_label.into_iter().collect(), others })
    }

    /// The routes that an alert with `labels` takes, in order.
    pub(super) fn find(&self, labels: &BTreeMap<String, String>) -> Vec<usize> {
        let mut found = Vec::new();
        self.find_below(0, labels, &mut found);
        found
    }

    /// Adds what node `at` says of `labels`, and tells whether it takes them.
    fn find_below(
        &self,
        at: usize,
        labels: &BTreeMap<String, String>,
        found: &mut Vec<usize>,
    ) -> bool {
        let Some(node) = self.nodes.get(at).filter(|node| node.route.matchers.matches(labels))
        else {
            return false;
        };
        let before = found.len();
        let visit = |place: usize, found: &mut Vec<usize>| -> bool {
            let Some(child) = node.children.get(place) else { return true };
            let taken = self.find_below(*child, labels, found);
            let proceed = self.nodes.get(*child).is_some_and(|child| child.route.proceed);
            !taken || proceed
        };
        match &node.index {
            None => {
                for place in 0..node.children.len() {
                    if !visit(place, found) {
                        break;
                    }
                }
            }
            Some(index) => {
                for place in index.candidates(labels) {
                    if !visit(place, found) {
                        break;
                    }
                }
            }
        }
        if found.len() == before {
            found.push(at);
        }
        true
    }

    /// All routes, each followed by those below it: how deep each lies, its number, and itself.
    pub(super) fn walk(&self) -> Vec<(usize, usize, &Route)> {
        let mut walked = Vec::with_capacity(self.nodes.len());
        let mut open = vec![(0, 0)];
        while let Some((depth, at)) = open.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            walked.push((depth, at, &*node.route));
            open.extend(node.children.iter().rev().map(|child| (depth + 1, *child)));
        }
        walked
    }

    /// Whether a route has this receiver.
    pub(super) fn has_receiver(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.route.receiver == name)
    }

    /// The route of a number that [`Tree::find`] gave.
    pub(super) fn route(&self, at: usize) -> Option<&Arc<Route>> {
        self.nodes.get(at).map(|node| &node.route)
    }
}

/// What a tree has answered. Labels that no route asks for do not matter, so that most alerts have
/// been answered before.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// The labels that some route asks for.
    names: BTreeSet<String>,
    known: HashMap<Vec<Option<String>>, Arc<[usize]>>,
}

impl Finder {
    pub(super) fn new(tree: &Tree) -> Self {
        let matchers = tree.nodes.iter().flat_map(|node| node.route.matchers.iter());
        Self { names: matchers.map(|m| m.name().to_owned()).collect(), known: HashMap::new() }
    }

    /// The routes that an alert with `labels` takes, in order. The tree is always the same.
    pub(super) fn find(&mut self, tree: &Tree, labels: &BTreeMap<String, String>) -> Arc<[usize]> {
        let asked: Vec<Option<String>> =
            self.names.iter().map(|name| labels.get(name).cloned()).collect();
        if let Some(known) = self.known.get(&asked) {
            return known.clone();
        }
        let found: Arc<[usize]> = tree.find(labels).into();
        if self.known.len() < KNOWN_MAX {
            self.known.insert(asked, found.clone());
        }
        found
    }
}

impl Index {
    fn candidates(&self, labels: &BTreeMap<String, String>) -> Vec<usize> {
        let mut places = self.others.clone();
        for (name, by_value) in &self.by_label {
            let of_value = labels.get(name).and_then(|value| by_value.get(value));
            places.extend(of_value.into_iter().flatten());
        }
        places.sort_unstable();
        places
    }
}
