"""`python -m executors.demo`: a photo library, a flow, searches with whole and with changed pictures, and a page."""
