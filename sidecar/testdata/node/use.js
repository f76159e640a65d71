// Uses a sidecar through ioredis: node use.js PATH, the path of the sidecar's Unix socket. It prints "ok" at the end.
'use strict'
const assert = require('node:assert/strict')
const Redis = require('ioredis')

// hits is how many reads the sidecar has answered from memory.
async function hits (redis) {
  return Number(/near_hits:(\d+)/.exec(await redis.info('nearcache'))[1])
}

async function main () {
  const path = process.argv[2]
  const redis = new Redis({ path }) // it asks INFO until loading is 0
  const other = new Redis({ path })

  assert.equal(await redis.set('node:k', 'one'), 'OK')
  const before = await hits(redis)
  for (let i = 0; i < 100; i++) assert.equal(await redis.get('node:k'), 'one')
  assert.ok(await hits(redis) >= before + 90, 'reads are not answered from memory')

  await other.set('node:k', 'two') // whoever is behind the sidecar reads what was acknowledged
  assert.equal(await redis.get('node:k'), 'two')

  const line = redis.pipeline() // replies in order, whatever way commands go
  for (let i = 0; i < 50; i++) line.set('node:p', i).get('node:p').get('node:k')
  const replies = await line.exec()
  for (let i = 0; i < 50; i++) {
    assert.deepEqual(replies.slice(3 * i, 3 * i + 3), [[null, 'OK'], [null, String(i)], [null, 'two']])
  }

  await redis.hset('node:h', { a: '1', b: '2' })
  for (let i = 0; i < 3; i++) assert.deepEqual(await redis.hgetall('node:h'), { a: '1', b: '2' })
  for (let i = 0; i < 3; i++) assert.deepEqual(await redis.mget('node:k', 'node:none'), ['two', null])

  assert.deepEqual(await redis.multi().incr('node:n').del('node:n').exec(), [[null, 1], [null, 1]])
  await redis.watch('node:k')
  await other.set('node:k', 'three')
  assert.equal(await redis.multi().set('node:k', 'lost').exec(), null)
  assert.equal(await redis.get('node:k'), 'three')

  // Client-side caching as RESP2 has it: another connection is told.
  const told = new Promise(resolve => other.once('message', (channel, key) => resolve([channel, key])))
  const id = await other.client('ID')
  await other.subscribe('__redis__:invalidate')
  await redis.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', id)
  assert.equal(await redis.get('node:k'), 'three')
  const third = new Redis({ path })
  await third.set('node:k', 'four')
  assert.deepEqual(await told, ['__redis__:invalidate', 'node:k'])

  const seen = []
  for await (const keys of third.scanStream({ match: 'node:*' })) seen.push(...keys)
  assert.deepEqual(seen.filter(k => k === 'node:h'), ['node:h'])

  await assert.rejects(third.lpush('node:k', 'x'), /WRONGTYPE/)
  for (const r of [redis, other, third]) r.disconnect()
  console.log('ok')
}

main().catch(err => { console.error(err); process.exit(1) })
