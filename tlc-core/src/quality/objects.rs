//! ObjectLab (Tkachenko, Thyagarajan and Mueller, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object Detection
//! Data", 2023): which boxes of an image are probably missing, of the wrong class or badly placed. Plain functions, and no
//! I/O; where the paper leaves something open, it is as in cleanlab 2.
//!
//! Two boxes are similar by 0.9 of their IoU and 0.1 of `exp(-distance / 10)` of their centres. So corners are taken to be
//! in pixels: of corners from 0 to 1 all centres are near.

/// How much the IoU counts in a similarity.
const IOU_SHARE: f64 = 0.9;

/// How fast boxes become dissimilar with the distance of their centres.
const DISTANCE_FACTOR: f64 = 0.1;

/// A predicted box that is as sure as this is taken for an object.
const SURE: f64 = 0.95;

/// A predicted box that is surer than this says where an object is.
const LIKELY: f64 = 0.5;

/// True boxes of different classes that overlap as much as this contradict each other.
const SAME_PLACE: f64 = 0.95;

/// What boxes cover together, at least.
const AREA_MIN: f64 = 1e-6;

/// A box of known class; the score is that of a predicted one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Labelled {
    pub(super) id: i64,
    pub(super) class: i32,
    /// `x_min`, `y_min`, `x_max`, `y_max`.
    pub(super) corners: [f64; 4],
    pub(super) score: f64,
}

impl Labelled {
    fn area(&self) -> f64 {
        let [x_min, y_min, x_max, y_max] = self.corners;
        (x_max - x_min) * (y_max - y_min)
    }

    fn iou(&self, other: &Self) -> f64 {
        let ([a, b, c, d], [e, f, g, h]) = (self.corners, other.corners);
        let (width, height) = (c.min(g) - a.max(e), d.min(h) - b.max(f));
        if width < 0.0 || height < 0.0 {
            return 0.0;
        }
        let shared = width * height;
        shared / (self.area() + other.area() - shared).max(AREA_MIN)
    }

    fn similarity(&self, other: &Self) -> f64 {
        let centre = |corners: [f64; 4], at: usize| {
            let [x_min, y_min, x_max, y_max] = corners;
            if at == 0 {
                (x_min + x_max) / 2.0
            } else {
                (y_min + y_max) / 2.0
            }
        };
        let off = |at| centre(self.corners, at) - centre(other.corners, at);
        // Of boxes that are very far apart nothing is left, as in cleanlab.
        let nearness = 1.0 - (1.0 - (-off(0).hypot(off(1)) * DISTANCE_FACTOR).exp());
        IOU_SHARE * self.iou(other) + (1.0 - IOU_SHARE) * nearness
    }
}

/// The boxes of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) row_id: u64,
    pub(super) predicted: Vec<Labelled>,
    pub(super) real: Vec<Labelled>,
}

/// A box that is doubted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BoxDoubt {
    pub(super) row_id: u64,
    pub(super) issue: &'static str,
    /// From 0 for the worst to 1.
    pub(super) score: f64,
    /// Of a predicted box if one was overlooked, else of a true one.
    pub(super) id: i64,
    pub(super) label: Option<i32>,
    pub(super) suggested: Option<i32>,
}

/// The least similarity above 0 of a true and a predicted box of the same image, and 1 at most.
pub(super) fn least_similarity(images: &[Image]) -> f64 {
    let pairs = images.iter().flat_map(|image| {
        let real = image.real.iter();
        real.flat_map(|real| image.predicted.iter().map(|other| real.similarity(other)))
    });
    pairs
        .filter(|similarity| *similarity > 0.0)
        .fold(1.0, f64::min)
}

/// What is doubted of an image: boxes with a score below 1.
pub(super) fn doubts(image: &Image, least: f64) -> Vec<BoxDoubt> {
    let doubt = |issue, of: &Labelled, score, suggested| BoxDoubt {
        row_id: image.row_id,
        issue,
        score,
        id: of.id,
        label: (issue != "overlooked").then_some(of.class),
        suggested,
    };
    let overlooked = image.predicted.iter().filter_map(|one| {
        let score = overlooked(one, &image.real, least)?;
        Some(doubt("overlooked", one, score, Some(one.class)))
    });
    let swapped = image.real.iter().map(|one| {
        let (score, class) = swapped(one, image, least);
        doubt("swapped", one, score, class)
    });
    let badly = image
        .real
        .iter()
        .map(|one| doubt("badly_located", one, located(one, &image.predicted), None));
    let all = overlooked.chain(swapped).chain(badly);
    all.filter(|doubt| doubt.score < 1.0).collect()
}

/// How well true boxes account for a predicted one that is sure and that no true box touches.
fn overlooked(one: &Labelled, real: &[Labelled], least: f64) -> Option<f64> {
    if one.score < SURE || real.iter().any(|real| real.iou(one) > 0.0) {
        return None;
    }
    let same = real.iter().filter(|real| real.class == one.class);
    let nearest = same.map(|real| real.similarity(one)).reduce(f64::max);
    Some(nearest.unwrap_or(least * (1.0 - one.score)))
}

