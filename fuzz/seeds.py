"""Writes the seeds of the fuzz targets from the golden files: fuzz/corpus/TARGET/golden-N.

Hashes of log entries are written as `$n`, which the targets replace: whoever changes an entry cannot
guess the hash that it has then.
"""

import hashlib
import json
import math
import re
import struct
from pathlib import Path

FUZZ = Path(__file__).parent
ARTIFACT = FUZZ.parent / "tlc-core/tests/formats/v4/zoo/artifacts/model"
GOLDEN = FUZZ.parent / "tlc-core/tests/formats/v2/zoo"

SUM = re.compile(rb'"[0-9a-f]{64}"}$')


def main():
    train = GOLDEN / "tables/train"
    log = [path.read_bytes() for path in sorted(train.glob("log/*.json"))]
    entries = [json.loads(entry) for entry in log]
    hashes = parents(entries)
    logs = [b"\n".join(tokens(entry, hashes) for entry in log)]
    logs += [b"\n".join(tokens(entry, hashes) for entry in log[:length]) for length in (1, 2, 6)]
    write("log_entry", logs)
    checkpoints = [path for path in train.glob("checkpoints/*.json") if len(path.stem) == 64]
    write("checkpoint", [tokens(path.read_bytes(), hashes) for path in checkpoints])
    write("edit_file", edits(entries, train))
    write("row_ids", [rows(path.read_bytes()) for path in sorted(train.glob("deletes/*.bin"))])
    versions = [entry.read_bytes() for entry in ARTIFACT.glob("log/*.json")]
    write("artifact_log", [SUM.sub(b'"$s"}', version) for version in versions] + [text.encode() for text in ARTIFACT_LOGS])
    write("manifest", [text.encode() for text in manifests()])
    write("reduction", list(reductions()))
    write("redacted", [text.encode() for text in TEXTS])
    write("names", [text.encode() for text in NAMES])


def parents(entries):
    """The hash of each entry that is a parent, as its children and branches name it."""
    found = {}
    pending = list(entries)
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if {"revision", "hash"} <= value.keys():
                found[value["hash"]] = value["revision"]
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return found


def tokens(text, hashes):
    for digits, number in hashes.items():
        text = text.replace(digits.encode(), f"${number}".encode())
    return text


def edits(entries, train):
    """Each file of cells after the column, as the table of the target numbers it, and how many."""
    columns = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 7: 6, 10: 4}
    for entry in entries:
        for cells in entry.get("cells_set", []):
            column = columns.get(cells["column"], 1)
            yield bytes([column, cells["cells"]]) + (train / cells["file"]).read_bytes()


def rows(bitmap):
    """A bitmap after its number of ids: those in the golden files are few and in one container."""
    n_ids = int.from_bytes(bitmap[22:24], "little") + 1 if len(bitmap) >= 24 else 0
    return n_ids.to_bytes(8, "little") + bitmap


def manifests():
    """A file, a folder of two that begin in the middle of chunks, and an empty one."""
    head = '{"format":4,"is_file":%s,"cut":{"algorithm":"fastcdc-2020-level-1","bytes_min":1,"bytes_average":2,"bytes_max":3},"files":['
    file = '{"path":"%s","offset":%d,"bytes":%d,"blake3":"$%d"}'
    chunk = '{"blake3":"$%d","bytes":%d}'
    yield head % "true" + file % ("a", 0, 3, 3) + '],"chunks":[' + chunk % (3, 3) + "]}"
    files = ",".join([file % ("a/b", 0, 3, 3), file % ("c", 3, 4, 4)])
    yield head % "false" + files + '],"empty_folders":["d/e"],"chunks":[' + ",".join(chunk % (n, n) for n in (2, 5)) + "]}"
    yield head % "false" + '],"chunks":[]}'


def reductions():
    """The smallest models of both methods: a safetensors header after its length, and the numbers."""
    methods = {
        "pca": {"mean": (1, 3), "components": (2, 3)},
        "umap": {"vectors": (4, 3), "places": (4, 2)},
    }
    for method, shapes in methods.items():
        facts = {"method": method, "seed": "7", "column": "embedding", "neighbours": "2"}
        header, offset = {"__metadata__": {"tlc": json.dumps(facts)}}, 0
        for name, shape in shapes.items():
            end = offset + 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header).encode()
        numbers = struct.pack(f"<{offset // 4}f", *range(offset // 4))
        yield len(text).to_bytes(8, "little") + text + numbers


def write(target, seeds):
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        name = hashlib.sha256(seed).hexdigest()[:16]
        (folder / f"golden-{name}").write_bytes(seed)


NAMES = [
    "train", "v1.2", "Zürich_東京", "..", ".x", "a/b", "r7", "7", "main", "gold", "2026-11-01T12:00Z", "2026-11-01",
    "/data/photos", "/data/photos\n/data/photos/1.jpg", "s3://zoo/photos\ns3://zoo/photos/a%20b.jpg", "file:///data",
    "memory:///", "file:///a/../b", "<PHOTOS>/1.jpg", "/data\n<PHOTOS>/../x", "/data\n<PHOTOS>/%2e%2e/x", "C:\\data",
    "PHOTOS: s3://zoo/photos\nCATS: <PHOTOS>/cats\n", "A: &a [x]\nB: *a\n", "{A: /a, B: <A>/b}", "r18446744073709551615",
]

ARTIFACT_LOGS = [
    '{"format":4,"stamp":"s","author":"a","time":"2026-11-01T12:00:00.000000Z","event":{"kind":"version","version":1,'
    '"manifest":"manifests/$0.json","files":1,"bytes":1,"bytes_stored":1,"aliases":["best"]},"sum":"$s"}\n'
    '{"format":4,"stamp":"t","author":"a","time":"2026-11-01T12:00:00.000000Z","event":{"kind":"alias","alias":"best"},"sum":"$s"}',
]

TEXTS = [
    "API_KEY=abcdefghijkl python train.py --password hunter2hunter2", "https://ada:secret@host/x?sig=abcdefgh", "password: |\n  two words\n",
    '{"token": "a\\"b", "n": [1, 2]}', "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "export A=$(cat <<EOF\nx\nEOF\n)",
    "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "-u ada:pw Authorization: Bearer abcdefghijklmnopqrst", "a,password\n1,x\n",
]

if __name__ == "__main__":
    main()
