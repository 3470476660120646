"""The page: what it returns and what it refuses."""

import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from demo_page import BINARY, TREE, photograph, post, send, unpacked
from segmenter_fixtures import make_segmenter
from starlette.testclient import TestClient

from deploy.demo import __main__ as demo
from deploy.demo import response as demo_response
from deploy.demo import server as demo_server
from preprocessing_stage.dataset.shrink import shrunken_size


def test_an_upload_gets_the_result_of_the_segmenter(served):
    page, port = served
    upload, pixels = photograph()
    status, content = post(port, upload)
    assert status == 200
    result = page.segmenter.segment(pixels)
    labels, uncertainty, *rest = unpacked(content["planes"])
    np.testing.assert_array_equal(labels, TREE.leaf_of_id(TREE.root.name)[result.labels])
    np.testing.assert_allclose(uncertainty / 255, result.uncertainty, atol=0.003)
    for k, share in enumerate(result.leaf_probabilities):
        np.testing.assert_allclose(rest[k] / 255, share, atol=0.003)
    assert content["leaves"] == [leaf.name for leaf in TREE.leaves]
    for k, classes in enumerate(content["levels"]):
        names = [node.name for node in TREE.level(k)]
        assert [one["name"] for one in classes] == [*names, "nothing"]
        leaves = [leaf for one in classes for leaf in one["leaves"]]
        assert sorted(leaves) == list(range(len(TREE.leaves)))
    assert [one["expert"] for one in content["experts"]] == list(TREE.experts)


def test_examples_are_found_by_number_only(served):
    _, port = served
    assert post(port, None, "/examples/1") == post(port, photograph()[0])
    assert post(port, None, "/examples/2")[0] == 404
    assert post(port, None, "/examples/-1")[0] == 404
    assert post(port, None, "/examples/a.png")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/page.js/../../demo.py",
        "/page/index.html.j2",
        "/params.yaml",
        "/examples/0",
        "/examples/..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_file_of_the_server_can_be_requested(served, path):
    for method in ("GET", "POST"):
        status, _, content = send(served[1], method, path, **BINARY)
        assert status in (404, 405) or (method, path) == ("POST", "/examples/0")
        assert b"root:" not in content and b"import" not in content


def test_uploads_are_limited_in_bytes_and_in_pixels(served):
    _, port = served
    status, content = post(port, photograph(201, 200)[0])
    assert status == 422 and "40,000 pixels" in content["error"]
    status, content = post(port, bytes(1_000_001))
    assert status == 413 and "1 MB" in content["error"]
    assert post(port, bytes(1_000_000))[0] == 422


def test_a_file_that_is_no_image_is_refused(served):
    status, content = post(served[1], b"%!PS-Adobe-3.0 EPSF-3.0")
    assert status == 422 and "not an image" in content["error"]
    assert post(served[1], b"")[0] == 422


def test_other_sites_cannot_use_it(served):
    _, port = served
    content, _ = photograph()
    assert send(port, "POST", "/segment", content, content_type="text/plain")[0] == 415
    assert send(port, "POST", "/segment", content, **BINARY, Host="evil.example")[0] == 400
    _, headers, _ = send(port, "OPTIONS", "/segment", Origin="https://evil.example")
    assert "access-control-allow-origin" not in headers


def test_every_response_forbids_other_sites(served):
    for path in ("/", "/page.js", "/page.css", "/nowhere"):
        _, headers, _ = send(served[1], "GET", path)
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"


def test_names_are_escaped(served):
    _, _, content = send(served[1], "GET", "/")
    assert b"tiny &amp; &lt;b&gt;bold" in content


def test_too_many_at_once_are_refused(served, monkeypatch):
    page, port = served
    monkeypatch.setattr(page, "_pending", demo_server.MAX_WAITING + 1)
    status, content = post(port, photograph()[0])
    assert status == 503 and "busy" in content["error"]


