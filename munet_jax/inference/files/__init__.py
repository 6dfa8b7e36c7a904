"""`munet segment`: a video in, masks and overlays out, resumable."""
