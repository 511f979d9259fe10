import { channel } from 'node:diagnostics_channel';

/**
 * The `diagnostics_channel`s that every server publishes to, for tools that watch a process from
 * outside. Messages are built only while somebody subscribes.
 *
 * - `odradek.connection.opened`: `{ server, connection }`
 * - `odradek.connection.closed`: `{ server, connection, reason }`
 * - `odradek.handler.error`: `{ server, request, error }`
 * - `odradek.handler.threadLost`: `{ server, loss }`
 * - `odradek.accept.error`: `{ server, listener, error }`
 * - `odradek.overload`: `{ server, change }`
 */
export const channels = {
  connectionOpened: channel('odradek.connection.opened'),
  connectionClosed: channel('odradek.connection.closed'),
  handlerError: channel('odradek.handler.error'),
  handlerThreadLost: channel('odradek.handler.threadLost'),
  acceptError: channel('odradek.accept.error'),
  overload: channel('odradek.overload'),
} as const;
