"""Writers of other programs' files: the format's name -> "module:Class" of its Exporter."""

EXPORTERS: dict[str, str] = {
    "biggan-pytorch": "limner.checkpoints.exporters.biggan_pytorch:BigGanPytorch",
    "stylegan2-ada": "limner.checkpoints.exporters.network_files:Stylegan2Ada",
    "stylegan3": "limner.checkpoints.exporters.network_files:Stylegan3",
    "r3gan": "limner.checkpoints.exporters.network_files:R3gan",
    "space": "limner.checkpoints.exporters.space:Space",
    "onnx": "limner.checkpoints.exporters.onnx_graph:Onnx",
    "web": "limner.checkpoints.exporters.web:Web",
}
