"""The denoiser of CompoDiff (arXiv 2303.11916): network, noise schedule, guidance, samplers and checkpoints."""
