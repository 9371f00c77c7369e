"""``python -m moestat.cli``."""

from . import main

main()
