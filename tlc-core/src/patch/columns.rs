//! Two changes of one schema brought together: columns added, dropped, renamed, given a meaning.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use serde_json::Value as Json;

use crate::schema::{CLASSES_KEY, field_id};

/// A column that two changed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnConflict {
    pub(crate) column: String,
    pub(crate) why: &'static str,
}

/// Whose change holds where both changed the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Theirs,
}

/// What brought the schemas together, or all that stands between them unless `prefer` decides.
///
/// Both `ours` and `theirs` come from `base`, and columns are known by their ids. The order is ours,
/// with their new columns at the end.
pub(crate) fn joined(
    base: &Schema,
    ours: &Schema,
    theirs: &Schema,
    prefer: Option<Side>,
) -> Result<SchemaRef, Vec<ColumnConflict>> {
    let mut joining = Joining {
        prefer,
        fields: Vec::new(),
        conflicts: Vec::new(),
    };
    for own in ours.fields() {
        match (find(base, own), find(theirs, own)) {
            (Some(before), None) if before == own => {}
            (Some(_), None) => joining.disputed(own, Some(own), None, ONE_DROPPED),
            (_, None) => joining.fields.push(Arc::clone(own)),
            (before, Some(other)) => match field(before, own, other) {
                Ok(field) => joining.fields.push(field),
                Err(why) => joining.disputed(own, Some(own), Some(other), why),
            },
        }
    }
    for other in theirs
        .fields()
        .iter()
        .filter(|other| find(ours, other).is_none())
    {
        match find(base, other) {
            None => joining.add(other),
            Some(before) if before == other => {}
            Some(_) => joining.disputed(other, None, Some(other), ONE_DROPPED),
        }
    }
    joining.finish(base)
}

const ONE_DROPPED: &str = "changed by one and dropped by the other";

struct Joining {
    prefer: Option<Side>,
    fields: Vec<FieldRef>,
    conflicts: Vec<ColumnConflict>,
}

impl Joining {
    fn disputed(
        &mut self,
        column: &Field,
        ours: Option<&FieldRef>,
        theirs: Option<&FieldRef>,
        why: &'static str,
    ) {
        match self.prefer {
            Some(Side::Ours) => self.fields.extend(ours.cloned()),
            Some(Side::Theirs) => self.fields.extend(theirs.cloned()),
            None => self.conflicts.push(conflict(column, why)),
        }
    }

    /// Adds a new column of theirs.
    fn add(&mut self, other: &FieldRef) {
        let same = self
            .fields
            .iter()
            .position(|own| own.name() == other.name());
        match (same, self.prefer) {
            (None, _) => self.fields.push(Arc::clone(other)),
            (Some(_), Some(Side::Ours)) => {}
            (Some(at), Some(Side::Theirs)) => self.fields[at] = Arc::clone(other),
            (Some(_), None) => self
                .conflicts
                .push(conflict(other, "made by both under one name")),
        }
    }

    fn finish(mut self, base: &Schema) -> Result<SchemaRef, Vec<ColumnConflict>> {
        let mut names = BTreeSet::new();
        let twice = self
            .fields
            .iter()
            .filter(|field| !names.insert(field.name().clone()));
        let twice: Vec<_> = twice
            .map(|field| conflict(field, "another column's name by now"))
            .collect();
        self.conflicts.extend(twice);
        if self.fields.is_empty() && self.conflicts.is_empty() {
            let all = base.fields().iter();
            self.conflicts
                .extend(all.map(|field| conflict(field, "dropped, and with it the last column")));
        }
        match self.conflicts.is_empty() {
            true => Ok(Arc::new(Schema::new(self.fields))),
            false => Err(self.conflicts),
        }
    }
}

/// The column of the same id.
pub(crate) fn find<'a>(schema: &'a Schema, field: &Field) -> Option<&'a FieldRef> {
    let id = field_id(field);
    schema.fields().iter().find(|other| field_id(other) == id)
}

fn conflict(field: &Field, why: &'static str) -> ColumnConflict {
    ColumnConflict {
        column: field.name().clone(),
        why,
    }
}

/// One column that both have.
fn field(
    before: Option<&FieldRef>,
    ours: &FieldRef,
    theirs: &FieldRef,
) -> Result<FieldRef, &'static str> {
    if ours == theirs {
        return Ok(Arc::clone(ours));
    }
    let name = chosen(
        before.map(|before| before.name()),
        ours.name(),
        theirs.name(),
    );
    let name = name.ok_or("renamed by both")?;
    if ours.data_type() != theirs.data_type() {
        return Err("of two types");
    }
    let mut metadata = ours.metadata().clone();
    let all: BTreeSet<&String> = ours
        .metadata()
        .keys()
        .chain(theirs.metadata().keys())
        .collect();
    for key in all {
        let before = before.map(|before| before.metadata().get(key));
        let (mine, other) = (ours.metadata().get(key), theirs.metadata().get(key));
        let value = match chosen(before, mine, other) {
            Some(value) => value.cloned(),
            None if key == CLASSES_KEY => {
                let before = before.flatten();
                Some(classes(before, mine, other).ok_or("given other classes by both")?)
            }
            None => return Err("given another meaning by both"),
        };
        match value {
            Some(value) => metadata.insert(key.clone(), value),
            None => metadata.remove(key),
        };
    }
    let field: &Field = ours;
    Ok(Arc::new(
        field.clone().with_name(name).with_metadata(metadata),
    ))
}

