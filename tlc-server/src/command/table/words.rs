//! What changed about a column, in words.

use tlc_core::arrow::datatypes::Field;
use tlc_core::schema::{self, Class};
use tlc_core::{Error, Result, Role};

/// A line for each thing that is no longer as it was: name, role, classes.
///
/// # Errors
/// [`ErrorKind::Corrupt`](tlc_core::ErrorKind::Corrupt) for classes that cannot be read.
pub(super) fn column_changes(old: &Field, new: &Field) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if old.name() != new.name() {
        lines.push(format!("column {} renamed to {}", old.name(), new.name()));
    }
    let column = new.name();
    let role = |field| Role::of(field).map_or("none", Role::as_str);
    if role(old) != role(new) {
        lines.push(format!(
            "column {column}: role {} is now {}",
            role(old),
            role(new)
        ));
    }
    let (before, after) = (schema::classes(old)?, schema::classes(new)?);
    let classes = class_changes(&before, &after)?;
    lines.extend(
        classes
            .into_iter()
            .map(|line| format!("column {column}: {line}")),
    );
    if lines.is_empty() {
        lines.push(format!("column {column}: other metadata"));
    }
    Ok(lines)
}

/// Classes keep their positions, so each is compared with the one that has its number.
fn class_changes(before: &[Class], after: &[Class]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let name = |number: usize| {
        let class = after.get(number).map(|class| class.name.as_str());
        class.ok_or_else(|| Error::corrupt(format!("there is no class {number}")))
    };
    for (number, class) in after.iter().enumerate() {
        let Some(was) = before.get(number) else {
            lines.push(format!("class {} added", class.name));
            continue;
        };
        if was.name != class.name {
            lines.push(format!("class {} renamed to {}", was.name, class.name));
        }
        if was.color != class.color {
            lines.push(format!("class {} is now {}", class.name, class.color));
        }
        match class.merged_into {
            Some(into) if was.merged_into != Some(into) => {
                lines.push(format!("class {} merged into {}", class.name, name(into)?));
            }
            None if was.merged_into.is_some() => {
                lines.push(format!("class {} stands for itself again", class.name));
            }
            _ => {}
        }
    }
    let gone = before.iter().skip(after.len());
    lines.extend(gone.map(|class| format!("class {} taken away", class.name)));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use tlc_core::arrow::datatypes::DataType;

    use super::*;

    /// A column as `name role cat dog>cat`: `>` is the class that one became part of.
    fn column(text: &str) -> Field {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap();
        let role = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let own = |word: &str| word.split('>').next().unwrap().to_owned();
        let names: Vec<String> = words.iter().map(|word| own(word)).collect();
        let mut classes = schema::classes(&schema::label("x", names.clone())).unwrap();
        for (class, word) in classes.iter_mut().zip(&words) {
            let into = word.split_once('>').map(|(_, into)| into);
            class.merged_into = into.and_then(|into| names.iter().position(|name| name == into));
        }
        match role {
            "label" => schema::label_with(name, &classes),
            _ => Field::new(name, DataType::Int32, true),
        }
    }

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        let found = column_changes(&column(old), &column(new)).unwrap();
        assert_eq!(found, expected, "{old} and {new}");
    }

    #[test]
    fn each_change_is_a_line() {
        check("a none", "b none", &["column a renamed to b"]);
        check(
            "a none",
            "a label cat",
            &[
                "column a: role none is now label",
                "column a: class cat added",
            ],
        );
        check(
            "a label kat dog",
            "b label cat dog bird",
            &[
                "column a renamed to b",
                "column b: class kat renamed to cat",
                "column b: class bird added",
            ],
        );
        check(
            "a label cat kitten",
            "a label cat kitten>cat",
            &["column a: class kitten merged into cat"],
        );
        check(
            "a label cat kitten>cat bird",
            "a label cat kitten",
            &[
                "column a: class kitten stands for itself again",
                "column a: class bird taken away",
            ],
        );
    }
}
