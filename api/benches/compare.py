"""Measures the service beside a bare route of its framework and beside the usual Python service, in one run.

    python3 api/benches/compare.py [CORPUS] [--rounds 3] [--seconds 5] [--base FOLDER]

CORPUS is a file of lines with a label, a tab and a text, which `threatwatch dataset import` reads; without one the
sample corpus. The programs are built for release. Needs wrk on PATH, cargo, and Python 3 with venv and pip; FastAPI,
uvicorn and scikit-learn are installed, pinned, into target/bench-api-venv. With --base, a folder with the encoder's base
weights, a transformer behind FastAPI is measured too; that installs PyTorch.

How it is measured: every server has both cores of the machine, `wrk` runs beside it with one thread and 16 connections,
and the contenders take turns: all of them once, then all of them again. The table shows the median of the rounds and its
share of the bare route's. Keep the machine otherwise idle.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "api" / "benches"
VENV = ROOT / "target" / "bench-api-venv"
TORCH = ["torch==2.15.0", "safetensors==0.8.0", "tokenizers==0.23.3", "numpy"]
TEXT = "Nice song, I have listened to it all day long. I would like to see them live, but they never come to my town."
BATCH = 64
LINES = 20_000


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(port, path="/"):
    for _ in range(1200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            connection.getresponse()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing answers on port {port}")


class Server:
    """A process that is stopped, with all that it started, at the end."""

    def __init__(self, command, port, environment=None):
        self.port = port
        self.process = subprocess.Popen(
            command,
            env=os.environ | (environment or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


def ours(folder, corpus):
    ports = {name: free_port() for name in ["port", "temporal-port", "temporal-ui-port", "s3-port", "worker-port"]}
    program = str(ROOT / "target" / "release" / "threatwatch")
    command = [program, "up", "--state-dir", f"{folder}/state", "--data", corpus]
    command += [part for name, port in ports.items() for part in (f"--{name}", str(port))]
    server = Server(command, ports["port"], {"THREATWATCH_MAX_REQUESTS_PER_SECOND": "0"})
    for _ in range(1200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return server
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("threatwatch does not come up")


def wrk(folder, port, path, body, seconds):
    """Requests a second; ends the program if one was refused."""
    script = pathlib.Path(folder) / "request.lua"
    quoted = body.replace("\\", "\\\\").replace("'", "\\'")
    script.write_text(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n" + f"wrk.body = '{quoted}'\n"
    )
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}{path}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told:
        sys.exit(f"{path} refuses: {told}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", told).group(1))


def stream(folder, port):
    """Comments a second through one connection."""
    file = pathlib.Path(folder) / "lines.jsonl"
    if not file.exists():
        file.write_text("".join(json.dumps({"id": str(i), "text": TEXT}) + "\n" for i in range(LINES)))
    url = f"http://127.0.0.1:{port}/predict/batch"
    command = ["curl", "--silent", "--header", "Content-Type: application/x-ndjson", "--data-binary", f"@{file}", url]
    started = time.monotonic()
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    seconds = time.monotonic() - started
    if answer.count(b'"verdict"') != LINES:
        sys.exit("the stream lost verdicts")
    return LINES / seconds


def install(packages):
    if not (VENV / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    subprocess.run([str(VENV / "bin" / "pip"), "install", "--quiet", *packages], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", nargs="?", default=str(ROOT / "model" / "data" / "sample.txt"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--base")
    arguments = parser.parse_args()
    corpus = str(pathlib.Path(arguments.corpus).resolve())
    # However it ends, no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build = ["cargo", "build", "--release", "--workspace", "--bins", "--examples"]
    subprocess.run(build, cwd=ROOT, check=True)
    install(["--requirement", str(HERE / "requirements.txt"), *(TORCH if arguments.base else [])])

    single = json.dumps({"text": TEXT})
    batch = json.dumps({"comments": [{"id": str(i), "text": TEXT} for i in range(BATCH)]})
    analyze = json.dumps({"comment": {"text": TEXT}, "requestedAttributes": {"THREAT": {}}, "languages": ["en"]})
    moderation = json.dumps({"input": TEXT})
    tensor = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]})
    uvicorn = [str(VENV / "bin" / "uvicorn"), "--app-dir", str(HERE), "--workers", "2", "--port"]
    with tempfile.TemporaryDirectory() as folder:
        servers = {"ours": ours(folder, corpus)}
        bare, python = free_port(), free_port()
        servers["bare"] = Server([str(ROOT / "target" / "release" / "examples" / "bare"), f"127.0.0.1:{bare}"], bare)
        servers["python"] = Server([*uvicorn, str(python), "fastapi_sklearn:app"], python, {"CORPUS": corpus})
        if arguments.base:
            encoder = free_port()
            base = {"BASE": arguments.base}
            servers["encoder"] = Server([*uvicorn, str(encoder), "fastapi_encoder:app"], encoder, base)
        contenders = [
            ("a bare poem-openapi route", "bare", "/predict", single, 1),
            ("threatwatch: `/predict`", "ours", "/predict", single, 1),
            (f"threatwatch: `/predict/batch`, {BATCH} comments", "ours", "/predict/batch", batch, BATCH),
            ("threatwatch: `/predict/batch`, a stream", "ours", None, None, 1),
            ("threatwatch: Perspective's `comments:analyze`", "ours", "/v1alpha1/comments:analyze", analyze, 1),
            ("threatwatch: OpenAI's `/v1/moderations`", "ours", "/v1/moderations", moderation, 1),
            ("threatwatch: Open Inference Protocol", "ours", "/v2/models/threatwatch/infer", tensor, 1),
            ("FastAPI and scikit-learn, two uvicorn workers", "python", "/predict", single, 1),
            ("FastAPI and a transformer by PyTorch, two uvicorn workers", "encoder", "/predict", single, 1),
        ]
        contenders = [contender for contender in contenders if contender[1] in servers]
        try:
            for server in servers.values():
                wait_until(server.port)
            # Python's own training comes first.
            found = {name: [] for name, *_ in contenders}
            for _ in range(arguments.rounds):
                for name, server, path, body, comments in contenders:
                    port = servers[server].port
                    rate = wrk(folder, port, path, body, arguments.seconds) if path else stream(folder, port)
                    found[name].append(rate * comments)
        finally:
            for server in servers.values():
                server.stop()
    first = statistics.median(found[contenders[0][0]])
    print("| | comments a second | of the bare route | lowest and highest round |")
    print("|---|---|---|---|")
    for name, rates in found.items():
        middle = statistics.median(rates)
        print(f"| {name} | {middle:,.0f} | {100 * middle / first:.1f}% | {min(rates):,.0f} to {max(rates):,.0f} |")


if __name__ == "__main__":
    main()
