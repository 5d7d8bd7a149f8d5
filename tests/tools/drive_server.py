#!/usr/bin/env python3
"""Drives any MCP server on stdio with the official Python client. Needs tests/setup.sh.

    drive_server.py [--call TOOL JSON]… [--env NAME=VALUE]… [--cwd FOLDER] [--timeout SECONDS] -- COMMAND [ARG…]

Starts COMMAND, shakes hands, lists its tools, makes the calls in order, leaves, and prints one JSON object:

    {"server": {"name": …, "version": …}, "protocol": "2025-11-25", "tools": [{"name": …, "inputSchema": …, …}],
     "calls": [{"tool": …, "isError": false, "structured": …, "text": "…", "meta": …}]}

A call that ends with a protocol error has "error" in place of the rest. Exit code 1 when the server cannot be driven.
"""

import argparse
import asyncio
import json
import os
import sys

from mcp import ClientSession, MCPError, StdioServerParameters, stdio_client
from mcp.types import PaginatedRequestParams


def plain(model):
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


async def one_call(session, tool, arguments):
    try:
        result = plain(await session.call_tool(tool, arguments))
    except MCPError as error:
        return {"tool": tool, "error": str(error)}
    texts = [block["text"] for block in result.get("content", []) if block.get("type") == "text"]
    return {"tool": tool, "isError": result.get("isError", False), "structured": result.get("structuredContent"),
            "text": "\n".join(texts), "meta": result.get("_meta")}


async def drive(said):
    environment = {**os.environ, **dict(pair.split("=", 1) for pair in said.env)}
    server = StdioServerParameters(command=said.command[0], args=said.command[1:], env=environment, cwd=said.cwd)
    async with stdio_client(server) as (reader, writer), ClientSession(reader, writer) as session:
        hello = plain(await session.initialize())
        tools, cursor = [], None
        while True:
            page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            tools += [plain(tool) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        calls = [await one_call(session, tool, json.loads(arguments)) for tool, arguments in said.call]
    return {"server": hello.get("serverInfo"), "protocol": hello.get("protocolVersion"), "tools": tools, "calls": calls}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--call", nargs=2, action="append", default=[])
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--cwd")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("command", nargs="+")
    said = parser.parse_args()
    try:
        result = asyncio.run(asyncio.wait_for(drive(said), said.timeout))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must see it
        print(f"drive_server.py: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
