"""Those who are to be told: their addresses, the libraries that it takes, the metrics' directory, the page's secret."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from dropcap.config.model import SHORTEST_SECRET, Config, SecretPlace
from dropcap.config.secrets import SecretError
from dropcap.preflight.remark import Place, Remark, on_machine

_LIBRARIES = {
    "notify": ("apprise",),
    "metrics": ("prometheus_client",),
    "dashboard": ("starlette", "uvicorn", "jinja2", "prometheus_client"),
}
_EXTRAS = {"notify": "notify", "metrics": "metrics", "dashboard": "web"}


def telling_remarks(config: Config) -> Iterator[Remark]:
    """Whether notifications, metrics and the page can be had here. What is wrong with them stops no file."""
    for section, libraries in _LIBRARIES.items():
        missing = [name for name in libraries if importlib.util.find_spec(name) is None]
        if getattr(config, section) is not None and missing:
            remedy = f"install it: pip install 'dropcap-redcap[{_EXTRAS[section]}]'"
            yield Remark(
                "error", on_machine(section), f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed", remedy
            )
    for one in config.notify.recipients if config.notify is not None else ():
        yield from _secret(on_machine(f"notify.to.{one.name}"), one.url, "try it with: dropcap notify --test")
    if config.metrics is not None:
        directory = config.metrics.textfile.parent
        if not os.access(directory, os.W_OK | os.X_OK):
            remedy = (
                "make it, and let dropcap's user write there (ReadWritePaths= of the unit too), or run this check as that user"
            )
            yield Remark("error", on_machine("metrics.textfile"), f"{directory} cannot be written", remedy)
        else:
            yield Remark("ok", on_machine("metrics.textfile"), f"{directory} can be written")
    if config.dashboard is not None:
        yield from _secret(on_machine("dashboard"), config.dashboard.secret, "", SHORTEST_SECRET)


def _secret(where: Place, place: SecretPlace, then: str, shortest: int = 1) -> Iterator[Remark]:
    try:
        secret = place.read()
    except SecretError as error:
        by_hand = place.credential is not None and "CREDENTIALS_DIRECTORY" not in os.environ
        yield Remark("unsure" if by_hand else "error", where, error.message, error.remedy)
        return
    if len(secret.reveal()) < shortest:
        yield Remark(
            "error", where, f"{place} has fewer than {shortest} characters", "write a longer one: openssl rand -base64 24"
        )
    else:
        yield Remark("ok", where, f"{place} can be read" + (f"; {then}" if then else ""))
