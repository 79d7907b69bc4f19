"""The studio: a page in the browser that generates, mixes and compares, and watches runs.

Made with gradio; `limner.studio.page` holds it together, a tab is a file. What is computed is that
of limner.api."""
