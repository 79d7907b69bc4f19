"""Readers of other programs' checkpoints: the format's name -> "module:Class" of its Importer.

A class is imported on first use, so that listing the formats costs nothing. The name is what the
user types and what a model's origin says; "module:Class" names one outside this table.
"""

IMPORTERS: dict[str, str] = {
    "biggan-pytorch": "limner.checkpoints.importers.biggan_pytorch:BigGanPytorch",
    "dcgan-mmgen": "limner.checkpoints.importers.mmgen:DcganMmgen",
    "mmgen": "limner.checkpoints.importers.mmgen:Mmgen",
    "pggan": "limner.checkpoints.importers.pggan:Pggan",
    "tfhub-biggan": "limner.checkpoints.importers.tfhub_biggan:TfhubBiggan",
    "stylegan2-ada": "limner.checkpoints.importers.style_pickles:Stylegan2Ada",
    "stylegan3": "limner.checkpoints.importers.style_pickles:Stylegan3",
    "r3gan": "limner.checkpoints.importers.r3gan_pickle:R3ganPickle",
    "huggingface-biggan": "limner.checkpoints.importers.huggingface_biggan:HuggingfaceBiggan",
}
