"""``python -m moestat``: the command line."""

from moestat.cli import main

main()
