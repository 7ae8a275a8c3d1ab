"""Puts the data plane on AWS, and takes it away: stacks, code and the settings that find them."""
