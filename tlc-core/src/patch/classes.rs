//! Changes of a label's classes, as changes of its field.
//!
//! A cell holds a class's position in the list, so positions never change: a class that becomes part
//! of another stays where it is and says so.

use arrow::datatypes::Field;

use crate::error::{Error, ErrorKind, Result};
use crate::schema::{self, Class};

/// The number of a class, by its name.
///
/// # Errors
/// [`ErrorKind::NotFound`] naming the classes there are.
pub(crate) fn position(field: &Field, name: &str) -> Result<i64> {
    let classes = schema::classes(field)?;
    let at = index(field, &classes, name)?;
    i64::try_from(at).map_err(|err| Error::invalid("too many classes").with_source(err))
}

/// `field` with another name for a class.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown class, [`ErrorKind::Conflict`] if the name is taken.
pub(crate) fn renamed(field: &Field, class: &str, name: &str) -> Result<Field> {
    let mut classes = schema::classes(field)?;
    let at = index(field, &classes, class)?;
    check_free(field, &classes, name)?;
    if let Some(class) = classes.get_mut(at) {
        name.clone_into(&mut class.name);
    }
    Ok(schema::with_classes(field.clone(), &classes))
}

/// `field` with one more class.
///
/// # Errors
/// [`ErrorKind::Conflict`] if the name is taken, [`ErrorKind::Invalid`] if the column is no label.
pub(crate) fn added(field: &Field, name: &str) -> Result<Field> {
    let mut classes = schema::classes(field)?;
    check_free(field, &classes, name)?;
    if !field.data_type().is_integer() {
        return Err(Error::invalid(format!(
            "column {:?} of type {} cannot have classes",
            field.name(),
            field.data_type()
        )));
    }
    classes.push(Class {
        name: name.to_owned(),
        color: schema::palette(classes.len()).to_owned(),
        merged_into: None,
    });
    Ok(schema::with_classes(field.clone(), &classes))
}

/// `field` with one class as part of another.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown class, [`ErrorKind::Invalid`] if both are the same.
pub(crate) fn merged(field: &Field, class: &str, into: &str) -> Result<Field> {
    let mut classes = schema::classes(field)?;
    let (from, to) = (
        index(field, &classes, class)?,
        index(field, &classes, into)?,
    );
    if from == to {
        return Err(Error::invalid(format!(
            "class {class:?} cannot become part of itself"
        )));
    }
    if let Some(class) = classes.get_mut(from) {
        class.merged_into = Some(to);
    }
    Ok(schema::with_classes(field.clone(), &classes))
}

/// Where a class is that is still one of its own.
fn index(field: &Field, classes: &[Class], name: &str) -> Result<usize> {
    let own = |class: &&Class| class.merged_into.is_none();
    let at = classes
        .iter()
        .position(|class| class.name == name && class.merged_into.is_none());
    at.ok_or_else(|| {
        let known: Vec<_> = classes
            .iter()
            .filter(own)
            .map(|class| class.name.as_str())
            .collect();
        Error::not_found(format!(
            "column {:?} has no class {name:?}; its classes are {}",
            field.name(),
            known.join(", ")
        ))
    })
}

fn check_free(field: &Field, classes: &[Class], name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("a class needs a name"));
    }
    if classes.iter().any(|class| class.name == name) {
        let message = format!("column {:?} has a class {name:?} already", field.name());
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The classes, a merged one as `kitten>0`.
    fn shown(field: &Field) -> String {
        let shown = |class: &Class| match class.merged_into {
            None => class.name.clone(),
            Some(into) => format!("{}>{into}", class.name),
        };
        schema::classes(field)
            .unwrap()
            .iter()
            .map(shown)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn classes_are_renamed_added_and_merged_where_they_are() {
        let field = schema::label("animal", ["cat", "kitten", "cow"]);
        assert_eq!(
            shown(&renamed(&field, "cow", "bull").unwrap()),
            "cat kitten bull"
        );
        assert_eq!(shown(&added(&field, "pig").unwrap()), "cat kitten cow pig");
        let merged = merged(&field, "kitten", "cat").unwrap();
        assert_eq!(shown(&merged), "cat kitten>0 cow");
        assert_eq!(position(&merged, "cow").unwrap(), 2);
        let classes = schema::classes(&merged).unwrap();
        assert_eq!(
            schema::class_number(&classes, "kitten"),
            Some(0),
            "its name stands for the other"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let field = schema::label("animal", ["cat", "dog"]);
        let kind = |result: Result<Field>| result.unwrap_err().kind();
        assert_eq!(kind(renamed(&field, "cow", "bull")), ErrorKind::NotFound);
        assert_eq!(kind(renamed(&field, "cat", "dog")), ErrorKind::Conflict);
        assert_eq!(kind(added(&field, "dog")), ErrorKind::Conflict);
        assert_eq!(
            kind(added(&schema::text("note"), "dog")),
            ErrorKind::Invalid
        );
        assert_eq!(kind(merged(&field, "cat", "cat")), ErrorKind::Invalid);
        let gone = merged(&field, "cat", "dog").unwrap();
        assert_eq!(kind(merged(&gone, "cat", "dog")), ErrorKind::NotFound);
    }
}
