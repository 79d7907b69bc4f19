"""Readers of other programs' files: name -> module with read(path, ...) -> ModelRecord."""

# Modules are imported on first use, by name, so that listing the formats costs nothing.
IMPORTERS: dict[str, str] = {
    "biggan-pytorch": "limner.checkpoints.importers.biggan_pytorch",
    "dcgan-mmgen": "limner.checkpoints.importers.dcgan_mmgen",
    "pggan": "limner.checkpoints.importers.pggan",
    "tfhub-biggan": "limner.checkpoints.importers.tfhub_biggan",
    "huggingface-biggan": "limner.checkpoints.importers.huggingface_biggan",
}
