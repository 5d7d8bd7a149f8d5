#!/usr/bin/env python3
"""A test MCP server that needs nothing but Python: honest tools, and every fault that a server can have.

Each real execution appends one line to the file named in CALL_LOG (one write to a descriptor opened with O_APPEND, so
lines of several processes never mix):

    {"tool": "add_row", "key": "<_meta ollmcp/callKey>", "arguments": {...}, "pid": 123}

Cancel notices go to the same name with ".cancelled" at its end, begin and end of each `slow` to one with ".spans". Tools, with their annotations:

    echo {…}              read         gives the arguments back
    environment           read         gives its own environment
    add_row {row}         idempotent
    send {to}             unsafe       no annotations at all
    slow {seconds}        read         answers late; with progress: true it reports progress ten times a second
    fail {message}        read         isError; reason: R puts R into _meta
    protocol_error {}     read         a JSON-RPC error
    soft_error {}         read         an error text in an ordinary result
    die {}                unsafe       logs, writes to standard error and exits in the middle of the call
    die_once {mark}       read         the same, unless the file `mark` is there, and makes it
    flood {bytes}         read         a result of that many bytes on one line
    chatter {bytes}       read         writes that much to standard error, then answers
    spawn_child {detach}  unsafe       leaves a sleeping grandchild (detach: in a session of its own, adopted by init)
    hang {}               read         never answers; the server goes on
    freeze {}             read         never answers, and neither does the server from then on
    spill {name, value}   read         leaves the value as a file in OLLMCP_SPILL_DIR and names it (or any other name)
    new_tool {}           unsafe       adds a tool `late` and says that the list has changed

Faults at the start, as arguments: --silent, --die-at-start, --ignore-term, --ignore-eof, --garbage, --modern-only,
--many-tools N, --die-first FILE (dies at the start unless FILE exists, and makes it).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

CALL_KEY = "ollmcp/callKey"
OUT = threading.Lock()
READ = {"readOnlyHint": True}
IDEMPOTENT = {"readOnlyHint": False, "idempotentHint": True, "destructiveHint": False}
ANY = {"type": "object"}


def schema(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


NUMBER, TEXT, FLAG = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
TOOLS = {
    "echo": (ANY, READ),
    "environment": (schema(), READ),
    "add_row": (schema(["row"], row={}), IDEMPOTENT),
    "send": (schema(["to"], to=TEXT), None),
    "slow": (schema(["seconds"], seconds=NUMBER, progress=FLAG), READ),
    "fail": (schema(["message"], message=TEXT, reason=TEXT), READ),
    "protocol_error": (schema(), READ),
    "soft_error": (schema(), READ),
    "die": (schema(), None),
    "die_once": (schema(["mark"], mark=TEXT), READ),
    "flood": (schema(["bytes"], bytes={"type": "integer"}), READ),
    "chatter": (schema(["bytes"], bytes={"type": "integer"}), READ),
    "spawn_child": (schema([], detach=FLAG), None),
    "hang": (schema(), READ),
    "freeze": (schema(), READ),
    "spill": (schema(["name"], name=TEXT, value={}), READ),
    "new_tool": (schema(), None),
}


def option(name):
    return name in sys.argv


def send(message):
    line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")) + "\n"
    with OUT:
        sys.stdout.write(line)
        sys.stdout.flush()


def append(path, entry):
    line = (json.dumps(entry, sort_keys=True) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def log(suffix, entry):
    path = os.environ.get("CALL_LOG")
    if path:
        append(path + suffix, entry)


def structured(value):
    return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value}


def listed():
    tools = []
    for name, (input_schema, annotations) in TOOLS.items():
        tool = {"name": name, "description": f"test tool {name}", "inputSchema": input_schema}
        if annotations is not None:
            tool["annotations"] = annotations
        tools.append(tool)
    if option("--many-tools"):
        count = int(sys.argv[sys.argv.index("--many-tools") + 1])
        tools += [{"name": f"tool_{number}", "inputSchema": ANY} for number in range(count)]
    return tools


def run(name, arguments, meta):
    if name == "echo":
        return structured(arguments)
    if name == "environment":
        return structured(dict(os.environ))
    if name == "slow":
        log(".spans", {"begin": os.getpid()})
        end = time.monotonic() + arguments["seconds"]
        step = 0
        while time.monotonic() < end:
            time.sleep(min(0.1, max(0.0, end - time.monotonic())))
            step += 1
            if arguments.get("progress") and "progressToken" in meta:
                params = {"progressToken": meta["progressToken"], "progress": step}
                send({"method": "notifications/progress", "params": params})
        log(".spans", {"end": os.getpid()})
        return structured({"slept": arguments["seconds"]})
    if name == "fail":
        result = {"content": [{"type": "text", "text": arguments["message"]}], "isError": True}
        if "reason" in arguments:
            result["_meta"] = {"ollmcp/reason": arguments["reason"]}
        return result
    if name == "soft_error":
        return {"content": [{"type": "text", "text": "Error executing tool soft_error: it did not work"}]}
    if name == "die":
        print("the server was told to die", file=sys.stderr, flush=True)
        os._exit(7)
    if name == "die_once" and not os.path.exists(arguments["mark"]):
        open(arguments["mark"], "w", encoding="utf-8").close()
        print("the server was told to die once", file=sys.stderr, flush=True)
        os._exit(7)
    if name == "flood":
        return {"content": [], "structuredContent": {"text": "x" * arguments["bytes"]}}
    if name == "chatter":
        left = arguments["bytes"]
        while left > 0:
            left -= sys.stderr.write("y" * min(left, 8192))
        sys.stderr.flush()
        return structured({"written": arguments["bytes"]})
    if name == "spawn_child":
        if arguments.get("detach"):
            line = "sleep 600 >/dev/null 2>&1 & echo $!"
            done = subprocess.run(["setsid", "sh", "-c", line], capture_output=True, text=True, check=True)
            return structured({"pid": int(done.stdout)})
        return structured({"pid": subprocess.Popen(["sleep", "600"]).pid})
    if name == "spill":
        path = os.path.join(os.environ.get("OLLMCP_SPILL_DIR", "/nonexistent"), arguments["name"])
        if "value" in arguments:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(arguments["value"], file)
        return {"content": [], "structuredContent": {"spilled": True}, "_meta": {"ollmcp/spilledFile": arguments["name"]}}
    if name == "new_tool":
        TOOLS["late"] = (ANY, READ)
        send({"method": "notifications/tools/list_changed"})
        return structured({"added": "late"})
    return structured({"done": name})


def call(message):
    params = message["params"]
    name, arguments, meta = params["name"], params.get("arguments") or {}, params.get("_meta") or {}
    if name not in TOOLS:
        send({"id": message["id"], "error": {"code": -32602, "message": f"Unknown tool: {name}"}})
        return
    log("", {"tool": name, "key": meta.get(CALL_KEY), "arguments": arguments, "pid": os.getpid()})
    if name == "hang":
        return
    if name == "protocol_error":
        send({"id": message["id"], "error": {"code": -32603, "message": "internal trouble"}})
        return
    send({"id": message["id"], "result": run(name, arguments, meta)})


def answered(message):
    """A mistake in a test must not look like a server that hangs."""
    try:
        call(message)
    except Exception as error:  # noqa: BLE001
        send({"id": message["id"], "error": {"code": -32603, "message": f"call_log_server.py: {error!r}"}})


def handle(message):
    method = message.get("method")
    if method == "initialize":
        if option("--modern-only"):
            send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
            return
        version = message["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {"tools": {"listChanged": True}},
                  "serverInfo": {"name": "call-log", "version": "1"}}
        send({"id": message["id"], "result": result})
    elif method == "server/discover" and option("--modern-only"):
        result = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "call-log", "version": "1"}, "ttlMs": 0, "cacheScope": "private"}
        send({"id": message["id"], "result": result})
    elif method == "ping":
        send({"id": message["id"], "result": {}})
    elif method == "tools/list":
        result = {"tools": listed()}
        if option("--modern-only"):
            result.update({"resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
        send({"id": message["id"], "result": result})
    elif method == "tools/call":
        if message["params"]["name"] == "freeze":
            log("", {"tool": "freeze", "key": None, "arguments": {}, "pid": os.getpid()})
            while True:
                time.sleep(60)
        threading.Thread(target=answered, args=(message,), daemon=True).start()
    elif method == "notifications/cancelled":
        log(".cancelled", {"request": message["params"].get("requestId")})
    elif "id" in message and method is not None:
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


def main():
    if option("--die-at-start"):
        print("cannot find my settings: SETTINGS is not set", file=sys.stderr, flush=True)
        sys.exit(3)
    if option("--die-first"):
        mark = sys.argv[sys.argv.index("--die-first") + 1]
        if not os.path.exists(mark):
            open(mark, "w", encoding="utf-8").close()
            sys.exit(4)
    if option("--ignore-term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if option("--garbage"):
        print("Welcome to the test server!\n{not json\n", flush=True)
    if option("--silent"):
        print("I am up, but I do not speak", file=sys.stderr, flush=True)
        time.sleep(600)
    for line in sys.stdin:
        if line.strip():
            handle(json.loads(line))
    while option("--ignore-eof"):
        time.sleep(60)


if __name__ == "__main__":
    main()
