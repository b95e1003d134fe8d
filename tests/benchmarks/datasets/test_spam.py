"""The builder of `spam`: what a mail says, what is taken away, and what must stay in one split."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.datasets import build_spam
from benchmarks.datasets.build_spam import FOLDERS, group, split
from benchmarks.datasets.spam_text import Mail, boilerplate, clean, decode, read_mail, topic, visible, without


def mail(identity: str, subject: str, *lines: str, label: str = "ham", references: tuple[str, ...] = ()) -> Mail:
    return Mail(identity=identity, label=label, subject=subject, lines=lines, references=frozenset(references))


def text(content: str | bytes) -> str:
    return read_mail(content.encode() if isinstance(content, str) else content, "spam-1/00001", "spam").text


# What a mail says


def test_headers_but_the_subject_are_gone() -> None:
    found = text("Received: from relay\nList-Id: <x>\nX-Spam-Status: Yes\nSubject: Buy\n now\n\nCheap.\n")
    assert found == "Buy now\nCheap."


def test_the_plain_alternative_is_read_and_attachments_are_not() -> None:
    found = text(
        "Subject: s\nContent-Type: multipart/mixed; boundary=A\n\n"
        "--A\nContent-Type: multipart/alternative; boundary=B\n\n"
        "--B\nContent-Type: text/html\n\n<p>page</p>\n--B\nContent-Type: text/plain\n\nplain\n--B--\n"
        "--A\nContent-Type: text/plain\nContent-Disposition: attachment\n\nattached\n"
        "--A\nContent-Type: image/gif\nContent-Transfer-Encoding: base64\n\nR0lG\n--A--\n"
    )
    assert found == "s\nplain"


def test_a_page_reads_as_its_visible_text() -> None:
    page = "<html><head><title>x</title><style>p{}</style><body>a<b>b</b> &amp; c<br>d<script>e</script><!-- f -->"
    assert visible(page).strip().split("\n") == ["ab & c", "d"]
    assert visible("<head><body>never closed") == "never closed"


@pytest.mark.parametrize(
    ("header", "body", "essence"),
    [
        ("text/plain; charset=euc-kr", "광고".encode("euc-kr"), "광고"),
        ("text/plain; charset=iso-8859-1", b"\x93caf\xe9\x94", "“café”"),
        ("text/plain", "café".encode(), "café"),
        ("text/plain; charset=bogus", b"caf\xe9", "café"),
    ],
)
def test_charsets(header: str, body: bytes, essence: str) -> None:
    assert text(b"Subject: s\nContent-Type: " + header.encode() + b"\n\n" + body) == f"s\n{essence}"


def test_encoded_words_of_a_subject() -> None:
    assert (
        text("Subject: =?euc-kr?B?seuw7Q==?= now\n\nx y z")
        == f"{decode(bytes.fromhex('b1ebb0ed'), 'euc-kr')} now\nx y z"
    )
    assert text("Subject: =?utf-8?B?broken\n\nx").endswith("\nx")


def test_what_is_no_text_goes_and_people_are_masked() -> None:
    found = clean(
        f"Ask jm@taint.org\r\nor http://taint.org/?id=1\n\n\n\nbegin 644 a.gif\nM_\nend\n{'x' * 120}\n"
        "-----BEGIN PGP SIGNATURE-----\nabc\n-----END PGP SIGNATURE-----\n"
    )
    assert found == ["Ask [email]", "or [url]"]


# What ties mails together


@pytest.mark.parametrize(
    ("subject", "essence"),
    [
        ("Re: [ILUG] re: Hello World", "hello world"),
        ("Fwd: Re[2]: Hello  World", "hello world"),
        ("Stories for 02-08-13", "stories for --"),
        ("Re:", ""),
    ],
)
def test_topics(subject: str, essence: str) -> None:
    assert topic(subject) == essence


def test_lines_of_many_threads_are_boilerplate() -> None:
    mails = [mail(f"f/{n}", "s", f"only here {n} {'abc'[n]}", "> List: http me 24", "thank you") for n in range(3)]
    forms = boilerplate(mails, ["a", "b", "c"], least=3)
    assert forms == {"list http me"}  # without quotation marks and numbers; "thank you" is too short
    assert not boilerplate(mails, ["a", "b", "b"], least=3)
    assert without(mails[0], forms).lines == ("only here 0 a", "thank you")


def test_threads_campaigns_and_near_duplicates_are_one_group() -> None:
    long = " ".join(f"w{number}" for number in range(40))
    mails = [
        mail("f/1", "Which kernel?", "one two three four"),
        mail("f/2", "Re: which kernel?", "five six seven eight"),
        mail("f/3", "was: kernels", "nine ten eleven twelve", references=("<a@b>",)),
        mail("f/4", "other", "some words of an answer", references=("<a@b>", "<c@d>")),
        mail("f/5", "cheap", f"{long} x", label="spam"),
        mail("f/6", "cheaper", f"{long} y", label="spam"),
        mail("f/7", "", "a mail without any subject"),
        mail("f/8", "", "another one without it at all"),
    ]
    found = group(mails)
    assert found.groups == ["f/1", "f/1", "f/3", "f/3", "f/5", "f/5", "f/7", "f/8"]
    assert sum(found.dropped.values()) == 0
    parts = split(found)
    assert sorted(place for places in parts.values() for place in places) == list(range(8))
    where = {found.groups[place]: set[str]() for place in range(8)}
    for name, places in parts.items():
        for place in places:
            where[found.groups[place]].add(name)
    assert all(len(names) == 1 for names in where.values())


def test_empty_repeated_and_contradicting_mails_are_left_out() -> None:
    mails = [
        mail("f/1", "", "too short"),
        mail("f/2", "Buy", "now and here"),
        mail("f/3", "buy", "NOW  and here"),
        mail("f/4", "Hello", "to all of you"),
        mail("f/5", "hello", "to all of you", label="spam"),
    ]
    found = group(mails)
    assert [each.identity for each in found.mails] == ["f/2"]
    assert list(found.dropped.values()) == [1, 2, 1]


# The command


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """As the npm package is laid out: 40 mails of ham and 40 of spam, each with words of its own."""
    for folder, label in FOLDERS.items():
        (tmp_path / "package" / "data" / folder).mkdir(parents=True)
        for number in range(40 if folder in ("easy-ham-1", "spam-1") else 2):
            own = hashlib.sha256(f"{folder}{number}".encode()).hexdigest()
            words = " ".join(f"w{own[at : at + 4]}" for at in range(0, 60, 4))
            body = f"{'buy this cheap' if label == 'spam' else 'my kernel is old'} {words}"
            name = f"{number:05}.{own[:8]}.txt"
            (tmp_path / "package" / "data" / folder / name).write_text(f"Subject: about {words[-30:]}\n\n{body}\n")
    return tmp_path / "package"


def test_the_same_mails_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert build_spam.main([str(package), str(tmp_path / out)]) == 0
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["README.md", "SHA256SUMS", "dev.parquet", "test.parquet", "train.parquet"]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    rows = [
        row
        for name in ("train", "dev", "test")
        for row in pq.read_table(tmp_path / "one" / f"{name}.parquet").to_pylist()
    ]
    assert len(rows) == 86
    assert list(rows[0]) == ["id", "text", "label", "source", "folder"]
    assert all(row["label"] == FOLDERS[row["folder"]] and row["id"].startswith(row["folder"]) for row in rows)
    card = (tmp_path / "one" / "README.md").read_text()
    assert "| `easy-ham-1` | " in card
    assert "copyright of each text remains with its sender" in card


def test_a_folder_that_is_not_the_package_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_spam.main([str(tmp_path), str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert "must be the unpacked npm package; it has no data/easy-ham-1/*.txt" in message
    assert message.count("\n") == 1
