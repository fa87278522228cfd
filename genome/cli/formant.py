"""The commands about speech: `genome formant analyse`."""

import argparse

from genome.cli.shared import Add, add_json, bars, print_json, print_table


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    add("formant", "analyse speech by its formants", "genome formant analyse vowel.wav --json")

    analyse = add(
        "formant analyse", "find f0, formants, bandwidths, level and voicing of recordings",
        "genome formant analyse vowel.wav --json",
    )  # fmt: skip
    analyse.add_argument("files", metavar="FILE", nargs="+", help="WAV, FLAC, AIFF or Ogg, at any rate")
    add_json(analyse)
    analyse.set_defaults(run=_analyse)


def _analyse(arguments: argparse.Namespace) -> None:
    from genome.speech.analysis import analyse_all

    with bars() as progress:
        tracks = analyse_all(arguments.files, progress=progress)
    if arguments.json:
        named = zip(arguments.files, tracks, strict=True)
        print_json([{"file": file, "frames": track.rows()} for file, track in named])
        return
    for file, track in zip(arguments.files, tracks, strict=True):
        print(file)
        columns = list(track.columns())
        rows = ([_shown(frame[name]) for name in columns] for frame in track.rows())
        print_table(columns, rows)


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value
