"""Worker processes: order, time limits, crashes, interruption."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from pool_tasks import carry_out

from variolite.crystals.matching.pool import Outcome, Progress, run_in_workers
from variolite.errors import DataError

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from pool_tasks import carry_out
from variolite.crystals.matching.pool import run_in_workers
import multiprocessing

def tell(_):
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)

if __name__ == "__main__":
    tasks = [("value", 0)] + [("spin", 0)] * 4
    run_in_workers(carry_out, tasks, workers=2, limit=60.0, told=tell)
"""


def test_every_task_has_its_outcome_in_order() -> None:
    # On a thread, and with a busy loop that no exception interrupts.
    tasks = [
        ("value", 0),
        ("spin", 0),
        ("exit", 3),
        ("raise", "no"),
        ("sleep", 0.01),
        *[("value", i) for i in range(20)],
    ]
    found: list[Outcome] = []
    seen: list[int] = []
    thread = Thread(
        target=lambda: found.extend(
            run_in_workers(carry_out, tasks, workers=2, limit=2.0, told=seen.append)
        )
    )
    thread.start()
    thread.join()
    assert [o.status for o in found[:5]] == ["done", "timed out", "crashed", "crashed", "done"]
    assert "exit code 3" in found[2].reason
    assert found[3].reason == "ArithmeticError: no"
    assert [o.value[0] for o in found[5:]] == list(range(20))
    assert sorted(seen) == list(range(len(tasks)))
    # Those that hung or died were replaced.
    assert len({o.value[1] for o in found if o.status == "done"}) >= 2
    assert not multiprocessing.active_children()


def test_no_task_starts_no_process() -> None:
    assert run_in_workers(carry_out, [], workers=3, limit=1.0) == []


@pytest.mark.parametrize(("workers", "limit"), [(0, 1.0), (1, 0.0)])
def test_impossible_settings_are_refused(workers: int, limit: float) -> None:
    with pytest.raises(DataError, match="at least one process"):
        run_in_workers(carry_out, [("value", 1)], workers=workers, limit=limit)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


@pytest.mark.skipif(os.name == "nt", reason="signals to a process need POSIX")
def test_an_interruption_leaves_no_process_behind(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    try:
        # Python may drop an interruption that falls into a finaliser; a user presses again.
        for _ in range(60):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
                break
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode != 0
    until = time.monotonic() + 10
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, children))


def test_progress_tells_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    said: list[str] = []
    progress = Progress("matching", 4000, said.append)
    for _ in range(4):
        clock[0] += 0.6
        progress.add(1000)
    assert said == [
        "matching: 2,000 of 4,000, about 1 s left",
        "matching: 4,000 of 4,000",
    ]
