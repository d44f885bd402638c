"""Compares what tlc says is wrong with data with what cleanlab, scikit-learn and numpy say of the same samples.

Usage: reference.py FOLDER [ROOT TLC], with FOLDER as tlc-core's tests `quality::` wrote it with TLC_QUALITY_OUT=FOLDER. Each folder in
it holds samples and our answers about them, as lines without a header:

`samples.csv` (row id, label, probabilities): for each selection and ranking of confident learning a file of row id, score, label,
suggested. The same row ids are demanded in the same order, with the same suggestions and scores, as cleanlab's.

`epochs.csv` (epoch, row id, label or -1, loss or nan, logits): `areas.csv` and `below.csv` of row id, area, label, suggested, all samples and those
below the threshold; `loss_trend.csv` of row id, score, mean, last; `forgotten.csv` of row id, how often, score, whether it was ever learnt. The same is
computed by the definitions with numpy; that of forgetting is of Toneva et al. 2019.

`vectors.csv` (row id, values): `nearest.csv` of row id, neighbour, distance; `near_duplicates.csv` of row id, score, nearest, distance, group;
`outliers.csv` of row id, score, distance. Neighbours are scikit-learn's, what they say is cleanlab's.

`embeddings.csv` (values): `pca-2.csv`, `pca-3.csv` and `umap-2.csv` of a place for each. Principal components are scikit-learn's; of UMAP's places
scikit-learn's trustworthiness is demanded.

`photos.csv` (how many there are), `drawn.csv` and `predicted.csv` (photo, id, class, corners, score): `box_issues.csv` of photo, issue, score, box.

With the root that the quickstart wrote to, and the binary of the command, the answers of `label_issues` in SQL about the digits that were
held out are compared in the same way, and with the labels that were planted: most of them must be found, and most of what is found be planted.

Needs cleanlab 2.
"""

import csv
import json
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

# Of equal values numpy's order depends on the machine. A stable one is the order of the rows, as ours is.
argsort = np.argsort
np.argsort = lambda values, *args, **more: argsort(values, *args, **{"kind": "stable", **more})

from cleanlab.datalab.internal.issue_manager.duplicate import NearDuplicateIssueManager  # noqa: E402
from cleanlab.datalab.internal.issue_manager.outlier import OutlierIssueManager  # noqa: E402
from cleanlab.filter import find_label_issues  # noqa: E402
from cleanlab.internal.neighbor.metric import decide_default_metric  # noqa: E402
from cleanlab.object_detection.rank import (  # noqa: E402
    compute_badloc_box_scores,
    compute_overlooked_box_scores,
    compute_swap_box_scores,
)
from cleanlab.outlier import OutOfDistribution  # noqa: E402
from cleanlab.rank import get_label_quality_scores  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.manifold import trustworthiness  # noqa: E402
from sklearn.neighbors import NearestNeighbors  # noqa: E402

SCORE_ERROR_MAX = 1e-6
PLACE_ERROR_MAX = 1e-4  # of places as far from the mean as 4
TRUST_MIN = 0.9
SELECTIONS = ["prune_by_noise_rate", "prune_by_class", "confident_learning"]
RANKINGS = ["self_confidence", "normalized_margin"]
EXTRA_CLASS = 4  # of threshold samples
N_NEIGHBOURS = 10
N_BOX_CLASSES = 3
# What SQL calls them.
IN_SQL = {
    "prune_by_noise_rate": "by_noise_rate",
    "prune_by_class": "by_class",
    "confident_learning": "confident",
    "self_confidence": "self_confidence",
    "normalized_margin": "margin",
}
HELD_OUT = "WHERE run = '{run}' AND stream = 'held_out' AND epoch = 0"
FOUND_MIN = 0.9  # of what was planted, and planted of what was found


class NoDatalab:
    """What an issue manager of cleanlab asks, where nothing was found before."""

    def get_info(self, _name):
        return {}


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def numbers(path: Path) -> np.ndarray:
    return np.array([[float(cell) for cell in row] for row in rows(path)])


def same_rows(found: np.ndarray, expected: np.ndarray) -> str | None:
    """What is different between two tables that begin with a row id, if anything is."""
    if len(found) == 0 and len(expected) == 0:
        return None
    ids = [set(table[:, 0].astype(int)) if len(table) else set() for table in (found, expected)]
    if len(found) != len(expected) or ids[0] != ids[1]:
        return f"misses {sorted(ids[1] - ids[0])}, has {sorted(ids[0] - ids[1])}, of {len(expected)}"
    expected = expected[argsort(expected[:, 0], kind="stable")]
    found = found[argsort(found[:, 0], kind="stable")]
    error = np.abs(found - expected)
    error[np.isnan(found) & np.isnan(expected)] = 0
    # NaN is no small error.
    if not (error <= SCORE_ERROR_MAX).all():
        at = int(np.argmax(~(error <= SCORE_ERROR_MAX).all(axis=1)))
        return f"says {found[at].tolist()}, expected {expected[at].tolist()}"
    return None


