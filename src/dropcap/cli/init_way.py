"""How `dropcap init` reaches REDCap: what its options say of it, and the keys of the configuration for the same."""

from __future__ import annotations

from pathlib import Path

import click

from dropcap.config.proxy import ProxyCredentials, proxy_address
from dropcap.config.values import BadValueError
from dropcap.delivery.clients import credentials_from
from dropcap.redcap.way import Proxy, Way


def way_of(files: tuple[Path | None, Path | None, Path | None], proxy: str | None, credentials: Path | None) -> Way:
    """The way that the options tell. `files` are the authority, the certificate and its key. Raises click.UsageError."""
    ca, certificate, key = (path.absolute() if path else None for path in files)
    if key is not None and certificate is None:
        raise click.UsageError("--client-key-file goes with --client-cert-file")
    if proxy is None:
        if credentials is not None:
            raise click.UsageError("--proxy-credentials-file goes with --proxy")
        return Way(ca, certificate, key)
    try:
        address = proxy_address(proxy)
    except BadValueError as error:
        raise click.UsageError(f"--proxy: {error.message}; {error.remedy}") from None
    source = ProxyCredentials(str(credentials.absolute())) if credentials else None
    return Way(ca, certificate, key, Proxy(address.host, address.port, credentials_from(source)))


def way_lines(way: Way, credentials: Path | None) -> dict[str, str]:
    """The keys of a project for that way."""
    named = {
        "ca_file": way.ca_file,
        "client_cert_file": way.client_cert_file,
        "client_key_file": way.client_key_file,
        "proxy": f"http://{way.proxy}" if way.proxy else None,
        "proxy_credentials_file": credentials.absolute() if credentials else None,
    }
    return {key: str(value) for key, value in named.items() if value is not None}
