"""Byte-level spelling of tokens: each of the 256 bytes has a printable letter (GPT-2's table).

Source: Radford et al. 2019, `bytes_to_unicode` of the published encoder. Printable Latin-1 stands for itself;
the other bytes take the letters from U+0100 on, in order: a blank is `Ġ`.
"""

_PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_OTHERS = {byte: 256 + i for i, byte in enumerate(byte for byte in range(256) if byte not in _PRINTABLE)}

LETTERS = tuple(chr(_OTHERS.get(byte, byte)) for byte in range(256))
"""The letter of each byte."""
_BYTES = {letter: bytes([byte]) for byte, letter in enumerate(LETTERS)}


def spelled(data: bytes) -> str:
    """Bytes in letters.

    Example:
        >>> spelled(" né".encode())
        'ĠnÃ©'
    """
    return data.decode("latin-1").translate(_TO_LETTERS)


def unspelled(piece: str) -> bytes:
    """The bytes that a piece stands for; a sign outside the table stands for itself in UTF-8.

    Example:
        >>> unspelled("ĠnÃ©").decode()
        ' né'
    """
    try:
        return piece.translate(_TO_LATIN_1).encode("latin-1")
    except UnicodeEncodeError:
        return b"".join(_BYTES.get(letter) or letter.encode() for letter in piece)


_TO_LETTERS = dict(enumerate(LETTERS))
_OUTSIDE = 0xFFFF
"""Signs of Latin-1 that are no letters of the table become this one, which Latin-1 does not have."""
_TO_LATIN_1 = dict.fromkeys(range(256), _OUTSIDE) | {ord(letter): byte for byte, letter in enumerate(LETTERS)}
