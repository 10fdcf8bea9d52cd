"""The words of mails: templates, ours in English and Japanese, or an operator's own in the same shape.

A template is a text file ``LANGUAGE/NAME.txt`` in Jinja's language: ``Subject: …`` in its first line, an empty one, the text. It
is rendered in Jinja's sandbox, and a value that it names and nobody gives is an error. Below every text stand who writes and
where to ask. What is an operator's own is taken first; where it cannot be used, ours is, and the log says so.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Final

import structlog
from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notices.errors import BadTemplate
from notices.kinds import COMMON, KINDS, Kind

_log = structlog.get_logger("notices.rendering")

FALLBACK: Final = "en"
_OURS: Final = Path(__file__).parent / "templates"
_SUFFIX: Final = ".txt"
_LARGEST: Final = 64 * 1024
_LONGEST_SUBJECT: Final = 200
_SUBJECT: Final = "Subject:"
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class Words:
    """What a mail says, and in which language."""

    language: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class _Source:
    """A template's file, and its two parts."""

    label: str
    subject: str
    text: str


@dataclass(frozen=True)
class Templates:
    """The templates of an installation.

    Args:
        own: the operator's folder, where there is one.
        zone: in which points in time are shown.
        service: who writes.
        contact: where to ask; may be empty, and have several lines.
    """

    own: Path | None
    zone: tzinfo
    service: str
    contact: str = ""

    def render(self, kind: Kind, language: str, name: str, values: Mapping[str, str]) -> Words:
        """Return the words of a mail to somebody called ``name``, in ``language`` or, where there are none in it, in English.

        Raises:
            BadTemplate: no template of this kind can be used, not even ours.
        """
        failure = BadTemplate(f"there is no template {kind.name}")
        for code in _lookup(language):
            for root in (self.own, _OURS):
                path = None if root is None else _file(root, code, kind)
                if path is None:
                    continue
                try:
                    return self._rendered(_read(path), code, {**self._common(name), **_lines(values)})
                except BadTemplate as error:
                    failure = error
                    _log.error("a template cannot be used; the next best is", reason=str(error))
        raise failure

    def complaints(self) -> Iterator[str]:
        """Say what is wrong with the operator's own templates, one sentence each."""
        if self.own is None:
            return
        if not self.own.is_dir():
            yield f"{self.own} is no folder"
            return
        for path in sorted(self.own.rglob("*")):
            where = path.relative_to(self.own)
            if path.is_dir():
                continue
            kind = KINDS.get(path.stem)
            if len(where.parts) != 2 or path.suffix != _SUFFIX or kind is None:  # noqa: PLR2004 - folder and file
                yield f"{where} is nobody's template: they are called LANGUAGE/NAME.txt, NAME one of {', '.join(KINDS)}"
                continue
            try:
                self._try(_read(path), where.parts[0].lower(), kind)
            except BadTemplate as error:
                yield str(error)

    def _try(self, source: _Source, language: str, kind: Kind) -> None:
        """Return if a template names known values only, the indispensable among them, and can be rendered. Raises BadTemplate."""
        environment = self._environment(language)
        try:
            named = [meta.find_undeclared_variables(environment.parse(part)) for part in (source.subject, source.text)]
        except TemplateError as error:
            raise _bad(source, error) from None
        known = {*COMMON, *kind.values}
        unknown = sorted(set().union(*named) - known)
        if unknown:
            raise BadTemplate(f"{source.label}: {unknown[0]} is no value of it; there are {', '.join(sorted(known))}")
        left_out = sorted(kind.shown - named[1])
        if left_out:
            raise BadTemplate(f"{source.label}: the text does not show {left_out[0]}")
        self._rendered(source, language, {**COMMON, **kind.values})

    def _rendered(self, source: _Source, language: str, values: Mapping[str, str]) -> Words:
        environment = self._environment(language)
        try:
            subject = environment.from_string(source.subject).render(values)
            text = environment.from_string(source.text).render(values)
        except Exception as error:  # noqa: BLE001 - a template is a program, and not ours
            raise _bad(source, error) from None
        subject = one_line(subject)
        if not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise BadTemplate(f"{source.label}: the subject has {len(subject)} characters; 1 to {_LONGEST_SUBJECT} are fine")
        if not text.strip():
            raise BadTemplate(f"{source.label}: the text is empty")
        # A hyphen, a hyphen, a space: where mail programs take a signature to begin (RFC 3676 section 4.3).
        below = "\n".join(part for part in (self.service, self.contact.strip()) if part)
        return Words(language, subject, f"{text.strip()}\n\n-- \n{below}\n")

    def _common(self, name: str) -> Mapping[str, str]:
        return {"name": one_line(name), "service": self.service, "contact": self.contact.strip()}

    def _environment(self, language: str) -> ImmutableSandboxedEnvironment:
        if language not in self._environments:
            # Plain text: nothing is escaped, and nothing has to be.
            environment = ImmutableSandboxedEnvironment(
                undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
            )
            environment.filters["day"] = self._shown(lambda when: _day(when, language))
            environment.filters["moment"] = self._shown(
                lambda when: f"{_day(when, language)}{', ' if language == FALLBACK else ' '}{when:%H:%M} ({when.tzname()})"
            )
            self._environments[language] = environment
        return self._environments[language]

    @cached_property
    def _environments(self) -> dict[str, ImmutableSandboxedEnvironment]:
        return {}

    def _shown(self, show: Callable[[datetime], str]) -> Callable[[str], str]:
        """Return a filter that shows a point in time, ISO 8601 with an offset, in the operator's zone."""
        return lambda text: show(datetime.fromisoformat(text).astimezone(self.zone))


