"""An HTTP server over the workbench that speaks Ollama's API; needs the extra `serve`."""

from genome.server.launch import HOST, PORT, listener, serve, server_of

__all__ = ["HOST", "PORT", "listener", "serve", "server_of"]
