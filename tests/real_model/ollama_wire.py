#!/usr/bin/env python3
"""Ollama's wire in front of serve.py:  ollama_wire.py --upstream http://127.0.0.1:PORT --port 0

A translator, not Ollama: the model and its answers are real, the /api endpoints are written after what Ollama 0.33 does. It has
GET /, /api/version, /api/tags, /api/ps and POST /api/show, /api/chat, /api/generate for the one model that the upstream serves.
Prints `listening http://127.0.0.1:PORT`; ends on SIGTERM, and with --until-stdin-closes when stdin ends. Standard library only.

Not like the real one: num_ctx and other load options change nothing (the upstream's context counts), nothing is ever loaded or
evicted for real, no pull, create, delete, embed or /v1, and texts of errors may differ between versions. Old messages are dropped
as there, but a last message that alone is too long is a 400, and a full context ends the answer (`length`) instead of sliding on.
Tools are offered when the upstream's template knows them (serve.py --chat-template tools.jinja); calls come on the last line.
"""
import argparse
import datetime
import hashlib
import http.client
import http.server
import json
import os
import re
import select
import signal
import socket
import sys
import threading
import time
import urllib.parse
import urllib.request

VERSION = "0.33.0"
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed", "stop", "repeat_penalty", "repeat_last_n",
            "presence_penalty", "frequency_penalty")
NUMBERS = SAMPLING[:6] + SAMPLING[7:] + ("num_ctx", "num_predict", "num_keep")


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Upstream:
    def __init__(self, url):
        self.address = urllib.parse.urlsplit(url).netloc
        card = self.get("/v1/models")["data"][0]
        props = self.get("/props")
        self.name, self.meta = card["id"], card["meta"]
        self.context = props["default_generation_settings"]["n_ctx"]
        self.template = props["chat_template"]
        self.tools = "tools" in self.template
        self.used = None

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as reply:
            return json.load(reply)

    def post(self, path, body):
        """An open reply; the caller closes the connection, which also ends a generation."""
        connection = http.client.HTTPConnection(self.address, timeout=600)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
        except (OSError, http.client.HTTPException) as why:
            connection.close()
            raise Refused(500, f"llama-server process has terminated: {why}") from None
        if reply.status != 200:
            text = reply.read().decode(errors="replace")
            connection.close()
            try:
                text = json.loads(text)["error"]["message"]
            except (ValueError, KeyError, TypeError):
                pass
            raise Refused(400 if reply.status == 400 else 500, text)
        return connection, reply

    def ask(self, path, body):
        connection, reply = self.post(path, body)
        with reply:
            answer = json.load(reply)
        connection.close()
        return answer

    def tokens(self, messages, tools):
        prompt = self.ask("/apply-template", {"messages": messages, **({"tools": tools} if tools else {})})["prompt"]
        return len(self.ask("/tokenize", {"content": prompt, "parse_special": True})["tokens"])


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


def known(up, body, key="model"):
    name = body.get(key) or body.get("name")
    if not isinstance(name, str) or not name:
        raise Refused(400, "model is required")
    if name not in (up.name, up.name.removesuffix(":latest")):
        raise Refused(404, f"model '{name}' not found")


def details(up):
    return {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
            "parameter_size": f"{up.meta['n_params'] / 1e6:.2f}M", "quantization_level": up.meta["ftype"]}


def entry(up):
    return {"name": up.name, "model": up.name, "size": up.meta["size"], "digest": hashlib.sha256(up.name.encode()).hexdigest(),
            "details": details(up)}


def show(up):
    return {"modelfile": "", "parameters": "", "template": up.template, "details": details(up),
            "model_info": {"general.architecture": "llama", "general.parameter_count": up.meta["n_params"],
                           "llama.context_length": up.meta["n_ctx_train"], "llama.embedding_length": up.meta["n_embd"]},
            "capabilities": ["completion"] + ["tools"] * up.tools, "modified_at": "2025-02-07T00:00:00Z"}


