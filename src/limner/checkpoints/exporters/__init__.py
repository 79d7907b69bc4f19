"""Writers of other programs' files: name -> module with write(record, folder, ...)."""

# Modules are imported on first use, by name, so that listing the formats costs nothing.
EXPORTERS: dict[str, str] = {
    "biggan-pytorch": "limner.checkpoints.exporters.biggan_pytorch",
}
