// An echo whose metrics Prometheus can scrape, or anybody read: curl http://127.0.0.1:9464/metrics
import { once } from 'node:events';
import { createServer } from 'node:http';
import { SocketServer } from 'odradek';
import { prometheusText } from './prometheus-text.js';

const server = new SocketServer({
  listeners: [{ port: Number(process.env.PORT ?? 7003) }],
  handler: (request) => request.body,
});
await server.start();
console.log('echo on', server.address());

const pages = createServer((request, response) => {
  if (request.url === '/metrics') {
    response.setHeader('Content-Type', 'text/plain; version=0.0.4; charset=utf-8');
    response.end(prometheusText(server.metrics()));
  } else {
    response.writeHead(404).end();
  }
});
pages.listen(Number(process.env.METRICS_PORT ?? 9464), '127.0.0.1');
await once(pages, 'listening');
console.log('metrics on', pages.address());

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await server.close(); // may still be watched meanwhile
    pages.close();
    pages.closeAllConnections();
  });
}
