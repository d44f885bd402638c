//! The table of what was measured, in Markdown, beside what was aimed at and what others took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::measure::{Paired, median};

/// What a line should not exceed.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    None,
    Time(Duration),
    Bytes(u64),
    /// As a multiple of the reference.
    Ratio(f64),
}

/// The lines so far.
pub(crate) struct Report {
    peers: BTreeMap<(String, String), Vec<f64>>,
    lines: Vec<String>,
}

/// Others, as they call themselves in their lines of JSON, and the heads of their columns.
const PEERS: [(&str, &str); 3] = [
    ("lance", "Lance"),
    ("lance_index", "Lance, indexed"),
    ("delta", "Delta Lake"),
];

impl Report {
    /// `peers` is text with one JSON object a line: `peer`, and figures by their keys.
    pub(crate) fn new(peers: &str) -> Self {
        let mut figures: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for line in peers.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let peer = line["peer"].as_str().unwrap();
            for (key, figure) in line.as_object().unwrap() {
                let own = figures.entry((peer.to_owned(), key.clone())).or_default();
                own.extend(figure.as_f64());
            }
        }
        let heads: Vec<&str> = PEERS.iter().map(|peer| peer.1).collect();
        let heads = heads.join(" | ");
        let lines = vec![
            format!("| what | ours | reference | ratio | aim | {heads} |"),
            format!("|---|---|---|---|---|{}", "---|".repeat(PEERS.len())),
        ];
        Self {
            peers: figures,
            lines,
        }
    }

    /// Begins a part of the table.
    pub(crate) fn part(&mut self, name: &str) {
        let empty = " |".repeat(4 + PEERS.len());
        self.push(format!("| **{name}** |{empty}"));
    }

    /// A time, beside one of the least that could be done or of what is usual.
    pub(crate) fn paired(&mut self, what: &str, key: &str, measured: &Paired, aim: Aim) {
        let (ours, reference) = (measured.ours(), measured.reference());
        let is_met = match aim {
            Aim::Ratio(most) => measured.ratio() <= most,
            Aim::Time(most) => ours <= most,
            _ => true,
        };
        let (ours, reference) = (millis(ours), millis(reference));
        let ratio = format!("{:.2}", measured.ratio());
        self.line(what, key, [&ours, &reference, &ratio], (aim, is_met));
    }

    pub(crate) fn time(&mut self, what: &str, key: &str, took: Duration, aim: Aim) {
        let is_met = !matches!(aim, Aim::Time(most) if took > most);
        self.line(what, key, [&millis(took), "", ""], (aim, is_met));
    }

    pub(crate) fn bytes(&mut self, what: &str, key: &str, n: u64, aim: Aim) {
        let is_met = !matches!(aim, Aim::Bytes(most) if n > most);
        self.line(what, key, [&grouped(n as f64), "", ""], (aim, is_met));
    }

    fn line(&mut self, what: &str, key: &str, own: [&str; 3], (aim, is_met): (Aim, bool)) {
        let missed = if is_met { "" } else { ", **missed**" };
        let aim = match aim {
            Aim::None => String::new(),
            aim => format!("{aim}{missed}"),
        };
        let peers = PEERS.iter().map(|peer| self.peer(peer.0, key));
        let peers: Vec<String> = peers.collect();
        let (own, peers) = (own.join(" | "), peers.join(" | "));
        self.push(format!("| {what} | {own} | {aim} | {peers} |"));
    }

    fn peer(&self, peer: &str, key: &str) -> String {
        let Some(figures) = self.peers.get(&(peer.to_owned(), key.to_owned())) else {
            return String::new();
        };
        let mut figures = figures.clone();
        figures.sort_by(f64::total_cmp);
        let figure = figures[figures.len() / 2];
        match key.ends_with("_ms") {
            true => millis(Duration::from_secs_f64(figure / 1e3)),
            false => grouped(figure),
        }
    }

    /// Keeps a line, and shows it at once: a run takes minutes.
    fn push(&mut self, line: String) {
        eprintln!("{line}");
        self.lines.push(line);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Time(most) => write!(f, "≤ {}", millis(*most)),
            Self::Bytes(most) => write!(f, "≤ {}", grouped(*most as f64)),
            Self::Ratio(most) => write!(f, "≤ {most} x"),
        }
    }
}

pub(crate) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..10.0 => format!("{millis:.2} ms"),
        ..100.0 => format!("{millis:.1} ms"),
        _ => format!("{millis:.0} ms"),
    }
}

/// `897,189`.
fn grouped(n: f64) -> String {
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

/// The median and the 99th percentile.
pub(crate) fn tail(times: &[Duration]) -> (Duration, Duration) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let last = sorted.get(sorted.len() * 99 / 100).copied();
    (median(times.iter().copied()), last.unwrap_or_default())
}