/// Classes, position by position: one may rename cat while the other renames dog.
fn classes(
    before: Option<&String>,
    ours: Option<&String>,
    theirs: Option<&String>,
) -> Option<String> {
    let list = |text: Option<&String>| serde_json::from_str::<Vec<Json>>(text?).ok();
    let (before, ours, theirs) = (list(before)?, list(ours)?, list(theirs)?);
    let positions = 0..ours.len().max(theirs.len());
    let joined = positions.map(|at| {
        let value = chosen(Some(before.get(at)), ours.get(at), theirs.get(at))?;
        Some(value.cloned())
    });
    // A class that one took away is where nothing may follow; lists only grow, so this is the end.
    let joined = joined.collect::<Option<Vec<_>>>()?;
    let joined: Vec<Json> = joined.into_iter().flatten().collect();
    Some(Json::from(joined).to_string())
}

/// The value that changed, if no more than one did; `before` is `None` where there was nothing.
fn chosen<T: PartialEq + Copy>(before: Option<T>, ours: T, theirs: T) -> Option<T> {
    if ours == theirs || before.as_ref() == Some(&theirs) {
        Some(ours)
    } else if before.as_ref() == Some(&ours) {
        Some(theirs)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::patch::classes;
    use crate::schema::{label, with_field_id};

    /// `1:name 2:label(cat,dog)`.
    fn schema(text: &str) -> Schema {
        let field = |word: &str| {
            let (id, name) = word.split_once(':').unwrap();
            let field = match name.strip_suffix(')').and_then(|name| name.split_once('(')) {
                Some((name, classes)) => label(name, classes.split(',')),
                None => Field::new(name, DataType::Int32, true),
            };
            with_field_id(&field, id.parse().unwrap())
        };
        Schema::new(text.split_whitespace().map(field).collect::<Vec<_>>())
    }

    fn shown(joined: Result<SchemaRef, Vec<ColumnConflict>>) -> String {
        let field = |field: &FieldRef| {
            let classes = crate::schema::classes(field).unwrap();
            let classes: Vec<_> = classes.iter().map(|class| class.name.as_str()).collect();
            let classes = match classes.is_empty() {
                true => String::new(),
                false => format!("({})", classes.join(",")),
            };
            format!("{}:{}{classes}", field_id(field).unwrap(), field.name())
        };
        match joined {
            Ok(schema) => schema
                .fields()
                .iter()
                .map(field)
                .collect::<Vec<_>>()
                .join(" "),
            Err(conflicts) => {
                let shown = conflicts
                    .iter()
                    .map(|conflict| format!("{} {}", conflict.column, conflict.why));
                shown.collect::<Vec<_>>().join(", ")
            }
        }
    }

    #[track_caller]
    fn check(base: &str, ours: &str, theirs: &str, expected: &str) {
        assert_eq!(
            shown(joined(&schema(base), &schema(ours), &schema(theirs), None)),
            expected
        );
    }

    #[test]
    fn each_may_change_another_column() {
        check("1:a 2:b", "1:a 2:b", "1:a 2:c", "1:a 2:c");
        check("1:a 2:b", "1:x 2:b", "1:a 2:c", "1:x 2:c");
        check("1:a 2:b", "1:a", "1:c 2:b", "1:c");
        check("1:a", "1:a 2:b", "1:a 3:c", "1:a 2:b 3:c");
        check("1:a 2:b", "1:a", "1:a", "1:a");
    }

    #[test]
    fn a_column_changed_by_both_conflicts() {
        check("1:a", "1:b", "1:c", "b renamed by both");
        check(
            "1:a 2:b",
            "1:a",
            "1:a 2:c",
            "c changed by one and dropped by the other",
        );
        check(
            "1:a 2:b",
            "1:a 2:c",
            "1:a",
            "c changed by one and dropped by the other",
        );
        check("1:a", "1:a 2:n", "1:a 3:n", "n made by both under one name");
        check(
            "1:a 2:b",
            "1:a",
            "2:b",
            "a dropped, and with it the last column, b dropped, and with it the last column",
        );
    }

    #[test]
    fn one_side_decides_where_it_is_told_to() {
        let check = |base: &str, ours: &str, theirs: &str, by_ours: &str, by_theirs: &str| {
            let joined = |side| {
                shown(joined(
                    &schema(base),
                    &schema(ours),
                    &schema(theirs),
                    Some(side),
                ))
            };
            assert_eq!(
                (joined(Side::Ours).as_str(), joined(Side::Theirs).as_str()),
                (by_ours, by_theirs)
            );
        };
        check("1:a", "1:b", "1:c", "1:b", "1:c");
        check("1:a 2:b", "1:a", "1:a 2:c", "1:a", "1:a 2:c");
        check("1:a", "1:a 2:n", "1:a 3:n", "1:a 2:n", "1:a 3:n");
    }

    #[test]
    fn classes_are_joined_one_by_one() {
        check(
            "1:l(cat,dog)",
            "1:l(lynx,dog)",
            "1:l(cat,wolf)",
            "1:l(lynx,wolf)",
        );
        check("1:l(cat)", "1:l(cat,dog)", "1:l(lynx)", "1:l(lynx,dog)");
        check(
            "1:l(cat)",
            "1:l(cat,dog)",
            "1:l(cat,pig)",
            "l given other classes by both",
        );
        check(
            "1:l(cat)",
            "1:l(lynx)",
            "1:l(wolf)",
            "l given other classes by both",
        );
    }

    #[test]
    fn a_merged_class_meets_a_renamed_one() {
        let base = schema("1:l(cat,kitten,cow)");
        let ours = Schema::new(vec![
            classes::merged(base.field(0), "kitten", "cat").unwrap(),
        ]);
        let theirs = Schema::new(vec![
            classes::renamed(base.field(0), "cow", "bull").unwrap(),
        ]);
        let found = joined(&base, &ours, &theirs, None).unwrap();
        let found = crate::schema::classes(found.field(0)).unwrap();
        assert_eq!(
            (found[1].merged_into, found[2].name.as_str()),
            (Some(0), "bull")
        );
    }
}