def label_issues(folder: Path):
    samples = rows(folder / "samples.csv")
    ids = np.array([int(row[0]) for row in samples])
    labels = np.array([int(row[1]) for row in samples])
    probabilities = np.array([[float(p) for p in row[2:]] for row in samples])
    for selection in SELECTIONS:
        for ranking in RANKINGS:
            found = rows(folder / f"{selection}.{ranking}.csv")
            yield same_issues((ids, labels, probabilities), selection, ranking, found)


def same_issues(samples, selection: str, ranking: str, found: list) -> tuple[str, int, str | None]:
    """The name of the answer, how many rows cleanlab finds, and what is different, if anything is."""
    ids, labels, probabilities = samples
    expected = find_label_issues(labels, probabilities, filter_by=selection, return_indices_ranked_by=ranking, n_jobs=1)
    scores = get_label_quality_scores(labels, probabilities, method=ranking)
    table = [[ids[at], scores[at], labels[at], probabilities[at].argmax()] for at in expected]
    difference = same_rows(np.array(found, dtype=float), np.array(table, dtype=float))
    if not difference and [int(row[0]) for row in found] != ids[expected].tolist():
        difference = "has them in another order"
    return f"{selection}, {ranking}", len(expected), difference


def held_out(root: str, tlc: str):
    """The quickstart's runs of digits that were held out: our answers by SQL, and the labels that it planted."""

    def sql(query: str) -> list:
        command = [tlc, "--root", root, "sql", query, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{query}\nexit status {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    runs = sql("SELECT name FROM mnist.runs WHERE name LIKE 'held-out-%' AND status = 'completed' ORDER BY name")
    for run in [row["name"] for row in runs]:
        of_run = HELD_OUT.format(run=run)
        (revision,) = [row["revision"] for row in sql(f"SELECT DISTINCT revision FROM mnist.samples {of_run}")]
        digits = sql(
            f"""SELECT s._rowid, t.label, s.probabilities FROM mnist.samples s
            JOIN mnist."train@{revision}" t ON t._rowid = s._rowid {of_run} ORDER BY s._rowid"""
        )
        n_rows = sql(f"""SELECT count(*) AS n FROM mnist."train@{revision}" WHERE weight > 0""")[0]["n"]
        ids, labels = (np.array([digit[name] for digit in digits]) for name in ["_rowid", "label"])
        whole = len(digits) == n_rows == len(set(ids.tolist()))
        yield f"{run}, every digit once", n_rows, None if whole else f"has {len(digits)} of {n_rows} digits"
        # What was logged is of 32 bits, and its text is read as one of 64.
        probabilities = np.array([digit["probabilities"] for digit in digits], dtype=np.float32).astype(float)
        for selection in SELECTIONS:
            for ranking in RANKINGS:
                columns = "_rowid, score, label, suggested"
                how = f"'label', 'probabilities', 'none', '{IN_SQL[selection]}', '{IN_SQL[ranking]}'"
                found = sql(f"SELECT {columns} FROM label_issues('mnist/{run}', 'held_out', 0, 'all', {how})")
                found = [list(row.values()) for row in found]
                name, n, difference = same_issues((ids, labels, probabilities), selection, ranking, found)
                yield f"{run}, {name}", n, difference
        planted = sql(f"""SELECT _rowid FROM diff('mnist/train', 0, {revision}) WHERE "column" = 'label'""")
        found = sql(f"SELECT _rowid FROM label_issues('mnist/{run}', 'held_out', 0)")
        planted, found = ({row["_rowid"] for row in answer} for answer in [planted, found])
        precision, recall = (len(planted & found) / max(len(of), 1) for of in [found, planted])
        said = f"{len(found)} found, of {len(planted)} planted: precision {precision:.3f}, recall {recall:.3f}"
        print(f"{run}: {said}")
        yield f"{run}, planted", len(planted), None if min(precision, recall) >= FOUND_MIN else said


def over_epochs(folder: Path):
    margins, losses, last, right = defaultdict(list), defaultdict(list), {}, defaultdict(list)
    for epoch, row_id, label, loss, *logits in rows(folder / "epochs.csv"):
        epoch, row_id, label, loss = int(epoch), int(row_id), int(label), float(loss)
        logits = np.array([float(logit.replace("NaN", "nan")) for logit in logits])
        if label >= 0 and np.isfinite(logits).all():
            others = np.where(np.arange(len(logits)) == label, -np.inf, logits)
            margins[row_id].append(logits[label] - others.max())
            last[row_id] = (label, int(others.argmax()))
            right[row_id].append(logits.argmax() == label)
        if np.isfinite(loss):
            losses[row_id].append((epoch, loss))
    areas = {row_id: np.mean(values) for row_id, values in margins.items()}
    table = np.array([[row_id, area, *last[row_id]] for row_id, area in areas.items()])
    judges = table[:, 2] == EXTRA_CLASS
    threshold = np.percentile(table[judges, 1], 99)
    below = table[~judges & (table[:, 1] < threshold)]
    for name, expected in [("areas", table), ("below", below)]:
        found = numbers(folder / f"{name}.csv")
        in_order = (np.diff(found[:, 1]) >= 0).all()
        yield name, len(expected), same_rows(found, expected) or (None if in_order else "is not by area")

    means = {row_id: np.mean([loss for _, loss in seen]) for row_id, seen in losses.items()}
    high = np.quantile(list(means.values()), 0.9)
    expected = []
    for row_id, seen in losses.items():
        epochs, values = np.array(seen).T
        if len(set(epochs)) > 1 and means[row_id] >= high:
            slope = np.polyfit(epochs, values, 1)[0]
            if slope >= 0:
                expected.append([row_id, -slope, means[row_id], values[-1]])
    yield "loss_trend", len(expected), same_rows(numbers(folder / "loss_trend.csv"), np.array(expected))

    expected = []
    for row_id, accuracies in right.items():
        # A forgetting event is an accuracy that falls; what was never learnt is forgotten most.
        n, learnt = int((np.diff(np.array(accuracies, dtype=int)) < 0).sum()), any(accuracies)
        if n or not learnt:
            expected.append([row_id, n, 1 / (1 + n) if learnt else 0, learnt])
    found = [[cell == "true" if cell in ("true", "false") else float(cell) for cell in row] for row in rows(folder / "forgotten.csv")]
    found, expected = np.array(found, dtype=float), np.array(expected, dtype=float)
    order = np.lexsort((found[:, 0], -found[:, 1], found[:, 3]))
    in_order = (order == np.arange(len(found))).all()
    yield "forgotten", len(expected), same_rows(found, expected) or (None if in_order else "is in another order")


def neighbours(folder: Path):
    vectors = numbers(folder / "vectors.csv")
    ids, features = vectors[:, 0].astype(int), vectors[:, 1:]
    metric = decide_default_metric(features)
    far, near = NearestNeighbors(n_neighbors=N_NEIGHBOURS, metric=metric).fit(features).kneighbors()
    found = numbers(folder / "nearest.csv").reshape(len(ids), N_NEIGHBOURS, 3)
    yield "nearest", far.size, same_neighbours(found, ids, far, near, features)

    manager = NearDuplicateIssueManager(NoDatalab(), k=N_NEIGHBOURS)
    manager.find_issues(features=features)
    scores = manager.issues["near_duplicate_score"].to_numpy()
    groups = [first_of_group(manager.near_duplicate_sets, at) for at in range(len(ids))]
    is_issue = manager.issues["is_near_duplicate_issue"].to_numpy()
    expected = np.array([[ids[at], scores[at], ids[groups[at]]] for at in np.flatnonzero(is_issue)], dtype=float)
    found = numbers(folder / "near_duplicates.csv")
    yield "near_duplicates", len(expected), same_rows(found[:, [0, 1, 4]] if len(found) else found, expected)

    manager = OutlierIssueManager(NoDatalab(), k=N_NEIGHBOURS)
    manager.find_issues(features=features)
    scores = OutOfDistribution(params={"k": N_NEIGHBOURS}).fit_score(features=features, verbose=False)
    is_issue = manager.issues["is_outlier_issue"].to_numpy()
    expected = np.array([[ids[at], scores[at]] for at in np.flatnonzero(is_issue)])
    found = numbers(folder / "outliers.csv")
    yield "outliers", len(expected), same_rows(found[:, :2] if len(found) else found, expected)


def same_neighbours(found, ids, far, near, features) -> str | None:
    """Equal distances, and the same neighbours but where two are as far away."""
    # scikit-learn gives what has no distance a small one; below it the order has no meaning.
    for at, (own, distances, others) in enumerate(zip(found, far, near)):
        if (own[:, 0] != ids[at]).any():
            return f"has {own[:, 0]} where row {ids[at]} was asked for"
        if np.abs(own[:, 2] - distances).max() > SCORE_ERROR_MAX:
            return f"row {ids[at]}: says {own[:, 2]}, expected {distances}"
        for place, other in enumerate(ids[others]):
            as_far = np.abs(distances - distances[place]) < 1e-9
            is_last = distances[-1] - distances[place] < 1e-9
            if own[place, 1] != other and as_far.sum() == 1 and not is_last:
                return f"row {ids[at]}: has {own[place, 1]} where {other} is expected"
    return None


def first_of_group(sets, start: int) -> int:
    """The first sample that near-duplicates lead to."""
    known, ahead = {start}, [start]
    while ahead:
        for at in sets[ahead.pop()]:
            if at not in known:
                known.add(int(at))
                ahead.append(int(at))
    return min(known)


def boxes(folder: Path):
    n_photos = int(rows(folder / "photos.csv")[0][0])
    drawn, predicted = ([[] for _ in range(n_photos)] for _ in range(2))
    for name, photos in [("drawn", drawn), ("predicted", predicted)]:
        for row, box_id, label, *numbers_of_box in rows(folder / f"{name}.csv"):
            photos[int(row)].append((int(box_id), int(label), [float(number) for number in numbers_of_box]))
    labels = [
        {
            "bboxes": np.array([box[2][:4] for box in photo]).reshape(-1, 4),
            "labels": np.array([box[1] for box in photo], dtype=int),
        }
        for photo in drawn
    ]
    # cleanlab has predicted boxes by class.
    predicted = [sorted(photo, key=lambda box: box[1]) for photo in predicted]
    of_class = lambda photo, at: np.array([box[2] for box in photo if box[1] == at]).reshape(-1, 5)  # noqa: E731
    predictions = [np.array([of_class(photo, at) for at in range(N_BOX_CLASSES)], dtype=object) for photo in predicted]
    expected = {}
    for issue, compute, photos in [
        ("overlooked", compute_overlooked_box_scores, predicted),
        ("swapped", compute_swap_box_scores, drawn),
        ("badly_located", compute_badloc_box_scores, drawn),
    ]:
        for row, (scores, photo) in enumerate(zip(compute(labels=labels, predictions=predictions), photos)):
            for score, box in zip(scores, photo):
                if score < 1:
                    expected[row, issue, box[0]] = score
    found = {(int(row), issue, int(box)): float(score) for row, issue, score, box in rows(folder / "box_issues.csv")}
    wrong = [key for key in found.keys() ^ expected.keys()]
    # A score of 1 but for rounding may be there or not.
    wrong = [key for key in wrong if {**found, **expected}[key] < 1 - SCORE_ERROR_MAX]
    wrong += [key for key in found.keys() & expected.keys() if abs(found[key] - expected[key]) > SCORE_ERROR_MAX]
    yield "box_issues", len(expected), f"differs in {sorted(wrong)[:9]}" if wrong else None


def reductions(folder: Path):
    embeddings = numbers(folder / "embeddings.csv")
    for n in [2, 3]:
        found = numbers(folder / f"pca-{n}.csv")
        expected = PCA(n, svd_solver="full").fit_transform(embeddings)
        error = np.abs(found - expected).max()
        yield f"pca-{n}", len(expected), f"is off by {error}" if error > PLACE_ERROR_MAX else None
    # Two implementations of UMAP give two maps; what a map is for can be measured.
    places = numbers(folder / "umap-2.csv")
    kept = trustworthiness(embeddings, places, n_neighbors=N_NEIGHBOURS)
    worst = trustworthiness(embeddings, np.random.default_rng(1).permutation(places), n_neighbors=N_NEIGHBOURS)
    difference = f"keeps {kept} of the neighbours" if kept < TRUST_MIN or worst >= TRUST_MIN else None
    yield "umap-2", len(places), difference


KINDS = {
    "samples.csv": label_issues,
    "epochs.csv": over_epochs,
    "vectors.csv": neighbours,
    "photos.csv": boxes,
    "embeddings.csv": reductions,
}


def of_folders(folder: Path, file: str, compare):
    for path in sorted(folder.glob(f"*/{file}")):
        for name, n, difference in compare(path.parent):
            yield f"{path.parent.name}, {name}", n, difference


def main() -> int:
    warnings.simplefilter("ignore")
    n_different = n_missing = 0
    folder, *quickstart = sys.argv[1:]
    compared = {compare.__name__: of_folders(Path(folder), file, compare) for file, compare in KINDS.items()}
    if quickstart:
        compared["held_out"] = held_out(*quickstart)
    for kind, answers in compared.items():
        n_answers = n_rows = 0
        for name, n, difference in answers:
            n_answers, n_rows = n_answers + 1, n_rows + n
            if difference:
                n_different += 1
                print(f"{name}: {difference}")
        n_missing += n_rows == 0
        print(f"{kind}: {n_answers} answers of {n_rows} rows in all were compared")
    print(f"{n_different} answers differ")
    if n_missing:
        print(f"{' or '.join(sys.argv[1:3])} does not hold all that is to be compared")
    return min(n_different + n_missing, 1)


sys.exit(main())
