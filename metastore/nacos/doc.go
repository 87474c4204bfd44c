// Package nacos is a metastore on Nacos 2 and 3: documents are configurations, members are ephemeral instances.
//
//	store, err := nacos.Open(ctx, "10.0.0.1:8848,10.1.0.1:8848", &nacos.Options{Namespace: "prod"})
//
// # What Nacos guarantees, and what this package makes of it
//
//   - A publish with the md5 of the content it replaces (casMd5) is a compare-and-set in the database. It is the only decision this
//     package trusts. Nacos has no revisions, so each content begins with a line that has one; contents differ, so md5s do.
//   - A publish with casMd5 of a configuration that does not exist creates it, whatever the md5. Two that create at once may both be told
//     that they did (embedded storage). So creation plants an empty document, the same by whoever plants it, and the first value
//     replaces it by compare-and-set: exact, and no accepted write is lost.
//   - The embedded storage before Nacos 2.2.1 tells a publish with another md5 that it succeeded, and stores nothing. It is treated as r-nacos is.
//   - Nacos 3 keeps the configurations of the public namespace twice, unless told not to (nacos.config.namespace.compatible.mode=false), and
//     writes the copies one after the other. A node that dies in between leaves them different, and all writes of the document are refused until
//     it compares them, which it does every 30 s. So give msha a namespace of its own.
//   - Reads come from a cache of the node and can be older than what was accepted. Get never goes back behind what the store has seen;
//     GetFresh publishes the version once more with its own md5, which the database accepts only if it is the current one. Each GetFresh
//     adds a row to the configuration's history (nacos.config.retention.days limits it); Get, Watch and Join add none.
//   - A deletion leaves a note of the last revision. Remove no documents in the console: a client that remembers one brings it back.
//   - Notices of changes can get lost. Watched documents are read again every Options.Poll.
//   - A member is listed while its connection lives: after a cut or a freeze for some 25 s, which the server decides (there is no TTL to
//     set); after a kill the connection's end is noticed at once. Changes are listed with about half a second of delay.
//   - Nacos cannot reserve a member id. Joiners agree by what is listed, so that at most one gets an id as long as lists show registrations
//     in their order, as one node does. On two nodes of a cluster, whose lists lag, two that join within the same second can both get it.
//     Members are information, never evidence.
//
// r-nacos, and whatever else does not honour casMd5, is found out when the store opens: it serves documents and watches, Safe says why it must
// not be switched with, and puts are as good as their last read. A history that goes back (a restored backup) makes a store unsafe too.
//
// # Names and contents
//
// The namespace is Options.Namespace (an id, not a name); a server that was not told to check namespaces takes any, and a misspelt one is
// empty. The group is MSHA. A key is the data id, as far as its characters are letters, digits, "." and "-", so metadata.routers is called
// that in the console; each other byte is "_" and two hexadecimal digits. A content is a line like {"msha":1,"revision":7,"crc32":"…"}
// and the value, as text where it is text, otherwise as base64. An edit by hand does not fit the sum and is reported as corrupt: watches
// keep the last good version. The data id msha.probe is what the store tests with when it opens.
//
// A member set is a service of the group, with one instance per member: the address is made up (127.x.y.z), the metadata is the member.
// A connection has one instance per service; a second member of a set in one process takes another connection.
//
// The user needs to read and write configurations and services of the namespace. Listing configurations is not used.
//
// # Placement
//
// Run a cluster of three nodes in three failure domains (two sites and a witness) with a database that survives the loss of one. A Nacos
// inside one site dies with it, and nothing can be switched then. Expect a write to take 10 to 20 ms on the embedded storage.
//
// # Why not the SDK's clients
//
// The package speaks Nacos's gRPC protocol with the message types of nacos-sdk-go. Its clients repeat a publish that timed out, which
// turns an accepted compare-and-set into a conflict; they limit reads of one configuration to five per second, write every content to a
// directory, register a listener after up to five seconds, take no context and no *tls.Config, and leave goroutines behind. So there is no
// way to pass one in.
package nacos
