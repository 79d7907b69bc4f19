"""The training step of the preset `digits`: images a second, peak memory, share spent on data.

Prints one JSON object. Threads are torch's default; OMP_NUM_THREADS=1 measures one core.
"""

import json
import resource
import time

import torch

from limner import presets
from limner.data import Loader, open_data
from limner.engine.trainer import Trainer

WARM_UP, STEPS = 5, 40


def main() -> None:
    config = presets.digits()
    data = open_data("digits", config.data)
    loader = Loader(data, config.batch_size, seed=0)
    trainer = Trainer(config, data.image_shape, data.num_classes, loader.next)
    for _ in range(WARM_UP):
        trainer.step()
    waited, wall, cpu = loader.seconds_waited, time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        trainer.step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    images = STEPS * config.images_per_step()
    print(
        json.dumps(
            {
                "benchmark": "step",
                "preset": "digits",
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "images_per_second": round(images / wall, 1),
                "images_per_cpu_second": round(images / cpu, 1),
                "milliseconds_a_step": round(1000 * wall / STEPS, 1),
                "data_wait_share": round((loader.seconds_waited - waited) / wall, 5),
                "peak_memory_mb": round(
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
