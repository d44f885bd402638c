"""The edits and reads of benches/revisions, on the same rows, with Lance and Delta Lake from Python.

    python -m venv peers && peers/bin/pip install -r requirements.txt
    peers/bin/python revisions.py PEER FOLDER N_REVISIONS >> peers.jsonl

PEER is lance, lance_index (a BTREE on id) or delta. Prints one line of JSON, whose keys are those of
the benchmark. Neither of them syncs what it writes. Every answer is checked before its time counts.
"""

import json
import pathlib
import statistics
import sys
import time

import numpy as np
import pyarrow as pa

from hashing import below, mixed, unit

N, EDITS = 1_000_000, 1_000
ids = np.arange(N, dtype=np.int64)


def rows():
    columns = {"id": ids, "label": below(4000, ids, 100), "weight": np.ones(N, np.float32)}
    columns |= {f"i{k}": below(4010 + k, ids, 10 ** (k + 1)) for k in range(5)}
    columns |= {f"f{k}": unit(4020 + k, ids).astype(np.float32) for k in range(6)}
    columns["s0"] = [f"/data/train/{id:08}.jpg" for id in range(N)]
    for k in range(1, 5):
        columns[f"s{k}"] = [f"cat_{n}" for n in below(4030 + k, ids, 10 ** (k + 1))]
    ends = np.concatenate([[0], np.cumsum(below(4040, ids, 9))]).astype(np.int32)
    own = np.arange(ends[-1])
    sides = [pa.array((unit(4041 + k, own) * 640).astype(np.float32)) for k in range(4)]
    boxes = pa.StructArray.from_arrays([*sides, pa.array(below(4046, own, 80))], ["x", "y", "w", "h", "cls"])
    columns["boxes"] = pa.ListArray.from_arrays(pa.array(ends), boxes)
    return pa.table(columns)


def edit(revision):
    """Row ids and labels; of equal ids the first counts."""
    at = np.arange(EDITS)
    rows, first = np.unique((mixed(4100 + revision, at) % np.uint64(N)).astype(np.int64), return_index=True)
    return rows, below(4300 + revision, at, 100)[first]


class Lance:
    def __init__(self, folder, data, indexed):
        import lance

        self.open, self.uri = lance.dataset, str(folder / "t")
        self.table = lance.write_dataset(data, self.uri)
        if indexed:
            self.table.create_scalar_index("id", "BTREE")
        self.first = self.table.version

    def commit(self, edits):
        self.table.merge_insert("id").when_matched_update_all().execute(edits)

    def read(self, revision, columns=None, where=None):
        return self.open(self.uri, version=self.first + revision).to_table(columns=columns, filter=where)


class Delta:
    def __init__(self, folder, data):
        import deltalake

        self.open, self.uri = deltalake.DeltaTable, str(folder / "t")
        deltalake.write_deltalake(self.uri, data)
        self.table = self.open(self.uri)

    def commit(self, edits):
        merge = self.table.merge(edits, "t.id = s.id", source_alias="s", target_alias="t")
        merge.when_matched_update({"label": "s.label"}).execute()

    def read(self, revision, columns=None, where=None):
        rows = self.open(self.uri, version=revision).to_pyarrow_dataset()
        # The dataset has no parser of text, so a filter is made of what the text names.
        return rows.to_table(columns=columns, filter=None if where is None else expression(where))


def expression(where):
    import pyarrow.compute as pc

    if where.startswith("id IN"):
        return pc.field("id").isin([int(n) for n in where[7:-1].split(", ")])
    if where.startswith("label"):
        return (pc.field("label") == 7) & (pc.field("i4") < 1000)
    return pc.field("i4") == 77


def millis(work, n=5):
    """What it gives, and the median time after one that does not count."""
    found, times = work(), []
    for _ in range(n):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return found, round(statistics.median(times), 3)


def main(peer, folder, n):
    folder, data = pathlib.Path(folder), rows()
    states = {0: data["label"].to_numpy()}
    own = Delta(folder, data) if peer == "delta" else Lance(folder, data, peer == "lance_index")
    del data
    size = lambda: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    before, times = size(), []
    for revision in range(1, n + 1):
        at, labels = edit(revision)
        states[revision] = states[revision - 1].copy()
        states[revision][at] = labels
        edits = pa.table({"id": at, "label": labels})
        start = time.perf_counter()
        own.commit(edits)
        times.append((time.perf_counter() - start) * 1e3)
    told = {"peer": peer, "revisions": n, "bytes_per_revision": (size() - before) // n}
    told["commit_p50_ms"], told["commit_p99_ms"] = statistics.median(times), sorted(times)[n * 99 // 100]

    def labels(table):
        by_id = np.full(N, -1, np.int32)
        by_id[table["id"].to_numpy()] = table["label"].to_numpy()
        return by_id

    def check(key, revision, columns=None, where=None, passes=ids >= 0):
        found, told[key] = millis(lambda: own.read(revision, columns, where))
        rows = np.sort(found["id"].to_numpy())
        assert np.array_equal(rows, ids[passes]), key
        assert np.array_equal(labels(found)[rows], states[revision][rows]), key

    def diff():
        old, new = (labels(own.read(revision, ["id", "label"])) for revision in (n // 2, n))
        return np.nonzero(old != new)[0]

    whole = below(4014, ids, 100_000)
    check("head_ms", n)
    check("middle_ms", n // 2)
    check("id_label_ms", n, ["id", "label"])
    check("filter_edited_ms", n, None, "label = 7 AND i4 < 1000", (states[n] == 7) & (whole < 1000))
    check("filter_ms", n, None, "i4 = 77", whole == 77)
    hundred = np.unique(mixed(4500, np.arange(100)) % np.uint64(N)).astype(np.int64)
    check("rows_by_id_ms", n, None, f"id IN ({', '.join(map(str, hundred))})", hundred)
    found, told["diff_ms"] = millis(diff)
    assert np.array_equal(found, np.nonzero(states[n // 2] != states[n])[0])
    print(json.dumps(told), flush=True)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
