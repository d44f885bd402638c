"""The workloads of benches/metrics and benches/questions, on the same values, with others from Python.

    python -m venv peers && peers/bin/pip install -r requirements.txt
    peers/bin/python metrics.py WORKLOAD PEER FOLDER [SIZE] >> peers.jsonl

WORKLOAD and PEER are
    scalars, SIZE steps of ten (100,000)    tensorboardX, trackio, wandb or swanlab
    runs, SIZE of them (1,000)              trackio or mlflow (pip install mlflow, which is not required above)
    samples, SIZE epochs (20)               lance or duckdb

FOLDER must be empty. Prints one line of JSON, whose keys are those of the benchmarks. Writing and reading are a
process each, and every answer is compared with what it must be. All files are synced after the end, and
the time of that counts. Of a smaller SIZE only that is told which does not depend on it: what a step, a
batch, a run or a value costs.
"""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import time

import numpy as np

from hashing import below, unit

NAMES = [f"m{k}" for k in range(10)]
RUN_STEPS = 100
SAMPLES, EPOCHS, BATCH, WIDTH, CLASSES = 50_000, 20, 256, 64, 10
WHOLE = {"scalars": 100_000, "runs": 1_000, "samples": EPOCHS}


# The values.


def value(k, step):
    return np.exp(-step / 20_000) * (k + 1) / 10 + 0.05 * (unit(1_000 + k, step) - 0.5)


def params(run):
    others = {f"f{j}": float(unit(2_001 + j, run)) for j in range(19)}
    return others | {"lr": float(10 ** (-5 + 4 * unit(2_000, run)))}


def run_value(k, run, step):
    return unit(2_100 + k, run * 1_000 + step) * 0.1 + unit(2_200 + k, run) * (step + 1) / 100


def steps(columns):
    """Columns as one dict a step."""
    return [dict(zip(NAMES, row)) for row in zip(*(column.tolist() for column in columns))]


def best(n_runs):
    """The names of the twenty runs whose m3 is highest at last, of those with a low learning rate."""
    found = [(run_value(3, run, RUN_STEPS - 1), run) for run in range(n_runs) if params(run)["lr"] < 0.01]
    return [f"run-{run:04}" for _, run in sorted(found, reverse=True)[:20]]


def labels():
    return below(3000, np.arange(SAMPLES), CLASSES)


def epoch_rows(epoch, order):
    """The metrics of samples in an order."""
    cell = order + epoch * SAMPLES
    spread = 1 + 2 * unit(3005, order)
    is_right = unit(3002, cell) < 0.3 + 0.6 * epoch / EPOCHS
    vectors = unit(3006, cell[:, None] * WIDTH + np.arange(WIDTH)).astype(np.float32) - np.float32(0.5)
    return {
        "epoch": np.full(len(order), epoch, np.int32),
        "sample": order,
        "loss": (-np.log(1 - unit(3001, cell)) * spread * np.exp(-epoch / 10)).astype(np.float32),
        "predicted": np.where(is_right, below(3000, order, CLASSES), below(3003, cell, CLASSES)),
        "confidence": unit(3004, cell).astype(np.float32),
        "embedding": vectors,
    }


# Who logs scalars and runs: start, log, finish; then opened, which gives a function from a name to its values.


class TensorBoardX:
    def __init__(self, folder):
        import tensorboardX
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        self.module, self.reader, self.folder = tensorboardX, EventAccumulator, str(folder / "run")

    def start(self, name, params):
        self.writer = self.module.SummaryWriter(self.folder, write_to_disk=True)

    def log(self, step, values):
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self):
        self.writer.close()

    def opened(self):
        events = self.reader(self.folder, size_guidance={"scalars": 0})
        events.Reload()
        return lambda name: np.array([event.value for event in events.Scalars(name)])


class Trackio:
    def __init__(self, folder):
        os.environ["TRACKIO_DIR"] = str(folder)
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self.module, self.storage = trackio, SQLiteStorage

    def start(self, name, params):
        off = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        self.module.init(project="bench", name=name, config=params, **off)

    def log(self, step, values):
        self.module.log(values, step=step)

    def finish(self):
        self.module.finish()

    def opened(self):
        run = self.module.Api().runs("bench")[0]

        def read(name):
            rows = self.storage.get_metric_values("bench", run.name, name, run_id=run.id)
            return np.array([row["value"] for row in rows])

        return read

    def best(self):
        query = (
            "SELECT c.run_name AS name, json_extract(m.metrics, '$.m3') AS last "
            "FROM configs c JOIN metrics m ON m.run_name = c.run_name AND m.step = 99 "
            "WHERE json_extract(c.config, '$.lr') < 0.01 ORDER BY last DESC LIMIT 20"
        )
        return lambda: [row["name"] for row in self.storage.query_project("bench", query)["rows"]]


