"""The page's server: who comes in, what is fetched from it, and that no handler is a verb for programs."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_page import Served, rendered, serving
from browsing import free_port, needs_browser, opened, shoot

from vidmem.errors import BadInput

PASSWORDS = {"ann": "a long one", "bob": "another"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    sample = rendered(tmp_path_factory.mktemp("samples"))
    with serving(tmp_path_factory.mktemp("page"), [sample], passwords=PASSWORDS, max_bytes=100_000) as served:
        yield served


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("free"), []) as served:
        yield served


def opener(served: Served, name: str = "", password: str = "") -> urllib.request.OpenerDirector:
    """As a browser that logged in with these, if a name is given."""
    made = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    if name:
        form = urllib.parse.urlencode({"username": name, "password": password}).encode()
        made.open(urllib.request.Request(f"{served.address}login", form))
    return made


def status(served: Served, path: str, opener_: urllib.request.OpenerDirector, data: bytes | None = None) -> int:
    request = urllib.request.Request(f"{served.address}{path}", data)
    if data is not None:
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
    try:
        with opener_.open(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def upload(num_bytes: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\nContent-Type: video/mp4\r\n\r\n'
    return head + b"0" * num_bytes + b"\r\n--x--\r\n"


def test_nobody_gets_anything_without_a_password(served: Served) -> None:
    stranger = opener(served)
    sample = urllib.parse.quote(str(served.session.samples[0].path))
    paths = (f"gradio_api/file={sample}", "config", "gradio_api/info", "gradio_api/queue/data?session_hash=x")
    assert [status(served, path, stranger) for path in paths] == [401] * len(paths)
    assert status(served, "gradio_api/upload", stranger, upload(10)) == 401


def test_a_wrong_password_does_not_come_in_and_the_right_one_does(served: Served) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        opener(served, "ann", "another")
    ann = opener(served, "ann", "a long one")
    sample = urllib.parse.quote(str(served.session.samples[0].path))
    assert status(served, f"gradio_api/file={sample}", ann) == 200


def test_files_of_the_machine_and_of_the_store_are_not_served(served: Served) -> None:
    ann = opener(served, "ann", "a long one")
    for path in (
        "/etc/passwd",
        f"{served.root}/page.vidmem/manifest.toml",
        f"{served.root}/x.mp4",
        "/proc/self/environ",
    ):
        assert status(served, f"gradio_api/file={path}", ann) in (403, 404), path


def test_what_is_larger_than_allowed_is_not_taken(served: Served) -> None:
    ann = opener(served, "ann", "a long one")
    assert status(served, "gradio_api/upload", ann, upload(90_000)) == 200
    assert status(served, "gradio_api/upload", ann, upload(200_000)) == 413


def test_no_handler_is_a_verb_for_programs(free: Served) -> None:
    with urllib.request.urlopen(f"{free.address}gradio_api/info") as answer:
        info = json.loads(answer.read())
    assert info == {"named_endpoints": {}, "unnamed_endpoints": {}}
    assert status(free, "gradio_api/mcp/sse", opener(free)) == 404
    assert status(free, "monitoring", opener(free)) in (403, 404)


def test_it_listens_on_the_loopback_address_alone(free: Served) -> None:
    assert free.address.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_said(free: Served, tmp_path: Path) -> None:
    from vidmem.ui.access import Access
    from vidmem.ui.app import serving as served
    from vidmem.ui.limits import Limits
    from vidmem.ui.session import Session

    port = int(free.address.rstrip("/").rpartition(":")[2])
    session = Session([], preset="tiny", limits=Limits((tmp_path,)))
    with pytest.raises(BadInput, match=f"port {port}.*--port"), served(session, Access(port=port)):
        pass
    assert free_port() != port


@pytest.mark.browser
@needs_browser[1]
def test_a_person_logs_in(browser, served: Served) -> None:  # type: ignore[no-untyped-def]
    with opened(browser, served.address) as page:
        page.get_by_label("username").fill("bob")
        page.get_by_label("password").fill("wrong")
        page.get_by_role("button", name="Login").click()
        page.get_by_text("Incorrect").first.wait_for()
        shoot(page, "login")
        page.get_by_label("username").fill("bob")
        page.get_by_label("password").fill("another")
        page.get_by_role("button", name="Login").click()
        page.locator("#samples button").first.wait_for()
