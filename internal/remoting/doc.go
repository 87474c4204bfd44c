// Package remoting speaks RocketMQ's remoting protocol: frames, headers and stored messages, a client and a server side, and typed
// calls of a cluster. The embedded broker uses the same codec. Formats follow RocketMQ 4.9 and 5.x.
package remoting
