"""Proxies of the environment, as curl interprets them."""

import pytest

from openqoe.core.config.declaration import SettingsError
from openqoe.shells.net.proxy_rules import ProxyRules

P = "http://proxy:3128"


def proxy_for(url: str, **environment: str) -> str | None:
    return ProxyRules.from_environment(environment).proxy_for(url)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://a.test/", None),
        ({"http_proxy": P}, "http://a.test/", P),
        ({"http_proxy": P}, "https://a.test/", None),
        ({"HTTP_PROXY": P}, "http://a.test/", P),
        ({"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, "http://a.test/", None),
        ({"HTTPS_PROXY": P}, "https://a.test/", P),
        ({"https_proxy": P, "HTTPS_PROXY": "http://other:1"}, "https://a.test/", P),
        ({"ALL_PROXY": "socks5://s:1080"}, "http://a.test/", "socks5://s:1080"),
        ({"all_proxy": "socks5h://u:p@s"}, "https://a.test/", "socks5h://u:p@s:1080"),
        ({"all_proxy": P, "http_proxy": "http://b:1"}, "http://a.test/", "http://b:1"),
        ({"http_proxy": "proxy"}, "http://a.test/", "http://proxy:1080"),
        ({"http_proxy": "http://[::1]:3128/"}, "http://a.test/", "http://[::1]:3128"),
        ({"http_proxy": " ", "all_proxy": ""}, "http://a.test/", None),
    ],
)
def test_proxy_is_selected_by_scheme(
    environment: dict[str, str], url: str, proxy: str | None
) -> None:
    assert proxy_for(url, **environment) == proxy


@pytest.mark.parametrize(
    ("exceptions", "url", "is_direct"),
    [
        ("localhost,[::1]", "http://localhost:9090/", True),
        ("localhost,[::1]", "http://[::1]:9090/", True),
        ("localhost,[::1]", "http://127.0.0.1/", False),
        ("::1", "http://[::1]/", True),
        ("[fe80::]/10", "http://[fe80::1]/", False),
        ("fe80::/10", "http://[fe80::1]/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.1", "http://10.0.0.10/", False),
        ("example.com", "http://mimir.example.com/", True),
        (".example.com", "http://example.com/", True),
        ("example.com", "http://notexample.com/", False),
        ("EXAMPLE.com.", "http://example.COM./", True),
        ("a.test:9009", "http://a.test:9009/", True),
        ("a.test:9009", "http://a.test/", False),
        ("a.test  b.test", "http://b.test/", True),
        ("*", "http://anything/", True),
        ("", "http://a.test/", False),
        (" , ", "http://a.test/", False),
    ],
)
def test_exceptions_go_directly(exceptions: str, url: str, is_direct: bool) -> None:
    assert (proxy_for(url, http_proxy=P, NO_PROXY=exceptions) is None) == is_direct


@pytest.mark.parametrize("text", ["ftp://p", "socks4://p", "http://", "http://p:x", "http://[::1"])
def test_variable_that_names_no_proxy_is_a_fault(text: str) -> None:
    with pytest.raises(SettingsError, match="  - http_proxy "):
        proxy_for("http://a.test/", http_proxy=text.replace("://", "://u:hush@", 1))


def test_password_of_proxy_is_neither_in_repr_nor_in_faults() -> None:
    assert "hush" not in repr(ProxyRules.from_environment({"http_proxy": "http://u:hush@p"}))
    with pytest.raises(SettingsError) as caught:
        ProxyRules.from_environment({"http_proxy": "ftp://u:hush@p"})
    assert "hush" not in str(caught.value)
