// mqtt.js by SCRAM-SHA-256: node scram.mjs MODULES PORT USER PASSWORD; prints ok or why not.
import crypto from 'node:crypto'
import path from 'node:path'
import { createRequire } from 'node:module'

const [modules, port, user, password] = process.argv.slice(2)
const mqtt = createRequire(path.join(modules, 'package.json'))('mqtt')
const hmac = (key, text) => crypto.createHmac('sha256', key).update(text).digest()

const nonce = crypto.randomBytes(18).toString('base64')
const bare = `n=${user},r=${nonce}`
const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
  protocolVersion: 5,
  reconnectPeriod: 0,
  connectTimeout: 20000,
  properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: Buffer.from(`n,,${bare}`) },
})

client.handleAuth = (packet, callback) => {
  const first = packet.properties.authenticationData.toString()
  const fields = Object.fromEntries(first.split(',').map((each) => [each[0], each.slice(2)]))
  const salted = crypto.pbkdf2Sync(password, Buffer.from(fields.s, 'base64'), Number(fields.i), 32, 'sha256')
  const key = hmac(salted, 'Client Key')
  const final = `c=biws,r=${fields.r}`
  const signature = hmac(crypto.createHash('sha256').update(key).digest(), `${bare},${first},${final}`)
  const proof = Buffer.from(key.map((byte, place) => byte ^ signature[place])).toString('base64')
  callback(null, {
    cmd: 'auth',
    reasonCode: 0x18,
    properties: {
      authenticationMethod: 'SCRAM-SHA-256',
      authenticationData: Buffer.from(`${final},p=${proof}`),
    },
  })
}
const end = (text) => {
  console.log(text)
  process.exit(0)
}
client.on('connect', (connack) => {
  const last = connack.properties.authenticationData.toString()
  if (!last.startsWith('v=')) end(`no server signature: ${last}`)
  client.publish('t', 'x', { qos: 1 }, (error) => end(error ? `publish: ${error}` : 'ok'))
})
client.on('error', (error) => end(`refused: ${error.code}`))
client.on('close', () => end('closed'))