def test_clients_that_go_away_free_their_place(served, monkeypatch):
    page, port = served
    started, go_on = threading.Event(), threading.Event()
    segment = page._segment

    def slow(source):
        started.set()
        assert go_on.wait(30)
        return segment(source)

    monkeypatch.setattr(page, "_segment", slow)
    first = threading.Thread(target=post, args=(port, photograph()[0]))
    first.start()
    assert started.wait(30)
    for _ in range(demo_server.MAX_WAITING):  # each goes away while it waits
        with socket.create_connection(("127.0.0.1", port)) as gone:
            body = photograph()[0]
            head = f"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            gone.sendall((head + "Content-Type: application/octet-stream\r\n\r\n").encode() + body)
    until = time.monotonic() + 30
    while page._pending > 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert page._pending == 1
    go_on.set()
    first.join()
    assert post(port, photograph()[0])[0] == 200


def test_the_page_finds_its_parts_at_any_path(served):
    _, _, content = send(served[1], "GET", "/")
    script = (demo_server.PAGE / "page.js").read_text()
    assert not re.search(rb'(?:href|src)="/', content)
    assert not re.search(r'["`]/(?:segment|examples)', script)


def test_hosts_of_a_proxy_are_allowed_by_name(served):
    page, _ = served
    for host, allowed, expected in (
        ("127.0.0.1", ["people.example"], 200),
        ("127.0.0.1", [], 400),
        ("0.0.0.0", ["other.example"], 400),
        ("0.0.0.0", [], 200),
    ):
        client = TestClient(demo_server.make_app(page, host, allowed))
        assert client.get("/", headers={"host": "people.example"}).status_code == expected
    client = TestClient(demo_server.make_app(page, "::1"))
    assert client.get("/", headers={"host": "[::1]:7860"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_options():
    options = demo._parser().parse_args([])
    assert options.host == "127.0.0.1"
    with pytest.raises(SystemExit):
        demo._parser().parse_args(["--max-megabytes", "0"])


@pytest.mark.slow
@pytest.mark.parametrize("tta", [False, True])
def test_the_page_shows_the_labels_of_the_whole_image(tta):
    """A photograph larger than the page is not scaled down before it is segmented."""
    segmenter = make_segmenter(TREE, longest_side=64, tta_views=tta)
    pixels = photograph(825, 1100)[1]
    content = demo_response.response(segmenter, pixels)
    size = shrunken_size(pixels.shape[:2], demo_response.SHOWN_SIDE)
    assert (content["height"], content["width"]) == size == (600, 800)
    expected = segmenter.segment(pixels)
    rows, columns = (
        (2 * np.arange(shown) + 1) * whole // (2 * shown)
        for shown, whole in zip(size, pixels.shape, strict=False)
    )
    places = np.ix_(rows, columns)
    labels, _, *rest = unpacked(content["planes"])
    np.testing.assert_array_equal(labels, TREE.leaf_of_id(TREE.root.name)[expected.labels[places]])
    for k, values in enumerate(expected.leaf_probabilities):
        np.testing.assert_allclose(rest[k] / 255, values[places], atol=0.05)
    for one in content["experts"]:
        inside = np.isin(expected.labels, TREE.ids(one["expert"]))
        assert one["share"] == pytest.approx(inside.mean(), abs=0.02)


@pytest.mark.slow
def test_a_missing_package_is_named(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ImportError('no uvicorn')")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.demo"],
        env={"PYTHONPATH": f"{tmp_path}:."},
        cwd=demo.__file__.rsplit("/", 3)[0],
        capture_output=True,
        text=True,
    )
    assert done.returncode and "pip install '.[demo]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["0", "-1", "65536", "http"])
def test_a_port_that_there_is_none_of_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        demo._parser().parse_args(["--port", port])
    assert f"--port: {port} is not a port from 1 to 65535" in capsys.readouterr().err
