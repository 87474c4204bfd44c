// Package nacostest is a small Nacos server inside the test process: what of the protocol a configuration and naming client uses, over
// gRPC and a little HTTP, with the answers of the real server.
//
// It follows the sources of Nacos 2.0 to 3.0 and what was seen of a 3.1: a publish with the md5 of another content is refused, but
// one of a document that does not exist creates it; a read right after a publish may return the old content; a push names the document
// and carries nothing; a connection holds at most one instance per service, and its instances go with it; listing documents is refused.
// The delay of lists, the public namespace that Nacos 3 keeps twice, and limits of requests per second are not played.
// Faults that only some servers have, or that the network adds, are values: see Faults.
package nacostest
