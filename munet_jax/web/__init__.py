"""`munet web`: outline, follow, correct and export in a browser."""
