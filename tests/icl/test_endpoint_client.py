"""What the environment does to an endpoint: proxies, certificates, headers; and no home folder."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from loopback_server import Loopback, Reply, chat

from fedsim.errors import InputError, ModelError
from fedsim.icl.answers.cache import cache_root
from fedsim.icl.models.endpoint import Endpoint
from fedsim.icl.models.local import Local

LABELS = ("No", "Yes")
ELSEWHERE = "http://llm.invalid/v1"
"""No machine has this name: whatever answers is a proxy."""

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")
VARIABLES += ("sslkeylogfile", "openai_org_id", "openai_project_id", "openai_custom_headers")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask(base_url: str) -> None:
    model = Endpoint(model="m", base_url=base_url, api_key_env="", retries=0, timeout_s=600)
    session = model.connect()
    try:
        session.ask(["p"], LABELS, lambda *_: None)
    finally:
        session.close()


@pytest.mark.parametrize(
    ("variable", "value", "base_url", "what"),
    [
        (
            "ALL_PROXY",
            "socks5://127.0.0.1:9",
            ELSEWHERE,
            "names a SOCKS proxy, which needs a further package",
        ),
        ("https_proxy", "socks5h://x:9", "https://llm.invalid", "names a SOCKS proxy"),
        ("HTTP_PROXY", "ftp://me:PASSWORD@x", ELSEWHERE, r"a proxy that cannot be used \(ValueError\)"),
        ("HTTP_PROXY", "http://[::1", ELSEWHERE, "a proxy that cannot be used"),
        ("SSL_CERT_FILE", "/not/there.pem", "https://llm.invalid", r"cannot be read \(No such file"),
        ("SSL_CERT_FILE", __file__, "https://llm.invalid", "no certificates in PEM form"),
        ("SSL_CERT_DIR", "/not/there", "https://llm.invalid", "a folder that is not there"),
        ("SSLKEYLOGFILE", "/not/there/x.log", "https://llm.invalid", r"cannot be written \(No such file"),
        ("OPENAI_ORG_ID", "Zo\u00eb", ELSEWHERE, "letters that no header may have"),
        ("OPENAI_PROJECT_ID", "a\nb", ELSEWHERE, "letters that no header may have"),
        ("OPENAI_CUSTOM_HEADERS", "X-A: 1\nX-B: caf\u00e9", ELSEWHERE, "letters that no header may have"),
        ("OPENAI_CUSTOM_HEADERS", "X-A 1", ELSEWHERE, "no 'Name: value'"),
    ],
)
def test_a_variable_that_is_in_the_way_is_named(monkeypatch, variable, value, base_url, what):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=what) as caught:
        ask(base_url)
    assert f"the environment variable {variable} " in str(caught.value)
    assert "PASSWORD" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9"},
        {"SSL_CERT_FILE": "/not/there.pem", "SSLKEYLOGFILE": "/not/there/x.log"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "[::1],*bad[,://,,"},
    ],
)
def test_a_server_on_this_machine_is_asked_directly(monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with Loopback(chat()) as server:
        ask(server.base_url)
        ask(server.base_url.replace("127.0.0.1", "localhost"))
        assert len(server.requests) == 2


def test_another_server_is_asked_through_the_proxy_unless_it_is_excepted(monkeypatch):
    with Loopback(chat()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url.removesuffix("/v1"))
        ask(ELSEWHERE)
        assert proxy.paths == ["http://llm.invalid/v1/chat/completions"]
        proxy.script = lambda *_: Reply(b"", 407)
        with pytest.raises(
            ModelError, match="the proxy that the environment variable HTTP_PROXY names wants"
        ):
            ask(ELSEWHERE)
        monkeypatch.setenv("NO_PROXY", "other.org, .invalid")
        with pytest.raises(ModelError, match=r"could not be reached, or hung up.*is it running\?"):
            ask(ELSEWHERE)


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("all_proxy", "127.0.0.1:1")
    with pytest.raises(
        ModelError, match="through the proxy that the environment variable all_proxy names, or hung"
    ):
        ask(ELSEWHERE)


@pytest.mark.parametrize("kept_in", [None, "~/kept"])
def test_without_a_home_folder_the_variable_to_set_is_named(monkeypatch, kept_in):
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "FEDSIM_CACHE"):
        monkeypatch.delenv(name, raising=False)
    if kept_in:
        monkeypatch.setenv("FEDSIM_CACHE", kept_in)
    with pytest.raises(InputError, match="name a folder in the environment variable FEDSIM_CACHE"):
        cache_root()
    with pytest.raises(InputError, match="write the path in full"):
        Local(weights="~/x.gguf").loadable()
    monkeypatch.setenv("FEDSIM_CACHE", "/kept")
    assert cache_root() == Path("/kept")


def test_a_server_that_does_not_speak_https_is_told_from_one_that_is_not_there():
    with Loopback(chat()) as server, pytest.raises(ModelError, match="does it speak https"):
        ask(server.base_url.replace("http:", "https:"))
