"""A worker as its parent sees it: questions, answers, time limits, deaths."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from typing import Any

# The backends' processes share a device, and none is to be spared compiling.
SETTINGS = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_ENABLE_COMPILATION_CACHE": "false"}


def command() -> list[str]:
    """What starts a process."""
    return [sys.executable, "-m", "jaxconv._bench.worker"]


class Worker:
    """A process that starts when it is first asked, and again after it died."""

    def __init__(self, starting: list[str] | None = None):
        """`starting`: what starts it, if that is not `command()`."""
        self.starting = starting
        self.process: subprocess.Popen[str] | None = None

    def ask(self, limit: float, /, **message: Any) -> dict[str, Any]:
        """Its answer, or {"error": ...} if it died or took longer than `limit` seconds (and then is no more).

        The latter has the limit with it, as "timeout".
        """
        process = self.process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            answer = self.answers.get(timeout=limit)
        except queue.Empty:
            self.stop()
            return {"error": f"{message['do']} took longer than {limit:g} s", "timeout": limit}
        except OSError:
            answer = None
        if answer is None:
            code = process.wait()
            last = self._last_words()
            self.stop()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return {"error": f"the process died with {how}" + (f": {last}" if last else "")}
        return json.loads(answer)

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.complaints.close()
            self.process = None

    def _start(self) -> subprocess.Popen[str]:
        self.complaints = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.starting or command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
            env={**os.environ, **SETTINGS},
            start_new_session=True,  # Ctrl-C is for the parent
        )
        self.answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(self.process.stdout, self.answers), daemon=True).start()
        return self.process

    def _last_words(self) -> str:
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _read(lines: Any, answers: queue.Queue) -> None:
    """Every line, and None at the end."""
    for line in lines:
        answers.put(line)
    answers.put(None)
