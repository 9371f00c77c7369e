"""The command line. Commands are imported when they are called, so that ``moestat --help`` stays quick."""

from .app import main

__all__ = ["main"]
