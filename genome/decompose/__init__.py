"""Definitions -> composition -> genome ID; explanations; evaluation.

Read in this order: words, glosses, lexicon (and wordnet, webster that fill it), dictionary, graph, anchors, walk,
word_shares, tokens, codebook (made by fitting), addresses, cells, build; then queries, decomposition, explain,
labels, bulk, usages, space; lens for a model's hidden states; explications and similarity measure it all.
"""

from genome.decompose.decomposition import Branch, Chain, Decomposition, Explanation, Link, Reason, SenseShare
from genome.decompose.lexicon import known_words
from genome.decompose.space import GenomeSpace
from genome.decompose.webster import build_webster
from genome.decompose.wordnet import build_wordnet
from genome.decompose.words import split_words

__all__ = [
    "Branch",
    "Chain",
    "Decomposition",
    "Explanation",
    "GenomeSpace",
    "Link",
    "Reason",
    "SenseShare",
    "build_webster",
    "build_wordnet",
    "known_words",
    "split_words",
]
