// Node's http server: echoes requests with their raw fields; prints where it listens.
import http from "node:http";

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const path = request.url.split("?")[0];
    if (path === "/big") {
      const body = Buffer.from("0123456789abcdef".repeat(65536));
      response.writeHead(200, { "Content-Length": body.length, "X-CaSe": "Kept" });
      response.end(body);
    } else if (path === "/chunked") {
      response.writeHead(200, { Trailer: "X-Sum" });
      for (let part = 0; part < 5; part++) response.write("hello ");
      response.addTrailers({ "X-Sum": "30" });
      response.end();
    } else if (path === "/empty") {
      response.writeHead(204);
      response.end();
    } else if (path === "/missing") {
      response.writeHead(404, "Nothing Here", ["Content-Type", "text/plain", "Content-Length", "4"]);
      response.end("none");
    } else if (path === "/early") {
      response.writeEarlyHints({ link: "</a.css>; rel=preload" }, () => response.end("hinted"));
    } else {
      const headers = [];
      for (let at = 0; at < request.rawHeaders.length; at += 2) headers.push(request.rawHeaders.slice(at, at + 2));
      const trailers = request.rawTrailers;
      const body = Buffer.concat(parts).toString("latin1");
      const text = JSON.stringify({ method: request.method, target: request.url, headers, body, trailers });
      response.writeHead(200, ["Set-Cookie", "a=1", "Content-Length", Buffer.byteLength(text), "set-cookie", "b=2"]);
      response.end(text);
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
