// Allocates much, inside V8 and outside, in three threads. Prints hashes of what came out of it.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const {Worker, isMainThread, parentPort, workerData} = require('worker_threads');

const hash = (data) => crypto.createHash('sha256').update(data).digest('hex');

// Buffers from 1 byte to 64 KiB, whose bytes follow from `seed`.
function makeBuffers(seed, count) {
  const buffers = [];
  for (let i = 0; i < count; ++i) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    buffers.push(Buffer.alloc(1 + (seed >>> 8) % (i % 32 == 0 ? 65536 : 2048), seed & 255));
  }
  return buffers;
}

if (!isMainThread) {
  const buffers = makeBuffers(workerData, 5000).map((b) => new Uint8Array(b));
  parentPort.postMessage(buffers, buffers.map((b) => b.buffer));  // to be freed by the other thread
} else {
  let objects = [];
  for (let i = 0; i < 300000; ++i) {
    objects.push({id: i, name: `name ${i}`, list: [i, i + 1, i + 2]});
    if (i % 50000 == 0) objects = objects.filter((o) => o.id % 3);
  }
  console.log('json', hash(JSON.stringify(objects)));

  const map = new Map();
  for (let i = 0; i < 200000; ++i) map.set(`key${i * 7919 % 100003}`, 'v'.repeat(i % 50));
  console.log('map', map.size, hash([...map].join()));

  const all = Buffer.concat(makeBuffers(1, 20000));
  console.log('buffers', all.length, hash(all));
  const packed = zlib.gzipSync(all, {level: 6});
  console.log('zlib', zlib.gunzipSync(packed).equals(all));

  for (const seed of [2, 3]) {
    new Worker(__filename, {workerData: seed}).on('message', (buffers) => {
      results.set(seed, hash(Buffer.concat(buffers)));
      if (results.size == 2) for (const s of [2, 3]) console.log('worker', s, results.get(s));
    });
  }
  const results = new Map();
}