def request_for(up, body, messages):
    """The upstream's request; raises Refused for what Ollama refuses."""
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise Refused(400, "json: cannot unmarshal into Go struct field ChatRequest.options of type map[string]interface {}")
    for key, value in options.items():
        if key in NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise Refused(400, f'option "{key}" must be of type {"integer" if key.startswith("num_") else "float32"}')
    if body.get("think") not in (None, False):
        raise Refused(400, f'"{up.name}" does not support thinking')
    tools = body.get("tools") or []
    if tools and not up.tools:
        raise Refused(400, f"library/{up.name} does not support tools")
    if body.get("truncate", True) is False and body.get("shift", True) is False:
        if up.tokens(messages, tools) >= up.context:
            raise Refused(400, "the prompt is longer than the context length currently available to the model; shorten the prompt")
    else:
        while len(messages) > 1 and up.tokens(messages, tools) >= up.context:
            oldest = next((i for i, m in enumerate(messages[:-1]) if m["role"] != "system"), None)
            if oldest is None:
                break
            del messages[oldest]
    asked = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.8, "top_p": 0.9}
    asked.update({k: options[k] for k in SAMPLING if k in options})
    if options.get("num_predict", -1) >= 0:
        asked["max_tokens"] = options["num_predict"]
    if tools:
        asked["tools"] = tools
    wanted = body.get("format")
    if wanted == "json":
        asked["response_format"] = {"type": "json_object"}
    elif isinstance(wanted, dict):
        asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "format", "schema": wanted}}
    elif wanted not in (None, ""):
        raise Refused(500, f'invalid format: "{wanted}"; expected "json" or a valid JSON Schema object')
    return asked


def keep_alive(body):
    """Seconds; a string without a unit is an error, as in Go."""
    keep = body.get("keep_alive")
    if isinstance(keep, str):
        parts = re.fullmatch(r"(-?)((?:[0-9.]+(?:ns|us|ms|[smh]))+|0)", keep)
        if not parts:
            raise Refused(400, f'time: missing unit in duration "{keep}"')
        units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "": 1}
        keep = sum(float(n) * units[u] for n, u in re.findall(r"([0-9.]+)(ns|us|ms|[smh]|)", keep)) * (-1 if parts[1] else 1)
    if isinstance(keep, bool) or not isinstance(keep, (int, float)):
        return 300
    return keep if keep >= 0 else 100 * 365 * 86400


