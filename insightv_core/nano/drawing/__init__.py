"""How the scenes are drawn: the canvas with its palettes and fonts, the charts and the diagrams."""
