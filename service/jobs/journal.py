"""What a job has finished, on disk as it finishes, so that a killed job goes on where it was.

Beside the output lies `OUT.partial`: a first line that says what the job is, then one line for each result, in the
order they came. When all are there, the output is written in input order and put in place in one step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import SettingsError


class Journal:
    """Finished results of one job. A last line that was cut short by a kill is dropped and computed again."""

    def __init__(self, output: Path, job: Mapping[str, str]) -> None:
        """Opens a job's journal, or begins one.

        Args:
            output: Where the results shall be.
            job: What the results depend on; a journal of another job is refused.

        Raises:
            SettingsError: If the journal beside the output belongs to another job.
        """
        self._output = output
        self._path = output.with_name(output.name + ".partial")
        self._offsets: dict[int, int] = {}
        if self._path.exists():
            self._take_up(job)
        else:
            self._path.write_bytes(_line({"job": dict(job)}))
        self._file = self._path.open("ab")

    def __contains__(self, index: int) -> bool:
        return index in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, results: list[dict[str, Any]]) -> None:
        """Writes finished results; they are on disk when this returns."""
        for result in results:
            self._offsets[result["index"]] = self._file.tell()
            self._file.write(_line(result))
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Writes the output in input order, puts it in place and removes the journal."""
        self._file.close()
        unfinished = self._output.with_name(self._output.name + ".tmp")
        with self._path.open("rb") as journal, unfinished.open("wb") as output:
            for index in sorted(self._offsets):
                journal.seek(self._offsets[index])
                output.write(journal.readline())
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(self._output)
        self._path.unlink()

    def close(self) -> None:
        """Leaves the journal for the next run."""
        self._file.close()

    def _take_up(self, job: Mapping[str, str]) -> None:
        """Reads what an earlier run has finished."""
        with self._path.open("r+b") as file:
            head = file.readline()
            self._refuse_other(job, head)
            offset = len(head)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offsets[json.loads(line)["index"]] = offset
                offset += len(line)
            file.truncate(offset)

    def _refuse_other(self, job: Mapping[str, str], head: bytes) -> None:
        try:
            begun = json.loads(head)["job"]
        except (ValueError, KeyError) as error:
            raise SettingsError(f"{self._path} is not a job of ours; move it away") from error
        changed = [name for name in job if begun.get(name) != job[name]]
        if changed:
            raise SettingsError(
                f"{self._path} belongs to another job: {', '.join(changed)} changed since; "
                "delete it to begin anew, or run with what it was begun with"
            )


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode() + b"\n"
