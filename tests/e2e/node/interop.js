// SPDX-License-Identifier: Apache-2.0
//
// interop.js ADDRESS PROTO_DIR [CA [CERTIFICATE KEY [TOKEN]]] - the public gRPC interoperability cases,
// driven by @grpc/grpc-js, whose HTTP/2 is node's own.
//
// Files are PEM. Prints one line per case, TAP fashion, and exits with 1 when one failed.
'use strict';

const assert = require('assert');
const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, protoDir, ca, certificate, key, token] = process.argv.slice(2);
const api = grpc.loadPackageDefinition(loader.loadSync('grpc/testing/test.proto', {
  includeDirs: [protoDir], keepCase: true, longs: String, enums: String, defaults: true,
})).grpc.testing;
const read = (file) => (file ? fs.readFileSync(file) : null);
const credentials = ca ? grpc.credentials.createSsl(read(ca), read(key), read(certificate))
  : grpc.credentials.createInsecure();
const options = ca ? { 'grpc.ssl_target_name_override': 'localhost', 'grpc.default_authority': 'localhost' } : {};
const client = new api.TestService(address, credentials, options);
const other = new api.UnimplementedService(address, credentials, options);

const PATIENCE_MS = 1000 * Number(process.env.LATENTD_PATIENCE_S || 60);
const GZIP = { 'grpc.default_compression_algorithm': 2 };
const squeezing = new api.TestService(address, credentials, { ...options, ...GZIP });
const deadline = (ms) => ({ deadline: new Date(Date.now() + (ms || PATIENCE_MS)) });
const payload = (size) => ({ body: Buffer.alloc(size) });
const LARGE = { response_size: 314159, payload: payload(271828) };
const STREAM_REQUESTS = [27182, 8, 1828, 45904];
const STREAM_RESPONSES = [31415, 9, 2653, 58979];

function metadata(fields) {
  const all = new grpc.Metadata();
  if (token) all.set('authorization', 'Bearer ' + token);
  for (const [name, value] of Object.entries(fields || {})) all.set(name, value);
  return all;
}

// The answer, or the error as an answer; with the metadata that came around it.
function unary(stub, method, request, fields) {
  return new Promise((resolve) => {
    const seen = {};
    const call = stub[method](request, metadata(fields), deadline(), (error, answer) => {
      seen.error = error;
      seen.answer = answer;
    });
    call.on('metadata', (initial) => { seen.initial = initial; });
    call.on('status', (status) => {
      seen.status = status;
      setImmediate(() => resolve(seen));
    });
  });
}

async function answered(stub, method, request, fields) {
  const seen = await unary(stub, method, request, fields);
  assert.strictEqual(seen.status.code, grpc.status.OK, seen.status.details);
  return seen;
}

// Collects what a stream of answers brings; `onAnswer` may write on.
function listen(call, onAnswer) {
  return new Promise((resolve) => {
    const seen = { sizes: [] };
    call.on('metadata', (initial) => { seen.initial = initial; });
    call.on('data', (answer) => {
      seen.sizes.push(answer.payload.body.length);
      if (onAnswer) onAnswer(seen.sizes.length);
    });
    call.on('error', () => {}); // the same error comes with the status
    call.on('status', (status) => resolve({ ...seen, status }));
  });
}

const ask = (requestSize, responseSize) => ({
  payload: payload(requestSize), response_parameters: [{ size: responseSize }],
});

// One answer is awaited before the next request; ends behind the last.
async function talk(requests, fields) {
  const call = client.FullDuplexCall(metadata(fields), deadline());
  const next = (n) => (n < requests.length ? call.write(requests[n]) : call.end());
  const done = listen(call, next);
  next(0);
  const seen = await done;
  assert.strictEqual(seen.status.code, grpc.status.OK, seen.status.details);
  return seen;
}

function sum(stub, requests) {
  return new Promise((resolve) => {
    const call = stub.StreamingInputCall(metadata(), deadline(), (error, answer) => resolve({ error, answer }));
    call.on('error', () => {});
    for (const request of requests) call.write(request);
    call.end();
  });
}

