"""Pictures for caption pairs by Stable Diffusion: Prompt-to-Prompt, candidates, CLIPSeg masks."""
