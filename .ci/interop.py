"""Checks that pyarrow and DuckDB read every Parquet file under a root, and agree with tlc.

Usage: interop.py ROOT TLC, where TLC is the command's binary.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

# Cells that were set: rows of a file, but of no name in SQL.
EDITS = "(edits)"

def main(root: Path, tlc: str) -> int:
    files = sorted(root.rglob("*.parquet"))
    if not files:
        return fail(f"no Parquet file under {root}")
    problems, rows = [], Counter()
    for path in files:
        name = path.relative_to(root)
        # Metadata first, then every value: a file can have a good footer and bad pages.
        try:
            counts = {
                "pyarrow's metadata": pq.ParquetFile(path).metadata.num_rows,
                "pyarrow": pq.read_table(path, partitioning=None).num_rows,
                "duckdb": duckdb_rows(path),
            }
        except Exception as err:
            problems.append(f"{name}: {err}")
            continue
        if len(set(counts.values())) != 1:
            problems.append(f"{name}: {counts}")
        rows[kind(name)] += counts["pyarrow"]
    for (project, what), counted in sorted(rows.items()):
        if what == EDITS:
            continue
        asked = sql(root, tlc, f'SELECT count(*) AS n FROM "{project}"."{what}"')
        asked += sql(
            root,
            tlc,
            f"""SELECT coalesce(sum(rows_dropped), 0) AS n FROM "{project}".revisions WHERE "table" = '{what}'""",
        )
        in_sql = sum(row["n"] for row in asked)
        print(f"{project}.{what}: {counted} rows in files, {in_sql} in SQL with those dropped")
        if counted != in_sql:
            problems.append(f"{project}.{what}: {counted} rows in files, {in_sql} in SQL")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(files)} Parquet files, {sum(rows.values())} rows, {len(problems)} problems")
    return 1 if problems else 0


def duckdb_rows(path: Path) -> int:
    """How many rows DuckDB gives, having decoded every column."""
    literal = "'" + str(path).replace("'", "''") + "'"
    relation = duckdb.sql(f"SELECT * FROM read_parquet({literal}, hive_partitioning = false)")
    return sum(batch.num_rows for batch in relation.to_arrow_reader())


def kind(name: Path) -> tuple[str, str]:
    """The project of a file, and the name in SQL whose rows it holds."""
    match name.parts:
        case [project, "runs", _, "scalars", _]:
            return project, "scalars"
        case [project, "runs", _, "samples", _, _]:
            return project, "samples"
        case [project, "tables", table, "data", _]:
            return project, table
    return name.parts[0], EDITS


def sql(root: Path, tlc: str, query: str) -> list:
    command = [tlc, "--root", str(root), "sql", query, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{query}\nexit status {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
