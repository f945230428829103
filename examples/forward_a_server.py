"""Forward to a server that already runs, whatever language it is written in.

Here it is one from the standard library, on a port that only this machine reaches. The peer behind
NAT serves it unchanged.
"""

import http.server
import threading

import requests

import restsock.sync


class Existing(http.server.BaseHTTPRequestHandler):
    """Stands for a server of yours: in Node, Go or PHP, or on another machine."""

    def do_GET(self) -> None:
        body = f"{self.path} for {self.headers['Host']}, {self.headers['X-Forwarded-For']}\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    existing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Existing)
    threading.Thread(target=existing.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{existing.server_port}/api"

    app = restsock.forward(url, forwarded="x-forwarded")
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        requests.Session() as session,
    ):
        session.mount("http://edge-1/", server.adapter("edge-1"))
        answer = session.get("http://edge-1/pets?limit=1", timeout=10)
        print(answer.status_code, answer.text, end="")

        # Without the server, the peer still answers, and says what is wrong.
        existing.shutdown()
        existing.server_close()
        answer = session.get("http://edge-1/pets", timeout=10)
        print(answer.status_code, answer.headers["Content-Type"], answer.json()["detail"])


if __name__ == "__main__":
    main()
