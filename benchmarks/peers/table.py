"""All rows by their names."""

from peers import sampling, scores, training
from peers.work import Row

ROWS: dict[str, Row] = {**sampling.rows(), **training.rows(), **scores.rows()}