const cases = {
  async empty_unary() {
    assert.deepStrictEqual((await answered(client, 'EmptyCall', {})).answer, {});
  },
  async large_unary() {
    const { answer } = await answered(client, 'UnaryCall', LARGE);
    assert.ok(answer.payload.body.equals(Buffer.alloc(314159)));
  },
  async client_compressed_unary() {
    const told = { ...LARGE, expect_compressed: { value: true } };
    const lie = await unary(client, 'UnaryCall', told);
    assert.strictEqual(lie.status.code, grpc.status.INVALID_ARGUMENT);
    assert.strictEqual((await answered(squeezing, 'UnaryCall', told)).answer.payload.body.length, 314159);
    await answered(client, 'UnaryCall', { ...LARGE, expect_compressed: { value: false } });
  },
  async server_compressed_unary() {
    for (const value of [true, false]) {
      const { answer } = await answered(client, 'UnaryCall', { ...LARGE, response_compressed: { value } });
      assert.strictEqual(answer.payload.body.length, 314159);
    }
  },
  async client_streaming() {
    const { answer } = await sum(client, STREAM_REQUESTS.map((n) => ({ payload: payload(n) })));
    assert.strictEqual(answer.aggregated_payload_size, 74922);
  },
  async client_compressed_streaming() {
    const requests = [27182, 45904].map((n) => ({ payload: payload(n), expect_compressed: { value: true } }));
    assert.strictEqual((await sum(client, requests)).error.code, grpc.status.INVALID_ARGUMENT);
    const { answer } = await sum(squeezing, requests);
    assert.strictEqual(answer.aggregated_payload_size, 73086);
  },
  async server_streaming() {
    const request = { response_parameters: STREAM_RESPONSES.map((size) => ({ size })) };
    const seen = await listen(client.StreamingOutputCall(request, metadata(), deadline()));
    assert.deepStrictEqual(seen.sizes, STREAM_RESPONSES);
    assert.strictEqual(seen.status.code, grpc.status.OK);
  },
  async server_compressed_streaming() {
    const request = { response_parameters: [[31415, true], [92653, false], [58979, true]]
      .map(([size, value]) => ({ size, compressed: { value } })) };
    const seen = await listen(client.StreamingOutputCall(request, metadata(), deadline()));
    assert.deepStrictEqual(seen.sizes, [31415, 92653, 58979]);
  },
  async ping_pong() {
    const seen = await talk(STREAM_REQUESTS.map((n, i) => ask(n, STREAM_RESPONSES[i])));
    assert.deepStrictEqual(seen.sizes, STREAM_RESPONSES);
  },
  async empty_stream() {
    assert.deepStrictEqual((await talk([])).sizes, []);
  },
  async half_duplex() {
    const call = client.HalfDuplexCall(metadata(), deadline());
    const done = listen(call);
    for (const n of STREAM_RESPONSES) call.write(ask(0, n));
    call.end();
    assert.deepStrictEqual((await done).sizes, STREAM_RESPONSES);
  },
  async custom_metadata() {
    const initial = 'x-grpc-test-echo-initial';
    const trailing = 'x-grpc-test-echo-trailing-bin';
    const sent = { [initial]: 'test_initial_metadata_value', [trailing]: Buffer.from('ababab', 'hex') };
    for (const seen of [await answered(client, 'UnaryCall', LARGE, sent),
      await talk([ask(271828, 314159)], sent)]) {
      assert.deepStrictEqual(seen.initial.get(initial), [sent[initial]]);
      assert.deepStrictEqual(seen.status.metadata.get(trailing), [sent[trailing]]);
    }
  },
  async status_code_and_message() {
    const response_status = { code: 2, message: 'test status message' };
    const seen = await unary(client, 'UnaryCall', { response_status });
    assert.deepStrictEqual([seen.status.code, seen.status.details], [2, response_status.message]);
    const call = client.FullDuplexCall(metadata(), deadline());
    const done = listen(call);
    call.write({ response_status });
    call.end();
    const { status } = await done;
    assert.deepStrictEqual([status.code, status.details], [2, response_status.message]);
  },
  async special_status_message() {
    const message = '\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n';
    const seen = await unary(client, 'UnaryCall', { response_status: { code: 2, message } });
    assert.deepStrictEqual([seen.status.code, seen.status.details], [2, message]);
  },
  async unimplemented_method() {
    assert.strictEqual((await unary(client, 'UnimplementedCall', {})).status.code, grpc.status.UNIMPLEMENTED);
  },
  async unimplemented_service() {
    assert.strictEqual((await unary(other, 'UnimplementedCall', {})).status.code, grpc.status.UNIMPLEMENTED);
  },
  async cancel_after_begin() {
    const code = await new Promise((resolve) => {
      const call = client.StreamingInputCall(metadata(), deadline(), (error) => resolve(error && error.code));
      call.on('error', () => {});
      call.cancel();
    });
    assert.strictEqual(code, grpc.status.CANCELLED);
  },
  async cancel_after_first_response() {
    const call = client.FullDuplexCall(metadata(), deadline());
    const done = listen(call, () => call.cancel());
    call.write(ask(27182, 31415));
    const seen = await done;
    assert.strictEqual(seen.status.code, grpc.status.CANCELLED);
    assert.deepStrictEqual(seen.sizes, [31415]);
  },
  async timeout_on_sleeping_server() {
    const call = client.FullDuplexCall(metadata(), deadline(1));
    const done = listen(call);
    call.write({ payload: payload(27182), response_parameters: [{ size: 31415, interval_us: 50000000 }] });
    assert.strictEqual((await done).status.code, grpc.status.DEADLINE_EXCEEDED);
  },
  async concurrent_large_unary() {
    const all = await Promise.all(Array.from({ length: 300 }, () => answered(client, 'UnaryCall', LARGE)));
    for (const { answer } of all) assert.strictEqual(answer.payload.body.length, 314159);
  },
};

(async () => {
  let failed = 0;
  let number = 0;
  for (const [name, run] of Object.entries(cases)) {
    number++;
    try {
      await run();
      console.log(`ok ${number} - ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${number} - ${name}\n# ${error.stack}`);
    }
  }
  console.log(`1..${number}`);
  process.exit(failed ? 1 : 0);
})();
