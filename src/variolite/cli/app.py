"""The ``variolite`` program: commands, and what happens when one fails."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
import warnings
from functools import partial
from importlib import import_module
from typing import TextIO

import typer

from variolite.cli import recipes, runs
from variolite.errors import VarioliteError, printable
from variolite.fields import field_names

app = typer.Typer(
    name="variolite",
    help="Variational autoencoders for scientific data, measured so that the result holds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    runs.demo,
    runs.schema,
    runs.fit,
    runs.score,
    runs.compare,
    runs.encode,
    runs.cluster,
    runs.reconstruct,
    runs.generate,
    runs.doctor,
    runs.report,
):
    app.command()(command)
app.add_typer(recipes.app, name="recipes")
for name in field_names():
    app.add_typer(import_module(f"variolite.{name}.commands").app, name=name)


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    raw_text: bool = typer.Option(
        False,
        "--raw-text",
        help="Write text into CSV as it is. Without this, cells that a spreadsheet would run "
        "(=, +, -, @ first, and no number) get an apostrophe in front.",
    ),
) -> None:
    if raw_text:
        from variolite.records import writing

        token = writing.raw_text.set(True)
        context.call_on_close(partial(writing.raw_text.reset, token))
    if version:
        from variolite import __version__

        typer.echo(f"variolite {__version__}")
        raise typer.Exit


_INTERRUPTED = 130

_MEMORY = (
    "the memory is full. Give fewer members, a smaller model (model.latent, model.encoder, "
    "model.decoder) or fewer rows."
)


def main() -> None:
    """Run the program; exit codes: 0 fine, 2 the user's input, 1 an internal error."""
    # Small networks lose a hundredfold to OpenMP's barriers on a busy machine; this has
    # to be set before torch is loaded, and a user's own setting stands.
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["VARIOLITE_DEFAULT_THREADS"] = "1"  # large networks may take more
    warnings.showwarning = _warn
    try:
        app(prog_name="variolite")
    except SystemExit as end:
        # Typer makes 130 of Ctrl-C, without a word, and 1 of a reader that has gone away.
        if end.code == _INTERRUPTED:
            _fail("stopped by the user")
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(0)
        raise
    except VarioliteError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped by the user")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            _fault()
        place = f"{error.filename}: " if error.filename else ""
        hint = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Check rights"
        _fail(f"{place}{error.strerror}. {hint} and run the same command again.")
    except MemoryError:
        _fail(_MEMORY)
    except RuntimeError as error:
        # Torch has an error class of its own for a full GPU, but none for the CPU.
        if not re.search("can't allocate memory|out of memory", str(error), re.IGNORECASE):
            _fault()
        _fail(_MEMORY)
    except Exception:
        _fault()


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


def _fail(message: str) -> None:
    print(f"variolite: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)


def _fault() -> None:
    traceback.print_exc()
    print("variolite: internal error; please report the lines above", file=sys.stderr)
    sys.exit(1)
