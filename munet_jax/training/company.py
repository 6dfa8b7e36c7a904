"""The other processes of a run: signs of life, errors that end all of them, and a common end.

Through the key-value store of jax's coordination service. What jax does by itself is no help to a user: a process that is
missed ends the others after 100 s by a stack of C++ functions, and one that ends early waits 300 s at a barrier and is
killed there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax._src import distributed as jax_distributed

from munet_jax.runtime.errors import Stopped

POLL_SECONDS = 1.0
SILENT_SECONDS = 20.0  # without a sign of life, after which a process is missing
HEARD_SECONDS = 10.0  # that a process whose error ends the run waits until the others know it
MISSING_CODE = 1
PREFIX = "munet/"
ExitCode = Callable[[Callable[[], int]], int]


class Company:
    """This process among those of its run."""

    def __init__(self, client: Any, number: int, count: int) -> None:
        """`client` is that of jax's coordination service; nothing is sent yet."""
        self._client, self._number, self._count = client, number, count
        self._others = [other for other in range(count) if other != number]
        self._seen = dict.fromkeys(self._others, ("", time.monotonic()))
        self._left = threading.Event()
        self._ended = threading.Lock()
        self._code: int | None = None  # that this process ends with, once it failed

    def watch(self) -> None:
        """Give signs of life, and end this process when another one is missing or failed; in a thread, until `leave`."""
        threading.Thread(target=self._watch, name="company", daemon=True).start()

    def _watch(self) -> None:
        beat = 0
        while not self._left.wait(POLL_SECONDS):
            beat += 1
            try:
                self._say(f"alive/{self._number}", str(beat))
                said = self._read()
            except jax.errors.JaxRuntimeError:  # process 0 is gone: jax is about to abort (`ended_by_jax`)
                said = {}
            now = time.monotonic()
            for other in self._others:
                if f"failed/{other}" in said:
                    self._end_after(other, f"process {other} of {self._count} ended: {said[f'failed/{other}']}")
                sign, since = said.get(f"alive/{other}", self._seen[other][0]), self._seen[other][1]
                if f"done/{other}" in said or sign != self._seen[other][0]:
                    since = now
                self._seen[other] = (sign, since)
                if f"missing/{other}" in said or now - since > SILENT_SECONDS:
                    with contextlib.suppress(jax.errors.JaxRuntimeError):
                        self._say(f"missing/{other}", "yes")
                    silence = f"no sign of life for {SILENT_SECONDS:.0f} s"
                    self._end_after(other, f"process {other} of {self._count} is missing: {silence}")

    def _end_after(self, ended: int, line: str) -> None:
        """End because another process did; process 0, whose end takes the store away, first lets the rest read why."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._say(f"heard/{self._number}", "yes")
            if self._number == 0:
                self._wait_until_heard(set(self._others) - {ended})
        self.end(line)

    def service_is_gone(self) -> None:
        """Process 0, which serves the others, does not answer any more: end, if this process has not left."""
        if self._code is not None:
            os._exit(self._code)  # the others have heard why, process 0 among them
        if not self._left.is_set():
            self.end(f"process 0 of {self._count} is missing: it does not answer any more")

    def end(self, line: str) -> None:
        """Print why, and end this process at once: its main thread may wait for the others for ever."""
        with self._ended:
            # On a line of its own, below the progress bar.
            print(f"\nerror: {line}; give the same command again in all of them", file=sys.stderr, flush=True)
            os._exit(MISSING_CODE)

    def fail(self, line: str, code: int) -> None:
        """Tell the others why this process ends with `code`, and wait until they know."""
        self._code = code
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._say(f"failed/{self._number}", line)
            self._wait_until_heard(set(self._others))

    def _wait_until_heard(self, others: set[int]) -> None:
        deadline = time.monotonic() + HEARD_SECONDS
        while time.monotonic() < deadline and not self._all("heard", others):
            time.sleep(0.1)

    def finish(self) -> None:
        """Wait until all others have come here too, however long they take, and leave together."""
        self._say(f"done/{self._number}", "yes")
        while not self._all("done", set(self._others)):
            time.sleep(0.1)
        self.leave()

    def leave(self) -> None:
        """End of the signs of life; from now on nobody is missed."""
        self._left.set()
        jax.distributed.shutdown()

    def _all(self, what: str, others: set[int]) -> bool:
        said = self._read()
        return all(f"{what}/{other}" in said for other in others)

    def _say(self, key: str, text: str) -> None:
        self._client.key_value_set(PREFIX + key, text, allow_overwrite=True)

    def _read(self) -> dict[str, str]:
        return {key.removeprefix(PREFIX): text for key, text in self._client.key_value_dir_get(PREFIX)}


@contextlib.contextmanager
def together(exit_code: ExitCode) -> Iterator[None]:
    """The work of a process of a run that several share: it ends in all of them, or with an error in all of them.

    After the block this process is on its own. Does nothing where it has been all along.

    Args:
      exit_code: prints what an action raises, and gives the code to exit with.
    """
    state = jax_distributed.global_state
    if state.client is None or (state.num_processes or 1) == 1:
        yield
        return
    company = Company(state.client, state.process_id, state.num_processes)
    company.watch()
    if state.process_id and state.coordinator_address:
        handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(ended_by_jax(state.coordinator_address, company.service_is_gone))
        ctypes.CDLL(None).signal(signal.SIGABRT, handler)
    try:
        yield
    except Stopped:  # in all of them, after the same step
        company.finish()
        raise
    except BaseException as error:
        raised = error  # in a name that outlives this clause

        def again() -> int:
            raise raised

        if isinstance(error, jax.errors.JaxRuntimeError):
            # A collective breaks where another process went: the watch finds out which, and ends this one.
            time.sleep(SILENT_SECONDS + 5 * POLL_SECONDS)
        try:
            code = exit_code(again)
        except BaseException:  # a bug in this package
            traceback.print_exc()
            code = 1
        company.fail(" ".join(str(error).split()) or type(error).__name__, code)
        sys.stderr.flush()
        os._exit(code)  # not through jax's barrier, where nobody comes
    company.finish()


def ended_by_jax(address: str, tell: Callable[[], None]) -> Callable[[int], None]:
    """A handler of SIGABRT, by which jax ends a process that has lost the coordination service.

    It calls `tell` if nobody listens at the service's address; any other abort stays what it is. Python's own handlers do
    not run in time: it is for the C library. Keep a reference to it.
    """
    host, _, port = address.rpartition(":")

    def handle(_: int) -> None:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError:
            tell()
        signal.signal(signal.SIGABRT, signal.SIG_DFL)

    return handle
