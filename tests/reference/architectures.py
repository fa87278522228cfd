"""What transformers computes on tiny random models of each architecture: run by hand, since it needs torch.

    python tests/reference/architectures.py

writes tests/model/kernel/data/architectures.json: for each model its configuration, the shapes of its tensors as
transformers saves them, and float32 logits of some tokens. The weights are drawn by NumPy's `RandomState`, whose
numbers never change; tests draw the same ones.

Needs `pip install torch transformers`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "model" / "kernel"))
from drawn import drawn

TARGET = Path(__file__).parents[1] / "model" / "kernel" / "data" / "architectures.json"
COUNT, PLACES = 48, (0, 9, 30, 47)
SIZES = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "pad_token_id": None,
}  # fmt: skip
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "factor": 8.0, "original_max_position_embeddings": 32}
MODELS = {
    "llama with biases": ("Llama", {"attention_bias": True, "head_dim": 12}),
    "llama, scaled linearly": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0}}),
    "llama 3.1": ("Llama", {"rope_parameters": {"rope_type": "llama3", **LLAMA3}}),
    "mistral with a window": ("Mistral", {"sliding_window": 7}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2 with a window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}),
    "qwen3": ("Qwen3", {"head_dim": 16, "tie_word_embeddings": False}),
    "qwen3, scaled by YaRN": (
        "Qwen3",
        {"head_dim": 16, "rope_parameters": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
    ),
    "gemma2": (
        "Gemma2",
        {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 6, "num_hidden_layers": 4,
         "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": (
        "Gemma3Text",
        {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 6, "num_hidden_layers": 7,
         "rope_parameters": {
             "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0},
             "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}},
    ),
    "mixtral": ("Mixtral", {"num_local_experts": 6, "num_experts_per_tok": 2}),
    "qwen3moe": (
        "Qwen3Moe",
        {"head_dim": 16, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 20,
         "norm_topk_prob": True},
    ),
    "olmoe": ("Olmoe", {"num_experts": 8, "num_experts_per_tok": 3, "norm_topk_prob": False, "clip_qkv": 2.0}),
}  # fmt: skip


def saved(name: str, options: dict, folder: Path) -> dict:
    """A model's files, its tensors replaced by drawn ones; what the test needs to know."""
    sizes = SIZES | options
    rope = sizes.get("rope_parameters", {})
    if "full_attention" not in rope:
        sizes["rope_parameters"] = {"rope_theta": 1000.0, "rope_type": "default"} | rope
    config = getattr(transformers, f"{name}Config")(**sizes)
    config._attn_implementation = "eager"  # the others know no soft-caps
    model_class = getattr(transformers, "Gemma3ForCausalLM" if name == "Gemma3Text" else f"{name}ForCausalLM")
    model_class(config).save_pretrained(folder)
    shapes = {key: list(t.shape) for key, t in sorted(load_file(folder / "model.safetensors").items())}
    weights = {key: torch.from_numpy(values) for key, values in drawn(shapes).items()}
    from safetensors.torch import save_file

    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = np.random.RandomState(7).randint(0, 96, COUNT).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy()
    told = json.loads((folder / "config.json").read_text("utf-8"))
    return {
        "config": {key: value for key, value in told.items() if value is not None}, "shapes": shapes,
        "tokens": tokens, "logits": {at: [round(float(x), 5) for x in logits[at]] for at in PLACES},
    }  # fmt: skip


if __name__ == "__main__":
    import tempfile

    found = {}
    for title, (name, options) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[title] = saved(name, options, Path(folder))
        print(title, np.std(found[title]["logits"][47]))
    lines = (f"{json.dumps(title)}: {json.dumps(one)}" for title, one in found.items())
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
