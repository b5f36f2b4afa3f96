// SPDX-License-Identifier: Apache-2.0
//
// client.js ADDRESS PROTO_DIR - a stock @grpc/grpc-js client, the contract loaded from proto/.
//
// Its HTTP/2 stack is node's own and not the one of the Python client, which is why it is here.
// Prints one line per case, TAP fashion, and exits with 1 when one failed. The daemon must serve
// models/demo with max_steps=4096.
'use strict';

const assert = require('assert');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, protoDir] = process.argv.slice(2);
const load = (file) => grpc.loadPackageDefinition(loader.loadSync(file, {
  includeDirs: [protoDir], keepCase: true, longs: String, enums: String, defaults: true, oneofs: true,
}));
const api = load('latentd/v1/latentd.proto').latentd.v1;
const Health = load('grpc/health/v1/health.proto').grpc.health.v1.Health;
const credentials = grpc.credentials.createInsecure();
const inference = new api.Inference(address, credentials);
const jobs = new api.Jobs(address, credentials);
const cluster = new api.Cluster(address, credentials);
const health = new Health(address, credentials);

const PATIENCE_MS = 1000 * Number(process.env.LATENTD_PATIENCE_S || 60);
const deadline = () => new Date(Date.now() + PATIENCE_MS);

const short = { prompt: { text: '9-7-2-3=' }, depth: { fixed_steps: 16 }, max_tokens: 4, sampling: { seed: 5 } };
const wordy = { prompt: { text: '1+2+3=' }, depth: { fixed_steps: 4 }, max_tokens: 12, ignore_eos: true,
  sampling: { seed: 5 } };
const long = { prompt: { text: '1+2+3=' }, depth: { fixed_steps: 4096 }, max_tokens: 60, ignore_eos: true,
  sampling: { seed: 5 } };

function unary(client, method, request) {
  return new Promise((resolve, reject) => client[method](request, { deadline: deadline() },
    (error, answer) => (error ? reject(error) : resolve(answer))));
}

// All messages of a stream and its status; `onMessage(message, call)` sees each as it comes.
function stream(client, method, request, options, onMessage) {
  return new Promise((resolve) => {
    const call = client[method](request, options || { deadline: deadline() });
    const messages = [];
    call.on('data', (message) => {
      messages.push(message);
      if (onMessage) onMessage(message, call);
    });
    call.on('error', () => {}); // the same error comes with the status
    call.on('status', (status) => resolve({ messages, status }));
  });
}

const inLog = (events) => events.filter((event) => event.seq !== '0');
const idsOf = (events) => events.flatMap((event) => (event.tokens ? event.tokens.ids : []));
const textOf = (events) => events.map((event) => (event.tokens ? event.tokens.text
  : event.finished ? event.finished.text_tail : '')).join('');

// No number is missing or there twice: tokens that were there already come in one message, whose number is
// that of its last token.
function assertNumbers(events, after) {
  let at = after;
  for (const event of events) {
    at += event.tokens ? event.tokens.ids.length : 1;
    assert.strictEqual(Number(event.seq), at, event.event);
  }
}

async function rejects(promise, code) {
  try {
    await promise;
  } catch (error) {
    assert.strictEqual(error.code, code, error.details);
    assert.ok(error.details.length > 0, 'a status without a message');
    return;
  }
  assert.fail('no error, expected status ' + code);
}

async function jobIs(name, state) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const job = await unary(jobs, 'Get', { name });
    if (job.state === state) return job;
    assert.ok(Date.now() < end, name + ' is ' + job.state + ', expected ' + state);
    await new Promise(setImmediate);
  }
}

