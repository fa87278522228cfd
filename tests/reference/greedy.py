"""Makes tests/model/data/smollm2_greedy.json: what transformers continues, in float32, on the same weights.

    python tests/reference/greedy.py SmolLM2-135M-Instruct.Q4_1.gguf

Needs `pip install torch transformers accelerate gguf llama-cpp-python==0.3.36`. transformers dequantises the
GGUF's blocks to float32 and takes the most probable token each time; no chat template, no BOS. With each token
stands the gap between the two best logits: where it is below 0.02, another order of float32 sums may choose the
other token.
"""

import json
import sys
from pathlib import Path

import torch
from llama_cpp import Llama
from transformers import AutoModelForCausalLM

TARGET = Path(__file__).parent.parent / "model" / "data" / "smollm2_greedy.json"
COUNT = 64
PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a village by the sea, there lived a",
    "def fibonacci(n):\n    ",
    "The three laws of thermodynamics state that",
    "To make a good cup of tea, first",
    "My mother told me that",
    "1, 2, 3, 5, 8, 13,",
    "In 1969, the first human",
    "Water boils at 100 degrees because",
    "The difference between a crow and a raven is",
    "import numpy as np\n\ndef softmax(x):\n",
    "Dear Sir or Madam,\n\nI am writing to",
    "Photosynthesis is the process by which",
    "A good dictionary defines each word by",
    "The old man looked at the sea and",
    "Question: Why is the sky blue?\nAnswer:",
    "The meaning of the word \"happy\" is",
    "Les enfants jouent dans le",
    "She opened the letter, read it twice, and",
    "Here is a list of five animals:\n1.",
    "The quick brown fox",
    "People have always wanted to know why",
    "SELECT name, age FROM",
    "Yesterday I saw something that I",
)  # fmt: skip


def main(gguf: str) -> None:
    """Continues each prompt and writes tokens and gaps."""
    torch.set_num_threads(2)
    path = Path(gguf)
    tokenizer = Llama(gguf, vocab_only=True, verbose=False)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    found = []
    for prompt in PROMPTS:
        ids = tokenizer.tokenize(prompt.encode(), add_bos=False, special=False)
        tokens, gaps = continued(model, ids)
        found.append({"prompt": prompt, "ids": ids, "tokens": tokens, "gaps": gaps})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in found)
    TARGET.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


@torch.no_grad()
def continued(model: torch.nn.Module, ids: list[int]) -> tuple[list[int], list[float]]:
    """Greedy tokens, not stopping at an end token, and the gap between the two best logits of each."""
    fed, past, tokens, gaps = torch.tensor([ids]), None, [], []
    for _ in range(COUNT):
        out = model(input_ids=fed, past_key_values=past, use_cache=True)
        best = torch.topk(out.logits[0, -1].float(), 2)
        tokens.append(int(best.indices[0]))
        gaps.append(round(float(best.values[0] - best.values[1]), 4))
        fed, past = best.indices[:1].view(1, 1), out.past_key_values
    return tokens, gaps


if __name__ == "__main__":
    main(sys.argv[1])
