"""The file `.env`, with the meaning that Docker Compose gives it, because both read the same file.

python-dotenv parses it. Single quotes are literal. Elsewhere `$NAME` and `${NAME}` are replaced, `$$` is a dollar sign,
and `${NAME:-word}`, `${NAME:+word}`, `${NAME:?word}` and the forms without the colon are those of a shell:
https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

ACCEPTED = "accepted: NAME=value, NAME='value' or NAME=\"value\", and # before a comment"

_NAME = re.compile(r"[\w.\-\[\]]+")
_SINGLE_QUOTED = re.compile(r"[^=]+=[^\S\r\n]*'((?:\\.|[^'\\])*)'", re.DOTALL)
_DOUBLE_QUOTED = re.compile(r'[^=]+=[^\S\r\n]*"')
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_]\w*)"
    # The word may hold variables with words of their own, but not a third level.
    r"|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<colon>:?)(?P<rule>[-+?])(?P<word>(?:[^{}]|\$\{[^{}]*\})*))?\}|(?P<bad>\{))",
    re.ASCII,
)


def text(path: Path) -> str:
    """Return the text of a UTF-8 file, without its byte order mark.

    Raises OSError, and ValueError with the number of the first bad line. Neither shows what is in the file.
    """
    content = path.read_bytes()
    try:
        found = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: not UTF-8") from None
    good, nul, _ = found.partition("\0")
    if nul:  # as in UTF-16
        line = good.count("\n") + 1
        raise ValueError(f"line {line}: a NUL character, so not UTF-8")
    return found


class EnvFile:
    """What a `.env` says: its variables, a line for each problem, and a line for what is probably a mistake."""

    def __init__(self, path: Path, process: Mapping[str, str]) -> None:
        """A missing file has no variables. A variable of the process wins in what `$NAME` stands for."""
        self.values: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._process = process
        try:
            content = text(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not path.is_symlink():
                return
            self.problems.append(f"`.env`: {error.strerror}; accepted: a UTF-8 file that this user can read")
        except ValueError as error:
            self.problems.append(f"`.env` {error}; accepted: a UTF-8 file")
        else:
            for binding in parse_stream(io.StringIO(content, newline="")):
                self._take(binding)

    def _take(self, binding: Binding) -> None:
        given = binding.original.string
        blank = given[: len(given) - len(given.lstrip())]
        line = binding.original.line + len(re.findall(r"\r\n|\r|\n", blank))
        self._place = f"`.env` line {line}"
        name = binding.key
        if binding.error or (name and not _NAME.fullmatch(name)):
            quote = "a quote is not closed, or text follows it; " if re.search(r"=\s*['\"]", given) else ""
            self.problems.append(f"{self._place}: {quote}{ACCEPTED}")
        elif name and binding.value is None:
            # Compose passes the process's variable on, which is what happens without the line as well.
            if name not in self.values and name not in self._process:
                self.problems.append(f"{self._place}: {name} has no value; {ACCEPTED}")
        elif name and binding.value is not None:
            try:
                self.values[name] = self._value(given, binding.value)
            except ValueError as error:
                self.problems.append(f"{self._place}: {name}: {error}")

    def _value(self, given: str, value: str) -> str:
        if literal := _SINGLE_QUOTED.match(given):
            return literal[1].replace("\\'", "'")
        return self._replaced(value.replace("\\$", "$$") if _DOUBLE_QUOTED.match(given) else value)

    def _replaced(self, value: str) -> str:
        return _VARIABLE.sub(self._variable, value)

    def _variable(self, found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name = found["name"] or found["braced"]
        if name is None:
            raise ValueError("${ is not closed; accepted: ${NAME}, ${NAME:-default}, or $$ for a dollar sign")
        value = self._process.get(name, self.values.get(name))
        is_there = bool(value) if found["colon"] else value is not None
        word = found["word"] or ""
        if found["rule"] == "+":
            return self._replaced(word) if is_there else ""
        if found["rule"] == "-" and not is_there:
            return self._replaced(word)
        if found["rule"] == "?" and not is_there:
            raise ValueError(f"{name} has no value: {self._replaced(word)}")
        if value is None:
            self.warnings.append(
                f"{self._place}: ${name} is not set and stands for nothing;"
                " for a dollar sign, write $$ or put the value in single quotes"
            )
        return value or ""
