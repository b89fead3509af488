"""The command line: parse, call, print."""

from variolite.cli.program import main

__all__ = ["main"]
