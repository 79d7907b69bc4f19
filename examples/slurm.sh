#!/bin/bash
# A run on several nodes that outlives its time limit: sbatch examples/slurm.sh
# One agent of torchrun a node starts a process for each GPU. Three minutes before the time limit
# Slurm sends USR1: all processes save and leave, and the job goes back into the queue. The same
# happens to a job whose node is lost. A config that is refused ends the job at once.
#SBATCH --job-name=photos
#SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=4 --cpus-per-task=32
#SBATCH --time=04:00:00 --signal=B:USR1@180
#SBATCH --requeue --open-mode=append

run=(photos --data s3://bucket/photos64 --run runs/photos --workers 7)

ending=
pass_on() {
  ending=yes
  kill -USR1 "$steps"
}
trap pass_on USR1

export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # else a node that comes back is waited for in vain
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
  --nnodes "1:$SLURM_NNODES" --nproc-per-node gpu --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$head:29500" --rdzv-id "$SLURM_JOB_ID" \
  --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 --shutdown-timeout 150 \
  -m -- limner train "${run[@]}" &
steps=$!

wait "$steps"
code=$?
if [ "$ending" ]; then
  wait "$steps"  # the first one ended with the signal
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
