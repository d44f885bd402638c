//! A history drawn as a graph: who followed whom, in `*`, `|`, `/`, `\` and `_`.
//!
//! Revisions stand one below the other, newest first, each in a lane. A lane waits for one revision,
//! and no two wait for the same: as soon as two do, they join.

/// A revision, as far as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Its number.
    pub(super) revision: u64,
    /// The numbers of the revisions that it follows.
    pub(super) parents: Vec<u64>,
}

/// What stands before one revision, and below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    /// The line of the revision.
    pub(super) own: String,
    /// Lines that lead on to the next.
    pub(super) below: Vec<String>,
}

/// Draws revisions, of which each stands before those that it follows.
pub(super) fn draw(nodes: &[Node]) -> Vec<Drawn> {
    let mut lanes = Lanes::default();
    nodes.iter().map(|node| lanes.draw(node)).collect()
}

/// The revision that each lane waits for, from left to right.
#[derive(Default)]
struct Lanes(Vec<u64>);

impl Lanes {
    fn draw(&mut self, node: &Node) -> Drawn {
        let lane = self.waiting_for(node.revision).unwrap_or_else(|| {
            self.0.push(node.revision);
            self.0.len() - 1
        });
        let mut line = self.straight(self.0.len());
        put(&mut line, 2 * lane, '*');
        let own = text(&line);
        Drawn {
            own,
            below: self.lead_on(lane, &node.parents),
        }
    }

    fn waiting_for(&self, revision: u64) -> Option<usize> {
        self.0.iter().position(|waited| *waited == revision)
    }

    /// The lane of a revision that was drawn goes on to those that it follows.
    fn lead_on(&mut self, lane: usize, parents: &[u64]) -> Vec<String> {
        let Some((first, others)) = parents.split_first() else {
            self.0.remove(lane);
            let shifted = lane < self.0.len();
            return shifted
                .then(|| self.shifted_left(lane))
                .into_iter()
                .collect();
        };
        self.0[lane] = *first;
        let mut lines: Vec<String> = self.join().into_iter().collect();
        for other in others {
            let at = self.waiting_for(*first).unwrap_or(lane);
            lines.push(self.open(at, *other));
            lines.extend(self.join());
        }
        lines
    }

    /// Opens a lane to the right of `lane`.
    fn open(&mut self, lane: usize, revision: u64) -> String {
        let mut line = self.straight(lane + 1);
        for at in lane..self.0.len() {
            put(&mut line, 2 * at + 1, '\\');
        }
        self.0.insert(lane + 1, revision);
        text(&line)
    }

    /// Makes one of two lanes that wait for the same revision, if there are two.
    fn join(&mut self) -> Option<String> {
        let (from, to) = (0..self.0.len()).find_map(|from| {
            let to = self.waiting_for(self.0[from])?;
            (to < from).then_some((from, to))
        })?;
        self.0.remove(from);
        let mut line = self.shifted_left_chars(from);
        for at in to + 1..from {
            put(&mut line, 2 * at - 1, '_');
        }
        put(&mut line, 2 * from - 1, '/');
        Some(text(&line))
    }

    fn straight(&self, n: usize) -> Vec<char> {
        let mut line = Vec::new();
        for lane in 0..n {
            put(&mut line, 2 * lane, '|');
        }
        line
    }

    /// The lanes from `lane` on come from one further to the right.
    fn shifted_left(&self, lane: usize) -> String {
        text(&self.shifted_left_chars(lane))
    }

    fn shifted_left_chars(&self, lane: usize) -> Vec<char> {
        let mut line = self.straight(lane);
        for at in lane..self.0.len() {
            put(&mut line, 2 * at + 1, '/');
        }
        line
    }
}

fn put(line: &mut Vec<char>, at: usize, c: char) {
    if line.len() <= at {
        line.resize(at + 1, ' ');
    }
    line[at] = c;
}

fn text(line: &[char]) -> String {
    line.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history as `3:1,2 2:0 1:0 0:` (newest first) against the lines drawn, each revision with its number.
    #[track_caller]
    fn check(history: &str, expected: &[&str]) {
        let node = |word: &str| {
            let (revision, parents) = word.split_once(':').unwrap();
            let parents = parents.split(',').filter(|parent| !parent.is_empty());
            Node {
                revision: revision.parse().unwrap(),
                parents: parents.map(|parent| parent.parse().unwrap()).collect(),
            }
        };
        let nodes: Vec<Node> = history.split_whitespace().map(node).collect();
        let mut lines = Vec::new();
        for (node, drawn) in nodes.iter().zip(draw(&nodes)) {
            lines.push(format!("{} {}", drawn.own, node.revision));
            lines.extend(drawn.below);
        }
        assert_eq!(lines, expected, "{history}");
    }

    #[test]
    fn one_line_is_stars() {
        check("2:1 1:0 0:", &["* 2", "* 1", "* 0"]);
        check("0:", &["* 0"]);
        check("", &[]);
    }

    #[test]
    fn a_branch_joins_where_it_began() {
        check("2:0 1:0 0:", &["* 2", "| * 1", "|/", "* 0"]);
        check(
            "4:2 3:1 2:1 1:0 0:",
            &["* 4", "| * 3", "* | 2", "|/", "* 1", "* 0"],
        );
    }

    #[test]
    fn a_merge_opens_a_lane() {
        check(
            "3:1,2 2:0 1:0 0:",
            &["* 3", "|\\", "| * 2", "* | 1", "|/", "* 0"],
        );
    }

    #[test]
    fn a_fast_forward_follows_what_was_merged() {
        check(
            "3:2,1 2:1 1:0 0:",
            &["* 3", "|\\", "* | 2", "|/", "* 1", "* 0"],
        );
    }

    #[test]
    fn two_branches_lie_side_by_side() {
        check(
            "3:0 2:0 1:0 0:",
            &["* 3", "| * 2", "|/", "| * 1", "|/", "* 0"],
        );
        check(
            "6:3 5:2 4:1 3:0 2:0 1:0 0:",
            &[
                "* 6", "| * 5", "| | * 4", "* | | 3", "| * | 2", "|/ /", "| * 1", "|/", "* 0",
            ],
        );
    }

    #[test]
    fn a_lane_passes_others_on_its_way() {
        check(
            "5:2 4:1 3:2 2:0 1:0 0:",
            &[
                "* 5", "| * 4", "| | * 3", "|_|/", "* | 2", "| * 1", "|/", "* 0",
            ],
        );
    }

    #[test]
    fn a_merge_of_what_is_waited_for_joins_at_once() {
        check(
            "5:2 4:3,2 3:0 2:0 0:",
            &[
                "* 5", "| * 4", "| |\\", "|_|/", "| * 3", "* | 2", "|/", "* 0",
            ],
        );
    }
}
