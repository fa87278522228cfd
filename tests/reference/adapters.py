"""Makes tests/model/deltas/data/peft/: a small Llama model, LoRA adapters as PEFT saves them, and what PEFT merges.

    python tests/reference/adapters.py

Needs `pip install torch transformers peft==0.21.2`. All weights are random, those of the adapters
too, half of which are zero when a training begins.
"""

import shutil
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

TARGET = Path(__file__).parent.parent / "model" / "deltas" / "data" / "peft"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
CASES = {
    "plain": {"r": 2, "lora_alpha": 3, "target_modules": [*ATTENTION, "down_proj"]},
    "patterns": {
        "r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ATTENTION,
        "rank_pattern": {"^model.layers.1.self_attn.q_proj": 3, "v_proj": 1},
        "alpha_pattern": {"layers.0.self_attn.o_proj": 5, "k_proj": 16},
    },
    "whole": {
        "r": 2, "target_modules": ["q_proj", "v_proj"], "bias": "all",
        "modules_to_save": ["embed_tokens", "lm_head", "input_layernorm"],
    },
    "embedding": {"r": 2, "target_modules": ["embed_tokens", "k_proj", "lm_head"]},
    "bias": {"r": 2, "lora_alpha": 1, "target_modules": ["q_proj", "k_proj"], "lora_bias": True},
    "dora": {"r": 2, "target_modules": ["q_proj"], "use_dora": True},
}  # fmt: skip


def model() -> LlamaForCausalLM:
    """The same weights each time."""
    torch.manual_seed(65)
    config = LlamaConfig(
        vocab_size=24, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attention_bias=True, max_position_embeddings=64,
    )  # fmt: skip
    found = LlamaForCausalLM(config)
    drawn(found)
    return found


@torch.no_grad()
def drawn(module: torch.nn.Module) -> None:
    """Random numbers for all that is trained: biases and norms too, which begin as zeros and ones."""
    for values in module.parameters():
        if values.requires_grad:
            values.add_(torch.randn_like(values) * 0.1)


def main() -> None:
    """Writes the base, the adapters and what comes out."""
    warnings.simplefilter("ignore")
    shutil.rmtree(TARGET, ignore_errors=True)
    model().save_pretrained(TARGET / "base")
    for name, settings in CASES.items():
        trained = get_peft_model(model(), LoraConfig(init_lora_weights=False, **settings))
        drawn(trained)
        trained.save_pretrained(TARGET / name)
        (TARGET / name / "README.md").unlink()
        if settings.get("use_dora"):
            continue  # to be refused
        merged = trained.merge_and_unload().state_dict()
        save_file({key: value.contiguous() for key, value in merged.items()}, TARGET / name / "merged.safetensors")


if __name__ == "__main__":
    main()
