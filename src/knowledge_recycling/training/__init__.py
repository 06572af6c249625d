"""The one training loop and what it runs on: device, seeds, batches, checkpoints, progress."""