/// How little is known against the class of a true box, and which class it should be.
fn swapped(one: &Labelled, image: &Image, least: f64) -> (f64, Option<i32>) {
    let contradicts = |other: &Labelled| other.class != one.class && other.iou(one) >= SAME_PLACE;
    if image.real.iter().any(contradicts) {
        return (least, None);
    }
    let others = image.predicted.iter();
    let others = others.filter(|other| other.class != one.class && other.score > SURE);
    let others = others.map(|other| (one.similarity(other), other.class));
    match others.reduce(|a, b| if b.0 > a.0 { b } else { a }) {
        Some((similarity, class)) => ((1.0 - similarity).max(least), Some(class)),
        None => (1.0, None),
    }
}

/// How near a true box is to the likely ones of its class that touch it.
fn located(one: &Labelled, predicted: &[Labelled]) -> f64 {
    let likely = predicted
        .iter()
        .filter(|other| other.class == one.class && other.score > LIKELY && other.iou(one) > 0.0);
    likely
        .map(|other| one.similarity(other))
        .reduce(f64::max)
        .unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boxes such as `7:1:0.99:0,0,10,10`, an id, a class, a score and corners.
    fn boxes(text: &str) -> Vec<Labelled> {
        let one = |word: &str| {
            let parts: Vec<&str> = word.split(':').collect();
            let corners = parts[3].split(',').map(|corner| corner.parse().unwrap());
            let corners: Vec<f64> = corners.collect();
            Labelled {
                id: parts[0].parse().unwrap(),
                class: parts[1].parse().unwrap(),
                score: parts[2].parse().unwrap(),
                corners: corners.try_into().unwrap(),
            }
        };
        text.split_whitespace().map(one).collect()
    }

    /// True and predicted boxes; the doubts as `issue:id:score:label:suggested`.
    #[track_caller]
    fn check(real: &str, predicted: &str, expected: &str) {
        let image = Image {
            row_id: 3,
            predicted: boxes(predicted),
            real: boxes(real),
        };
        let least = least_similarity(std::slice::from_ref(&image));
        let class = |class: Option<i32>| class.map_or("-".to_owned(), |class| class.to_string());
        let word = |doubt: &BoxDoubt| {
            let BoxDoubt {
                issue,
                id,
                score,
                label,
                suggested,
                ..
            } = *doubt;
            format!(
                "{issue}:{id}:{score:.4}:{}:{}",
                class(label),
                class(suggested)
            )
        };
        let found: Vec<String> = doubts(&image, least).iter().map(word).collect();
        assert_eq!(found.join(" "), expected, "{real} and {predicted}");
    }

    #[test]
    fn boxes_that_agree_are_not_doubted() {
        check("1:0:0:0,0,10,10", "0:0:0.99:0,0,10,10", "");
        check("", "", "");
        check("1:0:0:0,0,10,10", "", "");
        // Not sure enough of anything.
        check("1:0:0:0,0,10,10", "0:1:0.95:0,0,10,10 1:0:0.5:0,0,9,10", "");
        check("1:0:0:0,0,10,10", "0:0:0.94:50,0,60,10", "");
    }

    #[test]
    fn a_sure_box_that_nothing_touches_was_overlooked() {
        // 0.1 exp(-5) is the only similarity there is.
        check(
            "1:0:0:0,0,10,10",
            "0:1:0.99:50,0,60,10",
            "overlooked:0:0.0000:-:1 swapped:1:0.9993:0:1",
        );
        check(
            "1:0:0:0,0,10,10",
            "0:0:0.95:20,0,30,10",
            "overlooked:0:0.0135:-:0",
        );
        check("", "4:2:1:0,0,10,10", "overlooked:4:0.0000:-:2");
        // The only pair is too far apart to be similar at all.
        check(
            "1:0:0:0,0,10,10",
            "0:1:0.99:600,600,650,650",
            "overlooked:0:0.0100:-:1",
        );
    }

    #[test]
    fn a_true_box_where_another_class_is_sure_was_swapped() {
        // What is far away makes the least similarity small, which no score is below.
        let far = "9:0:0.3:50,0,60,10";
        let one = "1:0:0:0,0,10,10";
        check(
            one,
            &format!("0:1:0.99:0,0,10,10 {far}"),
            "swapped:1:0.0007:0:1",
        );
        check(
            one,
            &format!("0:1:0.99:0,0,10,5 1:2:0.96:0,0,10,8 {far}"),
            "swapped:1:0.1895:0:2",
        );
        check(
            one,
            "0:1:0.99:0,0,10,5 1:2:0.96:0,0,10,8",
            "swapped:1:0.5279:0:2",
        );
        let both = "1:0:0:0,0,10,10 2:1:0:0,0,10,10";
        let expected = "swapped:1:0.5279:0:- swapped:2:0.5279:1:- badly_located:1:0.5279:0:-";
        check(both, "0:0:0.9:0,0,10,5", expected);
    }

    #[test]
    fn a_true_box_beside_a_likely_one_is_badly_located() {
        check(
            "1:0:0:0,0,10,10",
            "0:0:0.9:0,0,10,5 1:0:0.6:0,0,10,8",
            "badly_located:1:0.8105:0:-",
        );
    }
}
