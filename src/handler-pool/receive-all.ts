import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';

/** Receives, at this moment, what a port's other side has said and nobody has heard. */
export function receiveAll<Message>(port: MessagePort, receive: (message: Message) => void): void {
  let left = receiveMessageOnPort(port);
  while (left !== undefined) {
    receive(left.message);
    left = receiveMessageOnPort(port);
  }
}
