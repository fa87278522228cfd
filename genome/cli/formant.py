"""The commands about speech: `genome formant analyse` and `speak`."""

import argparse

from genome.cli.shared import Add, add_json, bars, print_json, print_table


def add_commands(add: Add) -> None:
    """Adds them to the parser."""
    add("formant", "analyse speech by its formants, and speak by them", "genome formant analyse vowel.wav --json")

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


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value
