"""Tensors and accesses as an envelope gives them."""

import gguf
import numpy as np
import pytest

from genome.errors import Error, NotFoundError


def test_a_row_of_the_embedding_reads_its_row(workbench, smollm2_gguf):
    """The source file's own bytes, computed by ggml's package."""
    with workbench.envelope("smollm2", activity="look") as env:
        (mother,) = env.tokens(exact=" mother")["token"]
        embedding = env.tensor("token_embd.weight")
        found = embedding[mother]
        tensor = next(t for t in gguf.GGUFReader(smollm2_gguf).tensors if t.name == embedding.name)
        np.testing.assert_array_equal(embedding.raw(mother), tensor.data[mother])
        np.testing.assert_array_equal(found, gguf.dequantize(tensor.data[mother], tensor.tensor_type))
        told = env.accesses().filter(object=embedding.name).drop("step").unique().row(0)
        assert told == ("look", "smollm2", "token_embd.weight", mother, 1, 612, "disk", 1)


def test_the_heads_of_a_layer(workbench):
    with workbench.envelope("smollm2") as env:
        (name,) = env.tensors(role="attn_k", layer=7)["name"]
        keys = env.tensor(name)
        assert [keys.head(n).shape for n in range(3)] == [(64, 576)] * 3
        with pytest.raises(NotFoundError, match="has no head 3; wanted -3 to 2"):
            keys.head(3)


def test_the_tensors_of_a_model(workbench):
    with workbench.envelope("smollm2") as env:
        frame = env.tensors()
        assert frame.height == 272
        assert env.tensors(dtype="Q8_0")["name"].to_list() == ["token_embd.weight"]
        assert env.accesses().height == 0


def test_a_view_outlives_a_swap_and_not_its_envelope(workbench):
    with workbench.envelope("smollm2") as env:
        view = env.tensor("output_norm.weight")
        env.swap("wordnet")
        assert view[:].shape == (576,)
    with pytest.raises(Error, match="closed"):
        view[:]


def test_units_of_a_nested_generation_stand_under_its_own_steps(workbench):
    with workbench.envelope(activity="outer") as env:
        list(env.generate([5], max_tokens=1))
        with env.nested(activity="inner") as inner:
            (step,) = inner.generate([5], max_tokens=1)
        units = env.accesses().filter(object="unit").select("activity", "step", "row").rows()
        assert units == [("outer", 1, int(step.id)), ("outer/inner", 1, int(step.id))]


def test_what_is_switched_off_is_not_noted_and_says_the_same(workbench):
    with workbench.envelope("smollm2") as env:
        noted = [step.token for step in env.generate([5, 6], max_tokens=4)]
        before = env.accesses().height
        env.journal.enabled = False
        assert [step.token for step in env.generate([5, 6], max_tokens=4)] == noted
        assert env.accesses().height == before > 0
