// Package etcd keeps the documents and members of msha in etcd 3.4 or newer.
//
// # What the server guarantees
//
// Compare-and-set is one transaction on the key's modification revision. Reads are linearizable, so Get is GetFresh. Revisions are the
// cluster's and grow with every change of any key, deletions included. Watches are told every change; after an interruption, and when
// the server has compacted what a watch still wanted, the store subscribes and reads again.
//
// # What it does not guarantee
//
// A Put or Delete that fails for a lost connection or a timeout may have been carried out: read before deciding. The store repeats none by
// itself. A cluster without a quorum answers nothing; tables that were read stay in force. A cluster that was restored from a backup has lost
// accepted writes: the store notices a revision that went back, or another cluster id, and says so by Safe (msha.SafetyReporter). It
// cannot notice if, while it was cut off, the restored cluster grew beyond the old revision under the old cluster id.
//
// # Placement
//
// Three members in three failure domains: two sites and a witness. A cluster inside one site dies with it, and then no forced switch is
// possible. Give a store the addresses of all members.
//
// # Keys
//
//	<prefix>/documents/<key>             the document, byte by byte
//	<prefix>/members/<set>/<member id>   JSON; the set is escaped as a URL path segment; attached to the lease of the member's process
//
// The prefix stands for an installation (Options.Prefix, default "msha"). With authentication the user's role needs readwrite on
// the range of keys that begin with "<prefix>/":
//
//	etcdctl role grant-permission msha --prefix=true readwrite msha/
//
// # Members
//
// All members that one store has joined share one lease, which a single stream keeps alive; nothing is written while nothing changes. A
// store that loses the lease (the server was away for longer than Options.MemberTTL, or was restored) takes a new one and puts its members
// back, but never over an entry that another process made meanwhile: that is logged, and tried again until the id is free.
package etcd
