//! The values of equal parts of a query, which are evaluated once.
//!
//! Which parts are equal is known before ([`super::prepared`]). What there was to say of the first is then said
//! of the other too, at its own place.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::{Evaluator, Remark};
use crate::QueryError;
use crate::column::{Column, Columns, Steps};
use crate::expr::Expr;

/// The values of parts that stand in a query more than once.
#[derive(Debug, Default)]
pub(super) struct Memo {
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

impl Evaluator<'_> {
    /// The value of a part that flows and stands in the query more than once, held to be looked at
    /// again; `None` when it is too much to hold, so that it must flow each time.
    pub(super) fn held_once(
        &self,
        expr: &Expr,
        steps: Steps,
    ) -> Result<Option<Vec<Column>>, QueryError> {
        let Some(key) = self.prepared.key(expr) else { return Ok(None) };
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
        let key = (self.prepared.key(expr)?, steps);
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
        let Some(key) = self.prepared.key(expr) else { return Ok(()) };
        let uses = self.prepared.uses(key).saturating_sub(1);
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
