"""What a researcher sees: displays, charts, progress, JupyterLab and reports."""
