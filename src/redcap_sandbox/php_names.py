"""Names of variables and files, and what stands behind them in headers, as PHP reads them."""

from __future__ import annotations


def split_name(name: str) -> tuple[str, str | None]:
    """A variable's name and its array key: `a[b]` -> ("a", "b"), `a[]` -> ("a", ""), `a.b` -> ("a_b", None)."""
    name = name.split("\0", 1)[0].lstrip(" ")
    base, bracket, rest = name.partition("[")
    if bracket and base and "]" in rest:
        return _mangled(base), rest.split("]", 1)[0]
    return _mangled(name.replace("[", "_", 1) if bracket else name), None


def _mangled(name: str) -> str:
    return name.replace(".", "_").replace(" ", "_")


def base_name(filename: str) -> str:
    """What PHP keeps of a file's name."""
    return filename.split("\0", 1)[0].replace("\\", "/").rsplit("/", 1)[-1]


def parameters(header: str) -> dict[str, str]:
    """The parameters of a Content-Disposition line, unquoted the way PHP does it."""
    result: dict[str, str] = {}
    position = 0
    while position < len(header):
        end = _end_of_parameter(header, position)
        name, equals, value = header[position:end].partition("=")
        if equals:
            result[name.lstrip().lower()] = _unquoted(value.strip())
        position = end + 1
    return result


def _end_of_parameter(header: str, position: int) -> int:
    quote = ""
    while position < len(header):
        character = header[position]
        if quote and character == "\\" and header[position + 1 : position + 2] in ("\\", quote):
            position += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif not quote and character == ";":
            break
        position += 1
    return min(position, len(header))


def _unquoted(value: str) -> str:
    if value[:1] not in ('"', "'") or not value:
        return value.split(" ", 1)[0]
    quote, result, position = value[0], [], 1
    while position < len(value) and value[position] != quote:
        if value[position] == "\\" and value[position + 1 : position + 2] in ("\\", quote):
            position += 1
        result.append(value[position])
        position += 1
    return "".join(result)


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a multipart Content-Type names, or None."""
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    position = rest.lower().find("boundary=")
    if position < 0:
        return None
    value = rest[position + len("boundary=") :]
    if value.startswith('"'):
        value, closed, _ = value[1:].partition('"')
        if not closed:
            return None
    else:
        value = value.split(";", 1)[0].split(",", 1)[0]
    return value.encode("latin-1") or None
