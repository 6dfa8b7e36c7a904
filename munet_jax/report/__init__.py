"""The HTML report: figures and a page to look through."""
