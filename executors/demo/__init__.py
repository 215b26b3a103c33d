"""The demo: makes a photo library, starts a flow, searches with whole and changed pictures, and writes a page."""
