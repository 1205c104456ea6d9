"""Templates, the two files beside them, and forms."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dropcap.dashboard import texts
from dropcap.dashboard.gate import LONGEST
from dropcap.display import shown


@lru_cache(maxsize=1)
def static() -> dict[str, tuple[bytes, str]]:
    """Content and kind of each file."""
    folder = files("dropcap.dashboard") / "static"
    kinds = {"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8"}
    return {name: ((folder / name).read_bytes(), kind) for name, kind in kinds.items()}


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Everything that they show is escaped."""
    made = Environment(
        loader=PackageLoader("dropcap.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        {
            "shown": shown,
            "when": texts.when,
            "size": texts.size,
            "second": texts.second,
            "target": texts.target_of,
            "sentence": texts.sentence,
        }
    )
    made.globals.update(count=texts.count, state_of=texts.state_of)
    made.globals["version_of"] = lambda name: hashlib.sha256(static()[name][0]).hexdigest()[:12]
    return made


def html(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. What is no Unicode text in names was escaped before."""
    return HTMLResponse(templates().get_template(template).render(values).encode("utf-8", "replace"), status)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises HTTPException for what is too long or none."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST:
            raise HTTPException(413)
    try:
        return {key: values[-1] for key, values in parse_qs(body.decode("utf-8", "replace"), max_num_fields=50).items()}
    except ValueError:
        raise HTTPException(400) from None
