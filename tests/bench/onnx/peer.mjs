// ONNX Runtime on the model that export.py wrote: `node peer.mjs MODEL.onnx THREADS`.
// Reads lines "ROUNDS LENGTH,LENGTH,…" (tokens of each text of a batch) and
// answers each with its median in milliseconds.  Batches are sorted by length and
// padded per 32 texts, as a careful user of the peer does.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const ort = createRequire(process.env.ONNX_MODULES + '/')('onnxruntime-node');
const session = await ort.InferenceSession.create(process.argv[2], {
  intraOpNumThreads: Number(process.argv[3]),
  interOpNumThreads: 1,
  graphOptimizationLevel: 'all',
});

function feeds(lengths) {
  const sorted = [...lengths].sort((a, b) => a - b);
  const batches = [];
  for (let i = 0; i < sorted.length; i += 32) {
    const part = sorted.slice(i, i + 32);
    const tokens = part[part.length - 1];
    const ids = new BigInt64Array(part.length * tokens);
    const mask = new BigInt64Array(part.length * tokens);
    part.forEach((length, row) => {
      for (let j = 0; j < length; j++) {
        ids[row * tokens + j] = BigInt(5 + ((row * 7919 + j * 104729) % 30000));
        mask[row * tokens + j] = 1n;
      }
    });
    const shape = [part.length, tokens];
    batches.push({ input_ids: new ort.Tensor('int64', ids, shape), attention_mask: new ort.Tensor('int64', mask, shape) });
  }
  return batches;
}

async function run(batches) {
  const start = process.hrtime.bigint();
  for (const batch of batches) await session.run(batch);
  return Number(process.hrtime.bigint() - start) / 1e6;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [rounds, lengths] = line.trim().split(' ');
  const batches = feeds(lengths.split(',').map(Number));
  await run(batches);
  const times = [];
  for (let i = 0; i < Number(rounds); i++) times.push(await run(batches));
  times.sort((a, b) => a - b);
  console.log(times[times.length >> 1].toFixed(3));
}
