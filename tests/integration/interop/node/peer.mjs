// A peer around mqtt.js. Its modules lie where the test command installed them: argument 1.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const mqtt = createRequire(`${process.argv[2]}/package.json`)("mqtt");
const LEVELS = { "3.1": 3, "3.1.1": 4, "5.0": 5 };
let client;

const say = (event, values = {}) => console.log(JSON.stringify({ event, ...values }));

function connect({ port, version, client: clientId, clean, will, transport, files }) {
  const level = LEVELS[version];
  const path = transport.startsWith("ws") ? "/mqtt" : "";
  const contents = Object.entries(files ?? {}).map(([name, file]) => [name, readFileSync(file)]);
  client = mqtt.connect(`${transport}://127.0.0.1:${port}${path}`, {
    ...Object.fromEntries(contents),
    protocolVersion: level,
    protocolId: level === 3 ? "MQIsdp" : "MQTT",
    clientId,
    clean,
    reconnectPeriod: 0,
    resubscribe: false,
    ...(level === 5 && !clean ? { properties: { sessionExpiryInterval: 3600 } } : {}),
    ...(will ? { will } : {}),
  });
  client.on("connect", (connack) => say("connected", { session_present: connack.sessionPresent }));
  client.on("message", (topic, payload, packet) =>
    say("message", { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain }),
  );
  client.on("error", (error) => console.error(error));
}

const commands = {
  connect,
  subscribe: ({ filter, qos }) => client.subscribe(filter, { qos }, () => say("subscribed")),
  publish: ({ topic, payload, qos, retain }) =>
    client.publish(topic, payload, { qos, retain }, () => say("published")),
  disconnect: () => client.end(false, {}, () => say("disconnected")),
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const { do: command, ...values } = JSON.parse(line);
  commands[command](values);
});
