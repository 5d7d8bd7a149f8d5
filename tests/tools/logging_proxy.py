#!/usr/bin/env python3
"""Stands between an MCP client and a real server and counts calls.

    logging_proxy.py LOG COMMAND [ARG…]

Every line passes unchanged in both directions. Each `tools/call` appends one line to LOG before it is passed on:

    {"tool": "extract_tables", "key": "<_meta ollmcp/callKey>", "arguments": {...}}

The proxy ends when the client closes its input, and with the server's exit code when the server ends first.
"""

import json
import os
import subprocess
import sys
import threading


def append(path, entry):
    line = (json.dumps(entry, sort_keys=True) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def note(path, line):
    if b"tools/call" not in line:
        return
    try:
        message = json.loads(line)
    except ValueError:
        return
    if isinstance(message, dict) and message.get("method") == "tools/call":
        params = message.get("params") or {}
        key = (params.get("_meta") or {}).get("ollmcp/callKey")
        append(path, {"tool": params.get("name"), "key": key, "arguments": params.get("arguments")})


def to_server(path, server):
    try:
        for line in sys.stdin.buffer:
            note(path, line)
            server.stdin.write(line)
            server.stdin.flush()
        server.stdin.close()
    except (BrokenPipeError, ValueError):
        pass


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    path, command = sys.argv[1], sys.argv[2:]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    threading.Thread(target=to_server, args=(path, server), daemon=True).start()
    for line in server.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    code = server.wait()
    # The other thread may sit in a read that nothing ends.
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
