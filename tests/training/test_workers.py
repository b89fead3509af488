"""Worker processes: order, time limits, crashes, interruption."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

import pytest
from worker_tasks import carry_out, prepare, prepared, refuse, threads

from variolite.errors import DataError
from variolite.training import workers
from variolite.training.workers import TimeLimitError, WorkerDiedError, Workers, outcomes

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from worker_tasks import carry_out
from variolite.training.workers import outcomes
import multiprocessing

def done(_):
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)

if __name__ == "__main__":
    tasks = [("value", 0)] + [("spin", 0)] * 4
    outcomes(carry_out, tasks, workers=2, limit=60.0, done=done)
"""


def test_every_task_has_its_outcome_in_order():
    # On a thread, and with a busy loop that no exception interrupts.
    tasks = [("value", 0), ("spin", 0), ("exit", 3), ("raise", "no"), ("sleep", 0.01)]
    tasks += [("value", i) for i in range(20)]
    seen = []
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(outcomes, carry_out, tasks, workers=2, limit=5.0, done=seen.append)
    found = run.result()
    assert [o.status for o in found[:5]] == ["done", "timed out", "crashed", "crashed", "done"]
    assert [o.value[0] for o in found[5:]] == list(range(20))
    assert sorted(seen) == list(range(len(tasks)))
    # Those that hung or died were replaced.
    assert len({o.value[1] for o in found if o.status == "done"}) >= 2
    assert not multiprocessing.active_children()


def test_futures_hold_results_and_errors():
    with Workers(2, limit=5.0, initializer=prepare, initargs=("weights",)) as pool:
        tasks = [("spin", 0), ("exit", 3), ("raise", "no"), ("error", 0), ("lambda", 0)]
        late, died, raised, foreign, unsendable, trap = (
            pool.submit(carry_out, task) for task in [*tasks, ("trap", 0)]
        )
        kept = [pool.submit(prepared) for _ in range(4)]
        unpicklable = pool.submit(lambda: 0)
        numbers = pool.map(carry_out, [("value", i) for i in range(5)])
        for future, error, words in (
            (late, TimeLimitError, "longer than 5 s"),
            (died, WorkerDiedError, "exit code 3"),
            (raised, ArithmeticError, "no"),
            (foreign, DataError, "wrong"),
            (unsendable, Exception, "lambda"),
            (trap, SystemExit, "trap"),
            (unpicklable, Exception, "lambda"),
        ):
            with pytest.raises(error, match=words):
                future.result(timeout=60)
        assert {future.result() for future in as_completed(kept)} == {"weights"}
        assert [value for value, _ in numbers] == list(range(5))
        assert pool.submit(threads).result() == {1}
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(prepared)


def test_an_error_in_the_block_ends_running_work():
    with suppress(KeyError), Workers(1) as pool:
        pool.submit(carry_out, ("value", 0)).result()
        futures = [pool.submit(carry_out, ("spin", 0)) for _ in range(2)]
        raise KeyError
    assert not multiprocessing.active_children()
    for future in futures:
        with pytest.raises((WorkerDiedError, CancelledError)):
            future.result()


def test_what_spoils_every_start_is_one_error_and_impossible_settings_are_refused():
    pool = Workers(2, initializer=refuse)
    with pytest.raises(DataError, match="no such potential"), pool:
        pool.submit(prepared).result()
    assert outcomes(carry_out, [], workers=3, limit=1.0) == []
    for count, limit in ((0, 1.0), (1, 0.0)):
        with pytest.raises(DataError, match="at least one process"):
            Workers(count, limit=limit)


def test_workers_need_no_torch():
    code = "import sys, variolite.training.workers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


@pytest.mark.skipif(os.name == "nt", reason="signals to a process need POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_an_interruption_leaves_no_process_behind(tmp_path, number):
    script = tmp_path / "interrupted.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    # A session of its own: the interruption goes to the whole group, as from a terminal.
    command, pipe = [sys.executable, str(script)], subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, start_new_session=True)
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    errors = b""
    try:
        # Python may drop an interruption that falls into a finaliser; a user presses again.
        for _ in range(60):
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.kill()  # the parent alone, whose processes are within endless loops
            with suppress(subprocess.TimeoutExpired):
                _, errors = process.communicate(timeout=2)
                break
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0
    # The parent alone reports the interruption.
    assert errors.count(b"Traceback") <= 1
    until = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, children))


def test_progress_reports_what_is_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines = []
    progress = workers.Progress("matching", 4000, lines.append)
    for _ in range(4):
        clock[0] += 0.6
        progress.add(1000)
    assert lines == ["matching: 2,000 of 4,000, about 1 s left", "matching: 4,000 of 4,000"]
