#!/usr/bin/env python3
"""A test server made with the official Python SDK, as people write them. Needs tests/setup.sh."""

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("sdk")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(left: int, right: int) -> int:
    """Adds two numbers."""
    return left + right


@server.tool()
def greet(name: str) -> str:
    """Greets somebody."""
    return f"hello {name}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def fail(message: str) -> str:
    """Always fails."""
    raise ValueError(message)


if __name__ == "__main__":
    server.run("stdio")
