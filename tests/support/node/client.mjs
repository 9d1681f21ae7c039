// Node's http client: `node client.mjs BASE`, cases as JSON on stdin, answers as JSON on stdout.
import http from "node:http";

const agent = new http.Agent({ keepAlive: true });
const raw = (list) => list.reduce((found, text, at) => (at % 2 ? found[found.length - 1].push(text) : found.push([text]), found), []);

function ask(base, one) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(base);
    const headers = one.headers.flat();
    if (one.body && !one.chunked) headers.push("Content-Length", String(Buffer.byteLength(one.body)));
    if (one.chunked) headers.push("Transfer-Encoding", "chunked");
    const request = http.request({ hostname, port, path: one.path, method: one.method, headers, agent }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode,
          reason: response.statusMessage,
          headers: raw(response.rawHeaders),
          body: Buffer.concat(parts).toString("latin1"),
          trailers: raw(response.rawTrailers),
        }),
      );
    });
    request.on("error", reject);
    if (one.chunked) for (const part of one.body.match(/.{1,7}/gs) ?? []) request.write(part);
    request.end(one.chunked ? undefined : one.body || undefined);
  });
}

let text = "";
for await (const part of process.stdin) text += part;
const answers = [];
for (const one of JSON.parse(text)) answers.push(await ask(process.argv[2], one));
console.log(JSON.stringify(answers));
agent.destroy();
