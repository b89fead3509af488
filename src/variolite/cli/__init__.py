"""The command line: parse, call, print."""

from variolite.cli.app import main

__all__ = ["main"]
