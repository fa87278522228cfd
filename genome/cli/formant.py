"""The commands about speech: `genome formant analyse`, `speak` and `chart`."""

import argparse
from pathlib import Path

from genome.cli.shared import Add, add_json, bars, print_json, print_table


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    add(
        "formant",
        "analyse speech by its formants, speak and chart them",
        "genome formant analyse vowel.wav --json",
    )

    analyse = add(
        "formant analyse", "find f0, formants, bandwidths, level and voicing of recordings",
        "genome formant analyse vowel.wav --json",
    )  # fmt: skip
    analyse.add_argument("files", metavar="FILE", nargs="+", help="WAV, FLAC, AIFF or Ogg, at any rate")
    add_json(analyse)
    analyse.set_defaults(run=_analyse)

    speak = add(
        "formant speak", "speak English words: CMUdict's phones, formants by rule, a synthesiser after Klatt",
        "genome formant speak 'Mother, tell me a story.' -o story.wav --voice woman",
    )  # fmt: skip
    speak.add_argument("text", metavar="TEXT", nargs="+", help="words of CMUdict; commas and full stops are pauses")
    speak.add_argument("-o", "--out", metavar="FILE", required=True, help="a .wav or .flac file, 16 kHz, 16 bits")
    speak.add_argument("--voice", metavar="NAME", default="man", help="man (the default), woman or child")
    speak.add_argument("--f0", metavar="HZ", type=float, help="the voice's height, 40 to 500; else the voice's own")
    speak.add_argument("--tempo", metavar="X", type=float, default=1.0, help="2 is twice as fast; 0.25 to 4")
    add_json(speak)
    speak.set_defaults(run=_speak)

    chart = add(
        "formant chart", "draw a vowel chart: F2 from right to left, F1 downwards, with means and ellipses",
        "genome formant chart anna.wav bert.wav -o vowels.svg --scale lobanov",
    )  # fmt: skip
    chart.add_argument(
        "files", metavar="FILE", nargs="+",
        help="a recording; intervals of a TextGrid beside it (anna.TextGrid) are its vowels, else its frames are",
    )  # fmt: skip
    chart.add_argument("-o", "--out", metavar="FILE", required=True, help="a .svg, .png or .html file")
    chart.add_argument("--scale", metavar="SCALE", default="hz", help=(
        "hz (the default), bark or erb; lobanov or nearey take each file for one speaker"
    ))  # fmt: skip
    chart.add_argument("--tier", metavar="NAME", help="the TextGrids' interval tier; else their first")
    chart.set_defaults(run=_chart)


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


def _speak(arguments: argparse.Namespace) -> None:
    from genome.sources import fetch
    from genome.speech import audio
    from genome.speech.pronounce import pronounced
    from genome.speech.voices import RATE_HZ, sounded, utterance, voice

    audio.written_format(arguments.out)
    speaker = voice(arguments.voice)
    if arguments.f0 is not None:
        speaker = speaker._replace(f0_hz=arguments.f0)
    with bars() as progress:
        dictionary = fetch("english", progress).path
    words = pronounced(" ".join(arguments.text), dictionary)
    sound = sounded(utterance(words, speaker, tempo=arguments.tempo))
    audio.write(arguments.out, sound, RATE_HZ)
    duration_s = len(sound) / RATE_HZ
    if arguments.json:
        told = {"file": arguments.out, "voice": arguments.voice, "f0_hz": speaker.f0_hz, "duration_s": duration_s}
        print_json({**told, "phones": words})
        return
    phones = "  ".join(" ".join(word) if word else "," for word in words)
    print(f"{arguments.out}: {duration_s:.2f} s  {phones}")


def _chart(arguments: argparse.Namespace) -> None:
    import numpy as np

    from genome.lab.vowels import checked_ending, save, vowel_chart
    from genome.speech.analysis import analyse_all
    from genome.speech.textgrid import read
    from genome.speech.vowels import checked_scale, scaled, vowels

    checked_ending(arguments.out)
    checked_scale(arguments.scale)
    beside = [Path(file).with_suffix(".TextGrid") for file in arguments.files]
    grids = [read(path) if path.is_file() else None for path in beside]
    with bars() as progress:
        tracks = analyse_all(arguments.files, progress=progress)
    labels, points = [], []
    for file, track, grid in zip(arguments.files, tracks, grids, strict=True):
        spoken = vowels(track, Path(file).stem, grid, arguments.tier)
        labels += spoken.labels
        points.append(scaled(spoken, arguments.scale, file))
    save(vowel_chart(labels, np.concatenate(points), arguments.scale), arguments.out)
    print(f"{arguments.out}: {len(labels)} points for {', '.join(dict.fromkeys(labels))}")


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value