def upstream_messages(given):
    messages = []
    if not isinstance(given, list):
        raise Refused(400, "json: cannot unmarshal into Go struct field ChatRequest.messages of type []api.Message")
    for message in given:
        content = message.get("content") if isinstance(message, dict) else 0
        if content is not None and not isinstance(content, str):
            raise Refused(400, "json: cannot unmarshal into Go struct field Message.messages.content of type string")
        turn = {"role": str(message.get("role", "")).lower(), "content": content or ""}
        for number, call in enumerate(message.get("tool_calls") or []):
            function = call.get("function") or {}
            if not isinstance(function.get("arguments", {}), dict):
                raise Refused(400, "json: cannot unmarshal string into Go struct field "
                              "ToolCallFunction.messages.tool_calls.function.arguments of type api.ToolCallFunctionArguments")
            turn.setdefault("tool_calls", []).append({
                "id": call.get("id") or f"call_{number}", "type": "function",
                "function": {"name": function.get("name", ""), "arguments": json.dumps(function.get("arguments", {}))}})
        if turn["role"] == "tool":
            turn["tool_call_id"] = message.get("tool_call_id", "call_0")
        messages.append(turn)
    return messages


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128    # five, the default, makes later ones of thirty clients wait a second for their connection


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    up = None

    def log_message(self, *_):
        pass

    def send(self, status, body, kind="application/json; charset=utf-8"):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    ROUTES = {"/": "GET", "/api/version": "GET", "/api/tags": "GET", "/api/ps": "GET",
              "/api/show": "POST", "/api/chat": "POST", "/api/generate": "POST"}

    def route(self):
        up, path = self.up, self.path.split("?")[0]
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path not in self.ROUTES:
            return self.send(404, "404 page not found", "text/plain")
        if self.ROUTES[path] != self.command.replace("HEAD", "GET"):
            return self.send(405, "405 method not allowed", "text/plain")
        try:
            if path == "/":
                return self.send(200, "Ollama is running", "text/plain; charset=utf-8")
            if path == "/api/version":
                return self.send(200, {"version": VERSION})
            if path == "/api/tags":
                return self.send(200, {"models": [dict(entry(up), modified_at="2025-02-07T00:00:00.123456789Z")]})
            if path == "/api/ps":
                loaded = [dict(entry(up), size_vram=0, context_length=up.context, expires_at=up.used)] if up.used else []
                return self.send(200, {"models": loaded})
            body = self.json(raw)
            if path == "/api/show":
                known(up, body)
                return self.send(200, show(up))
            return self.generate(body, path == "/api/chat")
        except Refused as why:
            return self.send(why.status, {"error": str(why)})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = route

    @staticmethod
    def json(raw):
        if not raw.strip():
            raise Refused(400, "missing request body")
        try:
            body = json.loads(raw)
        except ValueError as why:
            raise Refused(400, f"invalid JSON: {why}") from None
        if not isinstance(body, dict):
            raise Refused(400, "json: cannot unmarshal into Go value of type api.ChatRequest")
        return body

    def generate(self, body, chat):
        up, start = self.up, time.monotonic_ns()
        if not chat and not body.get("model"):
            raise Refused(404, "model '' not found")
        known(up, body)
        keep = keep_alive(body)
        if not chat:
            body.pop("tools", None)
        given = body.get("messages", []) if chat else (
            ([{"role": "system", "content": body["system"]}] if body.get("system") else [])
            + ([{"role": "user", "content": body["prompt"]}] if body.get("prompt") else []))
        messages = upstream_messages(given or [])
        if not messages:
            up.used = self.until(keep)
            return self.send(200, self.line(chat, "", done=True, done_reason="load" if keep else "unload"))
        stream = body.get("stream", True) is not False
        connection, reply = up.post("/v1/chat/completions", request_for(up, body, messages))
        up.used = self.until(keep)
        loaded = time.monotonic_ns() - start
        try:
            self.relay(reply, chat, stream, start, loaded)
        finally:
            connection.close()

    @staticmethod
    def until(seconds):
        """What /api/ps tells as expires_at; None, so not listed, for keep_alive 0."""
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        return end.isoformat().replace("+00:00", "Z") if seconds else None

    def line(self, chat, text, **more):
        line = {"model": self.up.name, "created_at": now()}
        line.update({"message": {"role": "assistant", "content": text}} if chat else {"response": text})
        line["done"] = more.pop("done", False)
        return dict(line, **more)

    def relay(self, reply, chat, stream, start, loaded):
        if stream:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        whole, calls, finish, timings = [], {}, None, {}
        for raw in self.lines(reply):
            if not raw.startswith(b"data: ") or raw.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(raw[6:])
            if "error" in chunk:
                error = {"error": str(chunk["error"].get("message", chunk["error"]))}
                return self.chunk(error, True) if stream else self.send(500, error)
            timings = chunk.get("timings") or timings
            for choice in chunk.get("choices", []):
                finish = choice.get("finish_reason") or finish
                delta = choice.get("delta", {})
                for call in delta.get("tool_calls") or []:
                    kept = calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                    kept["id"] += call.get("id") or ""
                    for key in ("name", "arguments"):
                        kept[key] += (call.get("function") or {}).get(key) or ""
                if delta.get("content"):
                    whole.append(delta["content"])
                    if stream:
                        self.chunk(self.line(chat, delta["content"]))
            if not stream and self.client_left():
                self.close_connection = True
                return None
        if finish is None:
            error = {"error": "an error was encountered while running the model: unexpected EOF"}
            return self.chunk(error, True) if stream else self.send(500, error)
        tool_calls = []
        for index, call in sorted(calls.items()):
            try:
                arguments = json.loads(call["arguments"])
            except ValueError:
                error = {"error": f'llama-server returned invalid tool call arguments for "{call["name"]}"'}
                return self.chunk(error, True) if stream else self.send(500, error)
            tool_calls.append({"id": call["id"], "function": {"index": index, "name": call["name"], "arguments": arguments}})
        last = self.line(chat, "" if stream else "".join(whole), done=True, done_reason="length" if finish == "length" else "stop")
        if tool_calls:
            last["message"]["tool_calls"] = tool_calls
        figures = {"total_duration": time.monotonic_ns() - start, "load_duration": loaded,
                   "prompt_eval_count": timings.get("cache_n", 0) + timings.get("prompt_n", 0),
                   "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
                   "eval_count": timings.get("predicted_n", 0), "eval_duration": int(timings.get("predicted_ms", 0) * 1e6)}
        last.update({k: v for k, v in figures.items() if v})
        return self.chunk(last, True) if stream else self.send(200, last)

    @staticmethod
    def lines(reply):
        """The upstream's lines; a broken connection is their end, so that no finish reason is seen."""
        try:
            yield from reply
        except (OSError, http.client.HTTPException):
            return

    def chunk(self, value, final=False):
        data = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) + (b"0\r\n\r\n" if final else b""))
        self.wfile.flush()

    def client_left(self):
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)


def main():
    parser = argparse.ArgumentParser(description="Ollama's /api in front of an OpenAI-compatible llama.cpp server")
    parser.add_argument("--upstream", required=True, metavar="URL")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-stdin-closes", action="store_true")
    given = parser.parse_args()
    try:
        Handler.up = Upstream(given.upstream)
        server = Server(("127.0.0.1", given.port), Handler)
    except OSError as why:
        sys.exit(f"ollama_wire.py: {why}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    if given.until_stdin_closes:
        def wait():
            while os.read(0, 4096):
                pass
            os._exit(0)
        threading.Thread(target=wait, daemon=True).start()
    print(f"listening http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
