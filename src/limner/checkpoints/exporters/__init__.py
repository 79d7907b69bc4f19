"""Writers of other programs' files: the format's name -> "module:Class" of its Exporter."""

EXPORTERS: dict[str, str] = {
    "biggan-pytorch": "limner.checkpoints.exporters.biggan_pytorch:BigGanPytorch",
    "space": "limner.checkpoints.exporters.space:Space",
    "onnx": "limner.checkpoints.exporters.onnx_graph:Onnx",
}
