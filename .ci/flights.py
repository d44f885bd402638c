"""Checks a table that refers to somebody else's file: 3,000,000 flights, as npm's package `vega-datasets` has them.

Usage: flights.py FOLDER TLC, where FOLDER is an empty one and TLC is the command's binary. The file is read by tlc
and is never copied or changed; an edit of one row in a hundred is small; and every filter finds what DuckDB finds in
a copy of the table that had the same edits.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import duckdb

PACKAGE = "vega-datasets@3.2.1"
MEMBER = "package/data/flights-3m.parquet"
SHA256 = "dbeb920c90f59b6ccaff823dcc3d08f25a97fa1ce128d93f40be4e931f5900b0"
ROWS = 3_000_000

# What an edit of one row in a hundred may weigh, and what a table that refers to the file may.
EDIT_BYTES_MAX = 300_000
TABLE_BYTES_MAX = 4_000

# Rows far from each other, whatever the order of the file is.
EDITS = [
    "UPDATE air.flights SET delay = delay + 1000 WHERE (_rowid * 7919) % 100 = 3",
    "UPDATE air.flights SET delay = NULL WHERE (_rowid * 104729) % 5000 = 11",
    "UPDATE air.flights SET origin = 'tlc', distance = -distance WHERE _rowid % 60000 = 59",
]

# Each is asked of both. Where rows have no order of their own, the query gives them one.
QUERIES = [
    "SELECT count(*) AS n, count(delay) AS known, sum(delay) AS total, min(delay) AS low, max(delay) AS high FROM air.flights",
    "SELECT count(*) AS n, sum(distance) AS total, max(origin) AS last FROM air.flights",
    "SELECT _rowid, delay FROM air.flights WHERE delay = 1005 ORDER BY _rowid",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE delay = 5",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE delay <> 5",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE delay BETWEEN 900 AND 1100",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE delay > 1000 OR delay < -100",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE NOT (delay > 0)",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE delay IN (7, 1007, -1116, 5000)",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE delay IS NULL",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE delay IS NOT NULL AND delay >= 2000",
    "SELECT count(*) AS n, sum(delay) AS total FROM air.flights WHERE delay > 900 AND origin = 'LAS' AND distance > 500",
    "SELECT count(*) AS n, sum(delay) AS total FROM air.flights WHERE delay IS NULL AND date < '2001-03-01'",
    "SELECT origin, count(*) AS n FROM air.flights WHERE delay > 1000 GROUP BY origin ORDER BY n DESC, origin LIMIT 20",
    "SELECT destination, sum(delay) AS total FROM air.flights GROUP BY destination ORDER BY total, destination LIMIT 20",
    "SELECT _rowid, delay FROM air.flights WHERE delay > 900 ORDER BY delay DESC, _rowid LIMIT 25",
    "SELECT _rowid, delay, distance FROM air.flights WHERE delay < 0 ORDER BY distance, delay, _rowid LIMIT 25",
    "SELECT _rowid, delay FROM air.flights WHERE delay IS NULL ORDER BY _rowid DESC LIMIT 10 OFFSET 5",
    "SELECT _rowid, origin, distance FROM air.flights WHERE origin = 'tlc' ORDER BY _rowid",
    "SELECT count(*) AS n, sum(_rowid) AS ids FROM air.flights WHERE origin < 'ATL' AND distance < 0",
    "SELECT count(*) AS n FROM air.flights WHERE distance < 0 OR (delay IS NULL AND destination = 'ORD')",
    "SELECT count(*) AS n, sum(delay) AS total FROM air.flights WHERE _rowid BETWEEN 1234567 AND 2345678 AND delay > 500",
]


def main(folder: Path, tlc: str) -> None:
    cached = fetched()
    # A copy: later it is changed.
    source = folder / "flights.parquet"
    shutil.copyfile(cached, source)
    root = folder / "root"

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([tlc, "--root", str(root), *arguments], capture_output=True, text=True)

    def done(*arguments: str) -> list | dict:
        answer = run(*arguments, "--json")
        expect(answer.returncode == 0, f"{arguments}\nexit status {answer.returncode}: {answer.stderr}")
        return json.loads(answer.stdout)

    check_only_the_footer_is_read(source, folder, done)
    done("import", "--in-place", str(source), "air/flights")
    table = root / "air/tables/flights"
    expect(weight(table) < TABLE_BYTES_MAX, f"the table weighs {weight(table)} bytes")
    print(f"air/flights refers to a file of {source.stat().st_size} bytes, and weighs {weight(table)}")

    theirs = duckdb.connect()
    theirs.sql("CREATE SCHEMA air")
    columns = "file_row_number AS _rowid, date, delay, distance, origin, destination"
    theirs.sql(f"CREATE TABLE air.flights AS SELECT {columns} FROM read_parquet('{source}', file_row_number = true)")
    compare(done, theirs)
    for edit in EDITS:
        before = weight(table)
        ours = done("sql", edit)["rows"]
        [(other,)] = theirs.execute(edit).fetchall()
        added = weight(table) - before
        print(f"{ours} rows edited, {added} bytes added: {edit}")
        expect(ours == other, f"{edit}: {ours} rows, {other} in DuckDB")
        expect(added < EDIT_BYTES_MAX, f"{edit}: {added} bytes")
        compare(done, theirs)

    expect(sha256(source) == SHA256, "the file that the table refers to was changed")
    done("verify", "air")
    check_a_changed_file_is_named(source, run)
    print(f"{len(QUERIES)} queries, before and after each of {len(EDITS)} edits: the same in DuckDB")


def check_only_the_footer_is_read(source: Path, folder: Path, done) -> None:
    """A copy of the file with nothing but zeros before its footer can be referred to: no row of it is read."""
    hollow = folder / "hollow.parquet"
    data = source.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    hollow.write_bytes(data[:4] + bytes(len(data) - footer - 4) + data[-footer:])
    made = done("import", "--in-place", str(hollow), "hollow/flights")
    expect(made["rows"] == ROWS, f"{made['rows']} rows by the footer")


def check_a_changed_file_is_named(source: Path, run) -> None:
    """Other bytes in the place of the file are an error that names it, and are not read."""
    with open(source, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"other")
    for arguments in [("sql", "SELECT sum(delay) AS total FROM air.flights"), ("table", "show", "air/flights")]:
        answer = run(*arguments)
        expect(answer.returncode == 1, f"{arguments} of a changed file: exit status {answer.returncode}")
        for part in [str(source), "has changed since"]:
            expect(part in answer.stderr, f"{part} is not in {answer.stderr}")
    answer = run("verify")
    expect(answer.returncode == 1 and str(source) in answer.stdout, f"verify of a changed file: {answer.stdout}")


def compare(done, theirs: duckdb.DuckDBPyConnection) -> None:
    for query in QUERIES:
        ours = [list(row.values()) for row in done("sql", query)]
        found = theirs.execute(query)
        other = [list(row) for row in found.fetchall()]
        expect(ours == other, f"{query}\ntlc:    {ours}\nduckdb: {other}")


def weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fetched() -> Path:
    """The file in the cache, which is filled first if need be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlc"
    cached = cache / "flights-3m.parquet"
    if cached.exists() and sha256(cached) == SHA256:
        return cached
    print(f"getting 3,000,000 flights (18 MB) with `npm pack {PACKAGE}`, once", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        packed = subprocess.run(
            ["npm", "pack", "--silent", "--fetch-retries=2", PACKAGE], cwd=folder, capture_output=True, text=True
        )
        expect(packed.returncode == 0, f"npm pack {PACKAGE} failed: {packed.stderr}")
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            Path(folder, "flights").write_bytes(archive.extractfile(MEMBER).read())
        found = sha256(Path(folder, "flights"))
        expect(found == SHA256, f"{PACKAGE} is not as it was published: {MEMBER} has the SHA-256 {found}")
        os.replace(Path(folder, "flights"), cached)
    return cached


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(otherwise)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
