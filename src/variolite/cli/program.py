"""Running the program: signals from the first instant on, exit codes, one line for every error."""

from __future__ import annotations

import _thread
import errno
import os
import re
import signal
import sys
import time
import traceback
import warnings
from threading import Timer
from types import FrameType
from typing import Any, NoReturn, TextIO

from variolite.errors import VarioliteError, printable

_MEMORY = (
    "the memory is full. Give fewer members, a smaller model (model.latent, model.encoder, "
    "model.decoder) or fewer rows."
)
_NO_PLACE = (errno.ENOSPC, errno.EDQUOT)
_NO_RIGHTS = (errno.EACCES, errno.EROFS, errno.EPERM)
_NO_NAME = (errno.ENAMETOOLONG,)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_REPEATED = 1.0  # Seconds within which a second signal is a repetition of the first.
_stopped_by: signal.Signals | None = None
_stopped_at = 0.0


def main() -> NoReturn:
    """Run the program; exit codes: 0 fine, 2 the user's input, 1 an internal error.

    3 is for fewer results than asked, 130 and 143 for a stop by SIGINT and SIGTERM.
    """
    global _stopped_by
    _stopped_by = None
    try:
        _handle_signals(_stop)
        status = _status()
        _handle_signals(signal.SIG_DFL)  # there is nothing left to be kept
    except KeyboardInterrupt:  # while it said how it ended, or before there was a handler
        status = _stopped()
        _handle_signals(signal.SIG_DFL)
    sys.exit(status)


def _handle_signals(handler: Any) -> None:
    for number in _SIGNALS:
        # What a shell or nohup has ignored stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    global _stopped_by, _stopped_at
    now = time.monotonic()
    # Terminals and job managers often send it twice; the state may be being written meanwhile.
    if _stopped_by is None or now - _stopped_at > _REPEATED:
        _stopped_by, _stopped_at = signal.Signals(number), now
        if _takes_no_exception(frame):
            _stop_later()
        else:
            raise KeyboardInterrupt


def _takes_no_exception(frame: FrameType | None) -> bool:
    """Whether our code has called polars or an import, and that has not returned.

    Polars panics where Python code that it calls raises; an interrupted import ends in any error.
    """
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in ("polars", "importlib"):
            return True
        if package == "variolite":
            break
        frame = frame.f_back
    return False


def _stop_later() -> None:
    global _stopped_at
    _stopped_at = -_REPEATED
    again = Timer(0.01, _thread.interrupt_main, (_stopped_by,))
    again.daemon = True
    again.start()


def _raise_again(lost: Any) -> None:
    """Stop again where Python cannot pass an interruption on, as in a destructor."""
    if _stopped_by is None:
        sys.__unraisablehook__(lost)
    elif issubclass(lost.exc_type, KeyboardInterrupt):
        _stop_later()


def _status() -> int:
    """Carry out the command and return the exit code; say what went wrong."""
    # Small networks lose a hundredfold to OpenMP's barriers on a busy machine; this has
    # to be set before torch is loaded, and a user's own setting stands.
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["VARIOLITE_DEFAULT_THREADS"] = "1"  # large networks may take more
    warnings.showwarning = _warn
    sys.unraisablehook = _raise_again
    try:
        from variolite.cli.app import app

        app(prog_name="variolite")
    except SystemExit as end:
        # Polars catches SIGINT itself while it computes; Typer makes 130 of what it raises then,
        # and 1 of a reader that has gone away.
        if _stopped_by or end.code == 128 + signal.SIGINT:
            return _stopped()
        gone = isinstance(end.__context__, BrokenPipeError)
        return 0 if gone or end.code is None else int(end.code)
    except VarioliteError as error:
        _say(str(error))
        return 128 + _stopped_by if _stopped_by else error.exit_code
    except BaseException as error:
        # What is raised while modules are loaded may be another error by the time it is here.
        if _stopped_by or isinstance(error, KeyboardInterrupt):
            return _stopped()
        if (message := _of_the_machine(error)) is not None:
            _say(message)
            return 2
        traceback.print_exc()
        print("variolite: internal error; please report the lines above", file=sys.stderr)
        return 1
    return 0


def _of_the_machine(error: BaseException) -> str | None:
    """What to say of an error that the machine makes, not the program; None of others."""
    if isinstance(error, OSError) and error.errno in (*_NO_PLACE, *_NO_RIGHTS, *_NO_NAME):
        place = f"{error.filename}: " if error.filename else ""
        hint = "Free some space" if error.errno in _NO_PLACE else "Check rights"
        hint = "Give a shorter name" if error.errno in _NO_NAME else hint
        return f"{place}{error.strerror}. {hint} and run the same command again."
    # Torch has an error class of its own for a full GPU, but none for the CPU.
    words = "can't allocate memory|out of memory"
    full = isinstance(error, RuntimeError) and re.search(words, str(error), re.IGNORECASE)
    return _MEMORY if full or isinstance(error, MemoryError) else None


def _stopped() -> int:
    number = _stopped_by or signal.SIGINT
    hint = "`fit` and the commands of `frameworks` resume"
    _say(f"stopped by {number.name}. Give the same command again; {hint}.")
    return 128 + number


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as a sentence, without the line of code that it comes from."""
    del category, filename, lineno, file, line
    print(f"  {printable(' '.join(str(message).split()))}", file=sys.stderr)


def _say(message: str) -> None:
    print(f"variolite: {printable(' '.join(message.split()))}", file=sys.stderr)
