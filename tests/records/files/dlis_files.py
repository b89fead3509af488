"""Small DLIS files, written byte by byte after RP 66, edition 1."""

import struct

UVARI, OBNAME, IDENT, ASCII, UNITS, USHORT = 18, 23, 19, 20, 27, 15


def _ident(text):
    return bytes([len(text)]) + text.encode("latin-1")


def _obname(name):
    return b"\x01\x00" + _ident(name)


ENCODE = {
    UVARI: lambda number: bytes([number]),
    USHORT: lambda number: bytes([number]),
    OBNAME: _obname,
    IDENT: _ident,
    UNITS: _ident,
    ASCII: _ident,
}


def _segment(kind, body, *, explicit):
    pad = -len(body) % 2 + (12 if len(body) < 12 else 0)
    attributes = 0x80 * explicit + (pad > 0)
    return struct.pack(">HBB", 4 + len(body) + pad, attributes, kind) + body + bytes([pad]) * pad


def _set(kind, name, template, objects):
    """Write a set of objects; ``template`` gives the representation code of each attribute."""
    body = b"\xf0" + _ident(name)
    for label, code in template.items():
        body += b"\x34" + _ident(label) + bytes([code])
    for title, values in objects.items():
        body += b"\x70" + _obname(title)
        for code, value in zip(template.values(), values, strict=True):
            several = value if isinstance(value, list) else [value]
            body += b"\x29" + bytes([len(several)])
            body += b"".join(ENCODE[code](item) for item in several)
    return _segment(kind, body, explicit=True)


def logical_file(well, frames):
    """Write a logical file; ``frames`` by name: index type, channels, and rows of numbers.

    Channels are triples of name, unit and number of values.
    """
    header = {"SEQUENCE-NUMBER": ASCII, "ID": ASCII}
    parts = [_set(0, "FILE-HEADER", header, {"0": [f"{1:>10}", f"{'made up':<65}"]})]
    parts.append(_set(1, "ORIGIN", {"WELL-NAME": ASCII}, {"DEFINING": [well]}))
    template = {"REPRESENTATION-CODE": USHORT, "UNITS": UNITS, "DIMENSION": UVARI}
    channels = {n: [7, unit, size] for _, cs, _ in frames.values() for n, unit, size in cs}
    parts.append(_set(3, "CHANNEL", template, channels))
    objects = {name: [[n for n, *_ in cs], index] for name, (index, cs, _) in frames.items()}
    parts.append(_set(4, "FRAME", {"CHANNELS": OBNAME, "INDEX-TYPE": IDENT}, objects))
    for name, (_, _, rows) in frames.items():
        for number, row in enumerate(rows, start=1):
            values = struct.pack(f">{len(row)}d", *row)
            parts.append(_segment(0, _obname(name) + bytes([number]) + values, explicit=False))
    return parts


def dlis(*files):
    """Write a storage unit of logical files."""
    label = b"   1V1.00RECORD 8192" + f"{'made up':<60}".encode()
    segments = [segment for file in files for segment in file]
    return label + b"".join(struct.pack(">HBB", 4 + len(s), 0xFF, 1) + s for s in segments)
