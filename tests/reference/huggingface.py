"""Checks a conversion against programs that are not ours: run by hand, since it needs torch.

    python tests/reference/huggingface.py FOLDER MODEL.gguf "a prompt"

FOLDER is what `genome export NAME FOLDER --format safetensors` wrote, MODEL.gguf what `genome export NAME
MODEL.gguf --format gguf` made of it again (or the first GGUF). transformers continues the prompt from the folder,
llama.cpp from the file; both print token numbers, which must be those of `genome run --greedy --raw`.

Needs `pip install torch transformers llama-cpp-python==0.3.36`.
"""

import sys

import torch
from llama_cpp import Llama
from transformers import AutoModelForCausalLM, AutoTokenizer

COUNT = 24


def continued_by_transformers(folder: str, prompt: str) -> tuple[list[int], list[int]]:
    """The prompt's tokens and the most probable ones after them, in float32."""
    tokens = AutoTokenizer.from_pretrained(folder)(prompt)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = list(tokens)
    with torch.no_grad():
        for _ in range(COUNT):
            found.append(int(model(torch.tensor([found])).logits[0, -1].argmax()))
    return tokens, found[len(tokens) :]


def continued_by_llama_cpp(file: str, tokens: list[int]) -> list[int]:
    """The same by llama.cpp."""
    model = Llama(file, n_ctx=512, verbose=False)
    found = []
    for token in model.generate(tokens, temp=0.0, top_k=1):
        found.append(token)
        if len(found) == COUNT:
            break
    return found


if __name__ == "__main__":
    _, folder, file, prompt = sys.argv
    tokens, found = continued_by_transformers(folder, prompt)
    print(tokens, found, sep="\n")
    same = continued_by_llama_cpp(file, tokens) == found
    print("llama.cpp continues the same" if same else "llama.cpp continues otherwise")
    sys.exit(not same)
