//! Proves loading, swapping, cutting and the refusals of Ollama's protocol.
