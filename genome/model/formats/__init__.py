"""Files that models come in: GGUF, safetensors, Hugging Face folders, byte for byte in and out."""
