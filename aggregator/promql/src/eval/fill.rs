//! `fill`, `fill_left` and `fill_right`: series that stand in for those that one side of an
//! operator lacks.

use super::binary::{is_set, presence};
use super::groups::Grouper;
use crate::QueryError;
use crate::budget::{Cost, Pace};
use crate::column::{Column, Steps};
use crate::expr::Grouping;

/// The series of one side and, for every match group of the `other` side, one that has `value`
/// wherever the other side has a series of the group and this side has none. Its labels are those
/// that matching looks at.
pub(super) fn filled(
    mut columns: Vec<Column>,
    value: Option<f64>,
    other: &[Column],
    matching: &Grouping,
    steps: Steps,
    pace: &mut Pace<'_>,
) -> Result<Vec<Column>, QueryError> {
    let Some(value) = value else { return Ok(columns) };
    let grouper = Grouper::new(matching, false);
    let here = presence(&columns, &grouper, pace)?;
    let read = columns.len();
    for group in presence(other, &grouper, pace)?.into_iter() {
        pace.spend(steps.len)?;
        let at = here.find(&grouper, &group.labels).and_then(|at| here.get(at));
        let has = |step| at.is_some_and(|here| is_set(&here.state, step));
        let mut column = Column::absent(group.labels, steps.len);
        for step in (0..steps.len).filter(|step| is_set(&group.state, *step) && !has(*step)) {
            column.set(step, value);
        }
        if !column.is_empty() {
            pace.budget().check(Cost::columns(columns.len() + 1 - read, steps.len))?;
            columns.push(column);
        }
    }
    Ok(columns)
}
