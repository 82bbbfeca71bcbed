// Loaded before a server that would listen on every interface: it listens on
// loopback instead.
"use strict";
const net = require("net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  if (typeof port === "number" || typeof port === "string") {
    return listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...rest.filter((a) => typeof a === "function"));
  }
  return listen.call(this, port, ...rest);
};
