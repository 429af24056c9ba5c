"""The CSV file of a run."""

from __future__ import annotations

import csv

import pytest

from cones2.training.history import COLUMNS, CsvLog, read_log
from tests.support.full_disk import files_of_at_most
from tests.support.tiny_training import quick_config, trainer


def test_csv_has_one_row_per_step(tmp_path):
    result = trainer(quick_config(steps=4, held_out=4, evaluate_every=2)).run()
    log = CsvLog(tmp_path / "run.csv", result.history[:2])
    for record in result.history[2:]:
        log.add(record)
    log.close()
    rows = list(csv.DictReader((tmp_path / "run.csv").open()))
    assert tuple(rows[0]) == COLUMNS
    assert read_log(tmp_path / "run.csv") == list(result.history)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["loss"]) for row in rows] == [record["loss"] for record in result.history]
    assert [bool(row["held_out"]) for row in rows] == [False, True, False, True]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_disk_that_is_full_from_the_start_is_noticed_at_the_start(tmp_path, rows):
    history = [dict.fromkeys(COLUMNS, 1.0)] * rows
    with files_of_at_most(100 * rows), pytest.raises(OSError, match="too large"):
        CsvLog(tmp_path / "run.csv", history)
