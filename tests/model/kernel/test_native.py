"""The compiled kernel: the same products as in pure JAX, made here, kept, never in the way of a machine without.

The extra `test` brings a compiler (ziglang), so that these tests run wherever the others do; without any they fail.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genome.db.connect import opened
from genome.db.journal import Journal
from genome.errors import Error
from genome.model import LanguageModel
from genome.model.kernel import executables
from genome.model.kernel.cache import Cache
from genome.model.kernel.executables import Executables
from genome.model.kernel.forms import pack
from genome.model.kernel.linear import Layer, dense, project
from genome.model.kernel.native import checking, library
from genome.model.kernel.native.attention import library_for
from genome.model.kernel.native.checking import TYPES, check, drawn
from genome.model.kernel.native.library import SETTING, Compiler, compilers, kernel, loaded, made
from genome.model.kernel.native.product import Native, native

LANES = ("plain C++", "NEON", "AVX2", "AVX-512")
"""In the order of GENOME_LANES in lanes.h."""


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    """The first compiler of this machine."""
    if found := next(compilers(), None):
        return found
    pytest.fail("no C++ compiler; pip install -e '.[test]' brings one")


@pytest.fixture(scope="session")
def build(compiler, tmp_path_factory) -> Callable[..., Path]:
    """Compiles the kernel with further options, without the self-test."""
    folder = tmp_path_factory.mktemp("kernels")

    def compiled(*options: str) -> Path:
        file = folder / f"{len(list(folder.iterdir()))}{library._ending()}"
        library._compile(compiler, file, options)
        return file

    return compiled


@pytest.fixture(scope="session")
def built(build) -> tuple[str, str]:
    """Lanes and name of the kernel that is best for this processor."""
    return loaded(build())


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty cache folder, and a process that has not looked for a kernel yet."""
    monkeypatch.setenv("GENOME_CACHE", str(tmp_path / "cache"))
    library._kernel.cache_clear()
    yield tmp_path / "cache"
    library._kernel.cache_clear()


def test_every_kind_of_matrix(built):
    check(built[1])


def test_the_best_lanes_are_those_of_the_processor(built):
    told = executables.processor()
    wanted = "AVX-512" if " avx512bw " in told else "AVX2" if " avx2 " in told else None
    assert wanted in (built[0], None)


def test_lesser_lanes_compute_the_same(build, built):
    """What another processor of this family would run: fewer lanes, or plain C++."""
    lesser = {"AVX-512": (0, 2), "AVX2": (0,), "NEON": (0,), "plain C++": ()}[built[0]]
    for number in lesser:
        lanes, name = loaded(build(f"-DGENOME_LANES={number}"))
        assert lanes == LANES[number]
        check(name)


@pytest.mark.parametrize("dtype", TYPES)
def test_products_are_those_of_the_weights_one_vector_or_many(built, dtype):
    """Stacked or alone; several vectors go the way of pure JAX."""
    matrix = jax.tree.map(jnp.asarray, pack(drawn(dtype, 3, 70, 768), dtype))
    wrapped, x = Native(matrix, built[1]), np.random.default_rng(1).normal(size=(5, 768)).astype(np.float32)
    weights = np.asarray(dense(matrix), np.float64)
    stacked = jax.jit(lambda x, form, number: project(x, Layer(form, number)))
    alone = jax.jit(project)
    for number in (0, 2):
        one = jax.tree.map(lambda part, number=number: part[number], wrapped)
        found = stacked(x[:1], wrapped, number)
        wanted = weights[number] @ x[0]
        np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())
        np.testing.assert_array_equal(found, alone(x[:1], one))
        several = stacked(x, wrapped, number)
        np.testing.assert_allclose(several, stacked(x, matrix, number), rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_attention_takes_the_place_of_the_reference_where_it_can(built):
    """One token, no cap, a cache of float32 in whole strips; else pure JAX is asked."""
    shape, plain = checking._UNCAPPED, Native(pack(drawn("Q4_1", 64, 64), "Q4_1"), built[1])

    def told(shape=shape, matrix=plain, tokens=1, places=256, dtype=np.float32) -> str:
        empty = jnp.zeros((2, 2, 64, places), dtype)
        return library_for(shape, matrix, jnp.zeros((2, 3, tokens, 64)), Cache(empty, empty))

    assert told() == told(matrix=Layer(plain, jnp.int32(0))) == built[1]
    assert told(matrix=plain.form) == told(tokens=2) == told(places=250) == told(dtype=np.float16) == ""
    assert told(shape=replace(shape, attention_cap=50.0)) == ""


def test_the_same_bits_every_time(built):
    """Rows are shared out as threads come; each is summed up in one order."""
    matrix = jax.tree.map(jnp.asarray, pack(drawn("Q4_1", 3000, 576), "Q4_1"))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 576)).astype(np.float32))
    product = jax.jit(project)
    first = np.asarray(product(x, Native(matrix, built[1])))
    for _ in range(50):
        np.testing.assert_array_equal(product(x, Native(matrix, built[1])), first)