const cases = {
  async 'Generate streams a log without gaps and ends with OK'() {
    const { messages, status } = await stream(inference, 'Generate', { spec: short });
    assert.strictEqual(status.code, grpc.status.OK, status.details);
    assertNumbers(inLog(messages), 0);
    assert.strictEqual(messages[0].event, 'queued');
    assert.strictEqual(messages[messages.length - 1].event, 'finished');
    assert.strictEqual(messages[messages.length - 1].finished.reason, 'FINISH_REASON_EOS');
    assert.strictEqual(textOf(messages).trim(), '7');
  },
  async 'Submit answers with the job and Watch reads it to its end'() {
    const job = await unary(jobs, 'Submit', { spec: wordy });
    assert.match(job.name, /^jobs\/.+/);
    const { messages, status } = await stream(jobs, 'Watch', { name: job.name });
    assert.strictEqual(status.code, grpc.status.OK, status.details);
    const done = await unary(jobs, 'Get', { name: job.name });
    assert.strictEqual(done.state, 'JOB_STATE_SUCCEEDED');
    assert.deepStrictEqual(done.output.tokens.ids, idsOf(messages));
    assert.strictEqual(done.output.tokens.ids.length, 12);
  },
  async 'Watch resumes behind any sequence number with exactly the rest'() {
    const { name } = await unary(jobs, 'Submit', { spec: wordy });
    const whole = inLog((await stream(jobs, 'Watch', { name })).messages);
    const last = Number(whole[whole.length - 1].seq);
    for (let after = 0; after < last; after++) {
      const rest = inLog((await stream(jobs, 'Watch', { name, after_seq: after })).messages);
      assertNumbers(rest, after);
      assert.deepStrictEqual(idsOf(rest), idsOf(whole).slice(Math.max(0, after - 2))); // behind Queued and Started
    }
    const beyond = await stream(jobs, 'Watch', { name, after_seq: last + 1 });
    assert.strictEqual(beyond.status.code, grpc.status.OUT_OF_RANGE);
  },
  async 'a Watch that is cut by its reader resumes where it was'() {
    const spec = { ...wordy, depth: { fixed_steps: 600 }, max_tokens: 30 };
    const expected = idsOf((await stream(inference, 'Generate', { spec })).messages);
    const { name } = await unary(jobs, 'Submit', { spec });
    const events = [];
    let cuts = 0;
    while (!events.length || events[events.length - 1].event !== 'finished') {
      let count = 0;
      const after = events.length ? events[events.length - 1].seq : 0;
      await stream(jobs, 'Watch', { name, after_seq: after }, undefined, (event, call) => {
        if (event.seq === '0' || count === 3) return;
        events.push(event);
        if (++count === 3) call.cancel();
      });
      cuts++;
    }
    assert.ok(cuts > 2, 'cut ' + cuts + ' times');
    assertNumbers(events, 0);
    assert.deepStrictEqual(idsOf(events), expected);
  },
  async 'Cancel ends a running job and is idempotent'() {
    const { name } = await unary(jobs, 'Submit', { spec: long });
    await unary(jobs, 'Cancel', { name });
    const { messages, status } = await stream(jobs, 'Watch', { name });
    assert.strictEqual(status.code, grpc.status.OK);
    assert.strictEqual(messages[messages.length - 1].finished.reason, 'FINISH_REASON_CANCELLED');
    assert.strictEqual((await unary(jobs, 'Cancel', { name })).state, 'JOB_STATE_CANCELLED');
  },
  async 'a Generate cancelled by its caller cancels the job'() {
    const { messages, status } = await stream(inference, 'Generate', { spec: long }, undefined,
      (event, call) => call.cancel());
    assert.strictEqual(status.code, grpc.status.CANCELLED);
    await jobIs(messages[0].name, 'JOB_STATE_CANCELLED');
  },
  async 'a deadline ends the call with DEADLINE_EXCEEDED'() {
    const { messages, status } = await stream(inference, 'Generate', { spec: long },
      { deadline: new Date(Date.now() + 700) });
    assert.strictEqual(status.code, grpc.status.DEADLINE_EXCEEDED);
    if (messages.length) {
      const end = (await stream(jobs, 'Watch', { name: messages[0].name })).messages.pop();
      assert.strictEqual(end.event, 'finished');
    }
  },
  async 'errors carry their status and a message'() {
    await rejects(unary(jobs, 'Get', { name: 'jobs/00000000000000000000000000' }), grpc.status.NOT_FOUND);
    await rejects(unary(jobs, 'Submit', { spec: { ...short, depth: { fixed_steps: 5000 } } }),
      grpc.status.INVALID_ARGUMENT);
    await rejects(unary(jobs, 'Submit', { spec: { ...short, label: '\u00e9'.repeat(100) } }),
      grpc.status.INVALID_ARGUMENT);
  },
  async 'text outside ASCII goes there and back'() {
    const text = 'h\u00e9llo \u{1F642}';
    const { ids } = await unary(inference, 'Tokenize', { text, no_special: true });
    assert.strictEqual((await unary(inference, 'Detokenize', { ids })).text, text);
  },
  async 'Check says SERVING and NOT_FOUND, Watch says SERVING at once'() {
    assert.strictEqual((await unary(health, 'Check', { service: '' })).status, 'SERVING');
    assert.strictEqual((await unary(health, 'Check', { service: 'latentd.v1.Jobs' })).status, 'SERVING');
    await rejects(unary(health, 'Check', { service: 'nobody' }), grpc.status.NOT_FOUND);
    const { messages } = await stream(health, 'Watch', { service: '' }, undefined,
      (message, call) => call.cancel());
    assert.strictEqual(messages[0].status, 'SERVING');
  },
  async 'GetModel and GetStatus answer'() {
    assert.strictEqual((await unary(cluster, 'GetModel', {})).name, 'models/demo');
    assert.strictEqual((await unary(cluster, 'GetStatus', {})).state, 'serving');
  },
  async 'a hundred calls at once on one connection all finish with the same tokens'() {
    const all = await Promise.all(Array.from({ length: 100 },
      () => stream(inference, 'Generate', { spec: short })));
    const first = idsOf(all[0].messages);
    for (const { messages, status } of all) {
      assert.strictEqual(status.code, grpc.status.OK, status.details);
      assert.deepStrictEqual(idsOf(messages), first);
    }
  },
};

(async () => {
  let failed = 0, number = 0;
  console.log('1..' + Object.keys(cases).length);
  for (const [name, run] of Object.entries(cases)) {
    number++;
    try {
      await run();
      console.log('ok ' + number + ' - ' + name);
    } catch (error) {
      failed++;
      console.log('not ok ' + number + ' - ' + name + '\n' + error.stack);
    }
  }
  for (const client of [inference, jobs, cluster, health]) client.close();
  process.exitCode = failed ? 1 : 0;
})();
