"""A child process that answers JSON requests, one line each."""

import json
import select
import subprocess
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 300


class RemoteError(Exception):
    """An exception raised in the child: `kind` is its type, `message` its text; both and its traceback are shown."""

    def __init__(self, answer: dict[str, str]):
        super().__init__(f"{answer['error']}: {answer['message']}\n\n{answer['traceback']}")
        self.kind, self.message = answer["error"], answer["message"]


class JsonProcess:
    """Starts `command`, which prints one JSON line when it is ready and one per request."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, log: Path):
        self.log = log
        pipe = subprocess.PIPE
        with open(log, "w") as errors:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=errors, text=True
            )
        self.started = self._read()

    def request(self, **request: Any) -> Any:
        """The value of the answer. Raises RemoteError when the child reports one, RuntimeError when it is gone."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise RemoteError(answer)
        return answer["value"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            reason = "ended" if ready else f"did not answer within {ANSWER_SECONDS} s"
            raise RuntimeError(f"the process {reason}:\n{self.log.read_text()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end; kill it when it does not."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
