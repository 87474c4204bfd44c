// Package replicate copies every message of one unit to the other units (design section 6). Copies go to a replica topic of the target
// cluster, one per origin unit, each origin queue to exactly one queue there: the order is the origin's, loops cannot form, and the
// last message of a replica queue says where to resume, and a checkpoint where even that has expired.
//
// Any number of processes with the same origin share the work; nothing has to be configured. A document lists them and says who copies
// what; each holds one lease, which is checked before every send. What keeps a replica queue right does not depend on leases: a batch
// is sent only when the message before it is known to be stored in the same queue, so whoever sends, after dropping repeats the queue
// is a prefix of its origin queue. Leases keep the repeats few: one batch for each time that work moves to another process.
package replicate
