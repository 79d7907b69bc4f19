"""The care of a run: its loop, logs, alarms, signals, rollbacks and what it leaves on the disk."""
