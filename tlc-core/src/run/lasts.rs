//! The names that a writer has met, and the last value of each: what the entry says that ends the run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::buffer::Scalars;
use super::record::{Lasts, as_logged, keep_last_of_some};
use crate::format::run::Last;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LastValues {
    /// By their numbers.
    names: Vec<Arc<str>>,
    /// By the numbers of names, the largest step and the value there.
    lasts: Vec<Option<(i64, f64)>>,
    /// Of names whose numbers were forgotten.
    earlier: Lasts,
}

impl LastValues {
    /// The texts of names by their numbers.
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Meets new names, whose numbers follow those before, and scalars.
    pub(crate) fn add(&mut self, names: &mut Vec<Arc<str>>, scalars: &Scalars) {
        self.names.append(names);
        self.lasts.resize(self.names.len(), None);
        let points = scalars.names.iter().zip(&scalars.steps);
        for ((name, step), value) in points.zip(&scalars.values) {
            if let Some(last) = self.lasts.get_mut(*name as usize)
                && last.is_none_or(|(last, _)| *step >= last)
            {
                *last = Some((*step, *value));
            }
        }
    }

    /// Names are numbered anew from now on.
    pub(crate) fn forget_names(&mut self) {
        for (name, last) in self.names.drain(..).zip(self.lasts.drain(..)) {
            if let Some((step, value)) = last {
                // Its writer is of one attempt.
                keep_last_of_some(&mut self.earlier, &name, (0, step), value);
            }
        }
    }

    /// The last values of all names that were ever met, as the log says them; nothing is left.
    pub(crate) fn take(&mut self) -> BTreeMap<String, Last> {
        self.forget_names();
        as_logged(std::mem::take(&mut self.earlier))
    }
}
