"""Tensors to unit vectors, behind one backend contract."""
