"""A C++ kernel for what decoding spends its time on, compiled on this machine when it is first needed: an extra."""
