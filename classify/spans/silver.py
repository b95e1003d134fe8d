"""`python -m classify.spans.silver FOLDER`: sentences of Debian package descriptions with SILVER labels, made on the spot.

Nobody labelled them: a span is where a word of a short list below stands, written as it is there. The list is of programming
languages, file formats and network protocols. What such data can show is whether a model finds names of a kind that it never
saw in training: a part of each list is in no training sentence, and another part is in test alone. It cannot show how well
entities are found that people marked: a name that the list lacks counts as wrong, and so does a word of it with another sense.

The sentences are those of the built-in set debian-sections, in its split by source package. Nothing is downloaded.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import xxhash

from finewise.data.keys import normalise
from finewise.data.sources import labelled_file
from finewise.errors import InputError

SOURCE = "package:benchmarks/datasets/debian-sections"

TERMS = {
    "LANG": "Ada ALGOL Awk Bash Clojure COBOL CoffeeScript Dart Elixir Erlang Forth Fortran Gambas Golang Groovy Haskell Java "
    "JavaScript Julia Kotlin Lisp Lua Modula-2 Nim Node.js Objective-C OCaml Octave Pascal Perl PHP Prolog Python REXX Ruby "
    "Rust Scala Scheme Smalltalk Snobol SQL Tcl TypeScript Vala Verilog VHDL Zig C++ C#",
    "FORMAT": "AIFF AVI AVIF BibTeX BMP BSON CBOR CSV DocBook DVI EPUB EXIF FLAC FLV GeoJSON GeoTIFF GIF GPX GRIB HDF5 HTML "
    "ICO JPEG JSON KML LaTeX LDIF Markdown Matroska MathML MIDI MKV MP3 MP4 MPEG NetCDF ODF OGG Ogg PCX PDB PDF PNG PNM "
    "PostScript RTF SBML SGML SVG SWF TIFF TOML Vorbis WAV WebM WebP XHTML XML XPM YAML",
    "PROTOCOL": "BGP CalDAV CardDAV CIFS DHCP DNS DNSSEC FTP Gopher HTTP HTTPS ICMP iCalendar IMAP IPP IPsec IPv6 IRC iSCSI "
    "Jabber Kerberos LDAP LLDP MODBUS MQTT NFS NNTP NTP OAuth OpenID OSPF POP3 PPP PPTP RADIUS RDP RPC RTMP RTP RTSP SCTP SFTP "
    "SIP SMB SMTP SNMP SOAP SOCKS SSH SSL STUN TCP Telnet TFTP TLS UDP UPnP VNC WebDAV WebSocket XMPP",
}  # fmt: skip

ORDER = ("test", "dev", "train")  # a sentence that several packages have goes to the first of them


def part_of(term: str) -> str:
    """Return the first split, of train, dev and test, whose sentences may hold a term; the later ones may too."""
    number = xxhash.xxh3_64_intdigest(term.casefold().encode()) % 20
    return "test" if number < 5 else "dev" if number < 8 else "train"


def spans(text: str) -> list[dict[str, int | str]]:
    """Return where terms of the lists stand in a text.

    >>> spans("A Perl parser of XML")
    [{'start': 2, 'end': 6, 'label': 'LANG'}, {'start': 17, 'end': 20, 'label': 'FORMAT'}]
    """
    return [
        {"start": match.start(), "end": match.end(), "label": _KINDS[match.group()]}
        for match in _PATTERN.finditer(text)
    ]


def sentences(description: str) -> Iterator[str]:
    """Yield the sentences of a description: its first line, and those of its paragraphs."""
    short, _, long = description.partition("\n")
    for paragraph in (short, *re.split(r"\n\s*\n", long)):
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
            if 20 <= len(sentence) <= 300:
                yield sentence


def rows(split: str, seen: set[str]) -> list[dict[str, object]]:
    """Return a split's rows: sentences with terms that it may have, and as many without any.

    Args:
        split: "train", "dev" or "test".
        seen: Sentences of other splits, which are left out; those of this one are added.
    """
    table = pq.read_table(labelled_file(SOURCE, split), columns=["text", "source"])
    allowed = {"train": ("train",), "dev": ("train", "dev"), "test": ("train", "dev", "test")}[split]
    with_terms: list[dict[str, object]] = []
    without: list[dict[str, object]] = []
    for description, source in zip(table["text"].to_pylist(), table["source"].to_pylist(), strict=True):
        for text in sentences(description):
            key = normalise(text)
            found = spans(text)
            terms = [text[int(one["start"]) : int(one["end"])] for one in found]
            if key in seen or any(part_of(term) not in allowed for term in terms):
                continue
            seen.add(key)
            (with_terms if found else without).append({"text": text, "spans": found, "source": source})
    bare = sorted(without, key=lambda row: xxhash.xxh3_64_intdigest(str(row["text"]).encode()))[: len(with_terms)]
    return sorted(with_terms + bare, key=lambda row: xxhash.xxh3_64_intdigest(str(row["text"]).encode()))


def main(arguments: Sequence[str]) -> None:
    """Write train.jsonl, dev.jsonl and test.jsonl into a folder."""
    if len(arguments) != 1:
        raise InputError("give one folder to write to: python -m classify.spans.silver FOLDER")
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for split in ORDER:
        made = rows(split, seen)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        print(f"{folder / f'{split}.jsonl'}: {len(made):,} sentences")


_KINDS = {term: kind for kind, terms in TERMS.items() for term in terms.split()}
_PATTERN = re.compile(
    r"(?<![\w+#-])(?:" + "|".join(re.escape(term) for term in sorted(_KINDS, key=len, reverse=True)) + r")(?![\w+#-])"
)

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
