//! Equal parts of a query, which are evaluated once.
//!
//! Two parts are equal when nothing in them differs but where they stand in the text. What there
//! was to say of the first is then said of the other too, at its own place.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::rc::Rc;

use super::{Evaluator, Remark};
use crate::QueryError;
use crate::column::{Column, Columns, Steps};
use crate::expr::{Aggregate, Binary, Call, Expr, Node, RangeSelector, Selector, Subquery};

/// The parts of a query that stand in it more than once, and their values.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// By where they are in memory, which the tree does not change while it is evaluated.
    keys: HashMap<usize, u64>,
    uses: HashMap<u64, usize>,
    values: RefCell<HashMap<(u64, Steps), Known>>,
    /// What was too much to hold at all.
    too_much: RefCell<HashSet<(u64, Steps)>>,
}

#[derive(Debug)]
struct Known {
    value: Rc<Columns>,
    remarks: Vec<Remark>,
    /// Where the part began that they were made of.
    start: usize,
    /// How many more will ask.
    uses: usize,
}

impl Memo {
    pub(super) fn new(root: &Expr) -> Self {
        let mut memo = Self::default();
        memo.hash(root, &RandomState::new());
        memo.count(root);
        memo.uses.retain(|_, uses| *uses > 1);
        let Self { keys, uses, .. } = &mut memo;
        keys.retain(|_, key| uses.contains_key(key));
        memo
    }

    pub(super) fn key(&self, expr: &Expr) -> Option<u64> {
        // Most queries have no two parts alike.
        if self.keys.is_empty() { None } else { self.keys.get(&place(expr)).copied() }
    }

    fn hash(&mut self, expr: &Expr, state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        own(&expr.node).hash(&mut hasher);
        for child in children(&expr.node) {
            // Where it stands decides where remarks on it point to.
            (child.start - expr.start.min(child.start)).hash(&mut hasher);
            (child.outer_start - expr.start.min(child.outer_start)).hash(&mut hasher);
            self.hash(child, state).hash(&mut hasher);
        }
        let key = hasher.finish();
        self.keys.insert(place(expr), key);
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

fn place(expr: &Expr) -> usize {
    std::ptr::from_ref(expr).addr()
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

/// All else of a node. Taken apart field by field, so that none is forgotten.
fn own(node: &Node) -> String {
    let selected = |selector: &Selector| {
        let Selector { matchers, shift, edges } = selector;
        let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        format!("{matchers:?} {shift:?} {edges:?}")
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
            let Call { function, args } = &**call;
            format!("{}({})", function.name, args.len())
        }
    }
}

impl Evaluator<'_> {
    /// The value of a part that flows and stands in the query more than once, held to be looked at
    /// again; `None` when it is too much to hold, so that it must flow each time.
    pub(super) fn held_once(
        &self,
        expr: &Expr,
        steps: Steps,
    ) -> Result<Option<Vec<Column>>, QueryError> {
        let Some(key) = self.memo.key(expr) else { return Ok(None) };
        if self.memo.too_much.borrow().contains(&(key, steps)) {
            return Ok(None);
        }
        let held = self.budget.live();
        match self.vector(expr, steps) {
            Err(error) if error.is_too_much() => {
                self.budget.set_live(held)?;
                self.memo.too_much.borrow_mut().insert((key, steps));
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The value of a part that stands in the query more than once; `None` of any other.
    pub(super) fn known(&self, expr: &Expr, steps: Steps) -> Option<Columns> {
        let key = (self.memo.key(expr)?, steps);
        let mut values = self.memo.values.borrow_mut();
        let known = values.get_mut(&key)?;
        for remark in &known.remarks {
            self.remark(remark.moved(known.start, expr.start));
        }
        known.uses -= 1;
        if known.uses > 0 {
            return Some(Columns::clone(&known.value));
        }
        let known = values.remove(&key)?;
        self.budget.unkeep(known.value.cost());
        Some(Rc::unwrap_or_clone(known.value))
    }

    /// Keeps the value of a part for when it is asked for again. The remarks from `first_remark`
    /// on were made while it was evaluated.
    pub(super) fn keep(
        &self,
        expr: &Expr,
        steps: Steps,
        value: &Columns,
        first_remark: usize,
    ) -> Result<(), QueryError> {
        let Some(key) = self.memo.key(expr) else { return Ok(()) };
        let uses = self.memo.uses.get(&key).map_or(0, |uses| uses - 1);
        // What is too much to hold twice is evaluated again.
        if self.budget.check(value.cost().and(value.cost())).is_err() {
            return Ok(());
        }
        let all = self.remarks.borrow();
        let remarks = all.get(first_remark..).unwrap_or(&[]).to_vec();
        self.budget.keep(value.cost())?;
        let known = Known { value: Rc::new(value.clone()), remarks, start: expr.start, uses };
        self.memo.values.borrow_mut().insert((key, steps), known);
        Ok(())
    }
}
