"""The goals of the kernel and the tokenizer: on SmolLM2, beside llama.cpp on the same GGUF file."""

from genome.bench.area import Area
from genome.bench.budget import budget
from genome.bench.exact import EXACT
from genome.bench.experts import mixture
from genome.bench.gpu import cuda
from genome.bench.llamacpp import LLAMA
from genome.bench.starts import STARTS
from genome.bench.steps import STEPS
from genome.bench.strange import strange
from genome.bench.tokenizers import TOKENIZERS, TOKENIZING

AREA = Area((*STEPS, *STARTS, budget, *EXACT, mixture, *TOKENIZING, cuda, strange), (LLAMA, TOKENIZERS))
