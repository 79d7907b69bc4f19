"""The quality benchmarks: recipes, judges, published rows. `python benchmarks/quality --help`."""
