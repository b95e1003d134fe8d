"""A mail as a person reads it: subject and body as plain text, without what the transport and the lists put there.

Everything here is pure: bytes in, values out. `build_spam` reads the files and puts the data set together.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from html.parser import HTMLParser

_BLOCKS = frozenset(
    ("address", "article", "blockquote", "br", "center", "dd", "div", "dl", "dt", "form", "h1", "h2", "h3", "h4", "h5",
     "h6", "hr", "li", "ol", "p", "table", "td", "th", "title", "tr", "ul")
)  # fmt: skip
_HIDDEN = frozenset(("script", "style", "head"))
_INVISIBLE = re.compile(r"[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffd]")
_UUENCODED = re.compile(r"^begin [0-7]{3} .*?^end$", re.MULTILINE | re.DOTALL)
_PGP = re.compile(r"^-----BEGIN PGP SIGNATURE-----.*?(^-----END PGP SIGNATURE-----|\Z)", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"(?:mailto:)?[\w.+=%'-]+@[\w-]+(?:\.[\w-]+)*", re.IGNORECASE)
_URL = re.compile(r"\b(?:https?|ftp)\s?://[^\s<>\"')\]]+|\bwww\.[^\s<>\"')\]]+", re.IGNORECASE)
_LONG = re.compile(r"\S{100,}")  # encoded data, or a row of dashes
_REPLY = re.compile(r"^\s*(?:re|fw|fwd|aw|sv)\s*(?:\[\d+\])?:\s*", re.IGNORECASE)
_LIST = re.compile(r"\[([\w .'-]{2,30})\]\s*")
_WORD = re.compile(r"\w+")


@dataclass(slots=True, kw_only=True, frozen=True)
class Mail:
    """One mail: where it is from, what it says, and what ties it to others."""

    identity: str  # FOLDER/NUMBER
    label: str
    subject: str
    lines: tuple[str, ...]  # of the body
    references: frozenset[str]  # its own Message-Id and those that it names

    @property
    def text(self) -> str:
        """The subject and the body, a newline between."""
        return "\n".join([self.subject, *self.lines]).strip()


class _Text(HTMLParser):
    """The visible text of a page; links and images are dropped."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden = tag
        elif tag == "body":  # many a mail never closes its head
            self._hidden = ""
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(re.sub(r"\s+", " ", data))


def visible(page: str) -> str:
    """The text of an HTML page.

    >>> visible("<html><style>p {}</style><body><p>Buy <b>now</b>&excl;<br>Cheap").split("\\n")
    ['', 'Buy now!', 'Cheap']
    """
    parser = _Text()
    parser.feed(page)
    parser.close()
    return "".join(parser.parts)


def decode(content: bytes, charset: str | None) -> str:
    """Bytes as text: by the charset that the mail names, else UTF-8, else Windows-1252.

    >>> decode(b"caf\\xe9", "no-such-charset"), decode("café".encode(), "us-ascii")
    ('café', 'café')
    """
    for name in (charset, "utf-8"):
        try:
            if name and codecs.lookup(name).name not in ("ascii", "iso8859-1"):
                return content.decode(name)
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
    return content.decode("cp1252", "replace")


def subject_of(message: Message) -> str:
    """The subject in one line, decoded."""
    raw = str(message["subject"] or "")
    try:
        parts = [decode(text, charset) if isinstance(text, bytes) else text for text, charset in decode_header(raw)]
    except HeaderParseError:
        parts = [raw]
    return " ".join("".join(parts).split())


def body_of(message: Message) -> str:
    """The text of the body: the plain alternative if there is one, else the HTML; no attachments."""
    if message.is_multipart():
        parts = [part for part in message.get_payload() if isinstance(part, Message)]
        bodies = {part.get_content_type(): body for part in parts if (body := body_of(part)).strip()}
        if message.get_content_subtype() == "alternative" and bodies:
            return bodies.get("text/plain") or next(iter(bodies.values()))
        return "\n".join(body for part in parts if (body := body_of(part)).strip())
    attached = str(message["content-disposition"] or "").lower().startswith("attachment")
    if message.get_content_maintype() != "text" or attached:
        return ""
    content = message.get_payload(decode=True)
    text = decode(content if isinstance(content, bytes) else b"", message.get_content_charset())
    page = message.get_content_subtype() == "html" or re.match(r"\s*<(!doctype|html|body)", text, re.IGNORECASE)
    return visible(text) if page else text


def clean(text: str) -> list[str]:
    """The lines of a text, without encoded data; addresses and links become [email] and [url].

    >>> clean("Hi  jm@example.com,\\n\\n\\n see http://example.com/?id=7 .")
    ['Hi [email],', '', 'see [url] .']
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _PGP.sub("", _UUENCODED.sub("", text))
    text = _INVISIBLE.sub("", text.replace("\u00a0", " "))
    text = _LONG.sub("", _ADDRESS.sub("[email]", _URL.sub("[url]", text)))
    lines: list[str] = []
    for line in text.split("\n"):
        line = " ".join(line.split())
        if line or (lines and lines[-1]):
            lines.append(line)
    return lines[:-1] if lines and not lines[-1] else lines


def read_mail(content: bytes, identity: str, label: str) -> Mail:
    """A mail from its bytes."""
    message = message_from_bytes(content)
    names = " ".join(str(message[field] or "") for field in ("message-id", "in-reply-to", "references"))
    return Mail(
        identity=identity,
        label=label,
        subject=" ".join(clean(subject_of(message))),
        lines=tuple(clean(body_of(message))),
        references=frozenset(re.findall(r"<[^<>\s]+>", names)),
    )


def topic(subject: str) -> str:
    """What a thread's subjects share: no Re:, no name of a list, no digits, lower case.

    >>> topic("Re: [ILUG] Fwd: Which kernel 2.4?")
    'which kernel ?'
    """
    before = ""
    while subject != before:
        before, subject = subject, _REPLY.sub("", _LIST.sub("", subject))
    return " ".join(re.sub(r"[\d.]+", "", subject).casefold().split())


def without_lists(mails: Sequence[Mail], *, least: int = 5) -> list[Mail]:
    """The mails with the names of mailing lists, [such] as stand in `least` subjects or more, taken out of the subject."""
    counts: dict[str, int] = defaultdict(int)
    for mail in mails:
        for name in set(_LIST.findall(mail.subject)):
            counts[name] += 1
    return [
        replace(
            mail,
            subject=_LIST.sub(lambda found: "" if counts[found[1]] >= least else found[0], mail.subject).strip(),
        )
        for mail in mails
    ]


def masked(line: str) -> str:
    """A line's words in lower case, without quotation marks and numbers, so that boilerplate compares equal."""
    return " ".join(word for word in _WORD.findall(line.casefold()) if not word.isdigit())


def boilerplate(mails: Iterable[Mail], groups: Iterable[str], *, least: int, words: int = 3) -> frozenset[str]:
    """Masked lines of `words` words or more that are in mails of at least `least` groups: footers, advertisements."""
    seen: dict[str, set[str]] = defaultdict(set)
    for mail, group in zip(mails, groups, strict=True):
        for line in mail.lines:
            seen[masked(line)].add(group)
    return frozenset(form for form, where in seen.items() if len(where) >= least and len(form.split()) >= words)


def without(mail: Mail, forms: frozenset[str]) -> Mail:
    """The mail less the lines whose masked form is among `forms`."""
    kept = [line for line in mail.lines if masked(line) not in forms]
    return replace(mail, lines=tuple(clean("\n".join(kept))))
