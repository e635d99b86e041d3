"""Embeddings and indexing."""

from typing import ClassVar

import jitgrad.nn.functional as F  # noqa: N812

from .common import Both, Case, Forward, ints

CASES = {
    "embedding": Case(F.embedding, lambda i, w: w[i], [ints(4, 3), (4, 2)], [ints(10_000, 8192), (10_000, 128)]),
    "rows by index": Case(lambda w, i: w[i], lambda w, i: w[i], [(4, 2), ints(4, 3)], [(10_000, 128), ints(10_000, 8192)]),
}


class Embedding(Forward):
    cases: ClassVar = CASES


class EmbeddingBackward(Both):
    cases: ClassVar = CASES
