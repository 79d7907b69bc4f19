"""limner beside other programs at the same work; see cli.py."""
