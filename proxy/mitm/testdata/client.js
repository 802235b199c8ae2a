// Usage: client.js CA_PEM (PORT NAME)... ; prints "ok" or "refused: why" for each.
const fs = require("fs");
const net = require("net");
const tls = require("tls");

const [ca, ...rest] = process.argv.slice(2);
function attempt(port, name) {
  return new Promise((resolve) => {
    const raw = net.connect(Number(port), "127.0.0.1");
    const opts = { socket: raw, ca: fs.readFileSync(ca), host: name };
    if (!net.isIP(name)) opts.servername = name;
    const s = tls.connect(opts, () => { s.destroy(); resolve("ok"); });
    s.on("error", (e) => { raw.destroy(); resolve("refused: " + e.code + " " + e.message.split("\n")[0]); });
  });
}
(async () => {
  for (let i = 0; i < rest.length; i += 2) console.log(await attempt(rest[i], rest[i + 1]));
})();
