"""The file formats, one module each: they read headers, and prepare bytes for OpenCV. Nothing is decoded here."""
