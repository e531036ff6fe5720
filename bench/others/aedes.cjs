// Aedes as a broker to be measured, on 127.0.0.1:21887. NODE_PATH names the folder it is in.
const { Aedes } = require("aedes");
const { createServer } = require("node:net");

async function serve() {
  const broker = Aedes.createBroker ? await Aedes.createBroker() : new Aedes();
  createServer(broker.handle).listen(21887, "127.0.0.1");
}

serve();
