//! The table of what was measured, in Markdown, beside what was aimed at and what others took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::measure::Paired;

/// The lines so far, and the figures of others by their name and by key.
pub(crate) struct Report {
    peers: BTreeMap<(String, String), Vec<f64>>,
    lines: Vec<Line>,
}

struct Line {
    what: String,
    /// Under which others tell theirs.
    key: String,
    /// Ours, the reference, the ratio and the aim.
    own: [String; 4],
}

/// What was measured: a time, a number, or a time beside that of the reference.
pub(crate) enum Figure {
    Time(Duration),
    Number(f64),
    Beside {
        ours: Duration,
        reference: Duration,
        ratio: f64,
    },
}

/// Others, as they call themselves in their lines of JSON, and the heads of their columns.
const PEERS: [(&str, &str); 9] = [
    ("trackio", "trackio"),
    ("wandb", "wandb, offline"),
    ("swanlab", "SwanLab, offline"),
    ("tensorboardX", "tensorboardX"),
    ("mlflow", "MLflow, SQLite"),
    ("duckdb", "DuckDB"),
    ("lance", "Lance"),
    ("lance_index", "Lance, indexed"),
    ("delta", "Delta Lake"),
];

impl Report {
    /// No lines, and what the file after `--peers` tells: one JSON object a line with `peer`, and
    /// figures by their keys. Of a figure that is told more than once the median counts.
    pub(crate) fn new() -> Self {
        let mut arguments = std::env::args().skip_while(|argument| argument != "--peers");
        let file = arguments.nth(1);
        let text = file.map(|file| std::fs::read_to_string(file).unwrap());
        let mut peers: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for line in text.unwrap_or_default().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let peer = line["peer"].as_str().unwrap();
            assert!(PEERS.iter().any(|known| known.0 == peer), "{peer}");
            for (key, figure) in line.as_object().unwrap() {
                let own = peers.entry((peer.to_owned(), key.clone())).or_default();
                own.extend(figure.as_f64());
            }
        }
        Self {
            peers,
            lines: Vec::new(),
        }
    }

    /// Begins a part of the table.
    pub(crate) fn part(&mut self, name: &str) {
        self.push(&format!("**{name}**"), "", Default::default());
    }

    /// What was measured, and an aim such as `≤ 3 ms`, `≤ 1.1 x` of the reference, `≥ 2,000,000`, or none.
    pub(crate) fn line(&mut self, what: &str, key: &str, figure: impl Into<Figure>, aim: &str) {
        let figure = figure.into();
        let missed = match aim.is_empty() || figure.meets(aim) {
            true => "",
            false => ", **missed**",
        };
        let aim = format!("{aim}{missed}");
        let own = match figure {
            Figure::Time(took) => [shown(took), String::new(), String::new(), aim],
            Figure::Number(n) => [grouped(n), String::new(), String::new(), aim],
            Figure::Beside {
                ours,
                reference,
                ratio,
            } => [shown(ours), shown(reference), format!("{ratio:.2}"), aim],
        };
        self.push(what, key, own);
    }

    /// Keeps a line, and shows it at once: a run takes minutes.
    fn push(&mut self, what: &str, key: &str, own: [String; 4]) {
        eprintln!("{}", format!("{what}  {}", own.join("  ")).trim_end());
        let (what, key) = (what.to_owned(), key.to_owned());
        self.lines.push(Line { what, key, own });
    }

    fn figure(&self, peer: &str, key: &str) -> Option<f64> {
        let mut figures = self.peers.get(&(peer.to_owned(), key.to_owned()))?.clone();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    fn cell(&self, peer: &str, key: &str) -> String {
        let Some(figure) = self.figure(peer, key) else {
            return String::new();
        };
        match key.rsplit('_').next() {
            Some("ms") => shown(Duration::from_secs_f64(figure / 1e3)),
            Some("us") => shown(Duration::from_secs_f64(figure / 1e6)),
            _ => grouped(figure),
        }
    }
}

/// With a column for each of the others who told a figure of this table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_told = |peer: &str| {
            let mut lines = self.lines.iter();
            lines.any(|line| self.figure(peer, &line.key).is_some())
        };
        let peers: Vec<_> = PEERS.iter().filter(|peer| has_told(peer.0)).collect();
        let own = ["what", "ours", "reference", "ratio", "aim"].map(ToOwned::to_owned);
        let heads = peers.iter().map(|peer| peer.1.to_owned());
        writeln!(f, "{}", row(own.into_iter().chain(heads)))?;
        writeln!(f, "|{}", "---|".repeat(5 + peers.len()))?;
        for Line { what, key, own } in &self.lines {
            let own = [what.clone()].into_iter().chain(own.clone());
            let told = peers.iter().map(|peer| self.cell(peer.0, key));
            writeln!(f, "{}", row(own.chain(told)))?;
        }
        Ok(())
    }
}

/// `| a | | c |`.
fn row(cells: impl Iterator<Item = String>) -> String {
    let cells = cells.map(|cell| match cell.is_empty() {
        true => " |".to_owned(),
        false => format!(" {cell} |"),
    });
    ["|".to_owned()].into_iter().chain(cells).collect()
}

impl Figure {
    /// An aim of another kind is not met.
    fn meets(&self, aim: &str) -> bool {
        let (sign, bound) = aim.split_once(' ').unwrap();
        let (bound, unit) = bound.split_once(' ').unwrap_or((bound, ""));
        let bound: f64 = bound.replace(',', "").parse().unwrap();
        let own = match (self, unit) {
            (Self::Time(ours) | Self::Beside { ours, .. }, "ms") => ours.as_secs_f64() * 1e3,
            (Self::Time(ours) | Self::Beside { ours, .. }, "µs") => ours.as_secs_f64() * 1e6,
            (Self::Beside { ratio, .. }, "x") => *ratio,
            (Self::Number(ours), "") => *ours,
            _ => return false,
        };
        match sign {
            "≥" => own >= bound,
            _ => own <= bound,
        }
    }
}

impl From<Duration> for Figure {
    fn from(took: Duration) -> Self {
        Self::Time(took)
    }
}

impl From<f64> for Figure {
    fn from(n: f64) -> Self {
        Self::Number(n)
    }
}

impl From<u64> for Figure {
    fn from(n: u64) -> Self {
        Self::Number(n as f64)
    }
}

impl From<&Paired> for Figure {
    fn from(measured: &Paired) -> Self {
        Self::Beside {
            ours: measured.ours(),
            reference: measured.reference(),
            ratio: measured.ratio(),
        }
    }
}

/// `0.28 µs`, `1.90 ms`, `20.0 s`.
fn shown(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..0.01 => format!("{:.2} µs", millis * 1e3),
        ..0.1 => format!("{:.1} µs", millis * 1e3),
        ..10.0 => format!("{millis:.2} ms"),
        ..100.0 => format!("{millis:.1} ms"),
        ..10_000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1e3),
    }
}

/// `897,189`, and `7.59`.
pub(crate) fn grouped(n: f64) -> String {
    if n < 100.0 {
        return format!("{n:.2}");
    }
    let digits = format!("{n:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
