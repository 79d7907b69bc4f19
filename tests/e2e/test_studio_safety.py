"""What the studio refuses: foreign pages, other files, values from hand-made requests; and many
clients at once."""

import http.client
import json
import re
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from studio_place import serving

CANARY = b"canary-6f1d2c"
PICTURES = 2


def ask(address: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and content of one request, whose path is sent as it is."""
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=240)
    method = "GET" if body is None else "POST"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host="Host" in named)
    if body is not None:
        named |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    for name, value in named.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def job_of(address: str, name: str, event: str) -> int:
    """The number of the job that an event of a part of the page starts with what fields hold."""
    config = json.loads(ask(address, "/config")[1])
    (part,) = (c["id"] for c in config["components"] if c["props"].get("elem_id") == name)
    jobs = (job for job in config["dependencies"] if [part, event] in job["targets"])
    return next(job["id"] for job in jobs if job["inputs"])


def form(name: str, **changes) -> list:
    values = {
        "model": name,
        "number": PICTURES,
        "seed": 0,
        "seeds": "",
        "classes": [],
        "mix": False,
        "shares": "",
        "truncate": False,
        "truncation": 0.7,
        "mode": "resample",
        "noise": "const",
        "sheet": "about square",
    }
    return list({**values, **changes}.values())


def run_job(address: str, job: int, data: list, session: str) -> str:
    """All that the page is told of a job, as one text."""
    asked = json.dumps({"fn_index": job, "data": data, "session_hash": session}).encode()
    status, content = ask(address, "/gradio_api/queue/join", asked)
    assert status == 200, content
    return ask(address, f"/gradio_api/queue/data?session_hash={session}")[1].decode()


@pytest.fixture(scope="module")
def job(studio) -> int:
    return job_of(studio.address, "generate", "click")


def port_of(address: str) -> int:
    return urllib.parse.urlsplit(address).port or 0


def test_foreign_hosts_are_refused(studio):
    for host in (
        "evil.example",
        f"evil.example:{port_of(studio.address)}",
        "",
        "127.0.0.1.evil.example",
    ):
        for path in ("/", "/config", "/gradio_api/info", "/gradio_api/queue/join"):
            status, content = ask(studio.address, path, Host=host)
            assert status == 400, (host, path)
            assert b"gradio" not in content


def test_foreign_origins_start_nothing(studio, job):
    port = port_of(studio.address)
    own = (studio.address, f"http://localhost:{port}")
    foreign = (
        "null", "http://evil.example", "https://127.0.0.1", f"http://127.0.0.1:{port + 1}",
        f"http://evil.example:{port}", "file://", f"http://127.0.0.1.evil.example:{port}", "",
    )  # fmt: skip
    for number, origin in enumerate(foreign):
        body = {"fn_index": job, "data": form(studio.model), "session_hash": f"foreign{number}"}
        for path in ("/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/run/predict"):
            status, _ = ask(studio.address, path, json.dumps(body).encode(), Origin=origin)
            assert status == 403, (origin, path)
        assert ask(studio.address, "/config", Origin=origin)[0] == 403
    for origin in own:
        host = urllib.parse.urlsplit(origin).netloc
        assert ask(studio.address, "/config", Origin=origin, Host=host)[0] == 200


def traversals(canary: Path) -> list[str]:
    """Ways to name a file that is not the studio's."""
    absolute = str(canary)
    up = [f"{'../' * n}{absolute.lstrip('/')}" for n in (3, 6, 12)]
    plain = [absolute, f"/{absolute}", f"//{absolute}", f"file://{absolute}", f"./{absolute}", *up]
    odd = [f"{absolute}%00.png", f"{absolute}/.", f"{absolute}/../{canary.name}", f"C:{absolute}"]
    encoded = [urllib.parse.quote(text, safe="") for text in (*plain, *odd)]
    twice = [urllib.parse.quote(text, safe="") for text in encoded[:8]]
    dots = [text.replace("../", "..%2f") for text in up]
    dots += [text.replace("../", "%2e%2e/") for text in up]
    dots += [text.replace("../", "....//") for text in up]
    dots += [text.replace("/", "\\") for text in up] + [text.replace("../", "..;/") for text in up]
    return [*plain, *odd, *encoded, *twice, *dots]


def test_no_form_of_a_path_gives_another_file(studio, tmp_path):
    canary = tmp_path / "canary.txt"
    canary.write_bytes(CANARY)
    (tmp_path / ".secret.txt").write_bytes(CANARY)
    forms = [*traversals(canary), "canary.txt", ".secret.txt", "./canary.txt"]
    assert len(forms) >= 50
    routes = ("/gradio_api/file=", "/file=", "/static/", "/assets/", "/theme.css/", "/",
              "/gradio_api/file/", "/custom_component/", "/gradio_api/static/")  # fmt: skip
    with serving(studio.model, cwd=tmp_path) as (address, _):
        for route in routes:
            for name in forms:
                path = (route + name).replace(" ", "%20")
                assert CANARY not in ask(address, path)[1], path
        status, _ = ask(address, f"/gradio_api/file={address}/config")
        assert status == 403  # it would fetch what others name


def test_a_job_cannot_be_given_files_of_the_server(studio, tmp_path):
    canary = tmp_path / "canary.png"
    canary.write_bytes(CANARY)
    restore = job_of(studio.address, "restore", "upload")
    for number, given in enumerate(
        ({"path": str(canary), "meta": {"_type": "gradio.FileData"}},
         {"url": f"{studio.address}/config", "path": "x", "meta": {"_type": "gradio.FileData"}})
    ):  # fmt: skip
        told = run_job(studio.address, restore, [given, studio.model], f"restore{number}")
        assert '"success":false' in told.replace(" ", "").lower() or "alert" in told
        assert CANARY.decode() not in told


@pytest.mark.parametrize(
    "change",
    [
        {"number": "NaN"}, {"number": None}, {"number": 10**12}, {"number": 0}, {"number": True},
        {"number": []}, {"seed": -1}, {"seed": 2**60}, {"seed": 0.5}, {"seeds": "0-99999999"},
        {"seeds": "x"}, {"truncate": True, "truncation": "NaN"},
        {"truncate": True, "truncation": None}, {"truncate": True, "truncation": 0},
        {"truncate": True, "truncation": -1}, {"truncate": True, "mode": "w"},
        {"classes": [10]}, {"classes": [-1]}, {"classes": ["../x"]}, {"mix": True, "classes": [1, 2], "shares": "nan,1"},
        {"sheet": "100000x100000"}, {"sheet": "0x0"}, {"sheet": "x"}, {"model": "../../x"}, {"model": None},
    ],
    ids=str,
)  # fmt: skip
def test_values_that_no_page_would_send_are_refused(studio, job, change):
    told = run_job(
        studio.address, job, form(studio.model, **change), f"odd{abs(hash(str(change)))}"
    )
    assert "sheet.png" not in told
    assert "alert" in told or '"success":false' in told.replace(" ", "")


def test_fifty_clients_at_once_all_finish_and_the_page_answers(studio, job):
    slowest, stopped = [0.0], threading.Event()

    def look() -> None:
        while not stopped.is_set():
            before = time.monotonic()
            assert ask(studio.address, "/config")[0] == 200
            slowest[0] = max(slowest[0], time.monotonic() - before)
            time.sleep(0.2)

    def client(number: int) -> bool:
        told = run_job(studio.address, job, form(studio.model, seed=number), f"client{number}")
        return "sheet.png" in told and f"seed {number}" in told

    before = most_memory(studio.process)
    with ThreadPoolExecutor(51) as pool:
        looking = pool.submit(look)
        finished = list(pool.map(client, range(50)))
        stopped.set()
        looking.result()
    assert all(finished)
    assert slowest[0] < 60
    assert most_memory(studio.process) - before < 300


def most_memory(process: int) -> float:
    """The most that a process has held so far, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000
