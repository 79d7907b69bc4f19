"""Where the time of a call goes: products of matrices and convolutions, how near they come to the
processor's peak, and what else takes time."""

import resource
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from peers.work import Call

PRODUCTS = (
    "aten::mkldnn_convolution",
    "aten::_convolution",  # transposed ones
    "aten::_slow_conv2d_forward",
    "aten::_slow_conv2d_backward",
    "aten::convolution_backward",
    "mkldnn::_convolution_pointwise",
    "mkldnn::_convolution_transpose_pointwise",
    "mkldnn::_linear_pointwise",
    "aten::addmm",
    "aten::mm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::mkldnn_linear",
)
NUM_OTHERS, PROFILES, FEW_PAGES = 3, 8, 1000


def where(call: Call, precision: str) -> dict[str, Any]:
    """Of a call that has been made before:

    products: the share of its time in products; of_peak: their operations a second over those of
    one large convolution in the same precision, None where none could be counted; others: the
    largest of the other operations, each with its share.
    """
    counter = _Operations()
    with counter:
        call()
    for _ in range(PROFILES):  # the profiler's own memory moves limner's, and new pages take time
        with profile(activities=[ProfilerActivity.CPU]) as found:
            before = new_pages()
            call()
            taken = new_pages() - before
        if taken < FEW_PAGES:
            break
    seconds = {each.key: each.self_cpu_time_total / 1e6 for each in found.key_averages()}
    whole, products = sum(seconds.values()), sum(seconds.get(name, 0.0) for name in PRODUCTS)
    others = sorted(set(seconds) - set(PRODUCTS), key=seconds.__getitem__, reverse=True)
    return {
        "products": round(products / whole, 3),
        "of_peak": round(counter.total / products / peak(precision), 3) if counter.total else None,
        "others": {name: round(seconds[name] / whole, 3) for name in others[:NUM_OTHERS]},
    }


def new_pages() -> int:
    """That this process has been given by the system."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@torch.inference_mode()
def peak(precision: str) -> float:
    """Operations a second of a convolution that suits the processor: 256 channels, 3x3, 32 px."""
    dtype = getattr(torch, precision)
    x, w = torch.randn(8, 256, 32, 32), torch.randn(256, 256, 3, 3)
    x, w = (each.to(dtype).contiguous(memory_format=torch.channels_last) for each in (x, w))
    times = []
    for _ in range(20):
        began = time.process_time()
        F.conv2d(x, w, padding=1)
        times.append(time.process_time() - began)
    return 2 * x.numel() * 256 * 9 / min(times)


class _Operations(TorchDispatchMode):
    """Counts as torch's FlopCounterMode does, without its hooks on modules, which gradients of
    gradients do not bear; with convolutions by sorted weights, and with groups in backward ones."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:  # inference mode leaves some operations whole
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        out = func(*args, **kwargs)
        count = OURS.get(func._overloadpacket) or flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=out)
        return out


def _convolved(x: Tensor, w: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    return 2 * out_val.numel() * w.shape[1:].numel()


def _multiplied(x: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    return 2 * out_val.numel() * x.shape[-1]


def _transposed(x: Tensor, w: Tensor, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * w.shape[1:].numel()


def _backward(gradient: Tensor, x: Tensor, w: Tensor, *args: Any, out_val: Any, **_: Any) -> int:
    *_, transposed, _, _, asked = args
    places = (x if transposed else gradient).numel()
    return 2 * places * w.shape[1:].numel() * sum(asked[:2])


OURS: dict[Any, Any] = {
    torch.ops.aten.convolution_backward: _backward,
    torch.ops.mkldnn._convolution_pointwise: _convolved,
    torch.ops.mkldnn._convolution_transpose_pointwise: _transposed,
    torch.ops.mkldnn._linear_pointwise: _multiplied,
}
