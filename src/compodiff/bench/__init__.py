"""What the denoiser costs, measured against a plain implementation of the same function in the same run."""
