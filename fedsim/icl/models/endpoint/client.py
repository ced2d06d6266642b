"""The one place where a client of OpenAI's API is made, and where the environment may be in its way.

Environment variables that nobody thinks of decide about proxies, certificates and headers. What they spoil is
said with the variable's name and without its value, which may hold a password.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from openai import DEFAULT_CONNECTION_LIMITS, AsyncOpenAI, DefaultAsyncHttpxClient

from fedsim.errors import InputError
from fedsim.icl.models.endpoint import bounded

if TYPE_CHECKING:
    from fedsim.icl.models.endpoint.part import Endpoint

HEADERS = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
"""Variables that the client puts into headers."""

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""Variables that decide whose certificates are believed, and where keys are logged for debugging."""


class Proxy(NamedTuple):
    """Where requests go through."""

    url: str
    named_by: str
    """Who names it, in words."""


def open_client(settings: Endpoint, api_key: str) -> AsyncOpenAI:
    """Return a client.

    Raises:
        InputError: the environment does not let it be made; the sentence names the variable.
    """
    _check_headers()
    proxy = proxy_of(settings.base_url)
    try:
        # Everything that the environment says has been read here, where it can be named.
        plain = bounded.http.AsyncHTTPTransport(
            proxy=None if proxy is None else bounded.http.Proxy(proxy.url),
            verify=_certificates(settings.base_url),
            trust_env=False,
            limits=DEFAULT_CONNECTION_LIMITS,
        )
        transport = bounded.BoundedTransport(plain, settings.timeout_s, settings.follow_redirects)
        http = DefaultAsyncHttpxClient(transport=transport, trust_env=False)
        return AsyncOpenAI(
            api_key=api_key,
            base_url=settings.base_url,
            timeout=settings.timeout_s,
            max_retries=settings.retries,
            http_client=http,
        )
    except InputError:
        raise
    except Exception as error:  # a client may fail in any way on what it finds in the environment
        raise InputError(_why(error, proxy)) from error


def _check_headers() -> None:
    """Raise an `InputError` where a variable holds what no header may have."""
    for name in HEADERS:
        value = os.environ.get(name, "")
        # Custom headers stand on a line each.
        lines = value.split("\n") if name == "OPENAI_CUSTOM_HEADERS" else [value]
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise InputError(f"the environment variable {name} holds letters that no header may have")
        if name == "OPENAI_CUSTOM_HEADERS" and not all(":" in line for line in lines if line.strip()):
            raise InputError(f"the environment variable {name} holds a line that is no 'Name: value'")


def proxy_of(base_url: str) -> Proxy | None:
    """Return the proxy through which a server is to be reached; none for a server on this machine.

    As for other programs: the variable of the scheme goes before ALL_PROXY, small letters before capitals,
    and servers that NO_PROXY names are reached directly.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if _is_loopback(host) or any(proxy_bypass(name) for name in (host, f"[{host}]")):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if url := os.environ.get(variable, "").strip():
                return Proxy(_complete(url), f"the environment variable {variable}")
    url = getproxies().get(parts.scheme, "")
    return Proxy(_complete(url), "the settings of this machine") if url else None


def _complete(url: str) -> str:
    return url if "://" in url else f"http://{url}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _certificates(base_url: str) -> ssl.SSLContext | bool:
    """Return whose certificates are believed; true for those that the client comes with.

    Raises:
        InputError: a variable names what is not there or holds no certificates.
    """
    if urlsplit(base_url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # believes nobody: nothing is to be encrypted
    given = {name: value for name in CERTIFICATES if (value := os.environ.get(name))}
    for name, value in given.items():
        if why := _unusable(name, value):
            raise InputError(f"the environment variable {name} names {why}")
    file, folder = given.get("SSL_CERT_FILE"), given.get("SSL_CERT_DIR")
    return ssl.create_default_context(cafile=file, capath=folder) if file or folder else True


def _unusable(name: str, value: str) -> str:
    """Return what is wrong with a variable about certificates, in half a sentence; nothing if all is well."""
    place = Path(value)
    try:
        if name == "SSL_CERT_DIR":
            return "" if place.is_dir() else "a folder that is not there"
        if name == "SSLKEYLOGFILE":
            with place.open("ab"):
                return ""
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        return "a file that holds no certificates in PEM form"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        return f"a file that cannot be {'written' if name == 'SSLKEYLOGFILE' else 'read'} ({why})"
    return ""


def _why(error: Exception, proxy: Proxy | None) -> str:
    """Return why no client could be made."""
    if proxy is None:
        return f"the client of model 'endpoint' cannot be made ({type(error).__name__}): look at base_url"
    if isinstance(error, ImportError):
        return f"{proxy.named_by} names a SOCKS proxy, which needs a further package: pip install socksio"
    return (
        f"{proxy.named_by} names a proxy that cannot be used ({type(error).__name__}): expected an address "
        "such as 'http://proxy.example.org:3128'"
    )
