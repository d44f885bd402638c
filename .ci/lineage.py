"""Checks that the events of a root's runs are as OpenLineage's own client would write them.

Usage: lineage.py ROOT TLC, where TLC is the command's binary. Each event is made again with the client's classes, which
know the names of all members and check times, ids and addresses; both must be the same JSON.
"""

import importlib
import json
import subprocess
import sys

from openlineage.client import event_v2
from openlineage.client.facet_v2 import set_producer
from openlineage.client.serde import Serde

# The client's class for each facet that tlc writes.
FACETS = {
    "datasetType": ("dataset_type_dataset", "DatasetTypeDatasetFacet"),
    "errorMessage": ("error_message_run", "ErrorMessageRunFacet"),
    "jobType": ("job_type_job", "JobTypeJobFacet"),
    "processing_engine": ("processing_engine_run", "ProcessingEngineRunFacet"),
    "schema": ("schema_dataset", "SchemaDatasetFacet"),
    "sourceCodeLocation": ("source_code_location_job", "SourceCodeLocationJobFacet"),
    "tags": ("tags_run", "TagsRunFacet"),
    "version": ("dataset_version_dataset", "DatasetVersionDatasetFacet"),
}


def main(root: str, tlc: str) -> int:
    projects = [item["project"] for item in json.loads(run(root, tlc, "ls", "--json"))]
    lines = [line for project in projects for line in told(root, tlc, project)]
    problems = 0
    for line in lines:
        event = json.loads(line)
        try:
            again = json.loads(Serde.to_json(remade(event)))
            for dataset in again["inputs"] + again["outputs"]:
                # The client's own, where there are none.
                for empty in ("inputFacets", "outputFacets"):
                    assert not dataset.pop(empty, None)
        except Exception as err:
            again = repr(err)
        if again != event:
            problems += 1
            print(f"tlc: {line}\nclient: {json.dumps(again)}", file=sys.stderr)
    print(f"{len(lines)} events of OpenLineage, {problems} problems")
    return 1 if problems or not lines else 0


def told(root: str, tlc: str, project: str) -> list:
    return run(root, tlc, "lineage", project, "--open-lineage", "-").splitlines()


def run(root: str, tlc: str, *args: str) -> str:
    command = [tlc, "--root", root, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def remade(event: dict):
    set_producer(event["producer"])
    run, job = event["run"], event["job"]
    return event_v2.RunEvent(
        eventType=event_v2.RunState[event["eventType"]],
        eventTime=event["eventTime"],
        run=event_v2.Run(run["runId"], facets(run)),
        job=event_v2.Job(job["namespace"], job["name"], facets(job)),
        inputs=[event_v2.InputDataset(**named(dataset)) for dataset in event["inputs"]],
        outputs=[event_v2.OutputDataset(**named(dataset)) for dataset in event["outputs"]],
        producer=event["producer"],
    )


def named(dataset: dict) -> dict:
    return {"namespace": dataset["namespace"], "name": dataset["name"], "facets": facets(dataset)}


def facets(owner: dict) -> dict:
    made = {}
    for name, facet in owner["facets"].items():
        module, of_client = FACETS[name]
        module = importlib.import_module(f"openlineage.client.generated.{module}")
        own = {key: value for key, value in facet.items() if not key.startswith("_")}
        made[name] = getattr(module, of_client)(**own)
    return made


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
