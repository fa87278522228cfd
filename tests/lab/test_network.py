from collections.abc import Callable

import pytest

Requests = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<script>fetch('/x')</script>",
        '<img src="//example.org/a.png">',
        '<link rel="stylesheet" href="http://example.org/a.css">',
        "<style>@import 'a.css';</style>",
        "<style>p { background: url('https://example.org/a.png') }</style>",
        '<p style="background: url(https://example.org/a.png)">',
        '<svg><image xlink:href="https://example.org/a.png"/></svg>',
        '<iframe src="about:blank"></iframe>',
    ],
)
def test_the_search_finds_what_would_load(requests: Requests, html: str) -> None:
    assert requests(html)


def test_the_search_leaves_links_and_namespaces_alone(requests: Requests) -> None:
    assert requests('<a href="https://example.org">a</a><svg xmlns="http://www.w3.org/2000/svg"></svg>') == []
