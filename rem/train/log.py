"""The log of a run: ``log.jsonl``, one record a line, and the same numbers for tensorboard where it is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from refvps.files import write_atomic


class RunLog:
    """Writes numbers and pictures of a run below ``out``; a resumed run drops what came after its checkpoint."""

    def __init__(self, out: Path, resumed: int) -> None:
        self.path = out / "log.jsonl"
        kept = [record for record in read_log(self.path) if record["step"] <= resumed]
        write_atomic(self.path, b"".join(json.dumps(record).encode() + b"\n" for record in kept))
        self._stream = open(self.path, "a", encoding="utf-8")
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=resumed + 1)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log values after ``step`` steps."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()
        for name, value in values.items() if self._board is not None else ():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, image: Any) -> None:
        """Keep a picture [H, W, 3], uint8, as ``samples/step-<n>.png`` and in tensorboard."""
        data = io.BytesIO()
        Image.fromarray(image).save(data, "PNG")
        write_atomic(self.path.parent / "samples" / f"step-{step:08d}.png", data.getvalue())
        if self._board is not None:
            self._board.add_image("samples", image, step, dataformats="HWC")

    def close(self) -> None:
        """Write out everything."""
        self._stream.close()
        if self._board is not None:
            self._board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Records of a ``log.jsonl``; a last line cut off by a kill is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            break
        found.append(record)
    return found
