"""The ``variolite`` program: commands, and what happens when one fails."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer

from variolite.cli import apply, corelogs, demo, fit, inspect, score
from variolite.errors import VarioliteError

__all__ = ["app", "main"]

app = typer.Typer(
    name="variolite",
    help="Variational autoencoders for scientific data, measured so that the result holds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo.demo)
app.command()(inspect.recipes)
app.command()(inspect.schema)
app.command()(fit.fit)
app.command()(score.score)
app.command()(score.compare)
app.command()(apply.encode)
app.command()(apply.cluster)
app.command()(apply.reconstruct)
app.command()(inspect.doctor)
app.command()(inspect.report)
app.add_typer(corelogs.app, name="corelogs")


@app.callback(invoke_without_command=True)
def _program(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from variolite import __version__

        typer.echo(f"variolite {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the program; exit codes: 0 fine, 2 the user's input, 1 a fault of ours."""
    # Small networks lose a hundredfold to OpenMP's barriers on a busy machine; this has
    # to be set before torch is loaded, and a user's own setting stands.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app(standalone_mode=True)
    except VarioliteError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped by the user")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            _fault()
        place = f"{error.filename}: " if error.filename else ""
        mend = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Check rights"
        _fail(f"{place}{error.strerror}. {mend} and run the same command again.")
    except Exception:
        _fault()


def _fail(message: str) -> None:
    print(f"variolite: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _fault() -> None:
    traceback.print_exc()
    print("variolite: this is a fault of ours; please report the lines above", file=sys.stderr)
    sys.exit(1)
