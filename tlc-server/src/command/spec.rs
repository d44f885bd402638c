//! How tables, runs and artifacts are named on the command line.

use std::fmt;
use std::str::FromStr;

use tlc_core::{ArtifactName, Error, ProjectName, Result, RunName, TableName};

/// `PROJECT/TABLE` or `PROJECT/TABLE@REV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// The project.
    pub project: ProjectName,
    /// The table.
    pub table: TableName,
    /// The revision or the branch after `@`; without it, the head of `main`.
    pub revision: Option<String>,
}

impl FromStr for TableSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "{text:?} names no table; write PROJECT/TABLE, such as mnist/train, or mnist/train@7"
            ))
        };
        let (project, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (table, revision) = match rest.split_once('@') {
            Some((_, "")) => return Err(wrong()),
            Some((table, revision)) => (table, Some(revision.to_owned())),
            None => (rest, None),
        };
        Ok(Self {
            project: project.parse()?,
            table: table.parse()?,
            revision,
        })
    }
}

impl fmt::Display for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.table)?;
        self.revision
            .as_ref()
            .map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

/// `PROJECT`, or `PROJECT/TABLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlaceSpec {
    Project(ProjectName),
    Table(TableSpec),
}

impl FromStr for PlaceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if !text.contains('/') {
            return Ok(Self::Project(text.parse()?));
        }
        let spec: TableSpec = text.parse()?;
        match &spec.revision {
            None => Ok(Self::Table(spec)),
            Some(_) => Err(Error::invalid(format!(
                "{text:?} names a revision; all of a table is looked at, so write PROJECT/TABLE"
            ))),
        }
    }
}

/// `PROJECT`, or what an [`ArtifactSpec`] can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LineageSpec {
    Project(ProjectName),
    Named(ArtifactSpec),
}

impl FromStr for LineageSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.contains('/') {
            true => Self::Named(text.parse()?),
            false => Self::Project(text.parse()?),
        })
    }
}

/// A time in seconds, written as `7d`, `12h` or `90m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age(pub(super) u64);

impl FromStr for Age {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("{text:?} is no age; write such as 7d, 36h or 90m"));
        let units = [('d', 86_400), ('h', 3_600), ('m', 60)];
        let found = units
            .iter()
            .find_map(|(unit, secs)| Some((text.strip_suffix(*unit)?, *secs)));
        let (number, secs) = found.ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_number| wrong())?;
        number.checked_mul(secs).map(Self).ok_or_else(wrong)
    }
}

/// `PROJECT/RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSpec {
    /// The project.
    pub project: ProjectName,
    /// The run.
    pub run: RunName,
}

impl FromStr for RunSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (project, run) = text.split_once('/').ok_or_else(|| {
            Error::invalid(format!(
                "{text:?} names no run; write PROJECT/RUN, such as mnist/brave-otter"
            ))
        })?;
        Ok(Self {
            project: project.parse()?,
            run: run.parse()?,
        })
    }
}

impl fmt::Display for RunSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.run)
    }
}

/// `PROJECT/NAME`, `PROJECT/NAME@VERSION` or `PROJECT/NAME@ALIAS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSpec {
    /// The project.
    pub project: ProjectName,
    /// The artifact.
    pub artifact: ArtifactName,
    /// The version or the alias after `@`; without it, the newest version.
    pub which: Option<String>,
}

impl FromStr for ArtifactSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "{text:?} names no artifact; write PROJECT/NAME, such as mnist/model, or mnist/model@best"
            ))
        };
        let (project, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (artifact, which) = match rest.split_once('@') {
            Some((_, "")) => return Err(wrong()),
            Some((artifact, which)) => (artifact, Some(which.to_owned())),
            None => (rest, None),
        };
        Ok(Self {
            project: project.parse()?,
            artifact: artifact.parse()?,
            which,
        })
    }
}

impl fmt::Display for ArtifactSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.artifact)?;
        self.which
            .as_ref()
            .map_or(Ok(()), |which| write!(f, "@{which}"))
    }
}

/// `COLUMN=EXPRESSION`: a column and the SQL that gives its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The column.
    pub column: String,
    /// The expression.
    pub expression: String,
}

impl FromStr for Assignment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text
            .split_once('=')
            .map(|(column, expression)| (column.trim(), expression.trim()))
        {
            Some((column, expression)) if !column.is_empty() && !expression.is_empty() => {
                Ok(Self {
                    column: column.to_owned(),
                    expression: expression.to_owned(),
                })
            }
            _ => Err(Error::invalid(format!(
                "{text:?} sets no column; write COLUMN=EXPRESSION, such as label=7 or weight=weight/2"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: FromStr<Err = Error> + fmt::Debug>(
        text: &str,
        expected: &str,
        show: impl Fn(&T) -> String,
    ) {
        let found = text
            .parse::<T>()
            .map_or_else(|err| err.to_string(), |spec| show(&spec));
        assert!(
            found.starts_with(expected),
            "{text:?} gave {found:?}, not {expected:?}"
        );
    }

    #[test]
    fn a_table_is_a_project_a_table_and_perhaps_a_revision() {
        let show =
            |spec: &TableSpec| format!("{} {} {:?}", spec.project, spec.table, spec.revision);
        check("mnist/train", "mnist train None", show);
        check("mnist/train@7", "mnist train Some(\"7\")", show);
        check("mnist/train@main", "mnist train Some(\"main\")", show);
        check("Zahlen-1.0/Übung_2", "Zahlen-1.0 Übung_2 None", show);
        for wrong in ["", "mnist", "mnist/train@"] {
            check(wrong, &format!("{wrong:?} names no table"), show);
        }
        check("/train", "\"\" cannot name a project", show);
        check("mnist/", "\"\" cannot name a table", show);
        check("mnist/a/b", "\"a/b\" cannot name a table", show);
        check("../train", "\"..\" cannot name a project", show);
    }

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        let show = |age: &Age| age.0.to_string();
        check("7d", "604800", show);
        check("36h", "129600", show);
        check("90m", "5400", show);
        for wrong in ["", "7", "d", "-1d", "7w", "99999999999999999999d"] {
            check(wrong, &format!("{wrong:?} is no age"), show);
        }
    }

    #[test]
    fn a_run_is_a_project_and_a_run() {
        let show = ToString::to_string;
        check::<RunSpec>("mnist/first", "mnist/first", show);
        check::<RunSpec>("mnist", "\"mnist\" names no run", show);
        check::<RunSpec>("mnist/..", "\"..\" cannot name a run", show);
    }

    #[test]
    fn an_artifact_is_a_project_a_name_and_perhaps_a_version() {
        let show =
            |spec: &ArtifactSpec| format!("{} {} {:?}", spec.project, spec.artifact, spec.which);
        check("mnist/model", "mnist model None", show);
        check("mnist/model@3", "mnist model Some(\"3\")", show);
        check("mnist/model@best", "mnist model Some(\"best\")", show);
        for wrong in ["", "mnist", "mnist/model@"] {
            check(wrong, &format!("{wrong:?} names no artifact"), show);
        }
        check("mnist/", "\"\" cannot name an artifact", show);
        check("mnist/a/b", "\"a/b\" cannot name an artifact", show);
    }

    #[test]
    fn an_assignment_is_cut_at_the_first_equals_sign() {
        let show = |set: &Assignment| format!("{} := {}", set.column, set.expression);
        check("label=7", "label := 7", show);
        check(" ok = label = 7 ", "ok := label = 7", show);
        for wrong in ["label", "=7", "label="] {
            check(wrong, &format!("{wrong:?} sets no column"), show);
        }
    }
}