def one_line(text: str) -> str:
    """Return ``text`` without line breaks and other characters that do not belong into a header or a line."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _day(when: datetime, language: str) -> str:
    if language == "ja":
        return f"{when.year}年{when.month}月{when.day}日"
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}" if language == FALLBACK else f"{when:%Y-%m-%d}"


def _lines(values: Mapping[str, str]) -> Mapping[str, str]:
    return {name: one_line(value) for name, value in values.items()}


def _lookup(language: str) -> Iterator[str]:
    """Yield the languages to look for, the nearest first (RFC 4647 section 3.4)."""
    parts = language.lower().split("-")
    while parts:
        code = "-".join(parts)
        if code != FALLBACK:
            yield code
        parts.pop()
        if parts and len(parts[-1]) == 1:
            parts.pop()
    yield FALLBACK


def _file(root: Path, language: str, kind: Kind) -> Path | None:
    """Return the template's file; a folder is compared with what is there, so that no language leads elsewhere."""
    try:
        folders = [each for each in root.iterdir() if each.name.lower() == language]
    except OSError:
        return None
    paths = [folder / f"{kind.name}{_SUFFIX}" for folder in folders]
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> _Source:
    label = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as file:
            octets = file.read(_LARGEST + 1)
        text = octets.decode("utf-8-sig")
    except OSError as error:
        raise BadTemplate(f"{label}: it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadTemplate(f"{label}: it is not text in UTF-8") from None
    if len(octets) > _LARGEST:
        raise BadTemplate(f"{label}: it is larger than {_LARGEST} bytes")
    first, _, rest = text.replace("\r\n", "\n").partition("\n")
    second, _, body = rest.partition("\n")
    if not first.startswith(_SUBJECT) or second.strip():
        raise BadTemplate(f"{label}: it must begin with a line {_SUBJECT} …, and an empty line")
    return _Source(label, first.removeprefix(_SUBJECT).strip(), body)


def _bad(source: _Source, error: Exception) -> BadTemplate:
    line = getattr(error, "lineno", None)
    # Two lines stand before the text.
    where = f" in line {line + 2}" if isinstance(line, int) and line > 1 else ""
    return BadTemplate(f"{source.label}: {' '.join(str(error).split()) or type(error).__name__}{where}")
