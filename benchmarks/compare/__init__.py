"""Side-by-side timings of jitgrad and PyTorch; needs the extra ``compare``."""
