"""What fills Bronze: the Lambda and its generator, sample drops, and files of one's own."""
