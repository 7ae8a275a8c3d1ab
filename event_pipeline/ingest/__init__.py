"""What fills Bronze: the Lambda and its generator, sample drops, and loads of your own files."""
