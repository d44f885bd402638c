//! How long the training thread waits at each step, beside a vector behind a lock.

use std::sync::Mutex;
use std::time::Duration;

use tlc_core::RunOptions;

use super::measure::{Paired, quantile, time};
use super::report::Report;
use super::{ROUNDS, each_step, open};

/// A vector behind a lock, emptied now and then as a writer would.
#[derive(Default)]
struct Pushed(Mutex<Vec<(String, i64, f64)>>);

impl Pushed {
    fn log(&self, step: i64, values: &[(&str, f64)]) {
        let mut rows = self.0.lock().unwrap();
        if rows.len() > 1 << 16 {
            rows.clear();
        }
        let owned = values.iter();
        let owned = owned.map(|(name, value)| ((*name).to_owned(), step, *value));
        rows.extend(owned);
    }
}

pub(crate) fn training_thread(values: &[[f64; 10]], report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let project = open(folder.path());
    let pushed = Pushed::default();
    let (mut middle, mut late) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let options = RunOptions::from(format!("run-{round}")).without_system();
        let run = project.start_run(options).unwrap();
        let ours = waits(values, |step, named| run.log(step, named));
        assert_eq!(run.finish().unwrap().warning(), None);
        let reference = waits(values, |step, named| pushed.log(step, named));
        middle.push((at(&ours, 50), at(&reference, 50)));
        late.push((at(&ours, 99), at(&reference, 99)));
    }
    for (percent, times, aim) in [(50, middle, "≤ 0.3 µs"), (99, late, "≤ 3 µs")] {
        let times: Paired = times.into_iter().collect();
        let what = format!("a step of ten, in the training thread, p{percent}");
        report.line(&what, &format!("step_p{percent}_us"), &times, aim);
    }
}

fn waits(values: &[[f64; 10]], mut log: impl FnMut(i64, &[(&str, f64)])) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(values.len());
    each_step(values, |step, named| {
        waits.push(time(&mut || log(step, named)));
    });
    waits
}

fn at(waits: &[Duration], percent: usize) -> Duration {
    quantile(waits.iter().copied(), percent)
}
