"""Import, export, look-ups, changes, swaps and many databases: seconds, bytes, and what has to stay the same."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genome.bench import made, measure, peers
from genome.bench.accesses import journaling
from genome.bench.measure import Run
from genome.bench.peers import REMINIS
from genome.bench.place import Place, median_s, tried
from genome.bench.rows import Row
from genome.db.connect import opened
from genome.model import import_gguf, queries
from genome.model.formats.gguf import reading
from genome.workbench import MODEL, Workbench

_MS = 1e-3
_MB = 1e6
_BIG_TOKENS = 262_144
_RANK = 8
_DATABASES = 1000
_CORES = ("Haswell", "SkylakeX", "Nehalem")
"""Kernels of OpenBLAS, which NumPy's wheels bring; a processor without AVX-512 takes another for SkylakeX."""


def importing(place: Place) -> Iterator[Row]:
    """A GGUF file becomes a database; checksums on."""
    home, target = place.folder / "imported", place.folder / "peer.db"

    def ours() -> Run:
        shutil.rmtree(home, ignore_errors=True)
        return place.work("pull", home, place.gguf, "imported")

    def theirs() -> Run:
        target.unlink(missing_ok=True)
        return peers.peer("convert", "-q", place.gguf, "-o", target)

    own, other = measure.interleaved([ours, theirs if REMINIS.version else None], place.times)
    value, peer = measure.seconds(own), median_s(other)
    yield REMINIS.beside("import of SmolLM2", "as fast as reminis", value, "s", peer, peer is None or value <= peer)
    memory, theirs_memory = measure.peak(own), measure.peak(other)
    goal = "under half of reminis' 241 MB"
    met = memory is not None and memory < 241 * _MB / 2
    yield REMINIS.beside("import of SmolLM2: peak memory", goal, memory, "B", theirs_memory, met)


def exporting(place: Place) -> Iterator[Row]:
    """The database becomes the same GGUF file again."""
    out, back, database = place.folder / "out.gguf", place.folder / "peer.gguf", place.folder / "peer.db"
    if REMINIS.version and not database.exists():
        peers.peer("convert", "-q", place.gguf, "-o", database)

    def theirs() -> Run:
        back.unlink(missing_ok=True)
        return peers.peer("export", "-q", database, "-o", back)

    own, other = measure.interleaved(
        [lambda: place.work("export", place.home.folder, MODEL, out), theirs if REMINIS.version else None],
        place.times,
    )
    value, peer = measure.seconds(own), median_s(other)
    same = out.read_bytes() == place.gguf.read_bytes()
    note = "" if same else "the file differs from the one that was imported"
    met = same and (peer is None or value <= peer)
    yield REMINIS.beside("export of SmolLM2", "as fast as reminis, byte for byte", value, "s", peer, met, note)