def test_a_model_gives_the_same_tokens_and_starts_without_compiling(tiny_db, cache, tmp_path, built, monkeypatch):
    def tokens(name: str) -> tuple[list[int], list[float], bool]:
        monkeypatch.setattr(executables, "_ready", {})
        found = library.Kernel("native", *built) if name == "native" else library.Kernel("jax", "")
        monkeypatch.setattr("genome.model.kernel.native.product.kernel", lambda: found)
        with opened(tiny_db, "model") as db:
            model = LanguageModel(db, "tiny", Journal(), executables=tmp_path / "kept")
            steps = list(model.generate([5, 6, 7], max_tokens=12, past_end=True))
            params, _ = model._engine.params()
        leaves = jax.tree.leaves(params, is_leaf=lambda it: isinstance(it, Native))
        used = any(isinstance(it, Native) for it in leaves)
        return [step.token for step in steps], [step.logprob for step in steps], used

    plain, compiled = tokens("jax"), tokens("native")
    assert (plain[2], compiled[2]) == (False, True)
    assert compiled[0] == plain[0]
    np.testing.assert_allclose(compiled[1], plain[1], atol=1e-4)
    monkeypatch.setattr(Executables, "_keep", lambda *told: pytest.fail("compiled again"))
    assert tokens("native") == compiled
    assert tokens("jax") == plain


def test_made_once_and_not_loaded_when_damaged(compiler, cache, monkeypatch):
    file = made(compiler, cache)
    compile_ = library._compile
    monkeypatch.setattr(library, "_compile", lambda *told: pytest.fail("compiled again"))
    assert made(compiler, cache) == file
    monkeypatch.setattr(library, "_compile", compile_)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert made(compiler, cache).stat().st_size == len(whole)


def test_a_kernel_that_crashes_takes_only_the_self_test_along(compiler, cache, tmp_path):
    header = tmp_path / "crash.h"
    header.write_text("__attribute__((constructor)) static void crash() { __builtin_trap(); }")
    for _ in range(2):  # the second time out of the note that the first one left
        with pytest.raises(Error, match="fails its self-test"):
            made(compiler, cache, "-include", str(header))
    assert [path.suffix for path in cache.glob("native-*")] == [".failed"]


def test_what_only_took_too_long_is_tried_again(compiler, cache, monkeypatch):
    monkeypatch.setattr(library, "_COMPILE_S", 0.001)
    with pytest.raises(TimeoutError, match=r"the native kernel does not compile within 0\.001 s"):
        made(compiler, cache)
    assert not list(cache.glob("native-*"))


def test_a_wrong_product_is_found(built, monkeypatch):
    right = checking.product
    monkeypatch.setattr(checking, "product", lambda *given: right(*given).at[2].add(0.5))
    with pytest.raises(Error, match=r"F32, 37 x 1280: an error of .*; wanted under 2e-06"):
        check(built[1])


def test_without_a_compiler_or_with_a_bad_one_pure_jax_goes_on(cache, monkeypatch, tmp_path):
    monkeypatch.setenv(SETTING, "native")
    monkeypatch.setattr(library, "compilers", lambda: iter(()))
    assert kernel() == ("jax", "no C++ compiler was found", "")
    library._kernel.cache_clear()
    bad = Compiler((sys.executable, "-c", "import sys; sys.exit('error: bad luck')"), Path(sys.executable))
    monkeypatch.setattr(library, "compilers", lambda: iter([bad]))
    name, why, told = kernel()
    assert (name, told) == ("jax", "")
    assert why.endswith("the native kernel does not compile (exit status 1): error: bad luck")
    matrix = pack(drawn("Q4_1", 4, 64), "Q4_1")
    assert native(matrix) is matrix


def test_who_decides(cache, monkeypatch):
    monkeypatch.setattr(library, "made", lambda *told: Path("kernel"))
    monkeypatch.setattr(library, "loaded", lambda file: ("AVX2", "1234"))
    monkeypatch.setattr(library, "compilers", lambda: iter([Compiler(("c++",), Path("c++"))]))
    monkeypatch.setattr(library, "find_spec", lambda name: None)

    def told(setting: str) -> tuple[str, str, str]:
        monkeypatch.setenv(SETTING, setting)
        return kernel()

    assert told("native") == ("native", "AVX2", "1234")
    assert told("jax") == ("jax", "GENOME_KERNEL asks for it", "")
    assert told("") == ("jax", "the extra is not installed (pip install 'token-genome[native]')", "")
    monkeypatch.setattr(library, "find_spec", lambda name: "there")
    library._kernel.cache_clear()
    assert told("") == ("native", "AVX2", "1234")
    with pytest.raises(Error, match="GENOME_KERNEL is 'fast'; wanted native, jax, or nothing"):
        told("fast")
