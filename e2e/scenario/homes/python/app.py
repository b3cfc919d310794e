"""A counter in a file: POST adds one and answers the new value, GET answers it. Each start leaves a line in starts."""
import http.server
import os
import pathlib
import socket

FILE = pathlib.Path(__file__).parent / "count"


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, text):
        body = f"{text}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def count(self):
        return int(FILE.read_text()) if FILE.exists() else 0

    def do_GET(self):
        self.answer(f"count {self.count()}")

    def do_POST(self):
        value = self.count() + 1
        fresh = FILE.with_suffix(".new")
        fresh.write_text(str(value))
        os.replace(fresh, FILE)
        self.answer(value)

    def log_message(self, *_):
        pass


class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6


with open(FILE.with_name("starts"), "a") as starts:
    print("started", file=starts)
Server(("::", 80), Handler).serve_forever()
