"""Whom a TLS connection trusts, and the certificate that it shows: read anew when one of the files has changed."""

from __future__ import annotations

import os
import ssl
import threading
from pathlib import Path

import truststore

from dropcap.reasons import Reason
from dropcap.redcap.way import NoWay, Way

_PEM = "put {} there, in PEM (text that begins with -----BEGIN {}-----)"


class Trust:
    """The TLS settings of one way. Thread-safe."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._sight: tuple[tuple[int, int, int], ...] = ()

    def context(self) -> ssl.SSLContext:
        """The settings as the files are now. Raises `NoWay` if one of them cannot be used."""
        with self._lock:
            sight = tuple(_sight(key, path) for key, path in _files(self._way))
            if self._context is None or sight != self._sight:
                self._context, self._sight = _context(self._way), sight
            return self._context


def _files(way: Way) -> list[tuple[str, Path]]:
    named = (
        ("ca_file", way.ca_file),
        ("client_cert_file", way.client_cert_file),
        ("client_key_file", way.client_key_file),
    )
    return [(key, path) for key, path in named if path is not None]


def _sight(key: str, path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise NoWay(Reason.CERTIFICATE, f"{key}: there is no {path}", "correct the path") from None
    except OSError as error:
        message = f"{key}: {path} cannot be read ({error.strerror})"
        raise NoWay(Reason.CERTIFICATE, message, "let dropcap's user read it") from None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _context(way: Way) -> ssl.SSLContext:
    context: ssl.SSLContext
    if way.ca_file is None:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        try:
            context = ssl.create_default_context(cafile=str(way.ca_file))
        except (OSError, ssl.SSLError) as error:
            message = f"ca_file: {way.ca_file} cannot be used ({_said(error)})"
            raise NoWay(Reason.CERTIFICATE, message, _PEM.format("the authority's certificate", "CERTIFICATE")) from None
    if way.client_cert_file is not None:
        _show(context, way.client_cert_file, way.client_key_file)
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    asked = False

    def no_password() -> str:  # else OpenSSL asks at the terminal for that of an encrypted key
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(certificate, key, no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        where = key or certificate
        if asked:
            message = f"the key in {where} is encrypted, and nobody is there to enter its password"
            raise NoWay(
                Reason.CERTIFICATE, message, f"write it without one, with mode 0600: openssl pkey -in {where} -out NEW"
            ) from None
        both = f"client_cert_file: {certificate} and its key" + (f" in {key}" if key else "")
        if "MISMATCH" in (getattr(error, "reason", None) or ""):
            message, remedy = f"{both} do not belong together", "name the key that the certificate was made for"
        else:
            message = f"{both} cannot be used ({_said(error)})"
            remedy = _PEM.format("the certificate", "CERTIFICATE") + ", and its key there or in `client_key_file`"
        raise NoWay(Reason.CERTIFICATE, message, remedy) from None


def _said(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or "it holds none"
