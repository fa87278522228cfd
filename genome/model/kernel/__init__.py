"""The JAX kernel: a language model's forward pass over matrices as they are stored."""
