// `@y/websocket-server` as a peer of the load tool: the package's own connection
// handler behind its own kind of HTTP server, in memory or on LevelDB.
//
//   node server.mjs memory
//   node server.mjs leveldb DIR
//
// It picks a free loopback port and says so in the line the load tool waits for.

import http from 'node:http'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { setPersistence, setupWSConnection } from '@y/websocket-server/utils'

const [mode = 'memory', dir] = process.argv.slice(2)

if (mode === 'leveldb') {
  const { LeveldbPersistence } = await import('y-leveldb')
  const store = new LeveldbPersistence(dir)
  // The adapter that @y/websocket-server 0.1.1 shipped for YPERSISTENCE, unchanged in
  // what it does: updates are stored as they come, nobody waits for them.
  setPersistence({
    provider: store,
    bindState: async (name, doc) => {
      const stored = await store.getYDoc(name)
      store.storeUpdate(name, Y.encodeStateAsUpdate(doc))
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(stored))
      doc.on('update', update => { store.storeUpdate(name, update) })
    },
    writeState: async () => {}
  })
} else if (mode !== 'memory') {
  console.error(`unknown mode ${mode}: memory or leveldb`)
  process.exit(2)
}

const sockets = new WebSocket.Server({ noServer: true })
sockets.on('connection', (socket, request) => setupWSConnection(socket, request))

const server = http.createServer((_request, response) => { response.end('okay') })
server.on('upgrade', (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, ws => sockets.emit('connection', ws, request))
})
// The default backlog of 511 would refuse part of a thousand joiners at once.
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})

process.on('SIGTERM', () => process.exit(0))
