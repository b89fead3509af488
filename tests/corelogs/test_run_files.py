"""Reading run folders: typed parts, and one clear error for each way a file can be damaged."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from synthetic_run import INPUTS

from variolite.corelogs.report.corelogs_page import table_page
from variolite.errors import RunFolderError
from variolite.scoring import Health
from variolite.training import RunFolder
from variolite.training.run_folder import read_object, read_run


def test_parts_are_read(whole_run):
    files = read_run(RunFolder(whole_run))
    assert files.name == "first-try"
    assert files.recipe["name"] == "corelogs/default"
    units = {name: column.get("unit") for name, column in files.columns.items()}
    assert units == INPUTS | {"depth": "m", "hole": None, "lithology": None}
    assert files.members == ("seed 0", "seed 1", "seed 2")
    assert files.simulated
    assert files.data["fingerprint"] == "9f2c41d07ab35e18"
    assert (files.clustering.algorithm, files.clustering.k) == ("kmeans", 12)
    assert files.split.seed == 7
    lines = (whole_run / "history.jsonl").read_text().splitlines()
    written = [{**json.loads(line), "measures": {}} for line in lines]
    assert [asdict(record) for record in files.history] == written


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("recipe.yaml", "name: [unclosed"),
        ("recipe.yaml", "- a list\n"),
        ("recipe.yaml", "!!python/object/apply:os.system ['true']"),
        ("model/model.json", "{"),
        ("model/model.json", "[1, 2]"),
        ("model/clusters.safetensors", "not weights"),
        ("history.jsonl", '{"epoch": 0}\nnot json\n{"epoch": 2}\n'),
        ("history.jsonl", '{"epoch": "first"}\n'),
        ("scorecard.json", "null"),
        ("scorecard.json", '{"format": 1, "rows": [{"task": "clustering"}], "notes": []}'),
        ("scorecard.json", '{"format": 99, "rows": [], "notes": []}'),
        ("health.json", '{"latent": 4}'),
        ("health.json", '{"latent": 4, "active_units": 1, "total_kl": 1, "findings": [{}]}'),
        ("split.json", '{"train": ["a"]}'),
        ("split.json", "{'train': []}"),
        ("environment.json", "\xff\xfe"),
        ("held_out.parquet", "PAR1 but not really PAR1"),
    ],
)
def test_a_damaged_file_is_named_with_a_remedy(run, name, content):
    (run / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(RunFolderError) as caught:
        table_page(read_run(RunFolder(run)))
    assert caught.value.where.endswith(Path(name).name)
    assert "this file of the run is damaged" in caught.value.what
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_an_error_of_the_folder(run):
    (run / "environment.json").write_text("[" * 100_000)
    with pytest.raises(RunFolderError, match=r"environment\.json"):
        read_run(RunFolder(run))


def test_null_stands_for_a_value_that_could_not_be_computed(run):
    health = json.loads((run / "health.json").read_text())
    health["dimensions"][0]["kl"] = None
    (run / "health.json").write_text(json.dumps(health))
    read = Health.model_validate(read_object(run / "health.json"))
    assert math.isnan(read.dimensions[0].kl)


def test_an_empty_history_is_no_history(run):
    (run / "history.jsonl").write_text("")
    assert read_run(RunFolder(run)).history is None
