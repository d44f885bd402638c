//! Which rows a filter can pass, as far as its conditions on `_rowid` tell.
//!
//! Only a hint: rows named here still meet the filter, so what is not understood means *all rows*.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, InListExpr, Literal};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;

use crate::id::ROWID;

/// A range of row ids, and of these only the listed ones where there is a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowIds {
    pub(super) range: Range<u64>,
    pub(super) list: Option<BTreeSet<u64>>,
}

impl RowIds {
    const ALL: Self = Self {
        range: 0..u64::MAX,
        list: None,
    };

    /// The rows that can pass all `filters`, as these stand now: the engine narrows some of them
    /// while a query runs.
    pub(super) fn passing(filters: &[Arc<dyn PhysicalExpr>]) -> Self {
        let known = filters
            .iter()
            .filter_map(|filter| snapshot_physical_expr(Arc::clone(filter)).ok());
        known.fold(Self::ALL, |all, filter| all.and(Self::of(&filter)))
    }

    fn of(filter: &Arc<dyn PhysicalExpr>) -> Self {
        if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
            return match binary.op() {
                Operator::And => Self::of(binary.left()).and(Self::of(binary.right())),
                Operator::Or => Self::of(binary.left()).or(Self::of(binary.right())),
                op if is_row_id(binary.left()) => Self::compared(*op, literal(binary.right())),
                op if is_row_id(binary.right()) => op
                    .swap()
                    .map_or(Self::ALL, |op| Self::compared(op, literal(binary.left()))),
                _ => Self::ALL,
            };
        }
        match filter.downcast_ref::<InListExpr>() {
            Some(list) if !list.negated() && is_row_id(list.expr()) => list
                .list()
                .iter()
                .map(literal)
                .collect::<Option<BTreeSet<u64>>>()
                .map_or(Self::ALL, Self::listed),
            _ => Self::ALL,
        }
    }

    /// `_rowid <op> value`.
    fn compared(op: Operator, value: Option<u64>) -> Self {
        let Some(value) = value else { return Self::ALL };
        let range = match op {
            Operator::Eq => return Self::listed(BTreeSet::from([value])),
            Operator::Lt => 0..value,
            Operator::LtEq => 0..value.saturating_add(1),
            Operator::Gt => value.saturating_add(1)..u64::MAX,
            Operator::GtEq => value..u64::MAX,
            _ => return Self::ALL,
        };
        Self { range, list: None }
    }

    fn listed(list: BTreeSet<u64>) -> Self {
        let range = match (list.first(), list.last()) {
            (Some(first), Some(last)) => *first..last.saturating_add(1),
            _ => 0..0,
        };
        Self {
            range,
            list: Some(list),
        }
    }

    fn and(self, other: Self) -> Self {
        let start = self.range.start.max(other.range.start);
        let range = start..self.range.end.min(other.range.end).max(start);
        let list = match (self.list, other.list) {
            (Some(a), Some(b)) => Some(a.intersection(&b).copied().collect::<BTreeSet<u64>>()),
            (list, None) | (None, list) => list,
        };
        let list = list.map(|list| list.range(range.clone()).copied().collect());
        Self { range, list }
    }

    fn or(self, other: Self) -> Self {
        let range = self.range.start.min(other.range.start)..self.range.end.max(other.range.end);
        let list = self
            .list
            .zip(other.list)
            .map(|(a, b)| a.union(&b).copied().collect());
        Self { range, list }
    }
}

fn is_row_id(expr: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return whole(cast.cast_type()) && is_row_id(cast.expr());
    }
    expr.downcast_ref::<Column>()
        .is_some_and(|column| column.name() == ROWID)
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<u64> {
    let value = expr.downcast_ref::<Literal>()?.value();
    match value.cast_to(&DataType::UInt64).ok()? {
        ScalarValue::UInt64(number) if whole(&value.data_type()) => number,
        _ => None,
    }
}

/// Whether values of the type are whole numbers, so that a cast to it keeps their order.
fn whole(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Decimal128(_, 0) | DataType::Decimal256(_, 0)
        )
}

#[cfg(test)]
mod tests {
    use datafusion::physical_expr::expressions::{binary, col, in_list, lit};

    use super::*;
    use arrow::datatypes::{Field, Schema};

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("label", DataType::UInt64, true),
            Field::new(ROWID, DataType::UInt64, false),
        ])
    }

    /// A filter in prefix form: `& = 3 | > 4 < 9`, where a comparison is of `_rowid`, and `?` is one
    /// of another column.
    fn filter(words: &mut std::str::SplitWhitespace<'_>) -> Arc<dyn PhysicalExpr> {
        let schema = schema();
        let row_id = col(ROWID, &schema).unwrap();
        let number = |words: &mut std::str::SplitWhitespace<'_>| {
            lit(words.next().unwrap().parse::<u64>().unwrap())
        };
        let (left, op, right) = match words.next().unwrap() {
            "&" => (filter(words), Operator::And, filter(words)),
            "|" => (filter(words), Operator::Or, filter(words)),
            "?" => (col("label", &schema).unwrap(), Operator::Eq, lit(1_u64)),
            "in" => {
                let list = words
                    .next()
                    .unwrap()
                    .split(',')
                    .map(|id| lit(id.parse::<u64>().unwrap()))
                    .collect();
                return in_list(row_id, list, &false, &schema).unwrap();
            }
            "=" => (row_id, Operator::Eq, number(words)),
            "<" => (row_id, Operator::Lt, number(words)),
            "<=" => (row_id, Operator::LtEq, number(words)),
            ">" => (row_id, Operator::Gt, number(words)),
            "swapped>" => (number(words), Operator::Gt, row_id),
            "!=" => (row_id, Operator::NotEq, number(words)),
            word => panic!("{word}"),
        };
        binary(left, op, right, &schema).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let RowIds { range, list } = RowIds::passing(&[filter(&mut text.split_whitespace())]);
        let end = if range.end == u64::MAX {
            String::new()
        } else {
            range.end.to_string()
        };
        let list = list.map(|list| format!(" {list:?}")).unwrap_or_default();
        assert_eq!(format!("{}..{end}{list}", range.start), expected, "{text}");
    }

    #[test]
    fn conditions_on_the_row_id_narrow_the_rows() {
        check("= 3", "3..4 {3}");
        check("< 3", "0..3");
        check("<= 3", "0..4");
        check("> 3", "4..");
        check("swapped> 3", "0..3");
        check("in 5,9,7", "5..10 {5, 7, 9}");
        check("& > 3 < 9", "4..9");
        check("& in 5,9,7 > 6", "7..10 {7, 9}");
        check("| = 3 = 5", "3..6 {3, 5}");
        check("& = 3 = 5", "5..5 {}");
        check("| = 3 > 5", "3..");
    }

    #[test]
    fn what_is_not_understood_means_all_rows() {
        check("?", "0..");
        check("!= 3", "0..");
        check("| = 3 ?", "0..");
        check("& = 3 ?", "3..4 {3}");
    }
}
