//! A query as it is evaluated, and what is known of it before it is: which of its parts are equal, and which
//! of its selectors read the same series. Made once for all evaluations of a query that is evaluated again and
//! again, as those of rules are.
//!
//! Two parts are equal when nothing in them differs but where they stand in the text.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use crate::expr::{Aggregate, Binary, Call, Expr, Node, RangeSelector, Selector, Subquery};

/// A tree, and what of it stands there more than once.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Boxed: the parts are known by where they are in memory, which nothing changes.
    expr: Box<Expr>,
    /// What tells equal parts from others, of those that stand in the tree more than once.
    keys: HashMap<usize, u64>,
    /// How often a part is asked for, by its key.
    uses: HashMap<u64, usize>,
    /// Which series a selector reads, of those series that several read.
    selected: HashMap<usize, u64>,
}

impl Prepared {
    pub(crate) fn new(expr: Expr) -> Self {
        let (keys, uses, selected) = Default::default();
        let mut prepared = Self { expr: Box::new(expr), keys, uses, selected };
        let mut finding = Finding::default();
        finding.hash(&prepared.expr);
        finding.count(&prepared.expr);
        let Finding { mut keys, mut uses, mut selected, mut readers, .. } = finding;
        uses.retain(|_, uses| *uses > 1);
        keys.retain(|_, key| uses.contains_key(key));
        readers.retain(|_, readers| *readers > 1);
        selected.retain(|_, key| readers.contains_key(key));
        (prepared.keys, prepared.uses, prepared.selected) = (keys, uses, selected);
        prepared
    }

    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// What a part has in common with those that are equal to it, where there are any.
    pub(super) fn key(&self, expr: &Expr) -> Option<u64> {
        // Most queries have no two parts alike.
        if self.keys.is_empty() { None } else { self.keys.get(&place(expr)).copied() }
    }

    /// How many times parts with this key are asked for.
    pub(super) fn uses(&self, key: u64) -> usize {
        self.uses.get(&key).copied().unwrap_or(0)
    }

    /// What a selector has in common with those that read the same series, where there are any.
    pub(super) fn selected(&self, selector: &Selector) -> Option<u64> {
        if self.selected.is_empty() { None } else { self.selected.get(&place(selector)).copied() }
    }

    /// Whether any series are read in more than one place.
    pub(super) fn selects_again(&self) -> bool {
        !self.selected.is_empty()
    }
}

/// A tree while it is gone through.
#[derive(Default)]
struct Finding {
    state: RandomState,
    keys: HashMap<usize, u64>,
    uses: HashMap<u64, usize>,
    selected: HashMap<usize, u64>,
    readers: HashMap<u64, usize>,
}

impl Finding {
    fn hash(&mut self, expr: &Expr) -> u64 {
        let mut hasher = self.state.build_hasher();
        own(&expr.node).hash(&mut hasher);
        for child in children(&expr.node) {
            // Where it stands decides where remarks on it point to.
            (child.start - expr.start.min(child.start)).hash(&mut hasher);
            (child.outer_start - expr.start.min(child.outer_start)).hash(&mut hasher);
            self.hash(child).hash(&mut hasher);
        }
        let key = hasher.finish();
        self.keys.insert(place(expr), key);
        match &expr.node {
            Node::Selector(selector) | Node::Range(RangeSelector { selector, .. }) => {
                let key = self.state.hash_one(matchers(selector));
                self.selected.insert(place(selector), key);
                *self.readers.entry(key).or_default() += 1;
            }
            _ => {}
        }
        key
    }

    /// Counts parts; what is within one that was seen already is not evaluated again.
    fn count(&mut self, expr: &Expr) {
        if is_work(expr)
            && let Some(key) = self.keys.get(&place(expr))
        {
            let uses = self.uses.entry(*key).or_default();
            *uses += 1;
            if *uses > 1 {
                return;
            }
        }
        children(&expr.node).for_each(|child| self.count(child));
    }
}

fn place<T>(part: &T) -> usize {
    std::ptr::from_ref(part).addr()
}

/// Whether evaluating is more than looking up what was evaluated.
fn is_work(expr: &Expr) -> bool {
    !matches!(expr.node, Node::Number(_) | Node::Text(_) | Node::Range(_) | Node::Subquery(_))
}

/// The parts of a node that are expressions.
pub(super) fn children(node: &Node) -> impl Iterator<Item = &Expr> {
    let (fixed, more): ([Option<&Expr>; 2], &[Expr]) = match node {
        Node::Number(_) | Node::Text(_) | Node::Selector(_) | Node::Range(_) => ([None; 2], &[]),
        Node::Subquery(subquery) => ([Some(&subquery.expr), None], &[]),
        Node::Negation(inner) => ([Some(inner), None], &[]),
        Node::Binary(binary) => ([Some(&binary.lhs), Some(&binary.rhs)], &[]),
        Node::Aggregate(aggregate) => ([aggregate.param.as_ref(), Some(&aggregate.expr)], &[]),
        Node::Call(call) => ([None; 2], &call.args),
    };
    fixed.into_iter().flatten().chain(more)
}

fn matchers(selector: &Selector) -> Vec<String> {
    selector.matchers.iter().map(ToString::to_string).collect()
}

/// All else of a node. Taken apart field by field, so that none is forgotten.
fn own(node: &Node) -> String {
    let selected = |selector: &Selector| {
        let Selector { matchers: _, shift, edges } = selector;
        format!("{:?} {shift:?} {edges:?}", matchers(selector))
    };
    match node {
        Node::Number(value) => format!("{:x}", value.to_bits()),
        Node::Text(text) => format!("{text:?}"),
        Node::Selector(selector) => selected(selector),
        Node::Range(RangeSelector { selector, range_ms }) => {
            format!("{}[{range_ms}]", selected(selector))
        }
        Node::Subquery(subquery) => {
            let Subquery { expr: _, range_ms, step_ms, shift } = &**subquery;
            format!("[{range_ms}:{step_ms:?}] {shift:?}")
        }
        Node::Negation(_) => "-".to_owned(),
        Node::Binary(binary) => {
            let Binary { op, lhs: _, rhs: _, bool_result, matching, card, fill } = &**binary;
            format!("{op:?} {bool_result} {matching:?} {card:?} {fill:?}")
        }
        Node::Aggregate(aggregate) => {
            let Aggregate { op, expr: _, param, grouping } = &**aggregate;
            format!("{op:?} {} {grouping:?}", param.is_some())
        }
        Node::Call(call) => {
            let Call { function, args, pattern: _ } = &**call;
            format!("{}({})", function.name, args.len())
        }
    }
}