def tokens(place: Place) -> Iterator[Row]:
    """One token, process warm, database cold, in a small and in a large vocabulary."""
    big, warm = place.folder / "big.db", place.folder / "warm.db"
    import_gguf(made.model(place.folder / "warm.gguf"), warm)
    import_gguf(made.model(place.folder / "big.gguf", _BIG_TOKENS, layers=0), big)
    asked = [(place.model, " mother", 49_000), (big, made.words(_BIG_TOKENS // 2)[-1], _BIG_TOKENS // 2)]
    peer = None
    if REMINIS.version:
        database = place.folder / "peer.db"
        if not database.exists():
            peers.peer("convert", "-q", place.gguf, "-o", database)
        peer = measure.run("genome.bench.peers:token", str(database), "Ġmother").value
    for by in ("text", "bytes", "number"):
        found = []
        for database, text, number in asked:
            wanted = number if by == "number" else text
            found.append(place.work("token", database, warm, by, wanted, 5 * place.times).value)
        for size, one in zip(("49k", "256k"), found, strict=True):
            theirs = peer if size == "49k" else None
            yield from _token(f"one token by {by}, {size} tokens", one, theirs)
        ratio = found[1]["seconds"] / found[0]["seconds"]
        yield Row(f"one token by {by}, 256k / 49k tokens", "within 1.5 x", ratio, "s/s", 1 / 1.5 <= ratio <= 1.5)


def _token(what: str, one: dict[str, Any], theirs: dict[str, Any] | None) -> Iterator[Row]:
    right = len(one["found"]) == 1
    note = "" if right else f"found {one['found']}"
    took, more = one["seconds"], one["more_bytes"]
    goals = [("", "under 2 ms", took, "s", "seconds", took < 2 * _MS)]
    goals.append((": more memory", "under 1 MB", more, "B", "more_bytes", more is not None and more < _MB))
    for more_words, goal, value, unit, fact, met in goals:
        if theirs is None:
            yield Row(what + more_words, goal, value, unit, met and right, note=note)
        else:
            yield REMINIS.beside(what + more_words, goal, value, unit, theirs[fact], met and right, note)


def embedding(place: Place) -> Iterator[Row]:
    """One embedding row, the database open and warm."""
    told = place.work("embedding_row", place.model, place.count(3000)).value
    yield Row("one embedding row", "under 0.2 ms", told["seconds"], "s", told["seconds"] < 0.2 * _MS)
    yield Row("one embedding row: blocks read", "1", told["blocks"], "blocks", told["blocks"] == 1)


def one_row(place: Place) -> Iterator[Row]:
    """A change of one row, as a delta and in place."""
    model = place.folder / "changed.db"
    shutil.copyfile(place.model, model)
    (place.folder / "deltas").mkdir()
    told = place.work("one_row", model, place.folder / "deltas", 3 * place.times).value
    peer = _one_row_peer(place) if REMINIS.version else {}
    size = told["delta_bytes"]
    yield REMINIS.beside(
        "one row changed: delta file", "under 16 KB", size, "B", peer.get("delta_bytes"), size < 16_384
    )
    both = told["create_s"] + told["overlay_s"]
    yield REMINIS.beside(
        "one row changed: create + overlay", "under 20 ms", both, "s", peer.get("create_s"), both < 20 * _MS
    )
    for name, what in (("apply_s", "apply in place"), ("undo_s", "undo")):
        theirs = peer.get("apply_s") if name == "apply_s" else None
        met = told[name] < 20 * _MS
        if theirs is None:
            yield Row(f"one row changed: {what}", "under 20 ms", told[name], "s", met)
        else:
            yield REMINIS.beside(f"one row changed: {what}", "under 20 ms", told[name], "s", theirs, met)
    note = f"of {told['page_count']}; {told['pages_after']} differ after undo, whose rows are the base's"
    goal = "the base file's other bytes untouched"
    yield Row(
        "one row changed: pages of the file that differ", goal, told["pages"], "pages", told["as_before"], note=note
    )


def _one_row_peer(place: Place) -> dict[str, float]:
    """The same with the peer: a file with one other byte in the embedding, the difference, a new database."""
    other, pack = place.folder / "other.gguf", place.folder / "pack.db"
    raw = bytearray(place.gguf.read_bytes())
    with reading(place.gguf) as source:
        raw[next(tensor.offset for tensor in source.tensors if tensor.name == "token_embd.weight")] ^= 1
    other.write_bytes(raw)
    base, changed, rebuilt = (place.folder / f"{name}.peer.db" for name in ("base", "changed", "rebuilt"))
    peers.peer("convert", "-q", place.gguf, "-o", base)
    peers.peer("convert", "-q", other, "-o", changed)
    create = peers.peer("diff", "-q", base, changed, "-o", pack)
    apply = peers.peer("apply", "-q", base, pack, "-o", rebuilt)
    return {"delta_bytes": pack.stat().st_size, "create_s": create.seconds, "apply_s": apply.seconds}


def lora(place: Place) -> Iterator[Row]:
    """An adapter of rank 8 over all attention tensors."""
    folder = place.folder / "adapter"
    size = _adapter(place, folder)
    runs = []
    for core in _CORES:
        environment = {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": str(1 + len(runs) % 2)}
        delta = place.folder / f"lora-{core}.db"
        arguments = (str(place.model), str(folder), str(delta))
        runs.append(measure.run("genome.bench.works:lora", *arguments, environment=environment))
    ratio = runs[0].value["delta_bytes"] / size
    peer, note = None, ""
    if REMINIS.version:
        pack, base = place.folder / "lora.pack.db", place.folder / "peer.db"
        run, note = tried(lambda: peers.peer("lora", "-q", folder, base, "-o", pack))
        peer = pack.stat().st_size / size if run else None
        note = f"reminis: {note:.200}" if note else ""
    goal = "at most 1.05 x the adapter"
    yield REMINIS.beside("LoRA of rank 8 as delta", goal, ratio, "B/B", peer, ratio <= 1.05, note)
    results = {run.value["sha256"] for run in runs}
    goal = f"bit-identical under {', '.join(_CORES)}"
    yield Row("LoRA: different results under three BLAS kernels", goal, len(results), "results", len(results) == 1)


def _adapter(place: Place, folder: Path) -> int:
    """Writes an adapter as PEFT does; its size in bytes."""
    names = {"attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "o_proj"}
    draw = np.random.default_rng(65)
    factors = {}
    with opened(place.model, "model") as db:
        for tensor in queries.tensors(db):
            if tensor.role in names:
                stem = f"base_model.model.model.layers.{tensor.layer}.self_attn.{names[tensor.role]}"
                rows, columns = tensor.shape
                factors[f"{stem}.lora_A.weight"] = draw.standard_normal((_RANK, columns), np.float32)
                factors[f"{stem}.lora_B.weight"] = draw.standard_normal((rows, _RANK), np.float32)
    folder.mkdir()
    config = {
        "peft_type": "LORA", "r": _RANK, "lora_alpha": 16, "target_modules": sorted(names.values()), "bias": "none",
        "task_type": "CAUSAL_LM", "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    told = made.safetensors(factors)
    (folder / "adapter_model.safetensors").write_bytes(told)
    return len(told)


def swapping(place: Place) -> Iterator[Row]:
    """A model is swapped while it generates."""
    made.model(place.folder / "other.model.gguf", seed=1)
    place.home.pull(place.folder / "other.model.gguf", "random")
    told = place.work("swap", place.home.folder, MODEL, "random", 64, max(4, place.times)).value
    pause = told["pause_s"] + told["swap_s"]
    note = f"of that the call {told['swap_s'] * 1000:.2f} ms; a step takes {told['step_s'] * 1000:.2f} ms"
    yield Row("swap during generation: pause", "under 10 ms", pause, "s", pause < 10 * _MS, note=note)
    wrong = 0 if told["equal"] else 1
    yield Row("swap during generation: lost or doubled tokens", "none", wrong, "generations", not wrong)


def thousand(place: Place) -> Iterator[Row]:
    """A workbench of a thousand databases."""
    home = Workbench(place.folder / "thousand")
    made.model(place.folder / "one.gguf", tokens=300, layers=0, width=8)
    first = home.pull(place.folder / "one.gguf", "d0")
    for number in range(1, count := place.count(_DATABASES)):
        shutil.copyfile(first, home.folder / f"d{number}.db")
        place.progress("databases", number + 1, count, "databases")
    told = place.work("thousand", home.folder).value
    what = f"{count:,} databases: catalogue, then each opened and asked"
    met = told["seconds"] < 1 and told["databases"] == count
    yield Row(what, "under 1 s", told["seconds"], "s", met)
    yield Row(f"{count:,} databases: files open at once", "at most 64", told["open"], "files", told["open"] <= 64)


SPEED = (importing, exporting, tokens, embedding, one_row, lora, journaling, swapping, thousand)
