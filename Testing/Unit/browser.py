"""A real Chromium without a window, steered by its DevTools protocol: keys, clicks and pictures as a person's."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
#: DOM name of a key -> (code, virtual key, text)
_KEYS = {"Enter": ("Enter", 13, "\r"), "Backspace": ("Backspace", 8, ""), "ArrowLeft": ("ArrowLeft", 37, ""), "ArrowRight": ("ArrowRight", 39, ""), "ArrowUp": ("ArrowUp", 38, ""),
         "ArrowDown": ("ArrowDown", 40, ""), " ": ("Space", 32, " "), "+": ("NumpadAdd", 107, "+"), "-": ("NumpadSubtract", 109, "-")}  # fmt: skip


def why_not() -> str:
    """Why no browser can be tested here, "" if one can."""
    try:
        import websocket
    except ImportError:
        return "websocket-client is not installed"
    return "" if PROGRAM and websocket else "no Chromium on this machine"


class Browser:
    """One window.

    Args:
        profile: folder that keeps what pages store.
        size: of the window, in pixels.
    """

    def __init__(self, profile: Path, size: tuple[int, int] = (1400, 800)):
        import websocket

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0", "--remote-allow-origins=*"]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the browser
        self._process = subprocess.Popen(
            [str(PROGRAM), *options, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", "about:blank"], stderr=self._log, stdout=subprocess.DEVNULL, start_new_session=True
        )
        port = self._wait(self._port, 120)
        pages = self._wait(lambda: [page for page in self._pages(port) if page["type"] == "page"], 60)
        self._socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=120)
        self._count = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime"):
            self.call(f"{domain}.enable")

    def _port(self) -> str:
        self._log.seek(0)
        found = re.search(r"DevTools listening on ws://[^:]+:(\d+)/", self._log.read())
        return found[1] if found else ""

    @staticmethod
    def _pages(port: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=60) as answer:
            return json.load(answer)

    @staticmethod
    def _wait(found: Any, seconds: float) -> Any:
        end = time.monotonic() + seconds
        while not (value := found()):
            assert time.monotonic() < end, "the browser did not answer in time"
            time.sleep(0.05)
        return value

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv())
            if told.get("method") == "Runtime.exceptionThrown":
                self.errors.append(told["params"]["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            if told.get("id") == self._count:
                assert "error" not in told, told
                return told["result"]

    def open(self, address: str) -> None:
        """Load a page, and wait until it is there."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait for an expression to become true."""
        self._wait(lambda: self.js(expression), seconds)

    def key(self, name: str) -> None:
        """Press and release a key, by its name in DOM."""
        code, number, text = _KEYS.get(name, (f"Key{name.upper()}" if name.isalpha() else f"Digit{name}", ord(name[0].upper()), name))
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=code, windowsVirtualKeyCode=number, text=text if kind == "keyDown" else "")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: mousePressed, mouseReleased, mouseMoved or mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector: str, count: int = 1) -> None:
        """Click the middle of an element."""
        x, y = self.js(f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()")
        for number in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", clickCount=number)

    def picture(self, path: Path) -> Path:
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path

    def kill(self) -> None:
        """As a power cut would."""
        self._socket.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def close(self) -> None:
        """As a person closes it."""
        self._socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._socket.close()
        self._log.close()
