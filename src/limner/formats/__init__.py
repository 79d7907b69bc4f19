"""Readers of other programs' files, which trust nothing in them and execute none of it."""
