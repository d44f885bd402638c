"""Compares labels that are probably wrong with those that cleanlab finds in the same samples.

Usage: cleanlab.py FOLDER, as tlc-core's test `quality::` wrote it with TLC_QUALITY_OUT=FOLDER. Each folder in it holds
`samples.csv` (row id, label, probabilities) and, for each selection and ranking, a file of what we found (row id, score, label,
suggested). The same row ids are demanded in the same order, with the same suggestions and scores. Needs cleanlab 2.
"""

import csv
import sys
import warnings
from pathlib import Path

import numpy as np

# Of equal values numpy's order depends on the machine. A stable one is the order of the rows, as ours is.
argsort = np.argsort
np.argsort = lambda values, *args, **more: argsort(values, *args, **{"kind": "stable", **more})

# This script has the name of the library, and its folder is where Python looks first.
sys.path = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]
from cleanlab.filter import find_label_issues  # noqa: E402
from cleanlab.rank import get_label_quality_scores  # noqa: E402

SCORE_ERROR_MAX = 1e-6
SELECTIONS = ["prune_by_noise_rate", "prune_by_class", "confident_learning"]
RANKINGS = ["self_confidence", "normalized_margin"]


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def compare(folder: Path, selection: str, ranking: str) -> tuple[int, str | None]:
    """How many rows cleanlab finds, and what is different, if anything is."""
    samples = rows(folder / "samples.csv")
    ids = np.array([int(row[0]) for row in samples])
    labels = np.array([int(row[1]) for row in samples])
    probabilities = np.array([[float(p) for p in row[2:]] for row in samples])
    expected = find_label_issues(
        labels, probabilities, filter_by=selection, return_indices_ranked_by=ranking, n_jobs=1
    )
    scores = get_label_quality_scores(labels, probabilities, method=ranking)
    found = rows(folder / f"{selection}.{ranking}.csv")
    found_ids = [int(row[0]) for row in found]
    expected_ids = ids[expected].tolist()
    if found_ids != expected_ids:
        missing = sorted(set(expected_ids) - set(found_ids))
        more = sorted(set(found_ids) - set(expected_ids))
        return len(expected), f"misses {missing}, has {more}, of {len(expected)}; or their order is another"
    for row, at in zip(found, expected):
        suggested = int(probabilities[at].argmax())
        if abs(float(row[1]) - scores[at]) > SCORE_ERROR_MAX or [int(row[2]), int(row[3])] != [labels[at], suggested]:
            return len(expected), f"says {row} where cleanlab has {scores[at]}, {labels[at]}, {suggested}"
    return len(expected), None


def main() -> int:
    warnings.simplefilter("ignore")
    folders = sorted(path.parent for path in Path(sys.argv[1]).glob("*/samples.csv"))
    if not folders:
        print(f"{sys.argv[1]} holds no samples")
        return 1
    n_compared = n_rows = n_different = 0
    for folder in folders:
        for selection in SELECTIONS:
            for ranking in RANKINGS:
                n, difference = compare(folder, selection, ranking)
                n_compared, n_rows = n_compared + 1, n_rows + n
                if difference:
                    n_different += 1
                    print(f"{folder.name}, {selection}, {ranking}: {difference}")
    print(f"{n_compared} answers of {n_rows} rows in all were compared with cleanlab's, {n_different} differ")
    return min(n_different, 1)


sys.exit(main())
