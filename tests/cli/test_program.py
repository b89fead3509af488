"""The program as a shell sees it: help, exit codes, broken pipes, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
import warnings
from unittest.mock import Mock

import polars as pl
import pytest
from calling import TINY
from polars.testing import assert_frame_equal

from variolite.records import Schema
from variolite.training import RunFolder

START = "from variolite.cli import main; main()"
COMMANDS = [
    *("demo", "recipes", "schema", "fit", "score", "compare", "encode", "cluster"),
    *("reconstruct", "doctor", "report", "corelogs", "corelogs bin", "generate"),
    *("crystals", "crystals pack", "crystals prior", "recipes import", "recipes show"),
]


def test_help_is_fast_and_knows_nothing_of_torch():
    code = (
        "import atexit, sys, time\n"
        "heavy = {'torch', 'sklearn', 'polars', 'numpy', 'pydantic_core'}\n"
        "told = lambda: print(sorted(heavy & set(sys.modules)), time.process_time())\n"
        f"atexit.register(told); sys.argv = ['variolite', '--help']; {START}"
    )
    command, seconds = [sys.executable, "-c", code], []
    for _ in range(3):
        out = subprocess.check_output(command, text=True)
        assert "Commands:" in out
        loaded, spent = out.splitlines()[-1].split("] ")
        assert loaded == "["
        seconds.append(float(spent))
    assert min(seconds) < 0.3


def test_python_runs_the_package_as_the_program():
    command = [sys.executable, "-m", "variolite", "--version"]
    assert subprocess.check_output(command, text=True).startswith("variolite ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(program, command):
    answer = program.works(*command.split(), "--help")
    assert answer.out.startswith(f"Usage: variolite {command} ")


def test_usage_errors_and_the_version(program):
    assert program("frobnicate").code == 2
    assert "RECIPE" in program("fit").last
    assert program("--version").out.startswith("variolite ")


def test_a_fault_of_ours_ends_with_1_and_its_traceback(program, monkeypatch):
    broken = Mock(side_effect=RuntimeError("some tensor has the wrong shape"))
    monkeypatch.setattr("variolite.recipe.packaged_recipes", broken)
    answer = program("recipes")
    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "internal error" in answer.last


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_anywhere_is_one_line(copied, program, monkeypatch, name, code):
    def send(*_, **__):
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(5.0)

    monkeypatch.setattr("variolite.scoring.tabular_run.score_run", send)
    answer = program("score", copied.run, data=copied.data)
    assert answer.code == code
    assert answer.last.startswith(f"variolite: stopped by {name}. Give the same command again")
    assert "Traceback" not in answer.err
    assert not (copied.run / ".variolite.lock").exists()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == [signal.SIG_DFL] * 2


def test_an_interruption_that_a_library_caught_and_raised(program, monkeypatch):
    monkeypatch.setattr("variolite.recipe.packaged_recipes", Mock(side_effect=KeyboardInterrupt))
    answer = program("recipes")
    assert answer.code == 130
    assert answer.last.startswith("variolite: stopped by SIGINT. Give the same command again")


def test_a_signal_that_a_destructor_swallows_comes_again(program, monkeypatch):
    class Swallowing:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5.0)

    def swallow():
        Swallowing()
        time.sleep(5.0)

    monkeypatch.setattr("variolite.recipe.packaged_recipes", swallow)
    answer = program("recipes")
    assert answer.code == 143
    assert "Traceback" not in answer.err


def test_a_signal_within_polars_waits_until_it_returns(program, monkeypatch):
    returned = []
    code = (
        "def called():\n    os.kill(os.getpid(), 15)\n    time.sleep(0.1)\n    returned.append(1)"
    )
    scope = {"__name__": "polars.io", "os": os, "time": time, "returned": returned}
    exec(code, scope)

    def call():
        scope["called"]()
        time.sleep(5.0)

    monkeypatch.setattr("variolite.recipe.packaged_recipes", call)
    answer = program("recipes")
    assert answer.code == 143
    assert returned == [1]
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("wait", [0.0, 0.05, 0.2])
def test_a_signal_while_modules_are_loaded(example, tmp_path, wait):
    code = f"import sys; print(1, flush=True); {START}"
    command = ["fit", "corelogs/default", "--data", example.data, "--out", tmp_path / "run"]
    with subprocess.Popen(
        [sys.executable, "-c", f"from variolite.cli import main; {code}", *map(str, command)],
        **dict.fromkeys(("stdout", "stderr"), subprocess.PIPE),
        text=True,
    ) as process:
        assert process.stdout.readline()
        time.sleep(0.005 + wait)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.splitlines()[-1].startswith("variolite: stopped by SIGTERM")
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_warnings_are_sentences(program, monkeypatch):
    def warning():
        warnings.warn("two columns look\n alike", UserWarning, stacklevel=1)
        return {"a": "b"}

    monkeypatch.setattr("variolite.recipe.packaged_recipes", warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        answer = program("recipes")
    assert answer.err == "  two columns look alike\n"


def test_a_proposed_schema_is_saved(example, program, tmp_path):
    out = tmp_path / "schema.yaml"
    answer = program("schema", example.data, out=out)
    assert answer.out.endswith(f"{out}\n")
    columns = Schema.from_yaml(out.read_text()).columns
    assert all(name in answer.out for name in columns)
    assert [name for name, column in columns.items() if column.role == "group"] == ["hole"]


def test_bin_joins_instrument_tables(example, program, tmp_path):
    tables, out = sorted(example.instruments.glob("*.csv")), tmp_path / "b.parquet"
    answer = program("corelogs", "bin", *tables, out=out, join="outer")
    assert answer.out == f"{out}\n"
    assert_frame_equal(pl.read_parquet(out), example.frame)


def test_ctrl_c_keeps_what_was_trained_and_the_same_command_goes_on(example, program, tmp_path):
    out, whole = tmp_path / "run", tmp_path / "whole"
    more = ("--set", "training.epochs=150", "--set", "training.patience=null")
    long = ("fit", "corelogs/default", "--data", example.data, *TINY, *more, "--out")
    process = subprocess.Popen(
        [sys.executable, "-c", START, *map(str, (*long, out))],
        **dict.fromkeys(("stdout", "stderr"), subprocess.PIPE),
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 60.0
    while not (out / "split.json").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the machine was too fast: the run had ended before the signal")
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped " in err.splitlines()[-1]
    assert not RunFolder(out).finished
    if RunFolder(out).checkpoint_file.is_file():
        assert "not finished" in program.fails("doctor", out)
    for place in (out, whole):
        program.works(*long, place)
    weights = [folder / "model" / "weights.safetensors" for folder in (out, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_closed_pipe_is_no_fault():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        arguments = [sys.executable, "-c", START, "recipes", "corelogs/default"]
        run = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
