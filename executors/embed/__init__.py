"""The embedding stage: it turns tensors and texts into unit vectors, behind one backend contract."""
