"""What people hold, as HTML for a notebook: complete in itself, escaped, readable in light and in dark."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genome.lab.palette import FAMILIES, colour
from genome.lab.surroundings import in_report
from genome.lab.templating import render
from genome.lab.words import around, percent, size

if TYPE_CHECKING:
    from genome.decompose import Branch, Decomposition, Explanation
    from genome.envelope import Envelope
    from genome.model import Step
    from genome.model.tensors import TensorView
    from genome.workbench import Workbench

NEAREST, SENSES = 6, 6
"""How many neighbours, and senses of 1 % and more, a decomposition's display lists."""


def display(thing: Any) -> str:
    """The HTML of a Workbench, an Envelope, a Decomposition, an Explanation, a tensor, or a list of Steps."""
    from genome.decompose import Decomposition, Explanation
    from genome.envelope import Envelope
    from genome.workbench import Workbench

    if isinstance(thing, Workbench):
        return _workbench(thing)
    if isinstance(thing, Envelope):
        return _envelope(thing)
    if isinstance(thing, Decomposition):
        return _decomposition(thing)
    if isinstance(thing, Explanation):
        return render("explanation.html.j2", text=thing.text, reasons=_reasons(thing))
    if are_steps(thing):
        return _steps(thing)
    if _type_name(thing) == "genome.model.TensorView":
        return _tensor(thing)
    return render("text.html.j2", text=repr(thing))


def are_steps(thing: object) -> bool:
    """Whether something is a list of a generation's steps, and not an empty one.

    Told by the type's name: a list of anything comes by here, and the model's room is not loaded for it.
    """
    return (
        isinstance(thing, list) and bool(thing) and all(_type_name(item) == "genome.model.Step" for item in thing)
    )


def _type_name(thing: object) -> str:
    return f"{'.'.join(type(thing).__module__.split('.')[:2])}.{type(thing).__name__}"


def _workbench(workbench: "Workbench") -> str:
    rows = [row | {"size": size(row["size_bytes"])} for row in workbench.databases().iter_rows(named=True)]
    # A report is handed on: where its maker keeps things, and under which name, is nobody's business.
    folder = workbench.folder.resolve().name if in_report() else str(workbench.folder)
    return render("workbench.html.j2", folder=folder, databases=rows)


def _envelope(envelope: "Envelope") -> str:
    rows = [
        {
            "role": database.kind,
            "name": database.name,
            "size": size(database.path.stat().st_size) if database.path.exists() else "gone",
            "source": database.meta.get("source", ""),
            "checksum": database.meta.get("checksum", ""),
        }
        for database in envelope.roles.databases
    ]
    return render("envelope.html.j2", roles=rows)


def _decomposition(one: "Decomposition") -> str:
    from genome.lab.spectrum import spectrum

    near: Any = one.neighbours(NEAREST)
    return render(
        "decomposition.html.j2",
        text=one.text,
        label=one.label,
        kind=one.kind,
        id=int(one.id),
        source=one.source,
        path=[{"name": name, "colour": colour(name)} for name in one.path],
        spectrum=spectrum(one.text, one.weights),
        senses=[
            {"percent": percent(sense.share), "key": sense.key, "definition": sense.definition}
            for sense in one.senses[:SENSES]
            if sense.share >= 0.01
        ],
        nearest=[
            {"label": row["label"], "similarity": f"{row['similarity']:.2f}", "path": row["path"]}
            for row in near.iter_rows(named=True)
        ],
        reasons=_reasons(one.explain()),
    )


def _reasons(explanation: "Explanation") -> list[dict[str, Any]]:
    from genome.primitives import PRIMITIVES

    primes = {p.key: p.prime for p in PRIMITIVES}
    return [
        {
            "prime": primes[reason.primitive],
            "colour": colour(reason.primitive),
            "percent": percent(reason.weight),
            "branches": [_branch(branch) for branch in reason.branches],
        }
        for reason in explanation.reasons
    ]


def _branch(branch: "Branch") -> dict[str, Any]:
    """A branch with the word of its definition marked that the weightiest way through the definition takes."""
    leads_on = next((on.via for on in branch.branches if on.via and not on.relation), "")
    before, word, after = around(branch.definition, leads_on)
    return {
        "percent": percent(branch.share),
        "via": branch.via,
        "relation": branch.relation,
        "key": branch.key,
        "stop": branch.stop,
        "before": before,
        "word": word,
        "after": after,
        "branches": [_branch(further) for further in branch.branches],
    }


def _tensor(view: "TensorView") -> str:
    """What is known of a tensor without reading it."""
    part = (
        "" if view.shape == view.tensor.shape else f"rows {view.first_row} to {view.first_row + view.row_count - 1}"
    )
    facts = {
        "Part": part,
        "Role": view.role,
        "Layer": "" if view.layer is None else str(view.layer),
        "Shape": " \N{MULTIPLICATION SIGN} ".join(map(str, view.shape)) or "one number",
        "Stored as": view.dtype,
        "Size": f"{size(view.size_bytes)}, {view.tensor.row_bytes} B a row",
    }
    return render("tensor.html.j2", name=view.name, facts={fact: told for fact, told in facts.items() if told})


def _steps(steps: "Sequence[Step]") -> str:
    rows: list[dict[str, Any]] = [
        {
            "token": step.token,
            "shown": step.text.replace("\n", "↵\n") or "·",
            "quoted": repr(step.text),
            "id": int(step.id) if step.id is not None else "",
            "path": step.id.path if step.id is not None else "no genome ID",
            "colour": colour(step.id.names[0] if step.id else None),
            "probability": percent(math.exp(step.logprob)),
        }
        for step in steps
    ]
    return render("steps.html.j2", steps=rows, families=FAMILIES)