class Wandb:
    def __init__(self, folder):
        own = {f"WANDB_{name}": str(folder / name.lower()) for name in ("CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
        os.environ.update(own, WANDB_MODE="offline", WANDB_SILENT="true")
        import wandb
        from wandb.proto.wandb_internal_pb2 import Record

        self.module, self.record, self.folder = wandb, Record, folder

    def start(self, name, params):
        quiet = self.module.Settings(x_disable_stats=True, x_disable_meta=True, console="off")
        self.run = self.module.init(project="bench", name=name, dir=self.folder, config=params, settings=quiet)

    def log(self, step, values):
        self.run.log(values, step=step)

    def finish(self):
        self.run.finish()

    def opened(self):
        found = {}
        for record in map(self.record.FromString, log_records(self.folder, "wandb")):
            for item in record.history.item if record.HasField("history") else ():
                found.setdefault(item.key or ".".join(item.nested_key), []).append(item.value_json)
        return lambda name: np.array(found[name], np.float64)


class SwanLab:
    def __init__(self, folder):
        import swanlab
        from swanlab.proto.swanlab.record.v1.record_pb2 import Record

        self.module, self.record, self.folder = swanlab, Record, folder

    def start(self, name, params):
        # What it tells of the machine comes from a thread of its own, and without a lock has torn the log of a long run.
        quiet = self.module.Settings(probe=self.module.Settings.Probe(monitor=False))
        where = {"mode": "offline", "log_dir": str(self.folder)}
        self.module.init(project="bench", name=name, config=params, settings=quiet, **where)

    def log(self, step, values):
        self.module.log(values, step=step)

    def finish(self):
        self.module.finish()

    def opened(self):
        found = {}
        for record in map(self.record.FromString, log_records(self.folder, "swanlab")):
            if record.HasField("scalar"):
                found.setdefault(record.scalar.key, []).append(record.scalar.value.number)
        return lambda name: np.array(found[name])


def log_records(folder, ending):
    """What lies in the log of wandb or SwanLab, both framed as those of LevelDB. Neither has a public reader offline."""
    (path,) = folder.rglob(f"*.{ending}")
    log, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(log):
        left = 32_768 - at % 32_768
        _checksum, n_bytes, kind = struct.unpack_from("<IHB", log, at)
        if left < 7 or kind == 0:
            at += left
            continue
        whole += log[at + 7 : at + 7 + n_bytes]
        at += 7 + n_bytes
        if kind in (1, 4):
            yield whole
            whole = b""


class MLflow:
    """The cheapest that it has: one batch for the values of a run. A parameter is text, so `lr` is logged as a metric as well."""

    def __init__(self, folder):
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        import mlflow

        self.module = mlflow
        self.client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        known = self.client.get_experiment_by_name("bench")
        self.experiment = known.experiment_id if known else self.client.create_experiment("bench")

    def start(self, name, params):
        self.run, self.params, self.values = self.client.create_run(self.experiment, run_name=name), params, []

    def log(self, step, values):
        metric = self.module.entities.Metric
        self.values += [metric(name, value, 0, step) for name, value in values.items()]

    def finish(self):
        id, entities = self.run.info.run_id, self.module.entities
        params = [entities.Param(name, str(value)) for name, value in self.params.items()]
        self.client.log_batch(id, metrics=self.values, params=params)
        self.client.log_metric(id, "lr", self.params["lr"])
        self.client.set_terminated(id)

    def best(self):
        ask = dict(filter_string="metrics.lr < 0.01", order_by=["metrics.m3 DESC"], max_results=20)
        return lambda: [run.info.run_name for run in self.client.search_runs([self.experiment], **ask)]


# Who stores sample metrics: batches are kept, and stored at the end of an epoch.


class Lance:
    def __init__(self, folder):
        import duckdb
        import lance
        import pandas  # pyarrow would import it within the first batch

        self.module, self.engine, self.path, self.mode = lance, duckdb, str(folder / "samples"), "create"

    def store(self, rows):
        self.module.write_dataset(rows, self.path, mode=self.mode)
        self.mode = "append"

    def finish(self):
        pass

    def opened(self):
        connection = self.engine.connect()
        connection.register("samples", self.module.dataset(self.path))
        return connection


class DuckDB:
    def __init__(self, folder):
        import duckdb
        import pandas

        self.connection = duckdb.connect(str(folder / "samples.duckdb"))
        columns = "epoch INT, sample BIGINT, loss FLOAT, predicted INT, confidence FLOAT, embedding FLOAT[64]"
        self.connection.execute(f"CREATE TABLE IF NOT EXISTS samples ({columns})")

    def store(self, rows):
        self.connection.register("epoch", rows)
        self.connection.execute("INSERT INTO samples SELECT * FROM epoch")

    def finish(self):
        self.connection.execute("CHECKPOINT")
        self.connection.close()

    def opened(self):
        return self.connection


PEERS = {
    ("scalars", "tensorboardX"): TensorBoardX,
    ("scalars", "trackio"): Trackio,
    ("scalars", "wandb"): Wandb,
    ("scalars", "swanlab"): SwanLab,
    ("runs", "trackio"): Trackio,
    ("runs", "mlflow"): MLflow,
    ("samples", "lance"): Lance,
    ("samples", "duckdb"): DuckDB,
}


# What is measured.


def timed(work):
    """What it gives, and how many milliseconds it took."""
    start = time.perf_counter()
    found = work()
    return found, (time.perf_counter() - start) * 1e3


def tail(millis, name):
    """The median and the 99th percentile, in microseconds."""
    millis = sorted(millis)
    return {f"{name}_p{p}_us": round(millis[len(millis) * p // 100] * 1e3, 3) for p in (50, 99)}


def again(work, n=5):
    return round(statistics.median(timed(work)[1] for _ in range(n)), 3)


def synced(folder):
    """The bytes of all files below it, which are on the disk afterwards."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() or path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.close(file)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_scalars(peer, folder, n_steps):
    values = steps([value(k, np.arange(n_steps)) for k in range(10)])
    own, times = PEERS["scalars", peer](folder), []

    def work():
        own.start("run", {})
        for step, row in enumerate(values):
            times.append(timed(lambda: own.log(step, row))[1])
        own.finish()
        return synced(folder)

    n_bytes, millis = timed(work)
    told = tail(times, "step") | {"bytes_per_value": n_bytes / n_steps / 10}
    return told | ({"million_ms": round(millis, 3)} if n_steps == WHOLE["scalars"] else {})


def read_scalars(peer, folder, n_steps):
    own = PEERS["scalars", peer](folder)

    def first():
        read = own.opened()
        return read, read("m3")

    (read, found), millis = timed(first)
    for k in range(10):
        # TensorBoard keeps 32 bits of a value.
        assert np.allclose(read(NAMES[k]), value(k, np.arange(n_steps)), rtol=1e-6, atol=1e-7), NAMES[k]
    assert len(found) == n_steps
    return {"series_first_ms": round(millis, 3), "series_again_ms": again(lambda: read("m5"))}


def write_runs(peer, folder, n_runs):
    at = np.arange(RUN_STEPS)
    values = [steps([run_value(k, run, at) for k in range(10)]) for run in range(n_runs)]
    own = PEERS["runs", peer](folder)

    def work():
        for run, rows in enumerate(values):
            own.start(f"run-{run:04}", params(run))
            for step, row in enumerate(rows):
                own.log(step, row)
            own.finish()
        return synced(folder)

    n_bytes, millis = timed(work)
    return {"run_ms": round(millis / n_runs, 3), "bytes_per_run": n_bytes // n_runs}


def read_runs(peer, folder, n_runs):
    expected = best(n_runs)

    def process():
        command = [sys.executable, __file__, "best", peer, str(folder)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert json.loads(told.stdout.splitlines()[-1]) == expected

    whole = again(process)
    own = PEERS["runs", peer](folder)

    def first():
        ask = own.best()
        return ask, ask()

    (ask, found), millis = timed(first)
    assert found == expected, found
    return {"top_process_ms": whole, "top_first_ms": round(millis, 3), "top_again_ms": again(ask)}


def write_samples(peer, folder, n_epochs):
    import pyarrow as pa

    own = PEERS["samples", peer](folder)
    names = ["epoch", "sample", "loss", "predicted", "confidence"]
    times, ends, total = [], [], 0

    def batch(rows):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows["embedding"].reshape(-1)), WIDTH)
        columns = [*(pa.array(rows[name]) for name in names), vectors]
        return pa.RecordBatch.from_arrays(columns, [*names, "embedding"])

    for epoch in range(n_epochs):
        # Not counted: each epoch has an order of its own.
        rows = epoch_rows(epoch, (np.arange(SAMPLES) * 48_271 + epoch * 7) % SAMPLES)
        parts = [{name: column[at : at + BATCH] for name, column in rows.items()} for at in range(0, SAMPLES, BATCH)]
        kept = []
        for part in parts:
            times.append(timed(lambda: kept.append(batch(part)))[1])
        ends.append(timed(lambda: own.store(pa.Table.from_batches(kept)))[1])
    (n_bytes, _), millis = timed(lambda: (own.finish(), synced(folder))[::-1])
    seconds, n_rows = (sum(times) + sum(ends) + millis) / 1e3, SAMPLES * n_epochs
    told = {"epoch_end_ms": statistics.median(ends), "rows_per_s": n_rows / seconds, "bytes_per_row": n_bytes / n_rows}
    return tail(times, "batch") | told


def read_samples(peer, folder, n_epochs):
    import pyarrow as pa

    last = n_epochs - 1
    connection = PEERS["samples", peer](folder).opened()
    connection.register("labels", pa.table({"sample": np.arange(SAMPLES), "label": labels()}))
    told, rights = {}, expected(n_epochs)
    for name, query in QUESTIONS.items():
        ask = lambda: answer(name, connection.sql(query.format(last=last)).to_arrow_table())
        found, millis = timed(ask)
        told |= {f"{name}_first_ms": round(millis, 3), f"{name}_again_ms": again(ask)}
        check(name, found, rights[name])
    return told


QUESTIONS = {
    "means": "SELECT epoch, avg(loss), count(loss) FROM samples GROUP BY epoch ORDER BY epoch",
    "worst": "SELECT sample, avg(loss) AS mean, count(loss) FROM samples GROUP BY sample ORDER BY mean DESC, sample LIMIT 100",
    "confusion": "SELECT label, predicted, count(*) FROM samples JOIN labels USING (sample) WHERE epoch = {last} GROUP BY ALL ORDER BY ALL",
    "flips": "SELECT sample, count(*) AS n FROM (SELECT sample, predicted, lag(predicted) OVER (PARTITION BY sample ORDER BY epoch) AS before FROM samples) WHERE predicted <> before GROUP BY sample ORDER BY n DESC, sample LIMIT 100",
    "embeddings": "SELECT sample, embedding FROM samples WHERE epoch = {last}",
}


def answer(name, rows):
    """The columns as arrays; embeddings as one array of rows."""
    if name != "embeddings":
        return [column.to_numpy() for column in rows.columns]
    vectors = rows["embedding"].combine_chunks().flatten().to_numpy()
    return [rows["sample"].to_numpy(), vectors.reshape(-1, WIDTH)]


def expected(n_epochs):
    """The answers, from the values as they are made."""
    order = np.arange(SAMPLES)
    epochs = [epoch_rows(epoch, order) for epoch in range(n_epochs)]
    losses = np.array([rows["loss"] for rows in epochs], np.float64)
    predicted = np.array([rows["predicted"] for rows in epochs])
    means, flips = losses.mean(axis=0), (predicted[1:] != predicted[:-1]).sum(axis=0)
    worst, flipped = (np.lexsort((order, -found))[:100] for found in (means, flips))
    flipped = flipped[flips[flipped] > 0]
    pairs, counts = np.unique(labels() * CLASSES + predicted[-1], return_counts=True)
    return {
        "means": [np.arange(n_epochs), losses.mean(axis=1), np.full(n_epochs, SAMPLES)],
        "worst": [worst, means[worst], np.full(100, n_epochs)],
        "confusion": [pairs // CLASSES, pairs % CLASSES, counts],
        "flips": [flipped, flips[flipped]],
        "embeddings": [order, epochs[-1]["embedding"]],
    }


def check(name, found, right):
    if name == "embeddings":
        at = np.argsort(found[0])
        found = [column[at] for column in found]
    assert len(found) == len(right), name
    for own, other in zip(found, right):
        assert own.shape == other.shape and np.allclose(own, other), (name, own, other)


PHASES = {
    "scalars": (write_scalars, read_scalars),
    "runs": (write_runs, read_runs),
    "samples": (write_samples, read_samples),
}


def quietly(work, *arguments):
    """What it gives; what is printed meanwhile is none of the lines of JSON."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return work(*arguments)


def alone(work, *arguments):
    """What it gives in a process of its own."""
    anew = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, anew) as pool:
        return pool.submit(quietly, work, *arguments).result()


def main(workload, peer, folder, size=None):
    folder = pathlib.Path(folder).resolve()
    if workload == "best":
        return print("\n" + json.dumps(PEERS["runs", peer](folder).best()()))
    assert not list(folder.iterdir()), f"{folder} is not empty"
    size = int(size or WHOLE[workload])
    write, read = PHASES[workload]
    told = {"peer": peer, workload: size} | alone(write, peer, folder, size)
    found = alone(read, peer, folder, size)
    print(json.dumps(told | (found if size == WHOLE[workload] else {})), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
