"""One module a file format: what its header says, and how its bytes are made fit for OpenCV. Nothing is decoded here."""
